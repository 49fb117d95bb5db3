"""One host over one open SSH connection: commands, scripts and files. Knows how commands travel, not whom to trust."""

from __future__ import annotations

import functools
import itertools
import math
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RemoteError
from .remote import Endpoint, File, Result, Then, quoted

if TYPE_CHECKING:
    import paramiko

SCRIPTS = Path(__file__).resolve().parent.parent / "bootscripts"
END_OF_SCRIPT = "# end of the script, here its own input begins"
PIECE = 1 << 17
CHANNELS = 5  # at once on one connection: sshd allows 10 (MaxSessions), and counts closed ones for a moment longer
KILL_AFTER = 5  # seconds from asking a command to end to killing it
GRACE = 7.0  # seconds that this side waits beyond a command's own limit
AGAIN = "mend the cause on the machine, then run the same command again: it goes on where it stopped"


class SshHost:
    """A Host; ``transport`` gives the open connection (opening it anew when it broke), ``close`` ends it.

    ``fabric`` gives the ``fabric.Connection`` that it belongs to.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        transport: Callable[[], paramiko.Transport],
        close: Callable[[], None],
        fabric: Callable[[], Any] = lambda: None,
    ) -> None:
        self.name = name
        self.address = str(endpoint)
        self._root = endpoint.user == "root"
        self._transport = transport
        self._close = close
        self._fabric = fabric
        self._closed = False
        self._channels = threading.BoundedSemaphore(CHANNELS)

    def run(
        self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Run one command given as words; ``timeout`` in seconds."""
        code, out, err = self._bounded(words, sudo, timeout, _pieces(stdin))
        texts = out.decode(errors="replace"), err.decode(errors="replace")
        return self._checked(Result(words, code, *texts), check)

    def script(
        self, path: Path, *args: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Run a POSIX shell script, sent on standard input before ``stdin``: nothing of it is quoted or logged."""
        code, out, err = self._script(path, args, sudo, timeout, _pieces(stdin))
        texts = out.decode(errors="replace"), err.decode(errors="replace")
        return self._checked(Result((path.name, *args), code, *texts), check)

    def place(self, files: Sequence[File], then: Then | None = None) -> frozenset[str]:
        """Make these files be there, then do what is said, in one round trip; the paths that changed."""
        everything = (*files, *(then.last if then else ()))
        for file in everything:
            if not file.path.startswith("/") or file.path.endswith("/") or "\n" in file.path or "\0" in file.path:
                raise ValueError(f"not an absolute path of a file: {file.path!r}")
        timeout = 60.0 + sum(len(file.data) for file in everything) / 500_000  # no line is slower than 4 Mbit/s
        arguments = then.arguments if then else ()
        code, out, err = self._script(SCRIPTS / "place.sh", arguments, True, timeout, archive(files, then))
        self._checked(Result(("place.sh", *arguments), code, "", err.decode(errors="replace")))
        return frozenset(out.decode(errors="surrogateescape").split("\n")[:-1])

    def read(self, path: str) -> bytes | None:
        """A file's bytes, read as root; None when there is no such file."""
        code, out, err = self._bounded(("cat", "--", path), True, 60.0, ())
        if code == 0:
            return out
        if self.run("test", "-e", path, sudo=True, check=False).exit_code == 1:
            return None
        self._checked(Result(("cat", "--", path), code, "", err.decode(errors="replace")))
        return out

    def fabric(self) -> Any:
        """The connection as Fabric's, with a configuration of its own."""
        self._transport()  # opened anew when it broke
        connection = self._fabric()
        connection.config = connection.config.clone()
        return connection

    def close(self) -> None:
        """Close the connection; twice is fine."""
        self._closed = True
        self._close()

    def _script(
        self, path: Path, args: Sequence[str], sudo: bool, timeout: float, stdin: Iterable[bytes]
    ) -> tuple[int, bytes, bytes]:
        words, text = sent(path, args)
        return self._bounded(words, sudo, timeout, itertools.chain([text], stdin))

    @functools.cached_property
    def _limiter(self) -> tuple[str, ...]:
        """How a command is ended on the host itself when its time is over: by `timeout`, where there is one."""
        words = ("timeout", "-k", str(KILL_AFTER))
        return words if self._execute((*words, "1", "true"), 10.0, ())[0] == 0 else ()

    def _bounded(
        self, words: Sequence[str], sudo: bool, timeout: float, stdin: Iterable[bytes]
    ) -> tuple[int, bytes, bytes]:
        limit = (*self._limiter, str(math.ceil(timeout))) if self._limiter else ()
        asked = ("sudo", "-n") if sudo and not self._root else ()
        begun = time.monotonic()
        answer = self._execute((*asked, *limit, *words), timeout + GRACE, stdin)
        if limit and answer[0] in (124, 137) and time.monotonic() - begun >= math.ceil(timeout):
            raise self._late(words, timeout, answer[1], answer[2])
        return answer

    def _execute(self, words: Sequence[str], patience: float, stdin: Iterable[bytes]) -> tuple[int, bytes, bytes]:
        import paramiko

        # What we send must not meet the host's own close of the channel: paramiko may answer that first, and OpenSSH
        # then ends the connection for all (tried with paramiko 5.1, OpenSSH 9.2; tests/test_ssh_host.py: many threads).
        reading = ("sh", "-c", _without_comments(SCRIPTS / "to-the-end.sh"), "sh", *words)
        command = quoted(reading) if stdin else quoted(words) + " </dev/null"
        if self._closed:
            raise self._broken(words, "it was closed")
        with self._channels:
            transport, channel = self._session(words, patience)
            deadline = time.monotonic() + patience
            try:
                channel.settimeout(patience)
                channel.exec_command(command.encode(errors="surrogateescape"))
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise self._broken(words, str(error)) from error
            out, err = bytearray(), bytearray()
            try:
                _converse(channel, stdin, out, err, deadline)
            except TimeoutError:
                raise self._late(words, patience, bytes(out), bytes(err)) from None
            finally:
                channel.close()
        code = channel.exit_status
        if code == -1 and not transport.is_active():
            raise self._broken(words, _tail(bytes(out), bytes(err)))
        return code, bytes(out), bytes(err)

    def _session(self, words: Sequence[str], patience: float) -> tuple[paramiko.Transport, paramiko.Channel]:
        """A new channel; on a new connection when the old one turns out to be dead, as no command has begun yet."""
        import paramiko

        transport = self._transport()
        with suppress(paramiko.SSHException, OSError, EOFError):
            return transport, transport.open_session(timeout=patience)
        transport = self._transport()
        try:
            return transport, transport.open_session(timeout=patience)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._broken(words, str(error)) from error

    def _checked(self, result: Result, check: bool = True) -> Result:
        if not check or result.exit_code == 0:
            return result
        ended = f"exited with {result.exit_code}" if result.exit_code >= 0 else "was killed by a signal"
        refused = "sudo" in result.stderr and ("password" in result.stderr or "not found" in result.stderr)
        hint = f"give the login user of {self.address} sudo without a password, or log in as root" if refused else AGAIN
        raise RemoteError(
            f"`{_shown(result.words)}` {ended}", machine=self.name, seen=_tail(result.stdout, result.stderr), hint=hint
        )

    def _late(self, words: Sequence[str], timeout: float, out: bytes, err: bytes) -> RemoteError:
        what = f"`{_shown(words)}` took longer than {timeout:.0f} s and was ended"
        return RemoteError(what, machine=self.name, seen=_tail(out, err), hint=AGAIN)

    def _broken(self, words: Sequence[str], seen: str) -> RemoteError:
        return RemoteError(
            f"the SSH connection to {self.address} broke during `{_shown(words)}`",
            machine=self.name,
            seen=seen,
            hint="see whether the machine is up, then run the same command again: it goes on where it stopped",
        )


def sent(path: Path, args: Sequence[str]) -> tuple[tuple[str, ...], bytes]:
    """A script of this project as it travels: the words that run it, and what is to stand first on their input."""
    words = ("sh", "-c", _without_comments(SCRIPTS / "from-stdin.sh"), path.name, END_OF_SCRIPT, *args)
    return words, path.read_bytes().rstrip(b"\n") + f"\n{END_OF_SCRIPT}\n".encode()


def _converse(
    channel: paramiko.Channel, stdin: Iterable[bytes], out: bytearray, err: bytearray, deadline: float
) -> None:
    """Feed the command and gather both its streams at the same time, until it has ended; TimeoutError at the deadline.

    The streams share one window: whichever is not read stops the other one as well.
    """
    threads = [threading.Thread(target=_gather, args=(channel.recv_stderr, err), daemon=True)]
    if stdin:
        threads.append(threading.Thread(target=_feed, args=(channel, stdin), daemon=True))
    for thread in threads:
        thread.start()
    try:
        while True:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            piece = channel.recv(PIECE)
            if not piece:
                break
            out += piece
        if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
    except BaseException:
        channel.close()
        raise
    threads[0].join(max(0.0, deadline - time.monotonic()))


def _gather(receive: Callable[[int], bytes], into: bytearray) -> None:
    with suppress(OSError):
        while piece := receive(PIECE):
            into += piece


def _feed(channel: paramiko.Channel, stdin: Iterable[bytes]) -> None:
    with suppress(OSError):  # the connection may break: whoever reads the answer is told
        for piece in stdin:
            channel.sendall(piece)
        channel.shutdown_write()


def _pieces(data: bytes) -> tuple[bytes, ...]:
    """The data in pieces: paramiko copies what is left of a buffer for each packet that it sends."""
    return tuple(data[start : start + PIECE] for start in range(0, len(data), PIECE))


def archive(files: Sequence[File], then: Then | None = None) -> Iterator[bytes]:
    """The tar stream that bootscripts/place.sh reads."""
    members: list[tuple[str, bytes, int]] = []

    def listing(some: Iterable[File]) -> bytes:
        lines = []
        for file in sorted(some, key=lambda file: file.path.rpartition("/")[0]):
            lines.append(f"{len(members)} {file.owner} {file.path}\n")
            members.append((f"{len(members)}/{file.path.rpartition('/')[2]}", file.data, file.mode))
        return "".join(lines).encode(errors="surrogateescape")

    lists = [("list", listing(files), 0o600)]
    if then:
        lists += [("last", listing(then.last), 0o600), ("then", then.script.read_bytes(), 0o700)]
    for name, data, mode in (*lists, *members):
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), mode
        yield member.tobuf(tarfile.PAX_FORMAT)
        yield from _pieces(data)
        yield bytes(-len(data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


@functools.cache
def _without_comments(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))


def _shown(words: Sequence[str]) -> str:
    line = quoted(words).replace("\n", " ")
    return line if len(line) <= 200 else f"{line[:200]} …"


def _tail(out: str | bytes, err: str | bytes) -> str:
    """The last lines of both streams, errors last."""
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in (out, err)]
    return "\n".join([*texts[0].strip().splitlines()[-6:], *texts[1].strip().splitlines()[-9:]])

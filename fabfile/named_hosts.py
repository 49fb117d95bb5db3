"""Hosts that the user names: reached as the user's own ssh would reach them, and held to the keys that it would accept.

OpenSSH itself is asked: `ssh -G` resolves the configuration (Include, Match and all), `ssh-keygen -F` finds known keys
(hashed ones as well). What they say is copied into a known_hosts file of ours; the connections themselves are ours.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import host_keys
from .errors import HostKeyError, UsageError
from .paths import expanded
from .remote import Credentials, Endpoint
from .settings import Settings

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
MOST_HOPS = 8


@dataclass(frozen=True)
class Known:
    """What the user's known_hosts files say of one host; keys are ``type base64`` each."""

    keys: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    certified: bool = False


@dataclass(frozen=True)
class NamedHost:
    """A host as the user named it, how to reach it, and what is known of each host on the way (itself last)."""

    named: str
    endpoint: Endpoint
    known: tuple[Known, ...]


def resolve(named: str, *, config: Path | None = None, key_files: Sequence[str] = ()) -> NamedHost:
    """How the user's ssh would reach ``[user@]host[:port]``; ``config`` instead of the user's ssh_config.

    ``key_files`` are tried before those of the configuration. Nothing is connected to. Raises UsageError for a name or
    a configuration that cannot be followed, or when OpenSSH is not installed here.
    """
    endpoint, known = _resolve(named, config, key_files, None, 0)
    return NamedHost(named, endpoint, known)


def gateway(settings: Settings) -> NamedHost | None:
    """The host of the setting ``gateway``, through which machines with private addresses are reached; None without."""
    if not settings.gateway:
        return None
    return resolve(settings.gateway, config=expanded(settings.ssh_config) if settings.ssh_config else None)


def own_key_files(host: str, first: str = "") -> tuple[str, ...]:
    """The private keys that the user's own ssh would offer a host, after the one in the file ``first``, if any."""
    return _key_files(_ssh_options(host, None, [str(expanded(first))] if first else []))


def strangers(host: NamedHost) -> tuple[Endpoint, ...]:
    """The hosts on the way, itself included, of which the user's ssh knows no key that is not revoked."""
    pairs = zip(hops(host.endpoint), host.known, strict=True)
    return tuple(hop for hop, known in pairs if not set(known.keys) - set(known.revoked))


def admit(
    host: NamedHost,
    credentials: Credentials,
    *,
    host_key: str = "",
    confirm: Callable[[str], bool] | None = None,
    timeout: float = 10.0,
) -> Endpoint:
    """Pin the keys of the host and of all on the way in our own file; the endpoint to connect to with ``credentials``.

    Keys that the user's ssh knows are taken over. For an unknown one the host is asked, and the key is pinned when its
    fingerprint is among those in ``host_key`` (``SHA256:…``, several separated by commas) or, when none is given,
    ``confirm`` says yes to the question. Raises HostKeyError otherwise, and always for a revoked key or a fingerprint
    that no host has; raises RemoteError when a host with an unknown key does not answer.
    """
    given = {text for text in re.split(r"[,\s]+", host_key) if text}
    unused = set(given)
    for hop, known in zip(hops(host.endpoint), host.known, strict=True):
        ours = host_keys.pinned(credentials.known_hosts, hop)
        keys = tuple(key for key in known.keys or ours if key not in known.revoked)
        if not keys:
            keys = (_asked(hop, known, credentials, given, confirm, timeout),)
        if keys != ours:
            host_keys.pin(credentials.known_hosts, hop, keys)
        unused -= {host_keys.fingerprint(key) for key in keys}
    if unused:
        shown = host_keys.fingerprints(host_keys.pinned(credentials.known_hosts, host.endpoint))
        raise HostKeyError(
            f"no host on the way to {host.named} has the host key {', '.join(sorted(unused))}; its own is {shown}",
            hint="give --host-key the fingerprint that `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints there",
        )
    return host.endpoint


def hops(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Every host on the way, the first to connect to first and the endpoint itself last."""
    if endpoint.gateway:
        yield from hops(endpoint.gateway)
    yield endpoint


def parse(named: str) -> tuple[str, str, int | None]:
    """``[user@]host[:port]`` as user ("" when not given), host and port; IPv6 addresses in brackets before a port."""
    text = named.removeprefix("ssh://").rstrip("/")
    user, _, place = text.rpartition("@")
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\[\]]+)(?::(\d+))?|((?=.*:.*:)[0-9a-fA-F:.]+(?:%\w+)?)", place)
    host = next((match[group] for group in (1, 3, 5) if match[group]), "") if match else ""
    port = int(match[2] or match[4] or 0) if match else 0
    if not host or re.search(r"[\s\0]", text) or host.startswith("-") or user.startswith("-") or port > 65535:
        raise UsageError(f"{named!r} is not the name of a host", hint="write host, user@host or user@host:port")
    return user, host, port or None


def _resolve(
    named: str,
    config: Path | None,
    key_files: Sequence[str],
    via: tuple[Endpoint, tuple[Known, ...]] | None,
    depth: int,
) -> tuple[Endpoint, tuple[Known, ...]]:
    """The endpoint and what is known of the hosts on its way; ``via`` is the way to it when a ProxyJump says so."""
    if depth > MOST_HOPS:
        raise UsageError(f"the way to {named} has more than {MOST_HOPS} hosts", hint="look for a circle of ProxyJump")
    options = _ssh_options(named, config, key_files)
    jumps = options.get("proxyjump", ["none"])[0]
    command = options.get("proxycommand", ["none"])[0]
    if via is None and command != "none":
        raise UsageError(
            f"ssh_config has a ProxyCommand for {named}; its host keys could not be verified here ({command})",
            hint="use ProxyJump in its place, as in `ProxyJump gateway`",
        )
    if via is None and jumps != "none":
        for jump in jumps.split(","):
            via = _resolve(jump.strip(), config, (), via, depth + 1)
    endpoint = Endpoint(
        options["hostname"][0],
        options["user"][0],
        int(options["port"][0]),
        gateway=via[0] if via else None,
        key_files=_key_files(options),
        key_alias=options.get("hostkeyalias", [""])[0],
        named=named,
    )
    files = [file for name in ("userknownhostsfile", "globalknownhostsfile") for file in _paths(options.get(name, []))]
    return endpoint, (*(via[1] if via else ()), _known(host_keys.label(endpoint), files))


def _ssh_options(named: str, config: Path | None, key_files: Sequence[str]) -> dict[str, list[str]]:
    """What `ssh -G` says, by lower-case keyword; what the user wrote wins, since ssh is given it as options."""
    user, host, port = parse(named)
    command = ["ssh", "-T", "-G"]
    command += ["-F", str(config)] if config else []
    command += [word for file in key_files for word in ("-i", file)]
    command += ["-l", user] if user else []
    command += ["-p", str(port)] if port else []
    options: dict[str, list[str]] = {}
    for line in _openssh(
        [*command, "--", host], f"`ssh -G` does not accept the configuration for {named}"
    ).splitlines():
        keyword, _, value = line.partition(" ")
        options.setdefault(keyword.lower(), []).append(value)
    return {**options, "named": [host]}


def _known(name: str, files: Sequence[Path]) -> Known:
    keys: list[str] = []
    revoked: list[str] = []
    certified = False
    for file in files:
        if not file.is_file():
            continue
        command = ["ssh-keygen", "-F", name, "-f", str(file)]
        for line in _openssh(command, f"`ssh-keygen -F` cannot read {file}", codes=(0, 1)).splitlines():
            words = line.split()
            marker = words.pop(0) if line.startswith("@") else ""
            if line.startswith("#") or len(words) < 3:
                continue
            certified = certified or marker == "@cert-authority"
            if words[1] in KINDS and marker in ("", "@revoked"):
                (revoked if marker else keys).append(host_keys.plain(" ".join(words[1:3])))
    return Known(tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(revoked)), certified)


def _asked(
    hop: Endpoint,
    known: Known,
    credentials: Credentials,
    given: set[str],
    confirm: Callable[[str], bool] | None,
    timeout: float,
) -> str:
    """The key of a host that nothing usable is pinned for, when it may be trusted."""
    from . import ssh  # fabric takes 0.2 s to import

    host_keys.pin(credentials.known_hosts, hop, ())
    key, unknown = ssh.shown_key(hop, credentials, timeout=timeout)
    told = host_keys.fingerprints([key])
    if key in known.revoked:
        raise HostKeyError(
            f"{hop} showed a host key that your known_hosts marks as revoked: {told}",
            hint="do not connect; ask whoever runs the host",
        )
    if host_keys.fingerprint(key) in given or (confirm and not given and confirm(f"{unknown.message}. Trust it?")):
        return key
    if known.certified:
        unknown.message += " (your known_hosts vouches for it by a certificate authority, which is not supported here)"
    raise unknown


def _openssh(command: list[str], failed: str, codes: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15, check=False
        )
    except FileNotFoundError:
        raise UsageError(
            f"OpenSSH's `{command[0]}` is not installed here; hosts that you name are looked up with it",
            hint="install it: `apt install openssh-client`",
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{failed}: it took longer than 15 s", hint="look for a `Match exec` that hangs") from None
    if done.returncode not in codes:
        raise UsageError(failed, seen=done.stderr, hint="mend the file that it names")
    return done.stdout


def _key_files(options: dict[str, list[str]]) -> tuple[str, ...]:
    """The user's key files that are there; `ssh -G` leaves ~ and most of ssh_config's tokens as they are written."""
    me = pwd.getpwuid(os.getuid())
    tokens = {"%": "%", "d": me.pw_dir, "u": me.pw_name, "n": options["named"][0]}
    tokens |= {"h": options["hostname"][0], "r": options["user"][0], "p": options["port"][0]}
    written = (re.sub(r"^~(?=/)", me.pw_dir, text) for text in options.get("identityfile", []))
    files = (re.sub("%(.)", lambda match: tokens.get(match[1], match[0]), text) for text in written)
    return tuple(file for file in files if os.access(file, os.R_OK) and Path(file).is_file())


def _paths(values: Sequence[str]) -> list[Path]:
    """The files of a list that `ssh -G` prints without quotes, though a path may hold blanks."""
    return [Path(text) for value in values for text in re.split(r" (?=[/~])", value)]

"""Hosts that the user names: what OpenSSH says of them, and whom one may trust."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import host_keys, named_hosts, ssh
from fabfile.errors import HostKeyError, RemoteError, UsageError
from fabfile.remote import Credentials, Endpoint
from tests.sshd import Sshd, make_host_key, serving


class User:
    """A user's .ssh folder in a folder of the test: an ssh_config and a known_hosts file."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "ssh_config"
        self.known_hosts = folder / "users_known_hosts"
        self.ours = Credentials(folder / "cluster_key", folder / "our_known_hosts")
        self.known_hosts.write_text("")
        self.configure("")

    def configure(self, text: str) -> None:
        known = f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        self.config.write_text(f"{text}\n{known}")

    def knows(self, *lines: str) -> None:
        with self.known_hosts.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def resolve(self, named: str) -> named_hosts.NamedHost:
        return named_hosts.resolve(named, config=self.config)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with serving(tmp_path / "server") as running:
        yield running


def as_host(name: str, server: Sshd, *more: str) -> str:
    """A block of ssh_config that reaches the server under a name of the user's."""
    key = f"IdentityFile {server.credentials.key_file}"
    lines = (f"HostName {server.endpoint.host}", f"Port {server.endpoint.port}", key, *more)
    return f"Host {name}\n" + "".join(f"  {line}\n" for line in lines)


def entry(server: Sshd) -> str:
    return f"[127.0.0.1]:{server.endpoint.port} {server.host_key}"


class TestNames:
    @pytest.mark.parametrize(
        ("named", "parts"),
        [
            ("h", ("", "h", None)),
            ("u@h", ("u", "h", None)),
            ("u@h:2222", ("u", "h", 2222)),
            ("ssh://u@h:2222/", ("u", "h", 2222)),
            ("me@corp@h", ("me@corp", "h", None)),
            ("u@[fe80::1]:22", ("u", "fe80::1", 22)),
            ("fe80::1", ("", "fe80::1", None)),
        ],
    )
    def test_a_name_has_a_user_a_host_and_a_port(self, named: str, parts: tuple[str, str, int | None]) -> None:
        assert named_hosts.parse(named) == parts

    @pytest.mark.parametrize(
        "named", ["", "u@", "-oProxyCommand=x", "-l@h", "h:x", "h:70000", "h h", "h\n", "[h", "u@:22"]
    )
    def test_what_is_no_name_is_refused_before_ssh_sees_it(self, named: str) -> None:
        with pytest.raises(UsageError, match="not the name of a host"):
            named_hosts.resolve(named)


class TestResolving:
    def test_the_configuration_says_host_user_port_key_and_alias(self, user: User, tmp_path: Path) -> None:
        key = tmp_path / "my key"
        key.write_text("")
        user.configure(
            f'Host lab\n  HostName 10.9.8.7\n  User ann\n  Port 2200\n  IdentityFile "{key}"\n  IdentityFile /nowhere\n'
            "  HostKeyAlias lab-alias\n"
        )
        endpoint = Endpoint("10.9.8.7", "ann", 2200, key_files=(str(key),), key_alias="lab-alias", named="lab")
        assert user.resolve("lab").endpoint == endpoint

    def test_what_the_user_wrote_wins_over_the_configuration(self, user: User) -> None:
        user.configure("Host lab\n  User ann\n  Port 2200\nMatch user bob\n  HostName 10.0.0.9\n")
        endpoint = user.resolve("bob@lab:33").endpoint
        assert (endpoint.user, endpoint.port) == ("bob", 33)
        assert endpoint.host == "10.0.0.9", "Match sees the user that was written"

    def test_included_files_count(self, user: User, tmp_path: Path) -> None:
        (tmp_path / "more").write_text("Host lab\n  HostName 10.0.0.1\n")
        user.configure(f"Include {tmp_path}/mo*\n")
        assert user.resolve("lab").endpoint.host == "10.0.0.1"

    def test_placeholders_in_the_names_of_keys_are_filled_in(self, user: User, tmp_path: Path) -> None:
        (tmp_path / "key-of-ann-for-10.0.0.1%").write_text("")
        user.configure(f"Host lab\n  HostName 10.0.0.1\n  User ann\n  IdentityFile {tmp_path}/key-of-%r-for-%h%%\n")
        assert user.resolve("lab").endpoint.key_files == (str(tmp_path / "key-of-ann-for-10.0.0.1%"),)

    def test_keys_given_by_hand_come_first(self, user: User, tmp_path: Path) -> None:
        for name in ("mine", "configured"):
            (tmp_path / name).write_text("")
        user.configure(f"Host lab\n  IdentityFile {tmp_path}/configured\n")
        host = named_hosts.resolve("lab", config=user.config, key_files=[str(tmp_path / "mine")])
        assert host.endpoint.key_files == (str(tmp_path / "mine"), str(tmp_path / "configured"))

    def test_each_host_on_the_way_has_a_configuration_of_its_own(self, user: User) -> None:
        user.configure(
            "Host lab\n  ProxyJump bob@one:2201,two\n"
            "Host one\n  HostName 10.0.0.1\n  ProxyJump door\n"
            "Host two\n  HostName 10.0.0.2\n  User ann\n  ProxyJump never-asked\n"
            "Host door\n  HostName 10.0.0.9\n  ProxyJump none\n"
        )
        way = [f"{hop.user}@{hop.host}:{hop.port}" for hop in named_hosts.hops(user.resolve("ann@lab").endpoint)]
        me = user.resolve("door").endpoint.user
        assert way == [f"{me}@10.0.0.9:22", "bob@10.0.0.1:2201", "ann@10.0.0.2:22", "ann@lab:22"]

    def test_a_circle_of_jumps_is_told(self, user: User) -> None:
        user.configure("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
        with pytest.raises(UsageError, match="more than 8 hosts"):
            user.resolve("a")

    def test_a_proxy_command_is_refused_since_its_hosts_cannot_be_verified(self, user: User) -> None:
        user.configure("Host lab\n  ProxyCommand nc %h %p\n")
        with pytest.raises(UsageError, match="ProxyCommand for lab"):
            user.resolve("lab")

    def test_a_broken_configuration_is_told_in_the_words_of_ssh(self, user: User) -> None:
        user.configure("Nonsense yes\n")
        with pytest.raises(UsageError, match="Bad configuration option: nonsense"):
            user.resolve("lab")

    def test_without_openssh_the_error_says_how_to_get_it(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(UsageError, match="apt install openssh-client"):
            user.resolve("lab")


class TestKnownHosts:
    LAB = Endpoint("lab", "u")

    def known(self, user: User) -> named_hosts.Known:
        return user.resolve("lab").known[-1]

    def test_several_keys_of_several_kinds_are_found(self, user: User, tmp_path: Path) -> None:
        keys = [make_host_key(tmp_path / kind, kind) for kind in ("ed25519", "ecdsa", "rsa")]
        user.knows(*(f"other,lab {key} a comment" for key in keys), f"[lab]:2222 {make_host_key(tmp_path / 'no')}")
        assert self.known(user) == named_hosts.Known(tuple(keys))
        assert len(user.resolve("lab:2222").known[-1].keys) == 1

    def test_hashed_names_are_found(self, user: User, tmp_path: Path) -> None:
        key = make_host_key(tmp_path / "key")
        user.knows(f"lab {key}")
        subprocess.run(["ssh-keygen", "-H", "-f", user.known_hosts], check=True, capture_output=True)
        assert "lab" not in user.known_hosts.read_text()
        assert self.known(user).keys == (key,)

    def test_an_alias_is_what_is_looked_up(self, user: User, tmp_path: Path) -> None:
        key = make_host_key(tmp_path / "key")
        user.configure("Host lab\n  Port 2222\n  HostKeyAlias alias\n")
        user.knows(f"alias {key}", f"[lab]:2222 {make_host_key(tmp_path / 'other')}")
        assert self.known(user).keys == (key,)

    def test_revoked_keys_and_authorities_are_told_apart(self, user: User, tmp_path: Path) -> None:
        key = make_host_key(tmp_path / "key")
        user.knows(f"@revoked lab {key}", f"@cert-authority * {key}")
        assert self.known(user) == named_hosts.Known((), (key,), certified=True)

    def test_a_file_with_blanks_in_its_name_is_found(self, user: User, tmp_path: Path) -> None:
        key = make_host_key(tmp_path / "key")
        (tmp_path / "known hosts").write_text(f"lab {key}\n")
        user.configure(f'Host lab\n  UserKnownHostsFile "{tmp_path}/known hosts" {user.known_hosts}\n')
        assert self.known(user).keys == (key,)


class TestAdmission:
    def works(self, user: User, endpoint: Endpoint) -> bool:
        host = ssh.connect(endpoint, "lab", user.ours)
        try:
            return host.run("echo", "hello").stdout == "hello\n"
        finally:
            host.close()

    def test_a_host_that_the_users_ssh_knows_is_taken_over_without_a_question(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        user.knows(entry(server))
        endpoint = named_hosts.admit(user.resolve("lab"), user.ours)
        assert self.works(user, endpoint)
        assert host_keys.pinned(user.ours.known_hosts, endpoint) == (server.host_key,)

    def test_an_unknown_key_is_refused_and_told_with_the_option_to_give(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        with pytest.raises(HostKeyError, match="is unknown") as caught:
            named_hosts.admit(user.resolve("lab"), user.ours)
        assert f"--host-key {host_keys.fingerprint(server.host_key)}" in caught.value.hint
        assert host_keys.pinned(user.ours.known_hosts, user.resolve("lab").endpoint) == ()
        assert "Accepted" not in server.log.read_text()

    def test_a_given_fingerprint_admits_the_host_and_is_needed_only_once(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        given = host_keys.fingerprint(server.host_key)
        assert self.works(user, named_hosts.admit(user.resolve("lab"), user.ours, host_key=given))
        assert self.works(user, named_hosts.admit(user.resolve("lab"), user.ours))

    def test_a_wrong_fingerprint_admits_nobody_known_or_not(self, user: User, server: Sshd, tmp_path: Path) -> None:
        user.configure(as_host("lab", server))
        wrong = host_keys.fingerprint(make_host_key(tmp_path / "other"))
        with pytest.raises(HostKeyError):
            named_hosts.admit(user.resolve("lab"), user.ours, host_key=wrong, confirm=lambda text: True)
        assert host_keys.pinned(user.ours.known_hosts, user.resolve("lab").endpoint) == ()
        user.knows(entry(server))
        with pytest.raises(HostKeyError, match="no host on the way"):
            named_hosts.admit(user.resolve("lab"), user.ours, host_key=wrong)

    def test_a_person_sees_type_and_fingerprint_and_decides(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        asked: list[str] = []

        def answer(text: str) -> bool:
            asked.append(text)
            return len(asked) > 1

        with pytest.raises(HostKeyError, match="is unknown"):
            named_hosts.admit(user.resolve("lab"), user.ours, confirm=answer)
        assert self.works(user, named_hosts.admit(user.resolve("lab"), user.ours, confirm=answer))
        assert f"ssh-ed25519 {host_keys.fingerprint(server.host_key)}" in asked[0]
        named_hosts.admit(user.resolve("lab"), user.ours, confirm=answer)
        assert len(asked) == 2, "a pinned key is not asked for again"

    def test_a_changed_key_is_always_an_error(self, user: User, server: Sshd, tmp_path: Path) -> None:
        user.configure(as_host("lab", server))
        new = host_keys.fingerprint(server.host_key)
        old = make_host_key(tmp_path / "old")
        user.knows(f"[127.0.0.1]:{server.endpoint.port} {old}")
        endpoint = named_hosts.admit(user.resolve("lab"), user.ours, confirm=lambda text: True)
        with pytest.raises(HostKeyError, match="not the pinned one"):
            ssh.connect(endpoint, "lab", user.ours)
        with pytest.raises(HostKeyError):
            named_hosts.admit(user.resolve("lab"), user.ours, host_key=new)
        user.known_hosts.write_text("")
        named_hosts.admit(user.resolve("lab"), user.ours, confirm=lambda text: True)
        with pytest.raises(HostKeyError, match="not the pinned one"):
            ssh.connect(endpoint, "lab", user.ours)

    def test_a_key_that_the_user_accepted_anew_replaces_ours(self, user: User, server: Sshd, tmp_path: Path) -> None:
        user.configure(as_host("lab", server))
        endpoint = user.resolve("lab").endpoint
        host_keys.pin(user.ours.known_hosts, endpoint, [make_host_key(tmp_path / "old")])
        user.knows(entry(server))
        assert self.works(user, named_hosts.admit(user.resolve("lab"), user.ours))

    @pytest.mark.parametrize("pinned_by_us", [False, True])
    def test_a_revoked_key_is_never_admitted(self, user: User, server: Sshd, pinned_by_us: bool) -> None:
        user.configure(as_host("lab", server))
        user.knows(f"@revoked {entry(server)}", entry(server))
        given = host_keys.fingerprint(server.host_key)
        if pinned_by_us:
            host_keys.pin(user.ours.known_hosts, user.resolve("lab").endpoint, [server.host_key])
        with pytest.raises(HostKeyError, match="revoked"):
            named_hosts.admit(user.resolve("lab"), user.ours, host_key=given, confirm=lambda text: True)
        assert host_keys.pinned(user.ours.known_hosts, user.resolve("lab").endpoint) == ()

    def test_an_authority_alone_does_not_admit_and_the_error_says_so(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        user.knows(f"@cert-authority * {server.host_key}")
        with pytest.raises(HostKeyError, match="certificate authority"):
            named_hosts.admit(user.resolve("lab"), user.ours)

    def test_a_host_that_does_not_answer_is_told(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server))
        server.stop()
        with pytest.raises(RemoteError, match="nothing listens there"):
            named_hosts.admit(user.resolve("lab"), user.ours)

    def test_without_any_key_to_offer_the_error_says_what_to_do(self, user: User, server: Sshd) -> None:
        user.configure(as_host("lab", server).replace(str(server.credentials.key_file), "none"))
        user.knows(entry(server))
        endpoint = named_hosts.admit(user.resolve("lab"), user.ours)
        with pytest.raises(RemoteError, match="no SSH connection to lab") as caught:
            ssh.open_when_ready(endpoint, "lab", user.ours, timeout=60)
        assert "ssh-add" in caught.value.hint

    def test_every_host_on_the_way_is_verified_by_us(self, user: User, server: Sshd, tmp_path: Path) -> None:
        with serving(tmp_path / "door") as door:
            user.configure(as_host("lab", server, "ProxyJump door") + as_host("door", door))
            fingers = [host_keys.fingerprint(one.host_key) for one in (door, server)]
            with pytest.raises(HostKeyError, match=rf":{door.endpoint.port}\) is unknown"):
                named_hosts.admit(user.resolve("lab"), user.ours, host_key=fingers[1])
            user.knows(entry(door))
            with pytest.raises(HostKeyError, match=rf":{server.endpoint.port}\) is unknown"):
                named_hosts.admit(user.resolve("lab"), user.ours)
            user.known_hosts.write_text("")
            endpoint = named_hosts.admit(user.resolve("lab"), user.ours, host_key=",".join(fingers))
            assert self.works(user, endpoint)
            assert "Accepted publickey" in door.log.read_text()
            host_keys.pin(user.ours.known_hosts, endpoint.gateway or endpoint, [server.host_key])
            elsewhere = replace(user.ours, key_file=tmp_path / "so that no open connection is shared")
            with pytest.raises(HostKeyError, match=rf":{door.endpoint.port}\) is not the pinned one"):
                ssh.connect(endpoint, "lab", elsewhere)

    def test_the_ssh_agent_may_be_asked_for_named_hosts_only(
        self, user: User, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = str(tmp_path / "agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
        try:
            assert agent.stdout is not None
            agent.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            subprocess.run(["ssh-add", "-q", server.credentials.key_file], check=True)
            user.configure(
                as_host("lab", server, "IdentityFile none").replace(str(server.credentials.key_file), "none")
            )
            user.knows(entry(server))
            endpoint = named_hosts.admit(user.resolve("lab"), user.ours)
            assert endpoint.key_files == ()
            assert self.works(user, endpoint)
            host_keys.make_key_pair(user.ours.key_file, "not installed there")
            with pytest.raises(RemoteError, match="login was refused"):
                ssh.connect(replace(endpoint, key_files=None), "lab", user.ours)
        finally:
            agent.terminate()
            agent.wait()
            assert agent.stdout is not None
            agent.stdout.close()

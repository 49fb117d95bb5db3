"""The key that signs: found by fingerprint in ~/.ssh or the ssh-agent, and believed by a server that verifies."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from fabfile.errors import ProviderRefused, UsageError
from fabfile.providers.triton import catalog
from fabfile.providers.triton.agent import Agent
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.identity import Identity, load
from fabfile.providers.triton.keys import fingerprints, signer
from fabfile.providers.triton.signing import AgentSigner, FileSigner, Signature, Signer
from tests.cloudapi import signing
from tests.cloudapi.fixtures import environment
from tests.cloudapi.server import CloudApi
from tests.cloudapi.world import SubUser

KINDS = ["id_rsa", "id_ecdsa", "id_p384", "id_p521", "id_ed25519"]


def keep(home: Path, name: str, *, public: bool = True, secret: str = "", form: PrivateFormat | None = None) -> Path:
    """Put a key into ~/.ssh."""
    folder = home / ".ssh"
    folder.mkdir(exist_ok=True)
    locked = BestAvailableEncryption(secret.encode()) if secret else None
    path = folder / name
    path.write_bytes(signing.private_file(name, form or PrivateFormat.OpenSSH, locked))
    path.chmod(0o600)
    if public:
        path.with_name(f"{name}.pub").write_text(f"{signing.public_key(name).line}\n")
    return path


def md5(name: str) -> str:
    return signing.public_key(name).fingerprint


def ask(cloudapi: CloudApi, found: Signer, user: str = "") -> str:
    """The account that CloudAPI takes the signer for."""
    return catalog.account(Api(Identity(cloudapi.url, "jill", "", user=user), found)).login


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """An ssh-agent of the test's own; the path of its socket."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


def teach(agent: Path, name: str, tmp_path: Path) -> None:
    """Give the agent a key that no file in ~/.ssh has."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    file = keep(elsewhere, name, public=False)
    subprocess.run(["ssh-add", "-q", str(file)], env={"SSH_AUTH_SOCK": str(agent), "PATH": "/usr/bin:/bin"}, check=True)


# -- Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_key_in_a_file_is_found_and_believed(cloudapi: CloudApi, tmp_path: Path, name: str) -> None:
    if name not in signing.KINDS:
        cloudapi.world.keys.append(signing.public_key(name))
    keep(tmp_path, name)
    found = signer(md5(name), {}, tmp_path)
    assert isinstance(found, FileSigner)
    assert ask(cloudapi, found) == "jill"


@pytest.mark.parametrize("name", KINDS)
def test_openssl_believes_it_too(tmp_path: Path, name: str) -> None:
    keep(tmp_path, name)
    request = requests.Request("GET", "http://127.0.0.1/my/machines?tag.a=b%20c")
    request.auth = Signature("/jill/keys", signer(md5(name), {}, tmp_path))
    signed = request.prepare()
    given = dict(re.findall(r'(\w+)="([^"]*)"', signed.headers["Authorization"]))
    kind, _, digest = given["algorithm"].partition("-")
    key, text, signature = tmp_path / "public.pem", tmp_path / "text", tmp_path / "signature"
    key.write_bytes(
        signing.private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    text.write_text(f"(request-target): get /my/machines?tag.a=b%20c\ndate: {signed.headers['Date']}")
    signature.write_bytes(base64.b64decode(given["signature"]))
    verify = ["dgst", f"-{digest}", "-verify", key, "-signature", signature, text]
    if kind == "ed25519":
        verify = ["pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", text, "-sigfile", signature]
    subprocess.run(["openssl", *verify], check=True, capture_output=True)
    text.write_text("something else")
    assert subprocess.run(["openssl", *verify], check=False, capture_output=True).returncode != 0


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    path = keep(tmp_path, "id_rsa")
    blob = base64.b64decode(signing.public_key("id_rsa").line.split()[1])
    shown = [
        subprocess.run(["ssh-keygen", "-E", kind, "-lf", path], capture_output=True, text=True, check=True).stdout
        for kind in ("md5", "sha256")
    ]
    assert {text.split()[1].removeprefix("MD5:") for text in shown} == fingerprints(blob)


@pytest.mark.parametrize("form", ["FP", "MD5:FP", "upper", "SHA256"])
def test_a_fingerprint_may_have_any_form_and_md5_is_what_is_sent(tmp_path: Path, form: str) -> None:
    keep(tmp_path, "id_rsa")
    blob = base64.b64decode(signing.public_key("id_rsa").line.split()[1])
    sha256 = next(one for one in fingerprints(blob) if one.startswith("SHA256:"))
    forms = {"SHA256": sha256, "upper": md5("id_rsa").upper()}
    assert signer(forms.get(form, form.replace("FP", md5("id_rsa"))), {}, tmp_path).fingerprint == md5("id_rsa")


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_key_without_its_public_file_is_found(tmp_path: Path, form: PrivateFormat) -> None:
    keep(tmp_path, "id_rsa", public=False, form=form)
    assert signer(md5("id_rsa"), {}, tmp_path).fingerprint == md5("id_rsa")


def test_other_files_do_not_disturb(tmp_path: Path) -> None:
    keep(tmp_path, "id_ed25519")
    folder = tmp_path / ".ssh"
    (folder / "known_hosts").write_text("host ssh-ed25519 AAAA\n")
    (folder / "broken.pub").write_text("nonsense\n")
    (folder / "binary").write_bytes(b"-----BEGIN \xff\xfe")
    (folder / "socket.d").mkdir()
    (folder / "lost").symlink_to("nowhere")
    assert signer(md5("id_ed25519"), {}, tmp_path).fingerprint == md5("id_ed25519")


@pytest.mark.parametrize("public", [True, False])
def test_a_passphrase_is_never_asked_for_but_told_of(tmp_path: Path, public: bool) -> None:
    keep(tmp_path, "id_ed25519", public=public, secret="secret")
    with pytest.raises(ProviderRefused) as caught:
        signer(md5("id_ed25519"), {}, tmp_path)
    assert "it has a passphrase, so only the ssh-agent can use it" in str(caught.value)
    assert "no ssh-agent (SSH_AUTH_SOCK is not set)" in str(caught.value)
    assert "ssh-add" in caught.value.hint


def test_a_public_file_without_its_key_is_told(tmp_path: Path) -> None:
    keep(tmp_path, "id_ed25519").unlink()
    with pytest.raises(ProviderRefused, match="the private key is not there"):
        signer(md5("id_ed25519"), {}, tmp_path)


def test_no_folder_at_all_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(ProviderRefused, match="no key to sign with was found"):
        signer(md5("id_ed25519"), {}, tmp_path)


@pytest.mark.parametrize("wrong", ["", "id_rsa", "d3:99", "SHA256:short", "~/.ssh/id_rsa"])
def test_what_is_no_fingerprint_is_told_with_how_to_get_one(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        signer(wrong, {}, tmp_path)
    assert "ssh-keygen -E md5 -lf" in caught.value.hint


def test_all_of_it_comes_from_the_users_home_and_variables(
    cloudapi: CloudApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(cloudapi, tmp_path).items():
        monkeypatch.setenv(name, value)
    assert catalog.account(Api(load())).login == "jill"


# -- The agent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id_rsa", "id_ecdsa", "id_p521", "id_ed25519"])
def test_a_key_in_the_agent_is_found_and_believed(cloudapi: CloudApi, tmp_path: Path, agent: Path, name: str) -> None:
    if name not in signing.KINDS:
        cloudapi.world.keys.append(signing.public_key(name))
    teach(agent, name, tmp_path)
    found = signer(md5(name), {"SSH_AUTH_SOCK": str(agent)}, tmp_path)
    assert isinstance(found, AgentSigner)
    for _ in range(20):  # numbers of a signature are of different lengths
        assert ask(cloudapi, found) == "jill"


def test_a_p384_key_in_the_agent_is_told_to_be_of_no_use(tmp_path: Path, agent: Path) -> None:
    teach(agent, "id_p384", tmp_path)
    found = signer(md5("id_p384"), {"SSH_AUTH_SOCK": str(agent)}, tmp_path)
    with pytest.raises(ProviderRefused) as caught:
        found.sign(b"x")
    assert "signs as ecdsa-sha2-nistp384, which CloudAPI does not take" in str(caught.value)
    assert "P-384" in caught.value.hint


def test_a_locked_file_is_used_by_the_agent(cloudapi: CloudApi, tmp_path: Path, agent: Path) -> None:
    keep(tmp_path, "id_ed25519", secret="secret")
    teach(agent, "id_ed25519", tmp_path)
    assert ask(cloudapi, signer(md5("id_ed25519"), {"SSH_AUTH_SOCK": str(agent)}, tmp_path)) == "jill"


def test_a_file_goes_before_the_agent(tmp_path: Path, agent: Path) -> None:
    keep(tmp_path, "id_ed25519")
    teach(agent, "id_ed25519", tmp_path)
    assert isinstance(signer(md5("id_ed25519"), {"SSH_AUTH_SOCK": str(agent)}, tmp_path), FileSigner)


def test_what_the_agent_holds_instead_is_told(tmp_path: Path, agent: Path) -> None:
    environ = {"SSH_AUTH_SOCK": str(agent)}
    with pytest.raises(ProviderRefused, match="the ssh-agent holds no keys, and not this one"):
        signer(md5("id_ed25519"), environ, tmp_path)
    teach(agent, "id_ecdsa", tmp_path)
    with pytest.raises(ProviderRefused, match="the ssh-agent holds 1 key, and not this one"):
        signer(md5("id_ed25519"), environ, tmp_path)


def test_a_dead_agent_is_told_and_not_needed_where_there_is_a_file(tmp_path: Path) -> None:
    environ = {"SSH_AUTH_SOCK": str(tmp_path / "dead")}
    with pytest.raises(ProviderRefused, match=r"the ssh-agent at .*dead did not answer"):
        signer(md5("id_ed25519"), environ, tmp_path)
    keep(tmp_path, "id_ed25519")
    assert signer(md5("id_ed25519"), environ, tmp_path).fingerprint == md5("id_ed25519")


def test_an_agent_that_says_no_is_told(tmp_path: Path, agent: Path) -> None:
    blob = base64.b64decode(signing.public_key("id_ed25519").line.split()[1])
    with pytest.raises(ProviderRefused, match="did not do what it was asked for"):
        Agent(str(agent)).sign(blob, b"x")


def test_an_agent_that_talks_nonsense_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nonsense"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()

        def answer() -> None:
            for said in (b"\0\0\0\x05\x0c\0\0\0\x02", b"\xff\xff\xff\xff", b"\0\0"):
                link, _ = door.accept()
                with link:
                    link.recv(100)
                    link.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        for wanted in ("broken off in the middle", "an answer of 4294967295 bytes", "it closed the connection"):
            with pytest.raises(ProviderRefused, match=wanted):
                Agent(str(path)).keys()
        thread.join()


# -- Sub-users ---------------------------------------------------------------------------------------------------------


def test_a_sub_user_signs_with_its_own_key(cloudapi: CloudApi, tmp_path: Path) -> None:
    keep(tmp_path, "id_ecdsa")
    cloudapi.world.users["bob"] = SubUser([signing.public_key("id_ecdsa")])
    assert ask(cloudapi, signer(md5("id_ecdsa"), {}, tmp_path), "bob") == "jill"
    assert cloudapi.calls[-1].caller == f"/jill/users/bob/keys/{md5('id_ecdsa')}"


def test_a_sub_user_that_may_not_is_told_whom_to_ask(cloudapi: CloudApi, tmp_path: Path) -> None:
    keep(tmp_path, "id_ecdsa")
    cloudapi.world.users["bob"] = SubUser([signing.public_key("id_ecdsa")], allowed=False)
    with pytest.raises(ProviderRefused) as caught:
        ask(cloudapi, signer(md5("id_ecdsa"), {}, tmp_path), "bob")
    assert "logging in to" in str(caught.value)
    assert "as jill/bob was refused" in str(caught.value)
    assert "role" in caught.value.hint

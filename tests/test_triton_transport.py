"""Encrypted connections to CloudAPI: whom is trusted, and what is told when nobody is."""

from __future__ import annotations

import ssl
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fabfile.errors import ProviderRefused
from fabfile.providers.triton import catalog
from fabfile.providers.triton.api import Api, Waits
from fabfile.providers.triton.identity import Identity
from fabfile.providers.triton.signing import FileSigner
from tests.cloudapi import signing


class Answering(BaseHTTPRequestHandler):
    """Answers everything with an account."""

    def do_GET(self) -> None:
        data = b'{"id": "x", "login": "jill"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Set-Cookie", "balancer=7")
        self.end_headers()
        self.wfile.write(data)
        self.server.cookies.append(self.headers.get("Cookie"))  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A server whose failing connections are no news."""

    cookies: list[str | None]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


def certify(folder: Path) -> Path:
    """A certificate that only who has it trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cloudapi")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    path = folder / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The certificate of the server."""
    return certify(tmp_path)


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    """A server that speaks TLS."""
    made = Server(("127.0.0.1", 0), Answering)
    made.cookies = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def ask(server: Server, monkeypatch: pytest.MonkeyPatch, scheme: str = "https", **identity: Any) -> Api:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    key = signing.public_key("id_ed25519")
    signer = FileSigner(key.fingerprint, signing.private_key("id_ed25519"))
    return Api(Identity(f"{scheme}://127.0.0.1:{server.server_port}", "jill", "", **identity), signer, Waits(overall=1))


def test_a_certificate_that_nobody_vouches_for_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(ProviderRefused) as caught:
        catalog.account(ask(server, monkeypatch))
    assert "no trusted encrypted connection to https://127.0.0.1" in str(caught.value)
    assert "certificate" in str(caught.value)
    assert "TRITON_TLS_INSECURE=1" in caught.value.hint


def test_who_vouches_can_be_named(server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert catalog.account(ask(server, monkeypatch)).login == "jill"


@pytest.mark.parametrize("bundle", [False, True])
def test_any_certificate_does_when_asked_for_without_a_word_of_warning(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: bool
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if bundle:  # which requests would let go before
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certify(tmp_path / "other")))
    with warnings.catch_warnings(record=True) as said:
        assert catalog.account(ask(server, monkeypatch, insecure=True)).login == "jill"
    assert said == []


def test_cookies_of_a_load_balancer_are_not_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    api = ask(server, monkeypatch, insecure=True)
    for _ in range(2):
        catalog.account(api)
    assert server.cookies == [None, None]


def test_plain_answers_to_encrypted_questions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(Answering):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with Server(("127.0.0.1", 0), Plain) as plain:
        thread = threading.Thread(target=plain.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        with pytest.raises(ProviderRefused, match="no trusted encrypted connection to https"):
            catalog.account(ask(plain, monkeypatch))
        plain.shutdown()
        thread.join()

"""What is taken out of texts, and what is left alone."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as some

from fabfile.host_keys import make_key_pair
from fabfile.redaction import REMOVED, Redaction, Secrets

KEY = "3f" * 32
PUBLIC, HALF = (half.decode() for half in zmq.curve_keypair())
SPELT = [KEY, json.dumps({"k": KEY}), repr(KEY.encode()), base64.b64encode(KEY.encode()).decode(), KEY.encode().hex()]


NONE = Secrets()


def redact(text: str, secrets: Secrets = NONE) -> str:
    return Redaction(secrets)(text.encode())[0].decode()


@pytest.mark.parametrize("written", SPELT)
def test_a_known_text_goes_however_it_is_written(written: str) -> None:
    assert KEY not in redact(f"Session: {written} is it", Secrets(frozenset({KEY})))
    assert written.strip("=") not in redact(f"Session: {written} is it", Secrets(frozenset({KEY})))


def test_a_known_half_of_a_pair_goes_also_where_an_address_quotes_it() -> None:
    secrets = Secrets(frozenset({PUBLIC}))
    assert redact(f"a {PUBLIC} b {quote(PUBLIC, safe='')} c", secrets) == "a [secret removed] b [secret removed] c"


def test_what_is_known_by_its_digest_alone_goes_too() -> None:
    secrets = Secrets(digests=frozenset({hashlib.sha256(HALF.encode()).hexdigest()}))
    for text in (f"x={HALF}", f"'{HALF}'", f"({HALF}{HALF})", f"/opt/ipyfleet/env{HALF}/x"):
        assert HALF in text
        assert HALF not in redact(text, secrets)
    assert redact(f"see {PUBLIC}", secrets) == f"see {PUBLIC}"


@given(some.text(max_size=80), some.text(max_size=80))
def test_a_known_text_goes_wherever_it_stands(before: str, after: str) -> None:
    assert KEY not in redact(before + KEY + after, Secrets(frozenset({KEY})))


def test_a_private_key_goes_in_whatever_lines(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key", "test")
    key = (tmp_path / "key").read_text()
    secrets = Secrets(keys=frozenset({key.encode()}))
    body = "".join(key.splitlines()[1:-1])
    lines = [body[start : start + 48] for start in range(0, len(body), 48)]
    for text in (key, body, "\n".join(f"12:00 ssh: {line}" for line in lines), json.dumps(key)):
        shown = redact(text, secrets)
        assert not [body[at : at + 24] for at in range(len(body) - 24) if body[at : at + 24] in shown]
    assert "ssh-ed25519" in redact(public, secrets)


def test_what_looks_like_a_secret_goes_though_nobody_knows_it() -> None:
    for text, secret in (
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----\nnext", "MIIEow"),
        ("id AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        ('{"Token": "IQoJb3JpZ2luX2VjE"}', "IQoJb3JpZ2luX2VjE"),
        ('{\\"secret\\": \\"IQoJb3JpZ2luX2VjE\\"}', "IQoJb3JpZ2luX2VjE"),
        (f'"key": "{KEY}"', KEY),
        (f"c.IPController.curve_secretkey = b'{HALF}'", HALF),
        ("GET https://ada:pass1234@example.org/x", "pass1234"),
        ("GET https://ada:pass@1234@example.org/x", "1234"),
        ("redis://:pass1234@example.org", "pass1234"),
        ("Authorization: Basic YWRhOnBhc3M=", "YWRhOnBhc3M="),
    ):
        assert secret not in redact(text), text
        assert REMOVED.decode() in redact(text)
    assert redact("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nnext").endswith("\nnext")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 12:00:00.123 [IPEngine] Completed registration with id 3",
        "allow_secret_in_metadata = False  (invoke.yaml line 73)",
        '{"cluster_id": "c0ffee00c0ffee00c0ffee00c0ffee00"}',
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        "tcp://10.203.0.2:10101 to tcp://127.0.0.1:20001",
        "/opt/ipyfleet/env/lib/python3.11/site-packages/ipyparallel/engine/app.py:42",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    secrets = Secrets(frozenset({KEY, "1", "short"}), digests=frozenset({hashlib.sha256(HALF.encode()).hexdigest()}))
    assert redact(text, secrets) == text


def test_it_is_counted() -> None:
    assert Redaction(Secrets(frozenset({KEY})))(f"{KEY} {KEY}\n".encode())[1] == 2
    assert Redaction(Secrets())(b"nothing") == (b"nothing", 0)

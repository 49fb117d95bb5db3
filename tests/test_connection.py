from __future__ import annotations

import json

import pytest

from fabfile import connection
from fabfile.connection import Connection, at_address, local_info, make, parse
from fabfile.errors import UsageError
from fabfile.settings import Settings

CURVE = Settings(first_port=20100)
HMAC = Settings(first_port=20100, encryption="hmac")
ADDRESS = "10.203.0.2"


def with_field(connection_: Connection, **fields: object) -> tuple[bytes, bytes]:
    """Both files, with fields of the clients' changed."""
    return connection_.engine.encode(), json.dumps(connection_.client_info | fields).encode()


def test_ports_are_registration_engines_clients_and_the_controllers_own_in_a_row():
    made, _ = make(ADDRESS, CURVE)
    assert made.engine_ports == tuple(range(20100, 20109))
    assert made.client_ports == tuple(range(20109, 20115))
    assert made.internal_ports == (20115, 20116, 20117)
    assert made.client_info["registration"] == 20100


def test_engines_dial_the_private_address_and_clients_loopback():
    made, _ = make(ADDRESS, CURVE)
    assert made.address == ADDRESS
    assert made.engine_info["interface"] == "tcp://10.203.0.2"
    assert made.client_info["interface"] == "tcp://127.0.0.1"
    assert made.targets[0] == "127.0.0.1:20100"


def test_under_curve_the_public_half_is_in_both_files_and_the_secret_half_in_none():
    made, secret = make(ADDRESS, CURVE)
    assert secret is not None
    assert len(secret) == 40
    assert len(made.public_key or "") == 40
    assert made.engine_info["curve_serverkey"] == made.client_info["curve_serverkey"] == made.public_key
    assert secret not in made.engine
    assert secret not in made.client
    assert made.key == ""


def test_with_hmac_there_is_a_key_and_no_curve():
    made, secret = make(ADDRESS, HMAC)
    assert secret is None
    assert made.public_key is None
    assert len(made.key) == 64


def test_two_connections_share_no_key():
    assert make(ADDRESS, CURVE)[0].public_key != make(ADDRESS, CURVE)[0].public_key
    assert make(ADDRESS, HMAC)[0].key != make(ADDRESS, HMAC)[0].key


def test_repr_shows_nothing_that_opens_the_cluster():
    for settings in (CURVE, HMAC):
        made, _ = make(ADDRESS, settings)
        assert (made.public_key or made.key) not in repr(made)


def test_at_another_address_keys_and_ports_stay():
    made, _ = make(ADDRESS, CURVE)
    moved = at_address(made, "10.203.0.9")
    assert moved.address == "10.203.0.9"
    assert moved.engine_info["location"] == "10.203.0.9"
    assert moved.client == made.client
    assert connection.differences(made.engine_info, moved.engine_info) == ("interface", "location")


@pytest.mark.parametrize("address", ["", "0.0.0.0", "controller", "fe80::1", "*"])
def test_an_address_that_zeromq_cannot_bind_is_refused(address):
    with pytest.raises(UsageError, match="cannot listen on"):
        make(address, CURVE)


def test_parse_keeps_the_files_as_they_are_whatever_their_ports():
    made, _ = make(ADDRESS, HMAC)
    engine = json.dumps(made.engine_info | {"broadcast": [51, 7, 4, 9000], "mux": 65535}).encode()
    parsed = parse(engine, made.client.encode())
    assert parsed.engine.encode() == engine
    assert parsed.engine_ports == (20100, 20101, 65535, 20103, 20104, 20105, 20106, 51, 7, 4, 9000)
    assert parse(made.engine.encode(), made.client.encode()) == made


def test_a_wildcard_of_a_foreign_controller_is_reached_on_its_loopback():
    made, _ = make(ADDRESS, HMAC)
    assert parse(*with_field(made, interface="tcp://0.0.0.0")).targets[0] == "127.0.0.1:20100"
    assert parse(*with_field(made, interface="tcp://10.9.8.7")).targets[0] == "10.9.8.7:20100"


@pytest.mark.parametrize("field", ["registration", "key", "curve_serverkey", "signature_scheme", "pack", "unpack"])
def test_files_of_two_controllers_are_refused_naming_the_field(field):
    made, _ = make(ADDRESS, HMAC)
    other = {"registration": 1, "pack": "orjson", "unpack": "orjson"}.get(field, "other")
    with pytest.raises(UsageError, match=rf"not of one controller: {field} differ"):
        parse(*with_field(made, **{field: other}))


@pytest.mark.parametrize("field", ["key", "location", "ssh", "interface", "notification", "signature_scheme"])
def test_a_missing_field_is_named(field):
    made, _ = make(ADDRESS, HMAC)
    document = made.client_info
    del document[field]
    with pytest.raises(UsageError, match=f"client file of the controller lacks {field}"):
        parse(made.engine.encode(), json.dumps(document).encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b'{"ssh": ', "is not JSON"),
        (b"[1]", "no JSON object"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_a_broken_file_is_refused(data, said):
    made, _ = make(ADDRESS, HMAC)
    with pytest.raises(UsageError, match=f"engine file of the controller {said}|engine file of the controller.*{said}"):
        parse(data, made.client.encode())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"interface": "ipc:///tmp/x"}, "only tcp"),
        ({"mux": "70000"}, "a port"),
        ({"mux": 70000}, "a port"),
        ({"pack": "pickle"}, "pack 'pickle'"),
    ],
)
def test_what_cannot_be_used_is_refused(fields, said):
    made, _ = make(ADDRESS, HMAC)
    with pytest.raises(UsageError, match=said):
        parse(*with_field(made, **fields))


def test_the_clients_document_through_a_tunnel_differs_in_its_address_and_ports_only():
    made, _ = make(ADDRESS, CURVE)
    ports = (1001, 1002, 1003, 1004, 1005, 1006, 1007)
    local = local_info(made, ports)
    assert [local[channel] for channel in connection.FORWARDED] == list(ports)
    assert local["interface"] == "tcp://127.0.0.1"
    assert set(connection.differences(made.client_info, local)) == set(connection.FORWARDED)
    with pytest.raises(ValueError, match="shorter"):
        local_info(made, ports[:6])

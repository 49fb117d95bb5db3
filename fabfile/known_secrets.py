"""Which secrets this computer knows of that could have got into a log: the cluster's, the user's keys, the clouds'.

Only reads, and hands them to nobody but redaction.py.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from .connection_files import CURVE
from .errors import RemoteError
from .machines import Machine
from .paths import expanded
from .redaction import Secrets
from .remote import Endpoint, Host
from .run import Run

SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|ACCESS_?KEY|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
DIGEST_SH = Path(__file__).resolve().parent.parent / "bootscripts" / "secret-digest.sh"
LARGEST = 1 << 20  # bytes: no private key is longer


def of_cluster(run: Run, machines: Iterable[Machine], environ: Mapping[str, str] = os.environ) -> Secrets:
    """All but the secret half of the CURVE pair, which the controller's machine alone knows (``on_controller``)."""
    texts = set(_of_environment(environ))
    if run.record.connection:
        for info in (run.record.connection.engine_info, run.record.connection.client_info):
            texts |= {str(info[name]) for name in ("key", "curve_serverkey") if info.get(name)}
    texts |= {value for name, value in run.settings.engine_env if SECRET_NAME.search(name)}
    texts |= set(_of_aws(environ))
    paths = [*run.store.folder.glob("*")] if run.store.folder.is_dir() else []
    paths += [Path(run.settings.key_file)] if run.settings.key_file else []
    for machine in machines:
        paths += [Path(name) for name in _key_files(machine.endpoint)]
    return Secrets(frozenset(texts), frozenset(_private_keys(paths)))


def on_controller(host: Host) -> Secrets:
    """The digest of the secret half of the CURVE pair; the half itself stays where it is. Raises RemoteError."""
    said = host.script(DIGEST_SH, CURVE, sudo=True).stdout.strip()
    if said == "none":
        return Secrets()
    if not re.fullmatch("[0-9a-f]{64}", said):
        raise RemoteError("no digest of its secrets was given", machine=host.name, seen=said)
    return Secrets(digests=frozenset({said}))


def _of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        # Where secrets are is none; one may begin with / all the same, as every 64th key of AWS does.
        if SECRET_NAME.search(name) and not (value.startswith(("~", "http:", "https:")) or os.path.exists(value)):
            yield value


def _of_aws(environ: Mapping[str, str]) -> Iterator[str]:
    """What the files that AWS' own programs read hold of secrets."""
    for variable, usual in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        named = environ.get(variable) or f"~/.aws/{usual}"
        parser = configparser.RawConfigParser(strict=False)
        with suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(expanded(named), encoding="utf-8")
        for section in parser.sections():
            yield from (value for name, value in parser.items(section) if SECRET_NAME.search(name))


def _key_files(endpoint: Endpoint | None) -> Iterator[str]:
    while endpoint:
        yield from endpoint.key_files or ()
        endpoint = endpoint.gateway


def _private_keys(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with suppress(OSError):
            file = expanded(path)
            if file.is_file() and file.stat().st_size <= LARGEST:
                data = file.read_bytes()
                if b"PRIVATE KEY" in data:
                    yield data

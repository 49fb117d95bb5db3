"""Key pairs of the account. Clusters make and remove one of their own; these are for keys of yours."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from ..paths import expanded
from .account import JSON, ability, show
from .options import TEMPLATE, YES

NAME = "what the pair is called in the account"


@task(name="list", help={"template": TEMPLATE, "json": JSON})
def list_(c: Context, template: str = "", json: bool = False) -> None:
    """The key pairs of the account."""
    from .. import accounts, listings, session

    provider = session.account(c, template)
    show(ability(provider, accounts.KeyKeeping, "key pairs").key_pairs(), listings.key_pairs, json=json)


@task(
    help={"name": NAME, "file": "where the private half goes; .pub is added for the public one", "template": TEMPLATE}
)
def create(c: Context, name: str = "", file: str = "", template: str = "") -> None:
    """Make a key pair here and give the account its public half; the private one never leaves this computer."""
    from .. import accounts, host_keys, report, session

    path = _path(name, file, "keys.create --name lab --file ~/.ssh/lab")
    public = path.with_name(f"{path.name}.pub")
    for one in (path, public):
        if one.exists():
            raise UsageError(f"{one} is there already", hint="choose another --file, or `invoke keys.import` that one")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder", hint="make it, or choose another --file")
    able = ability(session.account(c, template), accounts.KeyKeeping, "key pairs")
    if name in {pair.name for pair in able.key_pairs()}:
        raise UsageError(f"the account has a key pair {name} already", hint="choose another --name")
    try:
        line = host_keys.make_key_pair(path, "")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another --file") from error
    able.import_key(name, line)
    report.say(f"{name}: {path} (private, keep it) and {public}")


@task(name="import", help={"name": NAME, "file": "the public half: a .pub file", "template": TEMPLATE})
def import_(c: Context, name: str = "", file: str = "", template: str = "") -> None:
    """Give the account a public key that you have."""
    from .. import accounts, report, session

    path = _path(name, file, "keys.import --name lab --file ~/.ssh/lab.pub")
    try:
        line = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="name a .pub file") from error
    if "PRIVATE KEY" in line:
        raise UsageError(f"{path} is a private key", hint=f"name its public half: {path}.pub")
    provider = session.account(c, template)
    pair = ability(provider, accounts.KeyKeeping, "key pairs").import_key(name, line)
    report.say(f"{pair.name}: {pair.fingerprint}")


@task(help={"name": NAME, "template": TEMPLATE, "yes": YES})
def remove(c: Context, name: str = "", template: str = "", yes: bool = False) -> None:
    """Remove a key pair from the account; files here stay."""
    from .. import accounts, report, session

    if not name:
        raise UsageError("which key pair?", hint="`invoke keys.remove --name NAME`; `invoke keys.list` shows them")
    able = ability(session.account(c, template), accounts.KeyKeeping, "key pairs")
    session.agree_to(f"remove the key pair {name} from the account", yes=yes)
    able.remove_key(name)
    report.say(f"{name} is gone from the account")


def _path(name: str, file: str, example: str) -> Path:
    if not name.strip() or not file.strip():
        raise UsageError("a name and a file are needed", hint=f"`invoke {example}`")
    return expanded(file)

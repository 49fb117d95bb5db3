"""Who asks which data center: read from where the Triton CLI's users have it already, never from settings of ours.

As the CLI does: the profile that is named (by the caller or TRITON_PROFILE), else the current one of
~/.triton/config.json (or of the same below TRITON_CONFIG_DIR or XDG_CONFIG_HOME), else ``env``, the one that TRITON_…
or SDC_… variables make up. A profile from a file is taken whole: variables change nothing in it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ...errors import UsageError
from ...paths import expanded

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
LOGIN = re.compile(r"[A-Za-z0-9@_.+-]+")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
WHERE = (
    "give a profile as the Triton CLI does (`triton profile create`, then TRITON_PROFILE=NAME), or set TRITON_URL, "
    "TRITON_ACCOUNT and TRITON_KEY_ID"
)


@dataclass(frozen=True)
class Identity:
    """An account of a data center; ``user`` is its sub-user or "", ``acting_as`` another account it works in or "".

    ``key_id`` is a fingerprint in whatever form it was given; ``insecure`` takes any certificate; ``origin`` says where
    all this was found.
    """

    url: str
    account: str
    key_id: str
    user: str = ""
    acting_as: str = ""
    insecure: bool = False
    origin: str = ""

    @property
    def key_path(self) -> str:
        """Where the key belongs, as a signature names it: ``/jill/keys`` or ``/jill/users/bob/keys``."""
        return f"/{self.account}/users/{self.user}/keys" if self.user else f"/{self.account}/keys"

    @property
    def root(self) -> str:
        """The first part of every path: ``/my``, or the other account's."""
        return f"/{quote(self.acting_as, safe='')}" if self.acting_as else "/my"

    @property
    def who(self) -> str:
        """The account and sub-user for messages: ``jill``, ``jill/bob``."""
        return f"{self.account}/{self.user}" if self.user else self.account


def load(profile: str = "", environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Identity:
    """The identity of that profile, of the current one for ""; raises UsageError with what is missing and where."""
    folder = _folder(environ, home or Path.home())
    name = profile or environ.get("TRITON_PROFILE", "") or _current(folder)
    return _of_environment(environ) if name in ("", "env") else _of_file(name, folder)


def _folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where the CLI keeps its profiles."""
    if named := environ.get("TRITON_CONFIG_DIR", ""):
        return expanded(named)
    shared = Path(environ.get("XDG_CONFIG_HOME", ""), "triton")
    # The CLI looks nowhere else once the variable is set; profiles that were made before it was are found here.
    return shared if shared.is_absolute() and shared.is_dir() else home / ".triton"


def _current(folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        return ""
    name = _object(path).get("profile", "")
    if not isinstance(name, str):
        raise UsageError(f"{path}: profile must be a name, not {name!r}", hint="`triton profile set-current NAME`")
    return name


def _of_file(name: str, folder: Path) -> Identity:
    profiles = folder / "profiles.d"
    path = profiles / f"{name}.json"
    if not NAME.fullmatch(name) or not path.is_file():
        there = ", ".join(sorted(one.stem for one in profiles.glob("*.json"))) or "none"
        raise UsageError(f"there is no Triton profile {name!r} in {profiles}; there are: {there}", hint=WHERE)
    its = _object(path)
    insecure = its.get("insecure", False)
    if not isinstance(insecure, bool):
        raise UsageError(f"{path}: insecure must be true or false, not {insecure!r}", hint=WHERE)
    texts = {key: its.get(key, "") for key in ("url", "account", "keyId", "user", "actAsAccount")}
    if odd := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise UsageError(f"{path}: {', '.join(odd)} must be text", hint=WHERE)
    return _checked(texts, insecure, str(path), {key: key for key in texts})


def _of_environment(environ: Mapping[str, str]) -> Identity:
    texts, names = {}, {}
    for key, variable in (
        ("url", "URL"), ("account", "ACCOUNT"), ("keyId", "KEY_ID"), ("user", "USER"), ("actAsAccount", "ACT_AS"),
    ):  # fmt: skip
        newer, older = f"TRITON_{variable}", f"SDC_{variable}"
        # An empty variable counts as none, so that `export TRITON_USER=` takes it away.
        name = newer if environ.get(newer) or key == "actAsAccount" else older
        texts[key] = environ.get(name, "")
        names[key] = name if texts[key] else newer
    insecure = False
    for name in ("TRITON_TLS_INSECURE", "SDC_TLS_INSECURE", "SDC_TESTING"):
        if value := environ.get(name, ""):
            insecure = _yes_or_no(name, value)
            break
    return _checked(texts, insecure, "the environment", names)


def _checked(texts: Mapping[str, str], insecure: bool, origin: str, names: Mapping[str, str]) -> Identity:
    """The identity, after everything that is wrong with it was told at once."""
    complaints = [f"{names[key]} is not set" for key in ("url", "account", "keyId") if not texts[key]]
    for key in ("account", "user", "actAsAccount"):
        if texts[key] and not LOGIN.fullmatch(texts[key]):
            complaints.append(f"{names[key]} {texts[key]!r} is no login")
    if texts["account"] == "my":
        complaints.append(f"{names['account']} must be the account's login: my stands for it in paths only")
    if texts["url"] and (odd := _odd_url(texts["url"], insecure)):
        complaints.append(f"{names['url']} {odd}")
    if complaints:
        raise UsageError(f"{origin} does not say which Triton account to use: {'; '.join(complaints)}", hint=WHERE)
    return Identity(
        url=texts["url"].rstrip("/"),
        account=texts["account"],
        key_id=texts["keyId"],
        user=texts["user"],
        acting_as=texts["actAsAccount"],
        insecure=insecure,
        origin=origin,
    )


def _odd_url(url: str, insecure: bool) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"{url!r} is no address: {error}"
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        return f"{url!r} is no address of a CloudAPI, like https://us-east-1.api.example.com"
    if parts.username or parts.password:
        return "must not hold a user or password"
    if parts.scheme == "http" and not insecure and not _loopback(host):
        return f"{url!r} would send everything readable: use https, or set TRITON_TLS_INSECURE=1 if you must"
    return ""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _yes_or_no(name: str, value: str) -> bool:
    if value.lower() in YES:
        return True
    if value.lower() in NO:
        return False
    raise UsageError(f"{name} must be 1 or 0, not {value!r}", hint=f"`export {name}=1`, or unset it")


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="correct it, or make it anew with the CLI") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object", hint="correct it, or make it anew with the CLI")
    return found

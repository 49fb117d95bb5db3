"""What the account offers beside machines, in the words of accounts.py: data centers, packages, keys, images, sweep."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from ...accounts import ImageInfo, KeyPair, Leftover, MachineType, Price, Region, Zone
from ...errors import ClusterError, ProviderRefused, UsageError
from ...host_keys import plain
from ...machines import OnEvent
from ...settings import Settings
from . import catalog, sweep
from .api import Api, step
from .catalog import Key
from .ingredients import SMARTOS
from .keys import md5


class AccountAbilities:
    """The abilities of a provider with these settings in this account; a base of the provider's class."""

    settings: Settings
    api: Api

    def regions(self) -> tuple[Region, ...]:
        """The data centers; the current one is that of the profile, or of the setting ``region``."""
        here = self.api.identity.url.rstrip("/")
        found = sorted(catalog.datacenters(self.api).items())
        return tuple(Region(name, current=url.rstrip("/") == here, detail=url) for name, url in found)

    def zones(self) -> tuple[Zone, ...]:
        """A data center has no parts that can be chosen."""
        return ()

    def machine_types(self, wanted: Sequence[str] = ()) -> tuple[MachineType, ...]:
        """The packages of the account, the smallest first; without processors where CloudAPI does not count them."""
        known = dict(self.settings.price_per_hour)
        return tuple(
            MachineType(one.name, one.vcpus, one.memory, ("x86_64",), hourly=known.get(one.name))
            for one in catalog.packages(self.api)
            if not wanted or any(fnmatchcase(one.name, pattern) for pattern in wanted)
        )

    def prices(self, types: Sequence[str], days: int) -> tuple[Price, ...]:
        """What the setting ``price_per_hour`` says of these packages, or of all that it names."""
        known = dict(self.settings.price_per_hour)
        if not known:
            raise UsageError(
                "CloudAPI knows no prices",
                hint="say what packages cost, as your provider's list does: `price_per_hour: {g4-highcpu-1G: 0.02}`",
            )
        return tuple(Price(name, fixed=known[name]) for name in types or sorted(known) if name in known)

    def key_pairs(self) -> tuple[KeyPair, ...]:
        """The account's public keys, by name; with their MD5 fingerprints, which CloudAPI goes by."""
        return tuple(_pair(one) for one in catalog.account_keys(self.api))

    def import_key(self, name: str, public_key: str) -> KeyPair:
        """Keep a public key under that name; it may log in to every machine of the account, and sign requests."""
        try:
            line = plain(public_key)
        except ClusterError as error:
            raise UsageError(error.message, hint=error.hint) from error
        there = {one.name: one for one in catalog.account_keys(self.api)}
        if name in there:
            if plain(there[name].line) == line:
                return _pair(there[name])
            raise ProviderRefused(
                f"another key has the name {name}", hint="choose another name, or `invoke keys.remove`"
            )
        body = {"name": name, "key": f"{line} {name}"}
        try:
            self.api.call("POST", "/keys", f"adding the key {name}", body=body, repeat=False)
        except ProviderRefused:  # it may be there all the same: an answer can get lost
            if not any(one.name == name and plain(one.line) == line for one in catalog.account_keys(self.api)):
                raise
        return _pair(Key(name, md5(b64decode(line.split()[1])), line))

    def remove_key(self, name: str) -> None:
        """Forget the key of that name, unless it is the one that signs this very request."""
        there = {one.name: one for one in catalog.account_keys(self.api)}
        if name not in there:
            raise ProviderRefused(f"there is no key {name}", hint="`invoke keys.list` shows those that there are")
        if there[name].fingerprint == self.api.signing_key:
            raise ProviderRefused(
                f"{name} is the key that signs these requests: without it nobody here could ask anything more",
                hint="sign with another key (TRITON_KEY_ID, or another profile) to remove it",
            )
        self.api.call("DELETE", f"/keys/{step(name)}", f"removing the key {name}", passing=(404,))

    def images(self) -> tuple[ImageInfo, ...]:
        """The images that machines can be made from, the newest of each name first."""
        return tuple(
            ImageInfo(
                id=one.id,
                name=f"{one.name}@{one.version}",
                state=one.state,
                architecture="x86_64",
                owner="the operator" if one.public else one.owner,
                created=_epoch(one.published),
            )
            for one in catalog.images(self.api)
            if one.os == SMARTOS
        )

    def bake(self, on_event: OnEvent) -> ImageInfo:
        """Not there: an image of a machine would need its software to be taken apart again at each boot."""
        raise UsageError(
            "provider triton bakes no images: machines get their software from pkgsrc",
            hint="make one yourself (`triton instance-to-image`, or `triton image create`) and name it in `image`",
        )

    def remove_image(self, image: str) -> None:
        """None of them was made by us."""
        raise UsageError(f"{image} is no image of ours", hint="`triton image delete` removes those of your account")

    def leftovers(self) -> tuple[Leftover, ...]:
        """Everything of ours in the data center that no live cluster covers."""
        return sweep.leftovers(self.api)

    def remove_leftovers(self, leftovers: Sequence[Leftover], on_event: OnEvent) -> None:
        """Remove these, those excepted that a live cluster covers by now."""
        sweep.remove(self.api, leftovers, self.settings.boot_timeout, on_event)


def _pair(key: Key) -> KeyPair:
    kind = key.line.split(" ", 1)[0].removeprefix("ssh-").partition("-")[0]
    return KeyPair(name=key.name, id=key.fingerprint, kind=kind, fingerprint=key.fingerprint)


def _epoch(date: str) -> float:
    try:
        return datetime.fromisoformat(date).timestamp()
    except ValueError:
        return 0.0

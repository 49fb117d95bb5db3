"""The end of a machine's first boot: waited for over SSH, and its failure told in the machine's own words."""

from __future__ import annotations

import math

from ... import boot
from ...errors import ClusterError
from ...remote import Host

LOG = "/var/svc/log/smartdc-mdata:execute.log"
GRACE = 30.0  # s that the answer may take beside the waiting
AGAIN = (
    "`svcadm clear mdata:execute` there runs it again, as every boot does; or remove the machine and provision again"
)


def wait_until_booted(host: Host, name: str, timeout: float) -> None:
    """Wait until the machine has run its user-script; one round trip. Raises ClusterError with what that wrote last."""
    words = (str(math.ceil(timeout)),)
    said = host.script(boot.script("smartos-wait.sh"), *words, sudo=True, timeout=timeout + GRACE).stdout
    verdict, _, log = said.partition("\n")
    if verdict == "ended":
        return
    if verdict == "failed":
        what, hint = "its boot script failed", f"mend what the lines above name (`userdata` is part of it); {AGAIN}"
    elif verdict == "late":
        what = f"its boot script has not ended after {timeout:g} s; it is killed, and run again, after 300 s"
        hint = f"make the script of `userdata` shorter, or have it leave work to the background; {LOG} there tells more"
    else:
        what = "this machine has no service svc:/smartdc/mdata:execute, so nothing that it was told was done"
        hint = "use an image of SmartOS' own, such as base-64-lts: correct `image`, or leave it empty"
    raise ClusterError(what, machine=name, seen=log, hint=hint)

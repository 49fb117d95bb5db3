"""The end of a machine's first boot: waited for over SSH, and its failure told in the machine's own words.

Knows what userdata.py had the machine do, not how it was told.
"""

from __future__ import annotations

import math

from ... import boot
from ...errors import ClusterError
from ...remote import Host
from .userdata import FOLDER

LOG = "/var/log/cloud-init-output.log"
GRACE = 30.0  # s that the answer may take beside the waiting
ONCE = "a first boot comes only once: then remove the machine (`invoke teardown`) and provision again"
FAILURES = {  # by the step of bootscripts/first-boot.sh
    "host": ("the service user could not be made", f"the lines above say why; {ONCE}"),
    "packages": ("installing `system_packages` failed", f"correct their names, or mend the way to Debian's; {ONCE}"),
    "userdata": ("your script (`userdata`) failed", f"mend the script; {ONCE}"),
}


def wait_until_booted(host: Host, name: str, timeout: float) -> None:
    """Wait until cloud-init has done all that it was told, for ``timeout`` seconds; one round trip.

    The software alone may have failed: whoever looks for it finds that it is not there. Raises ClusterError with the
    step that failed and what cloud-init wrote last.
    """
    words = (FOLDER, str(math.ceil(timeout)))
    answer = host.script(boot.script("boot-wait.sh"), *words, sudo=True, timeout=timeout + GRACE).stdout
    noted, _, log = answer.partition("\nlog\n")
    state, *steps = [line.split() for line in noted.splitlines() if line.strip()]
    last = steps[-1] if steps else ["", ""]
    if state[1] == "ended" and last == ["end", "done"]:
        return
    raise _failure(state[1], last, timeout, name, log)


def _failure(state: str, last: list[str], timeout: float, name: str, log: str) -> ClusterError:
    step, how, *code = last
    if state == "off":
        what = "cloud-init does not run on this machine, so nothing that it was told was done"
        hint = "use an image with cloud-init, as Debian's and Ubuntu's own are: correct `image`, or leave it empty"
    elif how == "failed" and step in FAILURES:
        what, hint = FAILURES[step]
        what += f" with exit code {code[0]}"
    elif state == "late":
        what = f"its first boot has not ended after {timeout:g} s" + (f", at work: {step}" if step else "")
        hint = f"it goes on: try again, or raise `boot_timeout`; {LOG} there tells more"
    else:
        what = "its first boot ended before our part of it was done" + (f", in the step {step}" if step else "")
        hint = f"{LOG} and `cloud-init status --long` there tell more; {ONCE}"
    return ClusterError(what, machine=name, seen=log, hint=hint)

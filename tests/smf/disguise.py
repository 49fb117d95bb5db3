"""A Linux machine that says it runs illumos: what uname, ps, pgrep, pkill and kstat answer, and what is not there."""

from __future__ import annotations

from pathlib import Path

CONTRACTS = ("pgrep", "pkill", "ps")
KSTAT = "#!/bin/sh\necho unix:0:system_misc:boot_time 77\n"
LACKING = ("flock", "runuser", "setpriv", "timeout", "systemctl", "install", "sudo", "apt-get", "dpkg")
"""Commands that illumos does not have, or has with another meaning."""
POWEROFF = "#!/bin/sh\nexec /usr/bin/systemctl.linux poweroff\n"
UNAME = """#!/bin/sh
case "${*:--s}" in
-s) echo SunOS ;;
-m) echo i86pc ;;
-n) cat /proc/sys/kernel/hostname ;;
-p) echo i386 ;;
-r) echo 5.11 ;;
-rs | -sr) echo SunOS 5.11 ;;
*)
    echo "uname: illegal option" >&2
    exit 1
    ;;
esac
"""
PROGRAM = """#!{python} -IS
import json, os, signal, sys
sys.path.insert(0, {library!r})
from {package}.contracts import members
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
contract = ("-c" in words) if name != "ps" else "ctid=" in words
if not contract and os.path.exists(sys.argv[0] + ".linux"):
    os.execv(sys.argv[0] + ".linux", sys.argv)
try:
    states = json.load(open({states!r})).values()
except FileNotFoundError:
    states = []
holders = {{state["contract"]: state["holder"] for state in states if state["contract"]}}
if name == "ps":
    assert words[:3] == ["-o", "ctid=", "-p"], words
    print(*(number for number, holder in holders.items() if int(words[3]) in members(holder)))
    sys.exit(0)
number = words.pop(0) if name == "pkill" else ""
assert words[0] == "-c" and len(words) == 2, words
found = members(holders.get(int(words[1]), 0))
for pid in found:
    if name == "pgrep":
        print(pid)
    else:
        try:
            os.kill(pid, getattr(signal, "SIG" + number[1:]))
        except ProcessLookupError:
            pass
sys.exit(not found)
"""


def contracts(python: str, library: str, package: str, states: str) -> str:
    """A program that is pgrep, pkill or ps by its name, and sees contracts; for all else Linux' own, if it is there."""
    return PROGRAM.format(python=python, library=library, package=package, states=states)


def disguise(root: Path, python: str, states: str) -> None:
    """Make the machine whose files are below ``root`` seem to run illumos; what it lacks from now on ends in .linux."""
    folder = root / "usr/bin"
    for name in (*LACKING, *CONTRACTS, "uname"):
        for place in (folder, root / "usr/sbin"):
            if (place / name).exists() and not (place / f"{name}.linux").exists():
                (place / name).rename(place / f"{name}.linux")
    poweroff = root / "usr/sbin/poweroff"
    if (folder / "systemctl.linux").exists():  # it was a link to what has another name now
        poweroff.unlink(missing_ok=True)
        poweroff.write_text(POWEROFF)
        poweroff.chmod(0o755)
        for what in ("halt", "poweroff", "reboot"):  # systemd itself calls it by its old name
            dropin = root / f"etc/systemd/system/systemd-{what}.service.d/linux.conf"
            dropin.parent.mkdir(parents=True, exist_ok=True)
            dropin.write_text(f"[Service]\nExecStart=\nExecStart=/usr/bin/systemctl.linux --force {what}\n")
    written = {name: contracts(python, "/usr/lib/smf-standin", "smf", states) for name in CONTRACTS}
    for name, text in (written | {"uname": UNAME, "kstat": KSTAT}).items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

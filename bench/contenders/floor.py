"""The floor: one parallel OpenSSH connection a host and a line of shell, nothing checked, nothing supervised.

    floor.py PLAN

The controller's files are made beforehand; OpenSSH has its default algorithms, as its users have.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from counting import count_and_call, open_tunnel, read_plan

plan = read_plan()
folder = Path(plan["folder"])
START = f"umask 077; mkdir bench && cd bench && tar -x && {plan['start']}"
for host in (plan["controller"], *plan["engines"]):
    with open(folder / f"{host['name']}.tar", "rb") as payload:
        subprocess.Popen(("ssh", "-F", plan["ssh_config"], host["name"], START), stdin=payload)
count_and_call(open_tunnel(plan), len(plan["engines"]))

"""pyinfra doing what the floor does, in two operations: the payload put on every host, and the start.

pyinfra_deploy.py PLAN          runs pyinfra on the inventory and the operations beside this file
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from counting import count_and_call, open_tunnel, read_plan

HERE = Path(__file__).resolve().parent
plan = read_plan()
inventory = Path(plan["folder"], "inventory.py")
hosts = [
    (
        host["name"],
        {
            "ssh_hostname": host["address"],
            "ssh_user": plan["user"],
            "ssh_key": plan["key"],
            "ssh_known_hosts_file": plan["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
            "payload": f"{plan['folder']}/{host['name']}.tar",
            "start": plan["unpack_and_start"],
        },
    )
    for host in (plan["controller"], *plan["engines"])
]
inventory.write_text(f"hosts = {hosts!r}\n")
command = (Path(sys.executable).with_name("pyinfra"), "-y", inventory, HERE / "pyinfra_operations.py")
deploy = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=plan["folder"])
info = open_tunnel(plan)
if deploy.wait():
    sys.exit("pyinfra failed")
count_and_call(info, len(plan["engines"]))

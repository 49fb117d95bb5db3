"""Ansible doing what the floor does, in two tasks: the payload put on every host, and the start.

    ansible_deploy.py PLAN          runs ansible-playbook on the playbook beside this file, a fork for every host

Facts are not gathered, since nobody uses them; all else is Ansible's default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from counting import count_and_call, open_tunnel, read_plan

HERE = Path(__file__).resolve().parent
plan = read_plan()
folder = Path(plan["folder"])
hosts = (plan["controller"], *plan["engines"])
inventory = folder / "inventory.ini"
lines = [f"{host['name']} payload={folder / host['name']}.tar" for host in hosts]
inventory.write_text(
    "\n".join(["[all]", *lines, "[all:vars]", f"ansible_python_interpreter={plan['remote_python']}", ""])
)
command = (
    Path(sys.executable).with_name("ansible-playbook"),
    f"--forks={len(hosts)}",
    f"--ssh-common-args=-F {plan['ssh_config']}",
    f"--inventory={inventory}",
    HERE / "ansible_playbook.yml",
)
environment = os.environ | {"ANSIBLE_HOME": str(folder / "ansible"), "START": plan["unpack_and_start"]}
deploy = subprocess.Popen(command, stdout=sys.stderr, env=environment)
info = open_tunnel(plan)
if deploy.wait():
    sys.exit("ansible-playbook failed")
count_and_call(info, len(plan["engines"]))

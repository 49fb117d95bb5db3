"""ipyparallel's own SSH launchers: a controller over SSH and engines from SSHEngineSetLauncher.

    ipyparallel_ssh.py PLAN

Its defaults, but for the heartbeat, which is ours: with the default of 3 s it would only wait longer.
"""

from __future__ import annotations

import os
from pathlib import Path

import ipyparallel
from counting import read_plan
from traitlets.config import Config

plan = read_plan()
profile = Path(plan["folder"], "ipython", "profile_default")
config = Config()
for launcher in ("SSHControllerLauncher", "SSHEngineSetLauncher"):
    config[launcher].ssh_args = ["-F", plan["ssh_config"]]
    config[launcher].scp_args = ["-q", "-F", plan["ssh_config"]]
    config[launcher].remote_python = plan["python"]
    config[launcher].remote_profile_dir = ".ipython/profile_default"
config.SSHControllerLauncher.hostname = plan["controller"]["name"]
config.SSHControllerLauncher.controller_args = [
    f"--ip={plan['controller']['address']}",
    f"--HeartMonitor.period={plan['heartbeat_ms']}",
    f"--HeartMonitor.max_heartmonitor_misses={plan['hub_misses']}",
]
config.SSHEngineSetLauncher.engines = {host["name"]: 1 for host in plan["engines"]}
cluster = ipyparallel.Cluster(
    n=len(plan["engines"]), controller="ssh", engines="ssh", profile_dir=str(profile), config=config
)
client = cluster.start_and_connect_sync()
answers = client[:].apply_sync(os.getpid)
assert len(answers) == len(plan["engines"]), answers
print("ready", flush=True)
cluster.stop_cluster_sync()

"""dask's SSHCluster, as its documentation shows it: no encryption, one nanny and one worker a host.

dask_ssh.py PLAN
"""

from __future__ import annotations

import os

from counting import read_plan
from distributed import Client, SSHCluster

if __name__ == "__main__":
    plan = read_plan()
    hosts = [host["address"] for host in (plan["controller"], *plan["engines"])]
    login = {"username": plan["user"], "client_keys": [plan["key"]], "known_hosts": plan["known_hosts"]}
    with (
        SSHCluster(
            hosts, connect_options=login, worker_options={"nthreads": 1}, remote_python=plan["peers_python"]
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(len(plan["engines"]))
        answers = client.run(os.getpid)
        assert len(answers) == len(plan["engines"]), answers
        print("ready", flush=True)

"""What floor, pyinfra and Ansible have in common: a tunnel to the hub, and the client that counts and calls engines.

Written as one would by hand: the tunnel opens and everything is imported while the hosts are still at work.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Plan = dict[str, Any]


def read_plan() -> Plan:
    """The plan that the command line names."""
    return dict(json.loads(Path(sys.argv[1]).read_text()))


def open_tunnel(plan: Plan) -> dict[str, Any]:
    """Start one ``ssh -N`` with a forward for each client channel, not waiting for it; the document to connect with."""
    info = dict(plan["client_info"])
    target = info["interface"].removeprefix("tcp://")
    words = ["ssh", "-F", plan["ssh_config"], "-N", "-o", "ExitOnForwardFailure=yes"]
    for channel in plan["forwarded"]:
        port = _free_port()
        words += ["-L", f"127.0.0.1:{port}:{target}:{info[channel]}"]
        info[channel] = port
    subprocess.Popen([*words, plan["controller"]["name"]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return info | {"interface": "tcp://127.0.0.1", "location": "127.0.0.1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def count_and_call(info: dict[str, Any], wanted: int) -> None:
    """Ask the hub until it knows so many engines, then have each of them run a function; says ``ready``."""
    import ipyparallel
    import zmq
    from jupyter_client.session import Session

    session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
    with zmq.Context() as context, context.socket(zmq.DEALER) as hub:
        hub.linger = 0
        hub.reconnect_ivl = 20  # ms
        hub.curve_publickey, hub.curve_secretkey = zmq.curve_keypair()
        hub.curve_serverkey = info["curve_serverkey"].encode()
        hub.connect(f"{info['interface']}:{info['registration']}")
        known: dict[str, Any] = {}
        while len(known) < wanted:
            session.send(hub, "connection_request", {})
            if hub.poll(1000):
                _, frames = session.feed_identities(hub.recv_multipart())
                known = session.deserialize(frames)["content"]["engines"]
            if len(known) < wanted:
                time.sleep(0.02)
    client = ipyparallel.Client(info)
    asked = [client[number].apply_async(os.getpid) for number in client.ids]
    answers = [one.get(timeout=30) for one in asked]
    assert len(answers) == wanted, answers
    print("ready", flush=True)

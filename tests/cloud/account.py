"""What a user of the cloud does in a test of the cloud itself: ask it with boto3, launch instances, log in to them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from .server import Cloud

DEBIAN = "/aws/service/debian/release/12/latest/amd64"


class Account:
    """Clients of the cloud, and what takes more than one call of them."""

    def __init__(self, cloud: Cloud, key: str = "testing", tries: int = 1) -> None:
        """``key`` is the access key; every call is tried so many times."""
        self.cloud = cloud
        self._client: Callable[..., Any] = partial(
            boto3.client,
            region_name=cloud.region,
            aws_access_key_id=key,
            aws_secret_access_key="testing",
            config=Config(retries={"mode": "standard", "total_max_attempts": tries}),
        )
        self.ec2, self.ssm, self.sts = map(self._client, ("ec2", "ssm", "sts"))

    def image(self, parameter: str = DEBIAN) -> str:
        """The image that a public parameter names."""
        return str(self.ssm.get_parameter(Name=parameter)["Parameter"]["Value"])

    def launch(self, count: int = 1, least: int | None = None, **changes: Any) -> list[dict[str, Any]]:
        """RunInstances; the instances of its answer."""
        given = {"InstanceType": "m7i.large", **({} if "ImageId" in changes else {"ImageId": self.image()}), **changes}
        answer = self.ec2.run_instances(MinCount=least or count, MaxCount=count, **given)
        return list(answer["Instances"])

    def launch_ids(self, count: int = 1, **changes: Any) -> list[str]:
        """The ids of new instances."""
        return [one["InstanceId"] for one in self.launch(count, **changes)]

    def see(self, *ids: str) -> list[dict[str, Any]]:
        """These instances as DescribeInstances shows them, or all."""
        answer = self.ec2.describe_instances(**({"InstanceIds": list(ids)} if ids else {}))
        return [one for whole in answer["Reservations"] for one in whole["Instances"]]

    def states(self, *ids: str) -> set[str]:
        """The states that these instances are in."""
        return {one["State"]["Name"] for one in self.see(*ids)}

    def wait(self, state: str, *ids: str) -> list[dict[str, Any]]:
        """Wait until all of them are in that state."""
        until(lambda: self.states(*ids) == {state})
        return self.see(*ids)

    def import_key(self, folder: Path, name: str = "lab") -> Path:
        """Make a key pair and import it under that name; the private half."""
        path = new_key(folder / name)
        self.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=path.with_suffix(".pub").read_bytes())
        return path


def new_key(path: Path) -> Path:
    """Make an SSH key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds; raises AssertionError when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.02)


def code(do: Callable[[], Any]) -> str:
    """The code of the error that a call ends with."""
    try:
        do()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise AssertionError("no error")


def ssh(address: str, key: Path, command: str, host_key: str, known_hosts: Path) -> str:
    """What a command prints on a machine whose host key is this one, checked strictly; for root."""
    known_hosts.write_text(f"{address} {host_key}\n")
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known_hosts}", "ConnectTimeout=10")
    words = ["ssh", "-F", "none", "-i", str(key), *(word for option in options for word in ("-o", option))]
    done = subprocess.run([*words, f"root@{address}", command], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr

"""A cloud on paper, and the cluster ``lab`` on it: machines that nobody can reach."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.machines import (
    Cluster,
    Event,
    Machine,
    MachineSpec,
    silent,
)
from fabfile.providers import ec2
from fabfile.providers.ec2 import Ec2, creation, instances, launching, power
from fabfile.providers.ec2.api import Api
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM me"
OWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGKWgLV9ROzOgbmsJ0UrPV3VbDKVC6apMpt6QaTqmBO"
CONTROLLER = MachineSpec("controller", 0, (KEY,))
APIS: dict[str, Api] = {}


def engines(*indexes: int) -> list[MachineSpec]:
    return [MachineSpec("engine", index, (KEY,)) for index in indexes]


FIVE = (CONTROLLER, *engines(0, 1, 2, 3))


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no patience with a cloud where nothing takes time."""
    monkeypatch.setattr(instances, "FIRST_LOOK", 0.02)
    monkeypatch.setattr(instances, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(launching, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(launching, "SPOT_PAUSE", 0.05)
    monkeypatch.setattr(launching, "UNSEEN", 1.0)
    monkeypatch.setattr(creation, "UNSEEN", 1.0)
    monkeypatch.setattr(power, "PAUSE", 0.05)
    monkeypatch.setattr(power, "UNSEEN", 0.1)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


def provider(cloud: Cloud, **changes: Any) -> Ec2:
    made = ec2.provider(cloud_settings(cloud, **{"packages": (), "boot_timeout": 5.0, **changes}))
    made.api = APIS.setdefault(cloud.url, made.api)  # a client takes half a second to make
    return made


def create(cloud: Cloud, *specs: MachineSpec, heard: list[Event] | None = None, **changes: Any) -> dict[str, Machine]:
    listen = silent if heard is None else heard.append
    return {one.name: one for one in provider(cloud, **changes).create(LAB, specs or FIVE, listen)}


def remove(cloud: Cloud) -> None:
    lab = provider(cloud)
    lab.destroy("lab", lab.find("lab").machines)
    lab.clean("lab")


def remove_at_once(cloud: Cloud) -> None:
    """As a teardown that has no patience with what it does not see."""
    lab = provider(cloud, boot_timeout=0.1)
    lab.destroy("lab", lab.find("lab").machines)
    lab.clean("lab")


def make_and_remove(cloud: Cloud) -> None:
    create(cloud)
    remove(cloud)


def names(cloud: Cloud) -> list[str]:
    return [one.name for one in provider(cloud).find("lab").machines]

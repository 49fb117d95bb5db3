"""The least IAM policy: it allows every call that the sources make and tests record, and nothing else."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import Session

from fabfile.host_keys import make_key_pair
from fabfile.machines import Cluster, MachineSpec, silent
from fabfile.providers import ec2
from fabfile.providers.ec2 import baking, instances, power, tags
from fabfile.remote import Host
from fabfile.software import PYTHON, Software
from tests.cloud.calls import Call
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

ROOT = Path(__file__).resolve().parent.parent
POLICY = json.loads((ROOT / "examples" / "ec2-policy.json").read_text())
SERVICES = {
    "ec2": ("ec2", "ec2"),
    "ec2_once": ("ec2", "ec2"),
    "ssm": ("ssm", "ssm"),
    "sts": ("sts", "sts"),
    "pricing": ("pricing", "pricing"),
    "quotas": ("service-quotas", "servicequotas"),
}
IN_PASSING = {
    "ec2:CreateTags": "every call that makes something tags it in the same act",
    "iam:CreateServiceLinkedRole": "the first spot machine of an account needs EC2's role for spot",
}
MADE = {  # what a call makes, of which IAM asks as well
    "RunInstances": ("instance", "volume", "network-interface"),
    "CreateSecurityGroup": ("security-group",),
    "CreateImage": ("image", "snapshot"),
    "ImportKeyPair": ("key-pair",),
}
KINDS = {"i": "instance", "vol": "volume", "sg": "security-group", "ami": "image", "snap": "snapshot"}
KINDS |= {"subnet": "subnet", "vpc": "vpc"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM me"
LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
Tags = Mapping[str, str]
Known = Mapping[str, Tags]  # the tags of what there is, by id


def calls() -> Iterator[tuple[str, str]]:
    """Every call of the sources as client and method: ``api.ec2.run_instances(…)``, ``api.paged("describe_x", …)``."""
    for path in sorted((ROOT / "fabfile/providers/ec2").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Attribute(attr=client), attr=method) if client in SERVICES:
                    yield client, method
                case ast.Constant(value=str(name)) if name.isidentifier():  # of a paged question
                    yield from ((client, name) for client in ("ec2", "pricing"))


@cache
def needed() -> frozenset[str]:
    """The actions behind the calls, as a policy names them."""
    session = Session()
    found = set()
    for client, method in calls():
        service, prefix = SERVICES[client]
        model = session.get_service_model(service)
        names = {xform_name(name): name for name in model.operation_names}
        if method in names:
            found.add(f"{prefix}:{names[method]}")
    return frozenset(found)


def allowed() -> list[str]:
    return [action for statement in POLICY["Statement"] for action in statement["Action"]]


def test_it_is_a_policy_that_names_its_statements() -> None:
    assert POLICY["Version"] == "2012-10-17"
    names = [statement["Sid"] for statement in POLICY["Statement"]]
    assert len({*names}) == len(names)
    assert {statement["Effect"] for statement in POLICY["Statement"]} == {"Allow"}
    assert len(json.dumps(POLICY, separators=(",", ":"))) <= 6144  # what a managed policy may have


def test_every_call_is_allowed() -> None:
    assert len(needed()) > 25
    missing = [action for action in needed() if not any(fnmatchcase(action, one) for one in allowed())]
    assert missing == []


def test_nothing_is_allowed_that_no_call_needs() -> None:
    superfluous = [one for one in allowed() if one not in needed() and one not in IN_PASSING]
    assert superfluous == []
    assert not any("*" in one for one in allowed())


def test_what_ends_or_changes_something_is_for_what_carries_our_tag() -> None:
    free = {
        action for statement in POLICY["Statement"] if "Condition" not in statement for action in statement["Action"]
    }
    endings = ("Terminate", "Stop", "Start", "Delete", "Deregister", "Revoke", "Authorize")
    assert [action for action in free if action.split(":")[1].startswith(endings)] == ["ec2:DeleteKeyPair"]


def ids(params: Any) -> Iterator[str]:
    """The ids of what a call is about; not those that are told in tags."""
    match params:
        case dict():
            for name, value in params.items():
                yield from ids(value) if name not in ("TagSpecification", "Tag") else ()
        case list():
            for value in params:
                yield from ids(value)
        case str() if re.fullmatch(rf"({'|'.join(KINDS)})-[0-9a-f]{{8,17}}", params):
            yield params


def questions(call: Call, known: Known) -> Iterator[tuple[str, str, dict[str, str]]]:
    """What IAM asks before it lets a call through: action, ARN and context of each."""
    if call.service == "ssm":
        yield call.permission, f"arn:aws:ssm:{call.region}::parameter{call.params['Name']}", {}
    elif call.service != "ec2" or call.action.startswith("Describe"):
        yield call.permission, "*", {}
    else:
        about = [(KINDS[one.split("-")[0]], known.get(one, {})) for one in sorted({*ids(call.params)})]
        for kind, its in [*about, *((kind, {}) for kind in MADE.get(call.action, ()))] or [("key-pair", {})]:
            context = {f"aws:ResourceTag/{key}": value for key, value in its.items()}
            context |= {f"aws:RequestTag/{key}": value for key, value in call.tags(kind).items()}
            yield call.permission, f"arn:aws:ec2:{call.region}:1:{kind}/x", context
    for specification in call.params.get("TagSpecification", ()):
        arn = f"arn:aws:ec2:{call.region}:1:{specification['ResourceType']}/x"
        yield "ec2:CreateTags", arn, {"ec2:CreateAction": call.action}


def allows(action: str, arn: str, context: Mapping[str, str]) -> bool:
    """Whether a statement of the policy says yes, with the two operators that it uses."""

    def listed(value: str | list[str]) -> list[str]:
        return [value] if isinstance(value, str) else value

    def holds(statement: Mapping[str, Any]) -> bool:
        return all(
            key in context and any(fnmatchcase(context[key], one) for one in listed(values))
            for tests in statement.get("Condition", {}).values()
            for key, values in tests.items()
        )

    return any(
        action in statement["Action"]
        and any(fnmatchcase(arn, place) for place in listed(statement["Resource"]))
        and holds(statement)
        for statement in POLICY["Statement"]
    )


def refused(asked: list[Call], known: Known) -> list[tuple[str, str]]:
    """What the policy does not allow of these calls: action and ARN."""
    return sorted(
        {(action, arn) for one in asked for action, arn, its in questions(one, known) if not allows(action, arn, its)}
    )


class Book:
    """The tags of everything that there was, also of what is gone by now."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.known: dict[str, Tags] = {}

    def note(self) -> None:
        """Look again."""
        self.known |= {one: dict(its) for one, its in self.cloud.backend.tags.items() if its}


@pytest.fixture
def book(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setattr(instances, "FIRST_LOOK", 0.02)
    monkeypatch.setattr(instances, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(power, "UNSEEN", 0.1)
    return Book(cloud)


def test_a_cluster_lives_and_goes_with_it(cloud: Cloud, book: Book) -> None:
    cloud.on_paper()
    wanted = cloud_settings(cloud, packages=(), boot_timeout=5.0, spot=True, lease=3600.0)
    provider = ec2.provider(wanted)
    provider.check(3)
    made = provider.create(LAB, [MachineSpec("controller", 0, (KEY,)), MachineSpec("engine", 0, (KEY,))], silent)
    forgotten = cloud.backend.create_volume(1, f"{cloud.region}a")  # by nobody: a call would be judged as well
    forgotten.add_tags(tags.of_cluster(LAB))
    book.note()
    provider.publish_host_keys(made[0], made[0].host_keys, "")
    provider.note_deadline(made, 1_900_000_000.0)
    provider.console(made[0])
    provider.stop("lab", made)
    ec2.provider(replace(wanted, ssh_from=("203.0.113.0/24",))).start("lab", made)  # from elsewhere than before
    provider.clusters()
    provider.rate(made)
    provider.leftovers()
    provider.destroy("lab", made)
    provider.clean("lab")
    changes = {call.action for call in cloud.calls if call.service == "ec2" and not call.action.startswith("Describe")}
    assert changes > {"RunInstances", "CreateTags", "StopInstances", "StartInstances", "TerminateInstances"}
    assert changes > {"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "DeleteSecurityGroup", "GetConsoleOutput"}
    assert changes > {"RevokeSecurityGroupIngress", "DeleteVolume"}
    assert refused(cloud.calls, book.known) == []


def test_the_account_is_looked_at_and_keys_are_kept_with_it(cloud: Cloud, book: Book, tmp_path: Path) -> None:
    provider = ec2.provider(cloud_settings(cloud, tags=(("project", "spectra"),)))
    provider.import_key("mine", make_key_pair(tmp_path / "key", "me"))
    provider.remove_key("mine")
    provider.regions()
    provider.zones()
    provider.machine_types(["t3.small"])
    provider.prices((), 7)
    assert {call.service for call in cloud.calls} >= {"ec2", "pricing"}
    assert refused(cloud.calls, book.known) == []


def test_an_image_is_baked_and_removed_with_it(cloud: Cloud, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = Software("50f7", PYTHON, ("ipyparallel==9.2.0",), "x86_64")

    def install(host: Host, software: Software) -> None:
        note = f"mkdir -p /opt/ipyfleet/env; echo {software.id} >/opt/ipyfleet/env/ipyfleet-software-id"
        host.run("sh", "-c", note, sudo=True)

    def noted(event: object) -> None:
        book.note()

    cloud.machines_obey = True
    monkeypatch.setattr(baking, "software", lambda settings, machine: contents)
    monkeypatch.setattr(baking.host_software, "install_software", install)
    monkeypatch.setattr(baking, "FIRST_PAUSE", 0.05)
    provider = ec2.provider(cloud_settings(cloud, boot_timeout=60.0))
    image = provider.bake(noted)
    book.note()
    provider.remove_image(image.id)
    assert {"CreateImage", "DeregisterImage", "DeleteSnapshot"} < {call.action for call in cloud.calls}
    assert refused(cloud.calls, book.known) == []


@pytest.mark.parametrize(
    ("action", "kind", "params"),
    [
        ("TerminateInstances", "instance", {"InstanceId": ["i-0123456789abcdef0"]}),
        (
            "CreateTags",
            "instance",
            {"ResourceId": ["i-0123456789abcdef0"], "Tag": [{"Key": "ipyfleet:cluster", "Value": "lab"}]},
        ),
        ("RunInstances", "instance", {"ImageId": "ami-0123456789abcdef0"}),
        ("CreateSecurityGroup", "security-group", {"VpcId": "vpc-0123456789abcdef0"}),
        ("CreateImage", "instance", {"InstanceId": "i-0123456789abcdef0"}),
        ("CreateImage", "snapshot", {"InstanceId": "i-0123456789abcdef0"}),
        ("DeleteVolume", "volume", {"VolumeId": "vol-0123456789abcdef0"}),
    ],
)
def test_what_is_not_ours_cannot_be_touched_nor_made(action: str, kind: str, params: dict[str, Any]) -> None:
    call = Call("ec2", action, params, "eu-central-1")
    somebodys = {"i-0123456789abcdef0": {"owner": "somebody"}, "vol-0123456789abcdef0": {}}
    assert (f"ec2:{action}", f"arn:aws:ec2:eu-central-1:1:{kind}/x") in refused([call], somebodys)

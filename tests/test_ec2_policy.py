"""The least IAM policy: it allows every call that the sources make, and nothing else."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from botocore import xform_name
from botocore.session import Session

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
    "iam:PassRole": "`instance_profile` hands a role to the machines",
    "iam:CreateServiceLinkedRole": "the first spot machine of an account needs EC2's role for spot",
}


def calls() -> Iterator[tuple[str, str]]:
    """Every call of the sources as client and method: ``api.ec2.run_instances(…)``, ``api.paged("describe_x", …)``."""
    for path in sorted((ROOT / "fabfile/providers/ec2").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Attribute(attr=client), attr=method) if client in SERVICES:
                    yield client, method
                case ast.Constant(value=str(name)) if name.isidentifier():  # of a paged question
                    yield from ((client, name) for client in ("ec2", "pricing"))


def needed() -> set[str]:
    """The actions behind the calls, as a policy names them."""
    session = Session()
    found = set()
    for client, method in calls():
        service, prefix = SERVICES[client]
        model = session.get_service_model(service)
        names = {xform_name(name): name for name in model.operation_names}
        if method in names:
            found.add(f"{prefix}:{names[method]}")
    return found


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

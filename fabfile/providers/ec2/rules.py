"""Who may reach the machines of a cluster: its security group, made with it and removed with it.

From outside port 22 from ``ssh_from`` and what ``open_ports`` says; everything else only between the machines. Where
these have private addresses only, ``auto`` is their VPC: SSH comes from the gateway's private address in it then, never
from the one that this computer has on the internet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...entrances import own_address
from ...errors import ProviderRefused
from ...machines import Cluster
from ...settings import Settings
from . import tags
from .api import Api, code_of, passing_over, told

MINE = "ipyfleet"  # what describes a rule of ours; others are the user's, and left alone
PAUSE = 2.0  # s between two tries to remove a group that is in use
NOT_SEEN = "InvalidGroup.NotFound"
UNSEEN = 15.0  # s that a new group may stay unknown to parts of EC2
LOOK = 0.5  # s between two tries while it does

Rule = tuple[str, int, int, str]
"""Protocol, first and last port, and the network it is open to."""


def ensure(api: Api, cluster: Cluster, vpc: str, settings: Settings) -> str:
    """The id of the cluster's group, made with its tags if it is not there, its rules those of the settings now.

    Raises ProviderRefused for a group of that name which is not the cluster's.
    """
    name = f"ipyfleet-{cluster.name}-{cluster.id}"
    with told(f"making the security group {name}"):
        group = _find(api, cluster.name, cluster.id, vpc)
        if group is None:
            group = _make(api, cluster, name, vpc, settings)
        _set(api, group, settings)
    return str(group["GroupId"])


def refresh(api: Api, cluster: Cluster, settings: Settings) -> bool:
    """Make the rules of the cluster's group what the settings, and this computer's address, say now.

    Whether anything had to be changed; new rules come before stale ones go.
    """
    with told(f"looking at the security group of {cluster.name}"):
        groups = _groups(api, cluster.name)
        changed = [_set(api, group, settings) for group in groups if _id(group) == cluster.id]
    return any(changed)


def delete(api: Api, cluster: str, timeout: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove the groups of the cluster of that name, waiting while machines that end still use them.

    Silent when there is none; ``timeout`` in seconds. Raises ProviderRefused.
    """
    deadline = time.monotonic() + timeout
    with told(f"removing the security group of {cluster}"):
        for group in _groups(api, cluster):
            while True:
                try:
                    with passing_over(NOT_SEEN):
                        api.ec2.delete_security_group(GroupId=group["GroupId"])
                    break
                except Exception as error:
                    in_use = code_of(error) in ("DependencyViolation", "InvalidGroup.InUse")
                    if not in_use or time.monotonic() >= deadline:
                        raise
                pause(PAUSE)


def _make(api: Api, cluster: Cluster, name: str, vpc: str, settings: Settings) -> Mapping[str, Any]:
    try:
        made = api.ec2.create_security_group(
            GroupName=name,
            Description=f"ipyfleet cluster {cluster.name}",
            VpcId=vpc,
            TagSpecifications=tags.specification(tags.of_cluster(cluster, settings.tags), "security-group"),
        )
    except Exception as error:
        if code_of(error) != "InvalidGroup.Duplicate":
            raise
        return _adopted(api, cluster, name, vpc)
    return {"GroupId": made["GroupId"], "VpcId": vpc, "IpPermissions": []}


def _adopted(api: Api, cluster: Cluster, name: str, vpc: str) -> Mapping[str, Any]:
    """The group that has our group's name already: made by a call of ours whose answer was lost, if its tags say so."""
    deadline = time.monotonic() + UNSEEN
    named = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    while not (there := api.paged("describe_security_groups", "SecurityGroups", Filters=named)):
        if time.monotonic() >= deadline:
            break
        time.sleep(LOOK)
    mine = next((one for one in there if _id(one) == cluster.id), None)
    if mine is None:
        raise ProviderRefused(
            f"there is a security group {name} in {vpc} that does not say that it is this cluster's",
            hint="look at it in the EC2 console: if nobody needs it, remove it (`aws ec2 delete-security-group`)",
        )
    return mine


def _find(api: Api, name: str, cluster_id: str, vpc: str) -> Mapping[str, Any] | None:
    return next((one for one in _groups(api, name) if _id(one) == cluster_id and one.get("VpcId") == vpc), None)


def _groups(api: Api, cluster: str) -> list[dict[str, Any]]:
    return api.paged("describe_security_groups", "SecurityGroups", Filters=tags.filters(cluster))


def _id(group: Mapping[str, Any]) -> str:
    return tags.read(group).get(tags.ID, "")


def _set(api: Api, group: Mapping[str, Any], settings: Settings) -> bool:
    """Give a group the rules that it lacks, then take those of ours that are stale."""
    mine, inside = _there(group)
    wanted = _wanted(api, settings, group["VpcId"])
    new, stale = wanted - mine, mine - wanted
    permissions = [_permission(rule) for rule in sorted(new)]
    if not inside:
        pair = {"GroupId": group["GroupId"], "Description": MINE}
        permissions.append({"IpProtocol": "-1", "UserIdGroupPairs": [pair]})
    if permissions:
        _authorize(api, group["GroupId"], permissions)
    if stale:
        with passing_over("InvalidPermission.NotFound"):
            gone = [_permission(rule) for rule in sorted(stale)]
            api.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=gone)
    return bool(permissions or stale)


def _authorize(api: Api, group: str, permissions: Sequence[Mapping[str, Any]]) -> None:
    """Add all of them in one call, or one by one when some are there already: EC2 takes all or none of a call.

    Waits for a group that was made a moment ago, and that this part of EC2 does not know yet.
    """
    deadline = time.monotonic() + UNSEEN
    while True:
        try:
            api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
            return
        except Exception as error:
            if code_of(error) == "InvalidPermission.Duplicate":
                break
            if code_of(error) != NOT_SEEN or time.monotonic() >= deadline:
                raise
        time.sleep(LOOK)
    for one in permissions:
        with passing_over("InvalidPermission.Duplicate"):
            api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[one])


def _wanted(api: Api, settings: Settings, vpc: str) -> set[Rule]:
    sources = set(settings.ssh_from) - {"auto"}
    if "auto" in settings.ssh_from:
        sources |= {own_address(settings)} if settings.public_address else _networks(api, vpc)
    rules: set[Rule] = {("tcp", 22, 22, source) for source in sources}
    for port in settings.open_ports:
        protocol, ports, network = port.split(":", 2)
        first, _, last = ports.partition("-")
        rules.add((protocol, int(first), int(last or first), network))
    return rules


def _networks(api: Api, vpc: str) -> set[str]:
    """The networks that a VPC consists of."""
    (found,) = api.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    blocks = found.get("CidrBlockAssociationSet", ())
    more = {one["CidrBlock"] for one in blocks if one.get("CidrBlockState", {}).get("State") == "associated"}
    return {found["CidrBlock"], *more}


def _there(group: Mapping[str, Any]) -> tuple[set[Rule], bool]:
    """The rules of ours that a group has, and whether its machines may reach each other."""
    mine: set[Rule] = set()
    inside = False
    for permission in group.get("IpPermissions", ()):
        pairs = permission.get("UserIdGroupPairs", ())
        inside |= permission["IpProtocol"] == "-1" and any(one.get("GroupId") == group["GroupId"] for one in pairs)
        networks = [(one["CidrIp"], one.get("Description")) for one in permission.get("IpRanges", ())]
        networks += [(one["CidrIpv6"], one.get("Description")) for one in permission.get("Ipv6Ranges", ())]
        ports = permission.get("FromPort", -1), permission.get("ToPort", -1)
        mine |= {(permission["IpProtocol"], *ports, network) for network, described in networks if described == MINE}
    return mine, inside


def _permission(rule: Rule) -> dict[str, Any]:
    protocol, first, last, network = rule
    common = {"IpProtocol": protocol, "FromPort": first, "ToPort": last}
    if ":" in network:
        return {**common, "Ipv6Ranges": [{"CidrIpv6": network, "Description": MINE}]}
    return {**common, "IpRanges": [{"CidrIp": network, "Description": MINE}]}

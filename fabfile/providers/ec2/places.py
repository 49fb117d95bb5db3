"""Where there is EC2: the regions, as AWS and as the SDK here know them, and the zones of the current one."""

from __future__ import annotations

from ...accounts import Region, Zone
from .api import Api, told


def known_regions() -> tuple[str, ...]:
    """The names of all regions that the SDK on this computer knows; nobody is asked."""
    from botocore.loaders import create_loader  # takes 0.1 s

    partitions = create_loader().load_data("endpoints")["partitions"]
    return tuple(sorted(name for partition in partitions for name in partition["regions"]))


def regions(api: Api) -> tuple[Region, ...]:
    """All regions of AWS by name, those that this account must enable before it can use them included."""
    with told("listing the regions"):
        answers = api.ec2.describe_regions(AllRegions=True)["Regions"]
    return tuple(
        sorted(
            (
                Region(
                    name=str(one["RegionName"]),
                    usable=one.get("OptInStatus") != "not-opted-in",
                    current=one["RegionName"] == api.region,
                )
                for one in answers
            ),
            key=lambda region: region.name,
        )
    )


def zones(api: Api) -> tuple[Zone, ...]:
    """The availability zones of the region by name, without local ones that the account has not enabled."""
    with told("listing the zones"):
        answers = api.ec2.describe_availability_zones()["AvailabilityZones"]
    found = (Zone(str(one["ZoneName"]), str(one.get("ZoneId", "")), str(one.get("State", ""))) for one in answers)
    return tuple(sorted(found, key=lambda zone: zone.name))

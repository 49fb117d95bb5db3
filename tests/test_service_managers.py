"""Which service manager a host has."""

from __future__ import annotations

import pytest

from fabfile import service_managers
from fabfile.errors import ServiceFailed
from fabfile.remote import Result

SYSTEMD = "/run/systemd/system\n"
SMF = "/usr/bin/svcs\n/usr/sbin/svccfg\n"


class FoundHost:
    """A host on which ``find`` finds this."""

    name = "engine-0"

    def __init__(self, found: str) -> None:
        self.found = found
        self.asked = 0

    def run(self, *words: str, check: bool = True) -> Result:
        self.asked += 1
        assert words[0] == "find"
        assert not check
        return Result(words, 1, self.found, "find: No such file or directory")


def test_systemd_is_seen_in_one_round_trip() -> None:
    host = FoundHost(SYSTEMD)
    assert service_managers.detect(host).name == "systemd"  # type: ignore[arg-type]
    assert host.asked == 1


@pytest.mark.parametrize("found", [SMF, SMF + SYSTEMD])
def test_smf_comes_first_and_is_refused_by_name(found: str) -> None:
    with pytest.raises(ServiceFailed, match="SMF, which is not supported yet"):
        service_managers.detect(FoundHost(found))  # type: ignore[arg-type]


@pytest.mark.parametrize("found", ["", "/usr/bin/svcs\n"])
def test_a_host_with_neither_is_refused_with_what_was_looked_for(found: str) -> None:
    with pytest.raises(ServiceFailed) as error:
        service_managers.detect(FoundHost(found))  # type: ignore[arg-type]
    assert "/run/systemd/system" in error.value.seen
    assert error.value.machine == "engine-0"


@pytest.mark.parametrize("name", service_managers.NAMES)
def test_each_name_has_its_module(name: str) -> None:
    assert service_managers.get(name).name == name

"""The end of a first boot, as bootscripts/boot-wait.sh tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import ClusterError, RemoteError
from fabfile.providers.ec2.booting import wait_until_booted
from fabfile.providers.ec2.userdata import FOLDER
from fabfile.remote import Result


@dataclass
class TellingHost:
    """A host on which the script prints this."""

    said: str
    name: str = "engine-0"
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def script(self, path: Path, *words: str, sudo: bool, timeout: float) -> Result:
        self.calls.append((path.name, words, sudo, timeout))
        return Result(words, 0, self.said, "")


LOG = "log\nE: Unable to locate package gti\nfirst-boot.sh: packages failed with exit code 100\n"


def test_a_boot_that_went_well_is_one_question_to_root() -> None:
    host = TellingHost("cloud-init ended\nhost running\nhost done\nend done\n")
    wait_until_booted(host, "engine-0", 299.5)
    assert host.calls == [("boot-wait.sh", (FOLDER, "300"), True, 329.5)]


def test_software_that_could_not_be_fetched_is_no_failure() -> None:
    wait_until_booted(TellingHost("cloud-init ended\nsoftware running\nsoftware failed 1\nend done\n"), "engine-0", 9)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("cloud-init ended\nhost done\npackages running\npackages failed 100\n", "`system_packages` failed", "names"),
        ("cloud-init ended\nuserdata failed 7\n", r"\(`userdata`\) failed with exit code 7", "mend the script"),
        ("cloud-init ended\nhost failed 1\n", "service user could not be made", "teardown"),
        ("cloud-init late\nuserdata running\n", "not ended after 60 s, at work: userdata", "`boot_timeout`"),
        ("cloud-init late\n\n", "not ended after 60 s$", "`boot_timeout`"),
        ("cloud-init late\nuserdata failed 7\n", r"\(`userdata`\) failed with exit code 7", "mend the script"),
        ("cloud-init ended\n\n", "ended before our part of it was done$", "cloud-init status --long"),
        ("cloud-init ended\nsoftware running\n", "before our part of it was done, in the step software", "status"),
        ("cloud-init off\n\n", "cloud-init does not run on this machine", "`image`"),
    ],
)
def test_a_failure_names_machine_step_next_step_and_the_last_lines(said: str, message: str, hint: str) -> None:
    with pytest.raises(ClusterError) as caught:
        wait_until_booted(TellingHost(said + LOG), "engine-0", 60)
    error = caught.value
    assert error.machine == "engine-0"
    assert error.seen.splitlines() == LOG.splitlines()[1:]
    assert hint in error.hint
    with pytest.raises(ClusterError, match=message):
        raise ClusterError(error.message)


def test_a_connection_that_breaks_meanwhile_is_told_as_such() -> None:
    class Broken(TellingHost):
        def script(self, *words: Any, **options: Any) -> Result:
            raise RemoteError("the SSH connection broke", machine=self.name)

    with pytest.raises(RemoteError, match="broke"):
        wait_until_booted(Broken(""), "engine-0", 60)

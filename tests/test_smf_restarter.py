"""The stand-in's restarter, svcadm and svcprop: services really run. One case file each, all in one zone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.smf.playground import Playground
from tests.smf_steps import Case, Steps, cases, names, service

SCRIPTS = {
    "daemon": "/bin/sleep 60 &\n",
    "third-time": 'echo >>"$0.tries"\n[ "$(wc -l <"$0.tries")" -gt 2 ]\n',
    "stubborn": "trap : TERM\necho ready\nwhile :; do /bin/sleep 0.1; done\n",
    "interrupted": "trap 'echo interrupted; exit 0' INT\necho ready\nwhile :; do /bin/sleep 0.1; done\n",
    "pidded": 'echo $$ >"$0.pid"\necho ready\nexec /bin/sleep 60\n',
    "stop": 'kill "$(cat "${0%/*}/pidded.pid")"\n',
    "parent": "/bin/sleep 60 &\necho ready\nwait\n",
}


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    zone = Playground(tmp_path_factory.mktemp("smf") / "zone", metadata={})
    zone.begin()
    yield zone
    zone.close()
    assert (zone.place.state / "restarter.err").read_text() == ""


@pytest.mark.parametrize(("name", "case"), cases("steps"), ids=names("steps"))
def test_a_service_goes_the_way_that_it_would(zone: Playground, name: str, case: Case, tmp_path: Path) -> None:
    for script, text in SCRIPTS.items():
        (tmp_path / script).write_text(text)
    fmri = f"svc:/site/{name}:one"
    steps = Steps(zone, fmri, tmp_path)
    zone.place.change({"adoption": case["service"].get("adoption", 0.0)})
    service(zone, fmri, steps.filled(case["service"]))
    try:
        steps.carry_out(case["steps"])
    finally:
        zone.call("svccfg", "delete", "-f", fmri)

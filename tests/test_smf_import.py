"""The stand-in's svccfg import: which manifests it takes, what it makes of them, and how it upgrades."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.smf.merging import three_sides
from tests.smf.playground import Playground
from tests.smf.repository import Property, load
from tests.smf.validity import ATTRIBUTES, CONTENT, TEXT, flaws
from tests.smf_steps import CASES, Case, cases, names

WHOLE = (CASES / "manifests" / "whole.xml").read_text()
ENGINE = "svc:/site/whole:engine"
DTD = Path(os.environ.get("IPYFLEET_TEST_DATA", "/nonexistent")) / "service_bundle.dtd.1"


@pytest.fixture
def zone(tmp_path: Path) -> Playground:
    return Playground(tmp_path / "zone", smartos=False, dtd=str(DTD))


@pytest.fixture
def running(zone: Playground) -> Iterator[Playground]:
    zone.begin()
    yield zone
    zone.close()


def write(folder: Path, text: str = WHOLE) -> str:
    path = folder / "whole.xml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("name", "case"), cases("import"), ids=names("import"))
def test_a_manifest_is_imported_or_refused(zone: Playground, name: str, case: Case, tmp_path: Path) -> None:
    assert WHOLE.count(case["find"]) == 1
    path = write(tmp_path, WHOLE.replace(case["find"], case["replace"]))
    before = zone.place.repository.read_text()
    done = zone.call("svccfg", "import", path)
    assert done.returncode == case.get("rc", 0)
    assert done.stderr.endswith(case.get("stderr", "").replace("$M", path))
    if not case.get("flaw"):
        assert done.stderr == case.get("stderr", "").replace("$M", path)
    else:
        assert "\n" in done.stderr.removesuffix(case["stderr"]), "the flaw itself is told before"
    if done.returncode:
        assert zone.place.repository.read_text() == before
    valid = zone.call("svccfg", "validate", path)
    assert valid.returncode == case.get("rc", 0)


@pytest.mark.parametrize(("name", "case"), cases("import"), ids=names("import"))
def test_the_rules_written_down_here_name_the_flaw(name: str, case: Case) -> None:
    from xml.etree import ElementTree

    text = WHOLE.replace(case["find"], case["replace"])
    if "parse" in case.get("stderr", ""):
        return
    found = list(flaws(ElementTree.fromstring(re.sub("xml:lang", "xml-lang", text).replace("xml-lang", "lang"))))
    found = [flaw for flaw in found if "lang" not in flaw]
    assert bool(found) == bool(case.get("flaw"))
    assert not found or any(case["flaw"] in flaw for flaw in found)


def test_a_manifest_becomes_property_groups(zone: Playground, tmp_path: Path) -> None:
    zone.call("svccfg", "import", write(tmp_path))
    repository = load(zone.place)
    assert list(repository.services["site/whole"].instances) == ["default", "engine"]
    shown = zone.call("svccfg", "-s", "site/whole", "listprop").stdout
    assert shown == (CASES / "manifests" / "whole.listprop").read_text()
    assert zone.call("svcprop", "-p", "general/enabled", ENGINE).stdout == "false\n"
    assert zone.call("svcprop", "-p", "start/environment", ENGINE).stdout == "A=b\n"
    wanted = zone.call("svcprop", "-p", "whole-wanted/entities", "svc:/milestone/multi-user").stdout
    assert wanted == "svc:/site/whole\n"


def test_an_upgrade_keeps_what_an_administrator_changed(zone: Playground, tmp_path: Path) -> None:
    path = write(tmp_path)
    zone.call("svccfg", "import", path)
    zone.call("svccfg", "-s", "site/whole", "setprop", "config/one", "=", "astring:", "mine")
    zone.call("svcadm", "enable", ENGINE)
    new = WHOLE.replace("value='a b'", "value='theirs'").replace("value='7'", "value='8'").replace("'default'", "'x'")
    write(tmp_path, new)
    assert zone.call("svccfg", "import", path).returncode == 0
    values = [zone.call("svcprop", "-p", f"config/{name}", "svc:/site/whole").stdout for name in ("one", "number")]
    assert values == ["mine\n", "8\n"]
    assert zone.call("svcprop", "-p", "general/enabled", ENGINE).stdout == "true\n"


def test_instances_missing_from_a_new_manifest_stay(zone: Playground, tmp_path: Path) -> None:
    path = write(tmp_path)
    zone.call("svccfg", "import", path)
    write(tmp_path, WHOLE.replace("    <create_default_instance enabled='false'/>\n", ""))
    assert zone.call("svccfg", "import", path).returncode == 0
    assert zone.call("svcs", "-Ho", "FMRI", "svc:/site/whole:default").stdout == "svc:/site/whole:default\n"


@pytest.mark.parametrize(
    ("now", "before", "new", "after"),
    [
        ("a", "a", "b", "b"),
        ("mine", "a", "b", "mine"),
        ("a", "a", None, None),
        ("mine", "a", None, "mine"),
        (None, "a", "a", None),
        (None, "a", "b", None),
        (None, None, "b", "b"),
        ("mine", None, "b", "mine"),
        ("mine", None, None, "mine"),
    ],
)
def test_three_sides_are_merged(now: str | None, before: str | None, new: str | None, after: str | None) -> None:
    def side(value: str | None) -> dict[str, Property]:
        return {} if value is None else {"p": Property("astring", [value])}

    assert three_sides(side(now), side(before), side(new)) == side(after)


def test_a_folder_is_imported_and_counted(zone: Playground, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    write(folder)
    done = zone.call("svccfg", "import", str(folder))
    assert (done.returncode, done.stderr) == (0, "Loaded 1 smf(5) service descriptions\n")


def test_what_is_exported_can_be_imported(zone: Playground, tmp_path: Path) -> None:
    zone.call("svccfg", "import", write(tmp_path))
    zone.call("svccfg", "export", "site/whole", ">", str(tmp_path / "out.xml"))
    before = zone.call("svccfg", "-s", ENGINE, "listprop").stdout
    zone.call("svccfg", "delete", "site/whole")
    assert zone.call("svccfg", "import", str(tmp_path / "out.xml")).stderr == ""
    assert zone.call("svccfg", "-s", ENGINE, "listprop").stdout == before


def test_an_import_is_adopted_after_a_moment_and_refreshes_by_itself(running: Playground, tmp_path: Path) -> None:
    path = write(tmp_path)
    running.place.change({"adoption": 0.4})
    running.ok("svccfg", "import", path)
    assert running.state(ENGINE) == "? ?"
    running.wait(ENGINE, "DIS -")
    running.ok("svcadm", "enable", "-s", ENGINE)
    write(tmp_path, WHOLE.replace("value='7'", "value='77'"))
    running.ok("svccfg", "import", path)
    deadline = time.monotonic() + 10
    while "Rereading configuration." not in running.notes(ENGINE):
        assert time.monotonic() < deadline
    assert running.ok("svcprop", "-p", "config/number", ENGINE) == "77\n"
    assert running.notes(ENGINE)[-2:] == ['Executing start method ("/bin/sleep 7").', "Rereading configuration."]


def test_an_instance_made_by_hand_can_be_enabled_at_once(running: Playground, tmp_path: Path) -> None:
    running.ok("svccfg", "import", write(tmp_path))
    running.ok("svccfg", "-s", "site/whole", "add", "engine-2")
    two = "svc:/site/whole:engine-2"
    running.ok(
        "svccfg", "-s", two, "-f", "-", stdin='addpg start method\nsetprop start/exec = astring: "/bin/sleep %i"\n'
    )
    running.ok("svcadm", "enable", two)
    running.wait(two, "MNT -")  # sleep does not know its name
    assert 'Executing start method ("/bin/sleep engine-2").' in running.notes(two)


@pytest.mark.skipif("IPYFLEET_TEST_DATA" not in os.environ, reason="IPYFLEET_TEST_DATA says not where the DTD is")
def test_the_rules_written_down_here_are_the_dtds() -> None:
    text = re.sub(r"<!--.*?-->", "", DTD.read_text(), flags=re.S)
    text = re.sub(r"<!\[%profile;\[.*?\]\]>", "", text, flags=re.S)
    declared = dict(re.findall(r"<!ELEMENT\s+(\S+)\s+(.*?)>", text, flags=re.S))
    assert declared.keys() == CONTENT.keys()
    for name, model in declared.items():
        assert _regular(model) == _without_redundancy(CONTENT[name]), name
    for name, body in re.findall(r"<!ATTLIST\s+(\S+)(.*?)>", text, flags=re.S):
        found = re.findall(r'([\w:]+)\s+(CDATA|\([^)]*\))\s+(?:#FIXED\s+)?(#REQUIRED|#IMPLIED|"[^"]*")', body)
        rules = {
            attribute: ("+" if default == "#REQUIRED" else "") + re.sub(r"[()\s]", "", kind.replace("CDATA", ""))
            for attribute, kind, default in found
        }
        assert rules.keys() == ATTRIBUTES.get(name, {}).keys(), name
        for attribute, rule in rules.items():
            ours = ATTRIBUTES[name][attribute]
            assert (rule[:1] == "+") == (ours[:1] == "+"), (name, attribute)
            assert set(rule.lstrip("+").split("|")) == set(ours.lstrip("+").split("|")), (name, attribute)


def _regular(model: str) -> str:
    """A content model of the DTD in the form of validity.CONTENT."""
    plain = " ".join(model.split())
    if plain in ("EMPTY", "ANY"):
        return {"EMPTY": "", "ANY": "(.* )*"}[plain]
    if "#PCDATA" in plain:
        return TEXT
    text = re.sub(r"([\w:]+)", r"(\1 )", plain).replace(", ", "").replace(",", "")
    text = re.sub(r"(?<=[\w:]) \)", "~", text).replace(" ", "").replace("~", " )")
    return _without_redundancy(text)


def _without_redundancy(expression: str) -> str:
    """The same expression with fewer parentheses, to be compared."""
    before = ""
    while before != expression:
        before = expression
        expression = re.sub(r"\(([\w:]+ )\)(?![*+?])", r"\1", expression)
        expression = re.sub(r"^\((([^()]|\([^()]*\))*)\)$", r"\1", expression)
        expression = re.sub(r"\((\([^()]*\)[*+?]?)\)(?![*+?])", r"\1", expression)
    return expression


def test_a_bundle_that_holds_nothing_is_no_flaw() -> None:
    root = Element("service_bundle", {"type": "manifest", "name": "x"})
    assert list(flaws(root)) == []
    SubElement(root, "service", {"name": "a", "version": "1", "type": "service"})
    assert list(flaws(root)) == []

"""The manifests of smf/ against SMF's own document type, and what must hold beyond it."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = sorted((ROOT / "smf").glob("*.xml"))
METHOD = "<exec_method name='x' type='method' exec='x' timeout_seconds='0'/>"
BROKEN = {
    "exec_method before dependency": ("<dependency ", f"{METHOD}<dependency "),
    "no such type": ("type='astring'", "type='string'"),
    "an attribute missing": (" enabled='false'", ""),
    "an attribute unknown": (" enabled='false'", " enabled='false' on='1'"),
    "an element unknown": ("<stability ", "<nonsense/><stability "),
}


@cache
def document_type() -> tuple[dict[str, str], dict[str, dict[str, tuple[str, bool]]]]:
    """By element a pattern of its children, and its attributes: a pattern of the value, and whether it must be."""
    folder = os.environ.get("IPYFLEET_TEST_DATA")
    if not folder:
        pytest.skip("IPYFLEET_TEST_DATA names no folder with service_bundle.dtd.1")
    text = (Path(folder) / "service_bundle.dtd.1").read_text()
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!\[%profile;\[.*?\]\]>", "", text, flags=re.DOTALL)
    models = {}
    for name, model in re.findall(r"<!ELEMENT\s+(\S+)\s+(.*?)\s*>", text, re.DOTALL):
        plain = re.sub(r"\s+|#PCDATA|EMPTY", "", model)
        models[name] = re.sub(r"[\w:]+", r"(?:\g<0>;)", plain).replace(",", "")
    attributes: dict[str, dict[str, tuple[str, bool]]] = {}
    for name, listing in re.findall(r"<!ATTLIST\s+([^\s>]+)(.*?)>", text, re.DOTALL):
        found = re.findall(r'(\S+)\s+(CDATA|\([^)]*\))\s+(#REQUIRED|#IMPLIED|(?:#FIXED\s+)?"[^"]*")', listing)
        attributes[name] = {
            key: (".*" if kind == "CDATA" else re.sub(r"\s", "", kind), default == "#REQUIRED")
            for key, kind, default in found
        }
    return models, attributes


def faults(element: Element) -> list[str]:
    """What in an element and below it is not as the document type says."""
    models, attributes = document_type()
    if element.tag not in models:
        return [f"{element.tag}: unknown"]
    found = []
    children = "".join(f"{child.tag};" for child in element)
    if not re.fullmatch(models[element.tag], children):
        found.append(f"{element.tag}: may not hold {children}")
    known = attributes[element.tag]
    given = {key.replace("{http://www.w3.org/XML/1998/namespace}", "xml:"): v for key, v in element.attrib.items()}
    found += [f"{element.tag}: no attribute {key}" for key in given.keys() - known.keys()]
    for key, (pattern, needed) in known.items():
        value = given.get(key)
        if needed if value is None else not re.fullmatch(pattern, value, re.DOTALL):
            found.append(f"{element.tag}: {key} is {value}")
    return [*found, *(fault for child in element for fault in faults(child))]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_of_the_document_type(path: Path) -> None:
    assert faults(ElementTree.fromstring(path.read_text())) == []
    assert "<!DOCTYPE service_bundle SYSTEM '/usr/share/lib/xml/dtd/service_bundle.dtd.1'>" in path.read_text()


@pytest.mark.parametrize("mistake", BROKEN)
def test_the_check_finds_what_an_import_would_refuse(mistake: str) -> None:
    old, new = BROKEN[mistake]
    text = (ROOT / "smf" / "ipcontroller.xml").read_text()
    assert old in text
    assert faults(ElementTree.fromstring(text.replace(old, new, 1)))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
class TestEachManifest:
    def test_is_named_after_its_service_and_starts_nothing_by_itself(self, path: Path) -> None:
        (service,) = ElementTree.fromstring(path.read_text())
        assert service.get("name") == f"site/{path.stem}"
        assert {instance.get("enabled") for instance in service.findall("instance")} <= {"false"}

    def test_runs_its_program_in_the_foreground_by_a_script_of_ours(self, path: Path) -> None:
        (service,) = ElementTree.fromstring(path.read_text())
        duration = service.find("property_group[@name='startd']/propval[@name='duration']")
        assert duration is not None
        assert duration.get("value") == ("transient" if path.stem == "ipyfleet-join" else "child")  # it runs once
        for method in service.findall("exec_method"):
            command = method.get("exec", "")
            program = command.split()[0].removeprefix("/opt/ipyfleet/libexec/").removeprefix("/var/db/ipyfleet/")
            assert command == ":kill" or (ROOT / "smf" / f"{program}.sh").is_file()

    def test_hands_no_value_to_a_shell(self, path: Path) -> None:
        """startd lets $, *, # and others through unquoted, and writes what it runs into a log that all may read."""
        assert "%{" not in path.read_text()

    def test_is_not_restarted_because_of_what_it_depends_on(self, path: Path) -> None:
        assert set(re.findall(r"restart_on='(\w+)'", path.read_text())) == {"none"}

"""What a manifest says, as property groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from .complaints import Complaint
from .repository import Group, Groups, Property, set_property
from .values import checked


@dataclass
class Part:
    """A service or an instance of a manifest; ``enabled`` is None for a service."""

    name: str
    groups: Groups = field(default_factory=dict)
    enabled: bool | None = None
    parts: list[Part] = field(default_factory=list)
    dependents: list[tuple[str, Group]] = field(default_factory=list)  # by the name of the one that is to depend


def services(bundle: Element) -> Iterator[Part]:
    """The services of a bundle, with their instances as parts."""
    for element in bundle:
        if element.tag == "service_bundle":
            yield from services(element)
        elif element.tag == "service":
            yield _service(element)


def _service(element: Element) -> Part:
    part = Part(element.attrib["name"], _groups(element))
    part.dependents = _dependents(element, f"svc:/{part.name}")
    if element.find("single_instance") is not None:
        set_property(part.groups, "general/single_instance", "framework", "boolean", "true")
    _stability(element, part.groups, "general/entity_stability")
    default = element.find("create_default_instance")
    if default is not None:
        part.parts.append(Part("default", {}, default.attrib["enabled"] == "true"))
    for child in element.iter("instance"):
        one = Part(child.attrib["name"], _groups(child), child.attrib["enabled"] == "true")
        one.dependents = _dependents(child, f"svc:/{part.name}:{one.name}")
        part.parts.append(one)
    return part


def _groups(element: Element) -> Groups:
    groups: Groups = {}
    for child in element:
        if child.tag == "restarter":
            fmri = child[0].attrib["value"]
            set_property(groups, "general/restarter", "framework", "fmri", fmri)
        elif child.tag == "dependency":
            groups[child.attrib["name"]] = _dependency(child)
        elif child.tag == "method_context":
            groups["method_context"] = Group("framework", _context(child))
        elif child.tag == "exec_method":
            groups[child.attrib["name"]] = _method(child)
        elif child.tag == "property_group":
            group = groups.setdefault(child.attrib["name"], Group(child.attrib["type"]))
            group.properties.update(_properties(child))
            _stability(child, groups, f"{child.attrib['name']}/stability")
        elif child.tag == "template":
            text = child.find("common_name/loctext")
            if text is not None:
                set_property(groups, "tm_common_name/C", "template", "ustring", (text.text or "").strip())
    return groups


def _stability(element: Element, groups: Groups, path: str) -> None:
    found = element.find("stability")
    if found is not None:
        set_property(groups, path, "framework", "astring", found.attrib["value"])


def _dependency(element: Element) -> Group:
    fmris = [child.attrib["value"] for child in element.findall("service_fmri")]
    properties = {
        "entities": Property("fmri", fmris),
        "grouping": Property("astring", [element.attrib["grouping"]]),
        "restart_on": Property("astring", [element.attrib["restart_on"]]),
        "type": Property("astring", [element.attrib.get("type", "service")]),
    }
    return Group("dependency", {**properties, **_properties(element)})


def _dependents(element: Element, fmri: str) -> list[tuple[str, Group]]:
    """What makes others depend on this: each a dependency group, to be put on the other one."""
    found = []
    for child in element.findall("dependent"):
        group = _dependency(child)
        other = group.properties["entities"].values[0]
        group.properties["entities"].values = [fmri]
        group.properties["name"] = Property("astring", [child.attrib["name"]])
        found.append((other, group))
    return found


def _context(element: Element) -> dict[str, Property]:
    """A method context; ``use_profile`` is the mark by which it is known as one."""
    found = {"use_profile": Property("boolean", ["false"])}
    for name, value in element.attrib.items():
        found[name] = Property("astring", [value])
    for child in element:
        if child.tag == "method_credential":
            found.update({name: Property("astring", [value]) for name, value in child.attrib.items()})
        elif child.tag == "method_environment":
            pairs = [f"{var.attrib['name']}={var.attrib['value']}" for var in child]
            found["environment"] = Property("astring", pairs)
    return found


def _method(element: Element) -> Group:
    seconds = element.attrib["timeout_seconds"].strip()
    if seconds == "-1":
        seconds = str(2**64 - 1)
    properties = {
        "exec": Property("astring", [element.attrib["exec"]]),
        "timeout_seconds": Property("count", [_value("count", seconds)]),
        "type": Property("astring", [element.attrib["type"]]),
    }
    context = element.find("method_context")
    if context is not None:
        properties.update(_context(context))
    return Group("method", {**properties, **_properties(element)})


def _properties(element: Element) -> dict[str, Property]:
    found = {}
    for child in element:
        if child.tag not in ("propval", "property"):
            continue
        kind = child.attrib["type"]
        if child.tag == "propval":
            values = [child.attrib["value"]]
        else:
            values = [node.attrib["value"] for node in child.iter("value_node")]
        found[child.attrib["name"]] = Property(kind, [_value(kind, value) for value in values])
    return found


def _value(kind: str, text: str) -> str:
    good = checked(kind, text)
    if good is None:
        raise Complaint(f'Illegal value "{text}" for type "{kind}".')
    return good

"""svccfg export: a service as a manifest. Its methods and dependencies are written as plain property groups."""

from __future__ import annotations

from .repository import Entity, Group, Service, first

HEAD = "<?xml version='1.0'?>\n<!DOCTYPE service_bundle SYSTEM '/usr/share/lib/xml/dtd/service_bundle.dtd.1'>\n"
APART = ("general", "general_ovr", "tm_common_name")


def manifest(service: Service) -> str:
    """The text of a manifest that makes this service."""
    lines = ["<service_bundle type='manifest' name='export'>"]
    lines.append(f"  <service name={quoteattr(service.name)} type='service' version='0'>")
    lines += _groups(service, "    ")
    for instance in service.instances.values():
        on = quoteattr(first(instance.groups, "general/enabled", "false"))
        lines.append(f"    <instance name={quoteattr(instance.name)} enabled={on}>")
        lines += _groups(instance, "      ")
        lines.append("    </instance>")
    name = first(service.groups, "tm_common_name/C")
    if name:
        text = name.replace("&", "&amp;").replace("<", "&lt;")
        lines.append(f"    <template><common_name><loctext xml:lang='C'>{text}</loctext></common_name></template>")
    return HEAD + "\n".join([*lines, "  </service>", "</service_bundle>"]) + "\n"


def _groups(entity: Entity, indent: str) -> list[str]:
    lines = []
    for name, group in entity.groups.items():
        if name not in APART:
            lines += _group(name, group, indent)
    return lines


def _group(name: str, group: Group, indent: str) -> list[str]:
    lines = [f"{indent}<property_group name={quoteattr(name)} type={quoteattr(group.type)}>"]
    for prop, value in group.properties.items():
        head = f"name={quoteattr(prop)} type='{value.type}'"
        if len(value.values) == 1:
            lines.append(f"{indent}  <propval {head} value={quoteattr(value.values[0])}/>")
            continue
        nodes = "".join(f"<value_node value={quoteattr(one)}/>" for one in value.values)
        body = f"<{value.type}_list>{nodes}</{value.type}_list>" if nodes else ""
        lines.append(f"{indent}  <property {head}>{body}</property>")
    return [*lines, f"{indent}</property_group>"]


def quoteattr(text: str) -> str:
    """A text as the value of an attribute (the standard library's takes long to import)."""
    for char, name in (("&", "amp"), ("<", "lt"), ('"', "quot"), ("\n", "#10"), ("\t", "#9")):
        text = text.replace(char, f"&{name};")
    return f'"{text}"'

"""The rules of service bundles: which elements stand where, in which order, with which attributes.

For machines without xmllint or the DTD. Written down from the DTD's meaning; a test compares both where the DTD is.
Contents are regular expressions over the names of the children, each name followed by a blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

KIND_WORDS = """
    count integer opaque host hostname net_address net_address_v4 net_address_v6 time astring ustring boolean fmri uri
"""
KINDS = KIND_WORDS.split()
EMPTY_WORDS = """
    stability value_node propval service_fmri envvar method_profile method_credential doc_link manpage visibility
    cardinality range include_values paramval event create_default_instance single_instance
"""
PROPERTIES = "((propval |property )*)"
METHODS = "(restarter )?(dependency )*(dependent )*(method_context )?(exec_method )*(notification_parameters )*"
TEXT = "text"  # characters, no children

CONTENT: dict[str, str] = {
    "service_bundle": "(service_bundle )*|(service )*|(xi:include )*",
    "service": "(create_default_instance )?(single_instance )?" + METHODS + "(property_group )*(instance )*"
    "(stability )?(template )?",
    "instance": METHODS + "(property_group )*(template )?",
    "property_group": "(stability )?" + PROPERTIES,
    "property": "(" + "|".join(f"{kind}_list " for kind in KINDS) + ")?",
    **{f"{kind}_list": "(value_node )+" for kind in KINDS},
    "dependency": "(service_fmri )*(stability )?" + PROPERTIES,
    "dependent": "service_fmri (stability )?" + PROPERTIES,
    "restarter": "service_fmri ",
    "method_context": "(method_profile |method_credential )?(method_environment )?",
    "method_environment": "(envvar )+",
    "exec_method": "(method_context )?(stability )?" + PROPERTIES,
    "notification_parameters": "event (type )+",
    "type": "(parameter |paramval )*",
    "parameter": "(value_node )*",
    "template": "common_name (description )?(documentation )?(pg_pattern )*",
    "common_name": "(loctext )+",
    "description": "(loctext )+",
    "units": "(loctext )+",
    "documentation": "(doc_link |manpage )*",
    "pg_pattern": "(common_name )?(description )?(prop_pattern )*",
    "prop_pattern": "(common_name )?(description )?(units )?(visibility )?(cardinality )?(internal_separators )?"
    "(values )?(constraints )?(choices )?",
    "value": "(common_name )?(description )?",
    "values": "(value )+",
    "constraints": "(value )*(range )*",
    "choices": "(value )*(range )*(include_values )*",
    "loctext": TEXT,
    "internal_separators": TEXT,
    "xi:include": "(xi:fallback )",
    "xi:fallback": "(.* )*",
    **dict.fromkeys(EMPTY_WORDS.split(), ""),
}

TRUTH = "true|false"
KIND = "|".join(KINDS)
GROUPING = "require_all|require_any|exclude_all|optional_all"
RESTART_ON = "error|restart|refresh|none"
DEPENDENCY = {"name": "+", "grouping": f"+{GROUPING}", "restart_on": f"+{RESTART_ON}", "delete": TRUTH}

# Attributes by element: "+" in front of what must be there; then the words that it may be, nothing for any text.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "service_bundle": {"type": "+", "name": "+"},
    "service": {"name": "+", "version": "+", "type": "+service|restarter|milestone"},
    "instance": {"name": "+", "enabled": f"+{TRUTH}"},
    "create_default_instance": {"enabled": f"+{TRUTH}"},
    "stability": {"value": "+Standard|Stable|Evolving|Unstable|External|Obsolete"},
    "value_node": {"value": "+"},
    "property": {"name": "+", "type": f"+{KIND}", "override": TRUTH},
    "propval": {"name": "+", "type": f"+{KIND}", "value": "+", "override": TRUTH},
    "property_group": {"name": "+", "type": "+", "delete": TRUTH},
    "service_fmri": {"value": "+"},
    "dependency": {**DEPENDENCY, "type": "+"},
    "dependent": {**DEPENDENCY, "override": TRUTH},
    "envvar": {"name": "+", "value": "+"},
    "method_profile": {"name": "+"},
    "method_credential": {"user": "+", "group": "", "supp_groups": "", "privileges": "", "limit_privileges": ""},
    "method_context": {"security_flags": "", "working_directory": "", "project": "", "resource_pool": ""},
    "exec_method": {"type": "+method|monitor", "name": "+", "exec": "+", "timeout_seconds": "+", "delete": TRUTH},
    "doc_link": {"name": "+", "uri": "+"},
    "manpage": {"title": "+", "section": "+", "manpath": ""},
    "loctext": {"xml:lang": "+"},
    "visibility": {"value": "+hidden|readonly|readwrite"},
    "value": {"name": "+"},
    "cardinality": {"min": "", "max": ""},
    "range": {"min": "+", "max": "+"},
    "include_values": {"type": "+constraints|values"},
    "prop_pattern": {"name": "+", "type": KIND, "required": TRUTH},
    "pg_pattern": {"name": "", "type": "", "required": TRUTH, "target": "this|instance|delegate|all"},
    "paramval": {"name": "+", "value": "+"},
    "parameter": {"name": "+"},
    "event": {"value": "+"},
    "type": {"name": "+", "active": TRUTH},
    "xi:include": {"href": "+", "parse": "xml|text", "encoding": "", "xmlns:xi": ""},
    "xi:fallback": {"xmlns:xi": ""},
}
BUNDLE_EXTRA = {"xmlns:xi": ""}  # anywhere harmless


def flaws(root: Element) -> Iterator[str]:
    """Everything in which a bundle breaks the rules, one line each."""
    for element in root.iter():
        content = CONTENT.get(element.tag)
        if content is None:
            yield f"no declaration for element {element.tag}"
            continue
        yield from _content_flaws(element, content)
        yield from _attribute_flaws(element)


def _content_flaws(element: Element, content: str) -> Iterator[str]:
    children = "".join(f"{child.tag} " for child in element)
    pieces = [element.text, *(child.tail for child in element)]
    if content == TEXT:
        if children:
            yield f"element {element.tag} was declared to hold text only, but there is {children.strip()}"
        return
    if re.fullmatch(content, children) is None:
        yield f"element {element.tag} content does not follow the DTD, got ({children.strip()})"
    if content == "" and any(piece for piece in pieces):
        yield f"element {element.tag} was declared EMPTY but has content"
    elif any(piece and piece.strip() for piece in pieces) and element.tag != "xi:fallback":
        yield f"element {element.tag} content does not follow the DTD, got text"


def _attribute_flaws(element: Element) -> Iterator[str]:
    known = ATTRIBUTES.get(element.tag, {})
    for name, value in element.attrib.items():
        rule = known.get(name, BUNDLE_EXTRA.get(name) if element.tag == "service_bundle" else None)
        if rule is None:
            yield f"no declaration for attribute {name} of element {element.tag}"
        elif rule.lstrip("+") and value.strip() not in rule.lstrip("+").split("|"):
            yield f'value "{value}" for attribute {name} of {element.tag} is not among the enumerated set'
    for name, rule in known.items():
        if rule.startswith("+") and name not in element.attrib:
            yield f"element {element.tag} does not carry attribute {name}"

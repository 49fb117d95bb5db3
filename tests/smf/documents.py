"""XML documents as svccfg takes them: parsed, and held against the DTD before anything else looks at them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .complaints import Complaint
from .validity import flaws

SYSTEM_ID = "/usr/share/lib/xml/dtd/service_bundle.dtd.1"


def parsed(path: str, dtd: str) -> Element:
    """The root of a valid service bundle. Raises Complaint with svccfg's words for whatever is wrong with it."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise Complaint(f"Unable to stat file {path}.  {os.strerror(error.errno or 0)}") from error
    root, system = _parse(text)
    if root is None:
        raise Complaint("couldn't parse document")
    if system is None:
        raise Complaint("document has no DTD")
    if system != SYSTEM_ID:
        raise Complaint("document DTD unknown; not service bundle?")
    if root.tag != "service_bundle":
        raise Complaint("document is not a service bundle")
    wrong = _by_xmllint(path, dtd)
    if wrong is None:
        wrong = [f"{path}: {flaw}" for flaw in flaws(root)]
    if wrong:
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        raise Complaint("Document is not valid.")
    return root


def _parse(text: bytes) -> tuple[Element | None, str | None]:
    builder = TreeBuilder()
    system: list[str | None] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = lambda name, sysid, pubid, internal: system.append(sysid or "")
    try:
        parser.Parse(text, True)
        return builder.close(), system[0] if system else None
    except expat.ExpatError:
        return None, None


def _by_xmllint(path: str, dtd: str) -> list[str] | None:
    """What xmllint with the real DTD says; None where one of them is missing."""
    program = shutil.which("xmllint")
    if program is None or not Path(dtd).is_file():
        return None
    words = [program, "--nonet", "--noout", "--dtdvalid", dtd, path]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return [] if done.returncode == 0 else done.stderr.splitlines() or ["not valid"]

"""How this computer gets packages: the parts of its apt configuration that a build of an image needs too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .command import run

# Ways to the mirror and trust in it; not which packages or indexes are wanted.
NEEDED = re.compile(
    r"Acquire::((https?|ftp|socks)::.*|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Max-ValidTime|"
    r"Queue-Mode|Languages)( .*)?;|APT::Sandbox::User .*;"
)
ORIGINS = {"debian": "Debian", "ubuntu": "Ubuntu"}
FIELDS = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"


def needed(dump: str) -> str:
    """The lines of ``apt-config dump`` that tell how to reach a mirror: proxies, certificates, clocks."""
    return "".join(f"{line}\n" for line in dump.splitlines() if NEEDED.fullmatch(line) and not line.endswith(' "";'))


def mirrors(targets: str, distribution: str, suite: str) -> tuple[str, ...]:
    """This computer's sources of that suite and its updates, from ``apt-get indextargets``, as lines of sources.list.

    Only those of the distribution itself: another archive may have a suite of the same name.
    """
    components: dict[tuple[str, str], list[str]] = {}
    for line in targets.splitlines():
        uri, release, component, origin = line.split("|")
        if origin == ORIGINS[distribution] and release in (suite, f"{suite}-updates", f"{suite}-security"):
            known = components.setdefault((uri, release), [])
            if component not in known and component in ("main", "universe"):
                known.append(component)
    whole = any(release == suite for _, release in components)
    return tuple(_lines(components)) if whole else ()


def _lines(components: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    for (uri, release), names in components.items():
        if names:
            yield f"deb {uri} {release} {' '.join(names)}"


def configuration() -> str:
    """This computer's own, "" where there is no apt."""
    return needed(run("apt-config", "dump", check=False).stdout)


def sources(distribution: str, suite: str) -> tuple[str, ...]:
    """This computer's own mirrors of a suite, none where it has none: mmdebstrap then takes its default."""
    return mirrors(run("apt-get", "indextargets", "--format", FIELDS, check=False).stdout, distribution, suite)

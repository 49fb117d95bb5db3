"""The kind of value that says what of the user's own is called when."""

from __future__ import annotations

from .kinds import nearest, one_line

EVENTS = ("machine_up", "cluster_up", "machine_down")


def hooks(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What to run when: for each event the names of fab tasks or paths of scripts, in their order."""
    if not isinstance(value, dict):
        raise ValueError("must be events and what to run then, like {machine_up: [~/mount-data.sh]}")
    found = []
    for event, given in value.items():
        if event not in EVENTS:
            raise ValueError(f"has {event!r}, which is none of {', '.join(EVENTS)}{nearest(str(event), EVENTS)}")
        words = [given] if isinstance(given, str) else given
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"must give {event} a list of tasks and scripts, like [~/mount-data.sh]")
        found.append((str(event), tuple(one_line(word) for word in words)))
    return tuple(sorted(found))

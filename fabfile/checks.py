"""The checks of a preflight, carried out side by side, so that all complaints are told at once.

Knows no provider; a check is a function that yields what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .errors import ClusterError
from .machines import Finding
from .remote import each

Check = Callable[[], Iterable[Finding]]


def findings(checks: Iterable[Check]) -> list[Finding]:
    """What all of them find, in their order; one that ends in an error of ours has found that as well.

    Raises any other error, which is a mistake of the program.
    """

    def run(check: Check) -> list[Finding]:
        found = []
        try:
            for finding in check():
                found.append(finding)
        except ClusterError as error:
            found.append(Finding("error", error.message, error.hint))
        return found

    results = []
    for outcome in each(checks, run):
        if outcome.error is not None:
            raise outcome.error
        results += outcome.value or []
    return results

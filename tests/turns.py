"""Turns: what a test plans for the calls of a stand-in, for so many of them after so many others."""

from __future__ import annotations

from typing import Protocol


class Turns(Protocol):
    """``times`` calls are meant, after the first ``skip``."""

    times: float
    skip: int


def take(plan: Turns) -> bool:
    """Count a call that the plan may be about; whether it is this call's turn."""
    if plan.skip > 0:
        plan.skip -= 1
        return False
    if plan.times <= 0:
        return False
    plan.times -= 1
    return True

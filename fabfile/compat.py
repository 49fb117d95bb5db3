"""Fabric 3.2 under Invoke 3: makes `fab -H host task` work, which fails there with a TypeError.

Invoke 3 hands the parse result to ``make_context``; Fabric 3.2's own version does not take it. Tried with Fabric 3.2.3
under Invoke 2.2.1 and 3.0.3 (``test_fab_runs_a_task_on_a_host_under_this_invoke``). Nothing happens unless Fabric is
imported already, as under `fab`: importing it costs every other command a fifth of a second. May go when Fabric lifts
its cap on Invoke.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any


def let_fabric_run_under_invoke_3() -> bool:
    """Make Fabric's calls accept Invoke 3's further argument; whether anything had to be done."""
    fabric_tasks = sys.modules.get("fabric.tasks")
    if fabric_tasks is None:
        return False
    call = fabric_tasks.ConnectionCall
    without_parse_result = call.make_context
    if "core_parse_result" in inspect.signature(without_parse_result).parameters:
        return False

    def make_context(self: Any, config: Any, core_parse_result: Any = None) -> Any:
        return without_parse_result(self, config)

    call.make_context = make_context
    return True

"""The collection that `fab` finds: our tasks on hosts that the user names. Nobody imports from here."""

import sys

from invoke.collection import Collection

from . import compat, hosts

compat.let_fabric_run_under_invoke_3()
if "fabric.tasks" in sys.modules:  # only `fab` has imported it by now
    from .strict_connection import use_for_fab

    use_for_fab()

ns = Collection.from_module(hosts)
ns.configure({"run": {"in_stream": False}})

"""The first minute with a cluster: who is there, the same on every engine, and many tasks over all of them.

``python examples/first_steps.py`` after ``invoke provision``; another cluster's id as the argument.
"""

from __future__ import annotations

import socket
import sys

import ipyparallel as ipp


def is_prime(n: int) -> bool:
    """The slow way."""
    return n > 1 and all(n % d for d in range(2, n))


cluster = ipp.Client(cluster_id=sys.argv[1] if len(sys.argv) > 1 else "ipython")
everywhere = cluster[:]
everywhere.block = True
for engine, machine in zip(cluster.ids, everywhere.apply(socket.gethostname), strict=True):
    print(f"engine {engine} on {machine}")

print(everywhere.map(lambda x: x**30, range(8)))

everywhere.scatter("part", range(1_000_000))
everywhere.execute("total = sum(part)")
print(sum(everywhere.pull("total")))

tasks = cluster.load_balanced_view()  # whoever is free takes the next
print(sum(tasks.map_sync(is_prime, range(100))), "primes below 100")

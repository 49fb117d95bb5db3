"""A wave in a square drum, on a cluster: one rectangular block of the grid for each engine.

The engines exchange the edges of their blocks directly with each other over encrypted TCP; the client only tells
them where their neighbours are. Try ``python examples/wave2d.py --check`` with four engines at hand.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import ipyparallel as ipp
import numpy as np
from wave2d_block import SIDES, Field, Inbox, Pair, Side, advance, start

TOLERANCE = 1e-10


def listen(view: ipp.DirectView) -> None:
    """Wait until this client hears what engines write: before that a blocking ``execute`` may wait for it for ever."""
    while not view.execute("", block=False).wait_for_output(0.25):
        print("not heard yet", file=sys.stderr)


def solve(view: ipp.DirectView, grid: Pair, partition: Pair, steps: int, halo: bool) -> float:
    """Leave ``field``, its block of the wave, on each engine of the view; the norm of the whole."""
    places = [(i, j) for i in range(partition[0]) for j in range(partition[1])]
    view.run(str(Path(__file__).with_name("wave2d_block.py")))  # the engines need no file of ours
    view.scatter("place", places, flatten=True)
    view.execute(f"block = Block({grid}, {partition}, place, own_address())")
    try:
        inboxes = dict(zip(places, view.pull("block.inboxes"), strict=True))
        view.scatter("neighbours", [beside(place, inboxes) if halo else {} for place in places], flatten=True)
        view.execute(f"field = block.run(neighbours, {steps})")
    finally:
        view.execute("block.close()")
    return norm(sum(view.pull("float((field**2).sum())")), grid)


def beside(place: Pair, inboxes: dict[Pair, dict[Side, Inbox]]) -> dict[Side, Inbox]:
    """The inboxes that the block at ``place`` sends to: on each inner side, the one that faces it."""
    found = {}
    for axis, direction in SIDES:
        neighbour = (place[0] + direction, place[1]) if axis == 0 else (place[0], place[1] + direction)
        if neighbour in inboxes:
            found[axis, direction] = inboxes[neighbour][axis, -direction]
    return found


def solve_alone(grid: Pair, steps: int) -> Field:
    """The same wave in this process: one array, no blocks."""
    before, now = None, start(grid)
    for _ in range(steps):
        before, now = now, advance(before, now, grid)
    return now[1:-1, 1:-1]


def norm(sum_of_squares: float, grid: Pair) -> float:
    """The root of the mean square over the unit square."""
    return math.sqrt(sum_of_squares / ((grid[0] + 1) * (grid[1] + 1)))


def assembled(view: ipp.DirectView, partition: Pair) -> Field:
    """The whole field, fetched from the engines."""
    fields = view.pull("field")
    columns = partition[1]
    return np.block([fields[i * columns : (i + 1) * columns] for i in range(partition[0])])


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="ipython", help="cluster id, as for ipyparallel.Client (ipython)")
    parser.add_argument("--grid", type=int, nargs=2, default=(400, 400), metavar="N", help="points in x, y (400 400)")
    parser.add_argument("--partition", type=int, nargs=2, default=(2, 2), metavar="N", help="blocks in x, y (2 2)")
    parser.add_argument("--steps", type=int, default=100, help="time steps (100)")
    parser.add_argument("--check", action="store_true", help="compare with NumPy in this process; exit 1 if not equal")
    parser.add_argument("--no-halo", action="store_true", help="let no block hear of its neighbours: a wrong answer")
    found = parser.parse_args()
    if any(not 1 <= parts <= points for parts, points in zip(found.partition, found.grid, strict=True)):
        parser.error("--partition: at least 1 and at most as many blocks as the grid has points")
    return found


def main() -> int:
    """Run the example; 1 when the check fails."""
    args = arguments()
    grid, partition = tuple(args.grid), tuple(args.partition)
    cluster = ipp.Client(cluster_id=args.cluster)
    wanted = math.prod(partition)
    if len(cluster) < wanted:
        sys.exit(f"{wanted} blocks need {wanted} engines; the cluster has {len(cluster)}")
    view = cluster.direct_view(cluster.ids[:wanted], block=True)
    listen(view)

    began = time.perf_counter()
    found = solve(view, grid, partition, args.steps, halo=not args.no_halo)
    print(f"{wanted} engines: norm = {found:.15f}, {time.perf_counter() - began:.2f} s")
    if not args.check:
        return 0

    began = time.perf_counter()
    reference = solve_alone(grid, args.steps)
    expected = norm(float((reference**2).sum()), grid)
    print(f"NumPy alone: norm = {expected:.15f}, {time.perf_counter() - began:.2f} s")
    difference = float(abs(assembled(view, partition) - reference).max())
    equal = difference <= TOLERANCE and abs(found - expected) <= TOLERANCE
    print(f"{'equal' if equal else 'NOT EQUAL'}: the largest difference at a point is {difference:.1e}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())

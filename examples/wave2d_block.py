"""One rectangular block of the grid: what an engine computes, and how it talks to its neighbours.

Needs NumPy and pyzmq, and knows nothing of the client. Only ``own_address`` knows that this is an engine.

The wave equation u_tt = u_xx + u_yy on the unit square, u = 0 on its border, a still hump at t = 0. Central
differences in space and time give, at every grid point, with r = dt / dx,

    u(t + dt) = 2 u(t) - u(t - dt) + r_x² (difference in x of second order) + r_y² (the same in y)

so that a point needs its four neighbours only, and a block the four edges of the blocks beside it: its halo.
"""

from __future__ import annotations

import math
import socket
from urllib.parse import urlsplit

import numpy as np
import zmq
from numpy.typing import NDArray

Field = NDArray[np.float64]  # u on a block's own points, with one more row and column on each side
Pair = tuple[int, int]  # one number for x, one for y
Side = tuple[int, int]  # axis 0 or 1, direction -1 or +1
Inbox = tuple[str, bytes]  # a TCP endpoint and the public key without which it cannot be talked to

SIDES: tuple[Side, ...] = ((0, -1), (0, 1), (1, -1), (1, 1))
EDGE = {-1: 1, 1: -2}  # the row or column that the neighbour in this direction needs
HALO = {-1: 0, 1: -1}  # the row or column that it fills in return
PATIENCE = 30_000  # milliseconds until a silent neighbour is an error instead of a wait


def start(grid: Pair, low: Pair = (0, 0), high: Pair | None = None) -> Field:
    """The hump at t = 0 on the points low ≤ (i, j) < high of the grid (default: all of it), zero around them."""
    x, y = ((np.arange(a, b) + 1) / (n + 1) for n, a, b in zip(grid, low, high or grid, strict=True))
    field = np.zeros((len(x) + 2, len(y) + 2))
    field[1:-1, 1:-1] = np.exp(-60 * ((x[:, None] - 0.4) ** 2 + (y - 0.3) ** 2))
    return field


def advance(before: Field | None, now: Field, grid: Pair) -> Field:
    """The field one time step later; ``before`` is None at the first step, where the hump is at rest."""
    r_x, r_y = (0.9 * (n + 1) / math.hypot(grid[0] + 1, grid[1] + 1) for n in grid)  # 1 instead of 0.9: just stable
    centre = now[1:-1, 1:-1]
    change = r_x**2 * (now[2:, 1:-1] - 2 * centre + now[:-2, 1:-1])
    change += r_y**2 * (now[1:-1, 2:] - 2 * centre + now[1:-1, :-2])
    after = np.zeros_like(now)
    after[1:-1, 1:-1] = centre + change / 2 if before is None else 2 * centre - before[1:-1, 1:-1] + change
    return after


class Block:
    """The block at ``place`` in a ``partition`` of the grid, with an inbox open at ``address`` for each inner side.

    Every block makes a key pair of its own. Who connects to an inbox must know the public half, and that is told
    only to the neighbours, over the cluster's own encrypted channels; the secret half never leaves this process.
    """

    def __init__(self, grid: Pair, partition: Pair, place: Pair, address: str) -> None:
        self.grid = grid
        bounds = [(n * k // parts, n * (k + 1) // parts) for n, parts, k in zip(grid, partition, place, strict=True)]
        self.low, self.high = (bounds[0][0], bounds[1][0]), (bounds[0][1], bounds[1][1])
        self.context = zmq.Context()
        self.public, self.secret = zmq.curve_keypair()
        inner = [side for side in SIDES if 0 <= place[side[0]] + side[1] < partition[side[0]]]
        self.receivers = {side: self._socket(zmq.PULL) for side in inner}
        self.senders: dict[Side, zmq.Socket[bytes]] = {}
        for receiver in self.receivers.values():
            receiver.curve_server = True
            receiver.bind(f"tcp://{address}:*")

    @property
    def inboxes(self) -> dict[Side, Inbox]:
        """Where the neighbour on each inner side must send its edge."""
        return {
            side: (receiver.get_string(zmq.LAST_ENDPOINT), self.public) for side, receiver in self.receivers.items()
        }

    def run(self, neighbours: dict[Side, Inbox], steps: int) -> Field:
        """The block's own points after some time steps; without ``neighbours`` its inner sides are walls."""
        for side, (endpoint, public) in neighbours.items():
            self.senders[side] = sender = self._socket(zmq.PUSH)
            sender.curve_serverkey = public
            sender.connect(endpoint)
        before, now = None, start(self.grid, self.low, self.high)
        for _ in range(steps):
            for (axis, direction), sender in self.senders.items():
                sender.send(now.take(EDGE[direction], axis).tobytes())
            for axis, direction in self.senders:
                np.moveaxis(now, axis, 0)[HALO[direction]] = np.frombuffer(self.receivers[axis, direction].recv())
            before, now = now, advance(before, now, self.grid)
        return now[1:-1, 1:-1]

    def close(self) -> None:
        """Close every socket, once the last edges have left."""
        self.context.destroy(linger=PATIENCE)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        opened = self.context.socket(kind)
        opened.rcvtimeo = opened.sndtimeo = PATIENCE
        opened.curve_publickey, opened.curve_secretkey = self.public, self.secret
        return opened


def own_address() -> str:
    """This engine's address on the network where its controller is: the one that the other engines can reach."""
    from ipyparallel.engine.app import IPEngine

    controller = urlsplit(IPEngine.instance().registration_url).hostname
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((controller, 9))  # a datagram socket chooses its address here; nothing is sent
        return str(probe.getsockname()[0])

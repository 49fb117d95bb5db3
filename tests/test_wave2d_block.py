"""examples/wave2d_block.py: two blocks in two threads, as two engines would run them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from examples import wave2d_block
from examples.wave2d_block import Block, Field, Pair, advance, start

GRID = (30, 17)
LEFT, RIGHT = (0, -1), (0, 1)


@pytest.fixture
def halves() -> Iterator[tuple[Block, Block]]:
    """Two blocks side by side, not yet introduced to each other."""
    with (
        closing(Block(GRID, (2, 1), (0, 0), "127.0.0.1")) as left,
        closing(Block(GRID, (2, 1), (1, 0), "127.0.0.1")) as right,
    ):
        yield left, right


def run_both(left: Block, right: Block, steps: int) -> Field:
    with ThreadPoolExecutor() as pool:
        fields = [
            pool.submit(left.run, {RIGHT: right.inboxes[LEFT]}, steps),
            pool.submit(right.run, {LEFT: left.inboxes[RIGHT]}, steps),
        ]
        return np.concatenate([field.result(timeout=20) for field in fields])


def alone(grid: Pair, steps: int, field: Field) -> Field:
    before, now = None, field
    for _ in range(steps):
        before, now = now, advance(before, now, grid)
    return now[1:-1, 1:-1]


def test_a_standing_wave_keeps_its_shape_and_swings_with_the_frequency_of_the_scheme() -> None:
    grid, steps = (40, 25), 300
    x, y = (np.sin(np.pi * (np.arange(n) + 1) / (n + 1)) for n in grid)
    mode = np.outer(x, y)
    dt = 0.9 / np.hypot(41, 26)
    slowness = sum(((n + 1) * dt * np.sin(np.pi / 2 / (n + 1))) ** 2 for n in grid)
    swing = np.cos(steps * 2 * np.arcsin(np.sqrt(slowness)))
    assert alone(grid, steps, np.pad(mode, 1)) == pytest.approx(swing * mode, abs=1e-10)


def test_two_blocks_that_exchange_their_edges_are_one_field(halves: tuple[Block, Block]) -> None:
    assert run_both(*halves, 60) == pytest.approx(alone(GRID, 60, start(GRID)), abs=1e-12)


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_stranger_without_the_key_is_not_heard(halves: tuple[Block, Block], encrypted: bool) -> None:
    left, right = halves
    with zmq.Context() as context, context.socket(zmq.PUSH) as stranger, stranger.get_monitor_socket() as events:
        stranger.linger = 0
        if encrypted:
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
            stranger.curve_serverkey = zmq.curve_keypair()[0]
        stranger.connect(left.inboxes[RIGHT][0])
        while True:  # until the inbox has hung up
            assert events.poll(10_000)
            event = recv_monitor_message(events)["event"]
            assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
            if event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
                break
        assert run_both(left, right, 10) == pytest.approx(alone(GRID, 10, start(GRID)), abs=1e-12)


def test_a_silent_neighbour_is_an_error_and_not_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave2d_block, "PATIENCE", 50)
    with (
        closing(Block(GRID, (2, 1), (0, 0), "127.0.0.1")) as left,
        closing(Block(GRID, (2, 1), (1, 0), "127.0.0.1")) as silent,
        pytest.raises(zmq.Again),
    ):
        left.run({RIGHT: silent.inboxes[LEFT]}, 1)

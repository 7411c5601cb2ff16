"""Which worker gets a request, and how its speed is measured, by numbers worked out by hand."""

import pytest

from server.generation.workers.placing import WorkerState, least_wait
from server.generation.workers.speed import HALF_S, Speed
from tests.server.generation.workers.fakes import wanted


def chosen(*workers: tuple[int, float]) -> int:
    """The place of the one chosen among (tokens outstanding, tokens per second)."""
    states = [
        WorkerState(name=f"{i}", outstanding_tokens=tokens, tokens_per_second=speed)
        for i, (tokens, speed) in enumerate(workers)
    ]
    return states.index(least_wait(wanted(), states))


def test_the_worker_with_the_least_to_wait_for() -> None:
    assert chosen((100, 50.0), (300, 200.0)) == 1  # 2.0 s and 1.5 s
    assert chosen((100, 50.0), (300, 100.0)) == 0  # 2.0 s and 3.0 s
    assert chosen((100, 50.0), (400, 200.0)) == 0  # 2.0 s each: the first
    assert chosen((0, 0.0), (0, 900.0), (0, 0.0)) == 0  # nothing to wait for anywhere
    assert chosen((10, 0.0), (9, 0.0)) == 1  # nobody was measured: the fewest tokens
    # one that was not measured is as quick as the others: 30 / 20 = 1.5 s against 3 s and 1 s
    assert chosen((30, 0.0), (30, 10.0), (30, 30.0)) == 2
    assert chosen((30, 0.0), (30, 10.0), (60, 30.0)) == 0


def test_speed_is_of_the_time_with_work_and_fades() -> None:
    speed = Speed()
    assert speed.tokens_per_second == 0.0
    speed.begin(now=100.0)
    speed.begin(now=101.0)
    speed.end(now=100.0 + HALF_S, tokens=40)
    assert speed.tokens_per_second == 40 / HALF_S  # 4
    # half of (40 tokens, 10 s) and the new (20 tokens, 10 s): 40 / 15
    speed.end(now=100.0 + 2 * HALF_S, tokens=20)
    assert speed.tokens_per_second == pytest.approx(40 / 15)
    # idle until 900, then another 10 s: half of (40, 15) and (100, 10): 120 / 17.5
    speed.begin(now=900.0)
    speed.end(now=900.0 + HALF_S, tokens=100)
    assert speed.tokens_per_second == pytest.approx(120 / 17.5)

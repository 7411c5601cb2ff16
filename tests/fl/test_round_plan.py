"""The learning rate of a round."""

from dataclasses import replace

import pytest

from fl.round_plan import rate_share
from fl.settings import load


@pytest.mark.parametrize(
    ("final", "rounds", "number", "share"),
    [
        (0.1, 1, 1, 1.0),
        (0.1, 5, 1, 1.0),
        (0.1, 5, 3, 0.55),
        (0.1, 5, 5, 0.1),
        (0.1, 5, 6, 0.1),
        (1.0, 5, 3, 1.0),
    ],
)
def test_rounds_fall_to_the_last_rate(final: float, rounds: int, number: int, share: float) -> None:
    settings = load([f"rounds={rounds}"])
    settings = replace(settings, learning=replace(settings.learning, final_rate=final))
    assert rate_share(settings, number) == pytest.approx(share)

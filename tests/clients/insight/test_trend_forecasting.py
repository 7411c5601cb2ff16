"""Forecasts step by step, with a model whose next count is decided by the test."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import cast

import pytest

from clients.edge_model import EdgeModel
from clients.insight.choices import Options
from clients.insight.trends.decoding import Distribution
from clients.insight.trends.encoding import LETTERS, Window
from clients.insight.trends.forecasting import Forecasting
from fl.adapter import Adapter
from fl.prompt_format import completion

MIDDLE = LETTERS.index(LETTERS[len(LETTERS) // 2])
START = datetime(2026, 3, 2)
NO_ADAPTER = cast(Adapter, None)


class SureWriter:
    """Finds one letter, or two with even chances, after every prompt."""

    def __init__(self, letters: Sequence[int]) -> None:
        self._letters = letters
        self.prompts: list[int] = []  # of each call

    def weigh(
        self, prompts: Sequence[str], adapter: object, trie: Options, *, width: int
    ) -> list[list[tuple[int, float]]]:
        assert width == len(trie.children[()]) == len(LETTERS)
        self.prompts.append(len(prompts))
        share = -math.log(len(self._letters))
        nats = [share if i in self._letters else -math.inf for i in range(len(LETTERS))]
        return [sorted(enumerate(nats), key=lambda pair: -pair[1]) for _ in prompts]


class FakeModel:
    """What Forecasting uses of an EdgeModel: letters are one token each, as in its vocabulary."""

    end_id = 0

    def __init__(self, *letters: int) -> None:
        self.writer = SureWriter(letters)

    def token_ids(self, text: str) -> list[int]:
        return [1 + [completion(letter) for letter in LETTERS].index(text)]


def forecasting(model: FakeModel) -> Forecasting:
    return Forecasting(cast(EdgeModel, model), coverage=0.8)


class SteadyWorld(Forecasting):
    """Every next count is within 10 % of the one before it, wherever that has come to."""

    def distributions(self, adapter: Adapter, windows: Sequence[Window]) -> list[Distribution]:
        lasts = [window.history[-1] for window in windows]
        return [
            Distribution(pieces=((range(math.ceil(0.9 * last), math.floor(1.1 * last)), 1.0),))
            for last in lasts
        ]


def test_a_steady_world_is_steady_at_every_step() -> None:
    """Against the median of all paths it would rise or fall, for those have spread meanwhile."""
    ahead = SteadyWorld(cast(EdgeModel, FakeModel(MIDDLE)), coverage=0.8).ahead(
        NO_ADAPTER, [1e6] * 24, START, step=timedelta(hours=1)
    )
    told = list(islice(ahead, 24))
    assert [one.probabilities["steady"] for one in told] == pytest.approx([1.0] * 24)
    assert {one.direction for one in told} == {"steady"}
    widths = [one.high - one.low for one in told]
    assert widths[0] < widths[5] < widths[23]


def test_a_path_is_measured_against_itself() -> None:
    """Half of the counts are the least, half the largest: from either, half are steady.

    The least are 0 here, and from 0 all but 0 rise.
    """
    model = FakeModel(0, len(LETTERS) - 1)
    ahead = forecasting(model).ahead(
        NO_ADAPTER, [0.0] * 12 + [1000.0] * 12, START, step=timedelta(hours=1)
    )
    first, second = islice(ahead, 2)
    assert first.probabilities["fall"] == pytest.approx(0.5)  # from 1,000
    assert second.probabilities["rise"] >= 0.25  # half of the paths stand at 0 or near it
    assert second.probabilities["fall"] >= 0.2
    assert model.writer.prompts == [1, 16]


def test_paths_stay_within_what_a_prompt_may_hold() -> None:
    model = FakeModel(len(LETTERS) - 1)
    ahead = forecasting(model).ahead(NO_ADAPTER, [9e14] * 24, START, step=timedelta(hours=1))
    assert len(list(islice(ahead, 4))) == 4


def test_windows_are_forecast_together() -> None:
    model = FakeModel(MIDDLE)
    windows = [Window(history=(float(scale),) * 24, at=START) for scale in (100, 1000)]
    small, large = forecasting(model).next(NO_ADAPTER, windows, past=[1, 500, 2000])
    assert model.writer.prompts == [2]
    assert small.value == pytest.approx(100, rel=0.07)
    assert large.value == pytest.approx(1000, rel=0.07)
    assert (small.level, large.level) == ("low", "high")  # one of three past counts, and two


def test_too_few_counts() -> None:
    with pytest.raises(ValueError, match="24 counts or more, found 23"):
        next(
            forecasting(FakeModel(MIDDLE)).ahead(
                NO_ADAPTER, [1.0] * 23, START, step=timedelta(hours=1)
            )
        )

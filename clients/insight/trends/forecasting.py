"""Forecasts of count series by the edge model with the adapter of task=trend."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from clients.edge_model import EdgeModel
from clients.insight.choices import Options
from clients.insight.forecast import Forecast
from clients.insight.trends.decoding import (
    Distribution,
    forecast_of,
    mean_directions,
    mixture,
    of_letters,
)
from clients.insight.trends.encoding import HISTORY, LETTERS, MOST, Window, prompt_text
from fl.adapter import Adapter
from fl.prompt_format import task_prompt
from fl.tasks import TREND

PATHS = 16  # drawn ways a series may go, of which a forecast further ahead is the mixture
SEED = 7  # the same series, the same paths


class Forecasting:
    """With one edge model. One thread at a time, as the model."""

    def __init__(self, model: EdgeModel, *, coverage: float) -> None:
        """An interval holds the share `coverage`, 0 to 1, of what is thought possible."""
        self._writer, self._coverage = model.writer, coverage
        self._letters = Options(LETTERS, model_ids=model.token_ids, end_id=model.end_id)

    def distributions(self, adapter: Adapter, windows: Sequence[Window]) -> list[Distribution]:
        """Of the count after each window. Raises ValueError for a window that is none."""
        prompts = [task_prompt(TREND, "", prompt_text(w.history, w.at)) for w in windows]
        weighed = self._writer.weigh(prompts, adapter, self._letters, width=len(LETTERS))
        return [
            of_letters([nats for _, nats in sorted(found)], history=window.history)
            for found, window in zip(weighed, windows, strict=True)
        ]

    def next(
        self, adapter: Adapter, windows: Sequence[Window], *, past: Sequence[float]
    ) -> list[Forecast]:
        """The next count after each window of one series; `past` says what its levels are."""
        return [
            forecast_of(
                found,
                directions=found.directions(window.history[-1]),
                past=past,
                coverage=self._coverage,
            )
            for found, window in zip(self.distributions(adapter, windows), windows, strict=True)
        ]

    def ahead(
        self, adapter: Adapter, counts: Sequence[float], at: datetime, *, step: timedelta
    ) -> Iterator[Forecast]:
        """The next counts of a series, one by one and without end; its last is of the step `at`.

        The first is exact; those after it are mixtures over PATHS drawn continuations, so that
        intervals widen with what is not known yet. The direction of a step is told against the
        step before it on the same path, not against the median of all. Raises ValueError for less
        than HISTORY counts.
        """
        if len(counts) < HISTORY:
            raise ValueError(f"expected {HISTORY} counts or more, found {len(counts)}")
        rng = random.Random(SEED)
        paths = [list(counts[-HISTORY:])]
        while True:
            found = self.distributions(
                adapter, [Window(history=tuple(path[-HISTORY:]), at=at) for path in paths]
            )
            lasts = [path[-1] for path in paths]
            yield forecast_of(
                mixture(found),
                directions=mean_directions(list(zip(found, lasts, strict=True))),
                past=counts,
                coverage=self._coverage,
            )
            at += step
            if len(paths) == 1:
                paths, found = paths * PATHS, found * PATHS
            # Shares spread evenly, in another order each time: less noise than independent draws.
            shares = rng.sample([(i + 0.5) / PATHS for i in range(PATHS)], PATHS)
            paths = [
                [*path, min(float(one.quantile(share)), MOST)]
                for path, one, share in zip(paths, found, shares, strict=True)
            ]

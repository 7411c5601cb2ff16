"""Forecasts over the site's HTTP API, beside the models; the same as the verb `trend`.

POST /v1/trends    {"history": [24 or more counts], "at": ISO 8601 of the last one's step,
                    "steps": 1 to 48, "step_s": 3600}   -> {"object": "list", "data": [...]}
GET  /v1/trends    the site's own request log, in steps of trend.step_s, trend.horizon ahead
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from clients.insight.forecast import Forecast
from clients.insight.trends.encoding import HISTORY
from clients.insight.trends.series import CountSeries, to_objects
from clients.insight.trends.trend_book import counts_under, time_of
from fl.errors import BookError, FederationError
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import Resource, ResourceCall
from fl.settings_trend import MOST_AHEAD

MOST_COUNTS = 2000  # of one call

Found = TypeVar("Found")
Body = Mapping[str, object]
Log = Callable[[], CountSeries]  # the site's own requests
Forecasts = Callable[[CountSeries, int], Sequence[Forecast]]  # (series, steps)


class TrendRoutes:
    """Of one site."""

    def __init__(self, *, log: Log, forecasts: Forecasts, horizon: int) -> None:
        """`log` may raise BookError, `forecasts` GenerationError or FederationError."""
        self._log, self._forecasts, self._horizon = log, forecasts, horizon

    def resources(self) -> list[Resource]:
        """What the gateway is to answer."""
        return [
            Resource(path="/v1/trends", methods=("POST",), answer=self._given),
            Resource(path="/v1/trends", methods=("GET",), answer=self._own),
        ]

    def _given(self, call: ResourceCall) -> Body:
        return self._answer(*_series(call.body))

    def _own(self, call: ResourceCall) -> Body:
        try:
            series = self._log()
        except BookError as error:  # says how long the log is, and no more
            raise ApiError(str(error), http_status=409) from None
        return self._answer(series, self._horizon)

    def _answer(self, series: CountSeries, steps: int) -> Body:
        try:
            found = self._forecasts(series, steps)
        except FederationError as error:
            raise ApiError(str(error), http_status=503, kind="server_error") from None
        return {"object": "list", "data": to_objects(series, found)}


def _series(body: bytes) -> tuple[CountSeries, int]:
    """(the series of a body, steps ahead). Raises ApiError, which repeats none of its counts."""
    try:
        said = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        said = None
    known = {"history", "at", "steps", "step_s"}
    if not isinstance(said, dict) or not {"history", "at"} <= said.keys() <= known:
        raise ApiError(
            'The body must be {"history": [COUNT, ...], "at": TIME}, with "steps" and "step_s" '
            "if need be.",
            param="history",
        )
    steps = _number(said, "steps", 1, whole=True, most=MOST_AHEAD)
    step_s = _number(said, "step_s", 3600, whole=False, most=86_400 * 366)
    counts = _of_book("history", lambda: counts_under(said, "history", "The body"))
    if not HISTORY <= len(counts) <= MOST_COUNTS:
        raise ApiError(
            f"history has {len(counts)} counts; it must have {HISTORY} to {MOST_COUNTS}.",
            param="history",
        )
    if not isinstance(said["at"], str):
        raise ApiError("at must be a text, a time as ISO 8601 has it.", param="at")
    at = _of_book("at", lambda: time_of(said["at"], "The body"))
    series = CountSeries(counts=tuple(counts), at=at, step=timedelta(seconds=step_s))
    _of_book("steps", lambda: series.require_ahead(int(steps)))
    return series, int(steps)


def _of_book(key: str, read: Callable[[], Found]) -> Found:
    """What is read of a body as of a book, with the key that is wrong."""
    try:
        return read()
    except BookError as error:
        raise ApiError(str(error), param=key) from None


def _number(
    said: Mapping[str, Any], key: str, default: float, *, whole: bool, most: float
) -> float:
    found = said.get(key, default)
    right = isinstance(found, int) if whole else isinstance(found, int | float)
    if not right or isinstance(found, bool) or not 1 <= found <= most:
        kind = "a whole number" if whole else "a number"
        raise ApiError(f"{key} must be {kind} from 1 to {most:,.0f}.", param=key)
    return float(found)

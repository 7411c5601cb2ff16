"""/v1/trends: a series given, the site's own log, and what is refused without repeating it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from clients.edge_service.trend_routes import Forecasts, Log, TrendRoutes
from clients.insight.forecast import Forecast
from clients.insight.trends.series import CountSeries
from fl.errors import BookError, FederationError
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import ResourceCall

TOLD = Forecast(
    value=5.0,
    low=2.0,
    high=9.0,
    direction="steady",
    level="middle",
    probabilities={"rise": 0.25, "steady": 0.5, "fall": 0.25},
)


def log() -> CountSeries:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return CountSeries(counts=(5.0,) * 24, at=at, step=timedelta(hours=1))


def young() -> CountSeries:
    raise BookError("a request log of 3 whole steps")


def forecasts(series: CountSeries, steps: int) -> Sequence[Forecast]:
    return [TOLD] * steps


def untaught(series: CountSeries, steps: int) -> Sequence[Forecast]:
    raise FederationError("no release yet")


def post(body: object) -> dict[str, list[dict[str, object]]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    call = ResourceCall(method="POST", path={}, query={}, body=raw)
    routes = TrendRoutes(log=log, forecasts=forecasts, horizon=2).resources()
    return dict(routes[0].answer(call))  # type: ignore[arg-type]


def get(log: Log = log, forecasts: Forecasts = forecasts) -> dict[str, list[dict[str, object]]]:
    call = ResourceCall(method="GET", path={}, query={}, body=b"")
    routes = TrendRoutes(log=log, forecasts=forecasts, horizon=2).resources()
    return dict(routes[1].answer(call))  # type: ignore[arg-type]


GOOD: dict[str, object] = {"history": [5] * 24, "at": "2026-03-02T00:00:00", "steps": 3}


def test_a_series_that_is_given() -> None:
    found = post({**GOOD, "step_s": 60})["data"]
    assert [one["at"] for one in found] == [f"2026-03-02T00:0{i}:00" for i in (1, 2, 3)]
    assert found[0]["value"] == 5.0
    assert found[0]["direction"] == "steady"


def test_the_sites_own_log() -> None:
    assert [one["at"] for one in get()["data"]] == [
        "2026-03-02T01:00:00+00:00",
        "2026-03-02T02:00:00+00:00",
    ]


def test_a_site_that_cannot_answer() -> None:
    with pytest.raises(ApiError, match="3 whole steps") as refused:
        get(log=young)
    assert refused.value.http_status == 409
    with pytest.raises(ApiError, match="no release yet") as refused:
        get(forecasts=untaught)
    assert refused.value.http_status == 503


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"history": [77] * 23}, "history", "23 counts; it must have 24 to 2000"),
        ({"history": [77] * 2001}, "history", "2001 counts"),
        ({"history": [77] * 23 + ["x"]}, "history", "numbers from 0"),
        ({"history": [1] * 23 + [-77]}, "history", "numbers from 0 to 1e.15"),
        ({"history": [1e20] * 24}, "history", "numbers from 0 to 1e.15"),
        ({"at": "77 o'clock"}, "at", "ISO 8601"),
        ({"at": 77}, "at", "must be a text"),
        ({"at": "9999-12-31T23:00:00"}, "at", "years 2 to 9998"),
        ({"at": "9998-12-31T23:00:00", "steps": 48, "step_s": 86_400}, "steps", "year 9998"),
        ({"steps": 77}, "steps", "whole number from 1 to 48"),
        ({"steps": 1.5}, "steps", "whole number"),
        ({"steps": True}, "steps", "whole number"),
        ({"step_s": "77"}, "step_s", "number from 1 to"),
        ({"unknown": 77}, "history", "body must be"),
    ],
)
def test_what_is_refused(change: dict[str, object], param: str, said: str) -> None:
    with pytest.raises(ApiError, match=said) as refused:
        post({**GOOD, **change})
    assert refused.value.param == param
    assert refused.value.http_status == 400
    assert "77" not in str(refused.value)


@pytest.mark.parametrize("body", [b"\xff77", [77], {}, {"history": [77] * 24}])
def test_what_is_no_body(body: object) -> None:
    with pytest.raises(ApiError, match="body must be") as refused:
        post(body)
    assert "77" not in str(refused.value)


def test_answering_needs_no_pictures() -> None:
    """Matplotlib would cost an edge service 32 MiB."""
    said = "import sys, clients.edge_service.service as s; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

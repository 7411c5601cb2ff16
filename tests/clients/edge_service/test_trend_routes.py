"""/v1/trends: a series given, the site's own log, and what is refused without repeating it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from clients.edge_service.trend_routes import TrendRoutes
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


def log(site: str) -> CountSeries:
    if site == "young":
        raise BookError("a request log of 3 whole steps")
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return CountSeries(counts=(5.0,) * 24, at=at, step=timedelta(hours=1))


def forecasts(site: str, series: CountSeries, steps: int) -> Sequence[Forecast]:
    if site == "bare":
        raise FederationError("no release yet")
    return [TOLD] * steps


ROUTES = TrendRoutes(["hill", "bare", "young"], log=log, forecasts=forecasts, horizon=2).resources()


def post(body: object, **query: str) -> dict[str, list[dict[str, object]]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    call = ResourceCall(method="POST", path={}, query=query, body=raw)
    return dict(ROUTES[0].answer(call))  # type: ignore[arg-type]


def get(**query: str) -> dict[str, list[dict[str, object]]]:
    call = ResourceCall(method="GET", path={}, query=query, body=b"")
    return dict(ROUTES[1].answer(call))  # type: ignore[arg-type]


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


@pytest.mark.parametrize(("site", "status"), [("bare", 503), ("young", 409), ("77", 404)])
def test_sites_that_cannot_answer(site: str, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        get(site=site)
    assert refused.value.http_status == status
    assert "77" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"history": [77] * 23},
        {"history": [77] * 23 + ["x"]},
        {"history": [1] * 23 + [-77]},
        {"history": [77] * 2001},
        {"at": "77 o'clock"},
        {"at": 77},
        {"at": "9999-12-31T23:00:00"},
        {"steps": 77},
        {"steps": 1.5},
        {"steps": True},
        {"step_s": "77"},
        {"unknown": 77},
    ],
)
def test_what_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ApiError) as refused:
        post({**GOOD, **change})
    assert "77" not in str(refused.value)


@pytest.mark.parametrize("body", [b"\xff77", [77], {}, {"history": [77] * 24}])
def test_what_is_no_body(body: object) -> None:
    with pytest.raises(ApiError):
        post(body)

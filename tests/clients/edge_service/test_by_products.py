"""Intents and trends through a running service: one model, an adapter a task, nothing told on."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.adapter_shelf import open_shelf
from clients.atomic import publish_text
from clients.insight.trends.forecasting import Forecasting
from fl.settings import with_task
from fl.site_list import book_path, hosted_site
from fl.tasks import BY_PRODUCTS, INTENT, TREND
from tests.clients.edge_service.openai_at_site import asked
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.learning.sites import first_adapter
from tests.walks.tiny_federation import CANARY

COUNTS = [1_234_567 + i for i in range(24)]
SERIES = {"history": COUNTS, "at": "2026-03-02T00:00:00", "steps": 2}
BOOK = [
    {"text": f"drop the flow from gate{i} to {CANARY}", "intent": "remove_flow", "entities": []}
    for i in range(4)
]


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    return tiny_site(tmp_path)


def put_in_use(site: TinySite, task: str) -> None:
    """A first adapter of the task, as a delivery puts it there."""
    own = with_task(site.settings, task)
    release = site.release(2, shared=first_adapter(own), task=task)
    shelf = open_shelf(own, SITE, "001")
    shelf.keep_release(release)
    shelf.use(release.number)


def post(site: TinySite, path: str, body: object, *, token: bool = True) -> httpx.Response:
    headers = {"authorization": f"Bearer {site.service.token}"} if token else {}
    return httpx.post(f"{site.service.http}/{path}", json=body, headers=headers, timeout=60)


def test_before_the_first_release_of_a_task_one_sentence_says_so(site: TinySite) -> None:
    with asked(site):
        for path, body in (("intents", {"text": CANARY}), ("trends", SERIES)):
            refused = post(site, path, body)
            assert refused.status_code == 503
            assert "simulate task=" in refused.json()["error"]["message"]
        assert post(site, "trends", SERIES, token=False).status_code == 401
        elsewhere = post(site, "intents?site=secret", {"text": CANARY})
        assert elsewhere.status_code == 404
        assert "secret" not in elsewhere.text


def test_every_task_is_answered_by_its_adapter_on_the_one_model(site: TinySite) -> None:
    for task in BY_PRODUCTS:
        put_in_use(site, task)
    own = with_task(site.settings, INTENT)
    book = book_path(own, hosted_site(site.settings))
    publish_text(book, "".join(json.dumps(line) + "\n" for line in BOOK))
    with asked(site):
        read: dict[str, Any] = post(site, "intents", {"text": f"drop {CANARY} now"}).json()
        assert set(read) == {"intent", "slots", "confidence"}
        assert 0 <= read["confidence"] <= 1
        told = post(site, "trends", SERIES).json()["data"]
        assert [one["at"] for one in told] == ["2026-03-02T01:00:00", "2026-03-02T02:00:00"]
        assert all(one["low"] <= one["value"] <= one["high"] for one in told)
        again = post(site, "trends", SERIES).json()["data"]
        assert again == told  # drawn paths, but the same ones
        own_log = httpx.get(
            f"{site.service.http}/trends",
            headers={"authorization": f"Bearer {site.service.token}"},
            timeout=60,
        )
        assert own_log.status_code == 409
        assert "needs 24" in own_log.json()["error"]["message"]
    said = "\n".join(site.said)
    assert CANARY not in said
    assert not any(str(count) in said for count in COUNTS)
    for file in site.folder.rglob("*"):  # but for the book, nobody writes them down
        if file.is_file() and file != book:
            raw = file.read_bytes()
            assert not any(str(count).encode() in raw for count in COUNTS), file
            assert CANARY.encode() not in raw or file.name.startswith("book")


def test_all_steps_of_a_forecast_have_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 steps of 0.2 s each: none is too late by itself, together they are."""

    def slow(*_: object, **__: object) -> Iterator[None]:
        while True:
            time.sleep(0.2)
            yield None

    monkeypatch.setattr(Forecasting, "ahead", slow)
    site = tiny_site(tmp_path, "asking.timeout_s=1")
    put_in_use(site, TREND)
    with asked(site):
        refused = post(site, "trends", {**SERIES, "steps": 48})
        assert refused.status_code == 504
        assert "asking.timeout_s" in refused.json()["error"]["message"]

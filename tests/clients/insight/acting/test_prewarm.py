"""What forecasts of a site's requests decide, from its ledger on."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from clients.insight.acting.persistence import Persistence
from clients.insight.acting.prewarm import Outlook, PutOff, kept_warm
from clients.insight.forecast import Forecast
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file, record
from fl.errors import FederationError
from fl.settings import Settings, load


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(site: str, at: float, mode: str, kept: str) -> Entry:
    words = {"request_id": "r", "site_id": site, "wanted": mode, "mode": mode, "kept": kept}
    more = {"outcome": "stop", "counted": "socket", "federation": "", "cloud_release": ""}
    numbers = {name: 0 for name in Entry.__dataclass_fields__ if name not in (*words, *more, "at")}
    return Entry(**words, **more, **numbers, at=at)  # type: ignore[arg-type]


def asked(settings: Settings, site: str, at: float, mode: str = "edge", kept: str = "") -> None:
    record(ledger_file(settings, site), entry(site, at, mode, kept))


def forecast(value: float, **more: Any) -> Forecast:
    shown = {"direction": "steady", "level": "middle", "probabilities": {}} | more
    return Forecast(value=value, low=value, high=value, **shown)


def test_a_ledger_that_is_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    settings, clock = load([f"var={tmp_path}", "prewarm.interval_s=10"]), Clock()
    for at in (980.0, 981.0, 982.0):
        asked(settings, "elm", at)
    outlook = Outlook(settings, ["elm"], Persistence(), clock=clock)
    ledger_file(settings, "elm").unlink()
    asked(settings, "elm", 1001.0)
    clock.now = 1012.0
    assert outlook.look()
    assert outlook.per_s("elm") == 0.1


def test_requests_are_those_of_the_ledgers_since_it_began(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}", "prewarm.interval_s=10"])
    asked(settings, "elm", 995.0)  # before: not read
    clock = Clock()
    outlook = Outlook(settings, ["elm", "oak"], Persistence(), clock=clock)
    assert not outlook.look()
    for at in (1001.0, 1002.0, 1003.0):
        asked(settings, "elm", at)
    asked(settings, "oak", 1004.0)
    with open(ledger_file(settings, "elm"), "ab") as torn:
        torn.write(b'{"at": 1005')  # waits until it is whole
    clock.now = 1012.0
    assert outlook.look()
    assert (outlook.per_s("elm"), outlook.per_s("oak")) == (0.3, 0.1)
    clock.now = 1021.0
    assert outlook.look()
    assert outlook.per_s("elm") == 0.0
    assert not outlook.crowd("elm")


def test_adverts_are_of_requests_that_go_to_the_cloud_alone(tmp_path: Path) -> None:
    settings, clock = load([f"var={tmp_path}", "prewarm.interval_s=10"]), Clock()
    outlook = Outlook(settings, ["elm"], Persistence(), clock=clock)
    outlook.look()
    for mode, kept in (
        ("edge", ""),
        ("edge", "enriched"),
        ("cloud", ""),
        ("split", ""),
        ("synergy", "enriched"),
        ("synergy", "both"),
        ("cloud", "answer"),
    ):
        asked(settings, "elm", 1001.0, mode, kept)
    clock.now = 1010.0
    assert outlook.look()
    assert (outlook.per_s("elm"), outlook.cloud_per_s("elm")) == (0.7, 0.3)


def test_nobody_waits_for_who_forecasts(tmp_path: Path) -> None:
    settings, clock = load([f"var={tmp_path}", "prewarm.interval_s=10"]), Clock()
    begun, go_on = threading.Event(), threading.Event()

    def slow(history: Sequence[float], at: datetime) -> Forecast:
        begun.set()
        assert go_on.wait(30)
        return forecast(history[-1])

    outlook = Outlook(settings, ["elm"], slow, clock=clock)
    outlook.look()
    asked(settings, "elm", 1001.0)
    clock.now = 1010.0
    with ThreadPoolExecutor(2) as threads:
        looking = threads.submit(outlook.look)
        assert begun.wait(30)
        reading = threads.submit(outlook.per_s, "elm")
        try:
            assert reading.result(5) == 0.0
        finally:
            go_on.set()
        assert looking.result(30)
    assert outlook.per_s("elm") == 0.1


def test_forecasts_lapse_where_no_new_ones_come(tmp_path: Path) -> None:
    settings, clock = load([f"var={tmp_path}", "prewarm.interval_s=10"]), Clock()
    outlook = Outlook(settings, ["elm"], Persistence(), clock=clock)
    outlook.look()
    asked(settings, "elm", 1001.0, "cloud")
    clock.now = 1012.0
    outlook.look()  # of 1010 to 1020
    clock.now = 1029.0
    assert (outlook.per_s("elm"), outlook.cloud_per_s("elm")) == (0.1, 0.1)
    clock.now = 1030.0
    assert (outlook.per_s("elm"), outlook.cloud_per_s("elm")) == (0.0, 0.0)
    assert not outlook.crowd("elm")


def test_a_fault_is_said_once_and_looking_goes_on(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}", "prewarm.interval_s=0.04"])
    stop, said, tried = threading.Event(), list[str](), list[float]()

    def fails(history: Sequence[float], at: datetime) -> Forecast:
        tried.append(at.timestamp())
        if len(tried) >= 3:
            stop.set()
        raise FederationError("no model")

    outlook = Outlook(settings, ["elm"], fails, say=said.append)
    asked(settings, "elm", time.time())
    outlook.run(stop, on_new=lambda: None)
    assert len(tried) >= 3
    assert said == ["requests are not forecast: FederationError"]


@pytest.mark.parametrize(
    ("direction", "sure", "rises"),
    [("rise", 0.5, True), ("rise", 0.4, False), ("fall", 0.9, False)],
)
def test_a_rise_counts_where_it_is_probable(
    tmp_path: Path, direction: str, sure: float, rises: bool
) -> None:
    settings, clock = load([f"var={tmp_path}", "prewarm.interval_s=10"]), Clock()
    made = forecast(9.0, direction=direction, probabilities={"rise": sure}, level="high")
    outlook = Outlook(settings, ["elm"], lambda history, at: made, clock=clock)
    outlook.look()
    asked(settings, "elm", 1001.0)
    clock.now = 1010.0
    outlook.look()
    assert outlook.rises("elm") is rises
    assert outlook.crowd("elm")
    assert not outlook.rises("oak")


def test_the_most_expected_stay_warm_and_equals_are_not_changed_for_nothing() -> None:
    rates = {"a": 0.0, "b": 2.0, "c": 0.0}
    assert kept_warm("abc", rates.__getitem__, most=2, warm={"c"}) == {"b", "c"}
    assert kept_warm("abc", rates.__getitem__, most=0, warm=set()) == {"a", "b", "c"}


def test_a_fetch_is_put_off_in_a_crowd_and_not_for_longer() -> None:
    clock, crowd = Clock(), [True]
    put_off = PutOff(lambda: crowd[0], most_s=5, clock=clock)
    assert put_off.waits("r1")
    clock.now += 4
    assert put_off.waits("r1")
    clock.now += 2
    assert not put_off.waits("r1")
    assert put_off.waits("r2")
    crowd[0] = False
    assert not put_off.waits("r2")
    assert not PutOff(lambda: True, most_s=0, clock=clock).waits("r3")

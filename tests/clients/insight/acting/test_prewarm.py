"""What forecasts of a site's requests decide, from its ledger on."""

from pathlib import Path

from clients.insight.acting.persistence import Persistence
from clients.insight.acting.prewarm import Outlook, PutOff, kept_warm
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file, record
from fl.settings import Settings, load


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(site: str, at: float) -> Entry:
    words = {"request_id": "r", "site_id": site, "wanted": "edge", "mode": "edge"}
    more = {"outcome": "stop", "counted": "socket", "federation": "", "cloud_release": ""}
    numbers = {
        name: 0 for name in Entry.__dataclass_fields__ if name not in (*words, *more, "at", "kept")
    }
    return Entry(**words, **more, **numbers, at=at)  # type: ignore[arg-type]


def asked(settings: Settings, site: str, at: float) -> None:
    record(ledger_file(settings, site), entry(site, at))


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

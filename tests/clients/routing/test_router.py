"""When auto falls back: by the link, by load, by doubt; and without a cloud never."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.routing.calibration import Calibration
from clients.routing.link_meter import LinkMeter
from clients.routing.router import Router
from clients.routing.threshold import LinkState, Usual, seconds_to_ask, tolerated_doubt
from clients.writing import Written
from fl.errors import GenerationError
from fl.settings import load

LINK = LinkState(rtt_s=0.1, up_bytes_s=1000, down_bytes_s=10_000)
USUAL = Usual(bytes_up=500, bytes_down=1000, cloud_s=0.2)


def tau(link: LinkState | None, whole: float = 1.0) -> float:
    return tolerated_doubt(link, USUAL, cloud_quality=0.9, price=0.1, enriched_whole=whole)


def test_seconds_and_threshold_by_hand() -> None:
    # 0.1 there and back, 0.5 up, 0.1 down, 0.2 in the cloud
    assert seconds_to_ask(LINK, USUAL) == pytest.approx(0.9)
    assert tau(LINK) == pytest.approx(0.1 + 0.1 * 0.9)
    assert tau(LINK, whole=0.5) == pytest.approx(0.1 + 0.1 * 0.9 / 0.5)
    busy = LinkState(rtt_s=0.1, up_bytes_s=1000, down_bytes_s=10_000, running=4, waiting=8)
    assert seconds_to_ask(busy, USUAL) == pytest.approx(0.9 + 0.2 * 2)
    assert tau(None) == 1.0


SPEEDS = st.floats(10, 1e9)
TIMES = st.floats(0, 20)


@given(TIMES, TIMES, SPEEDS, SPEEDS, st.integers(0, 99), st.integers(0, 99), st.floats(0, 1))
def test_falls_back_less_the_worse_the_link_is(
    rtt: float, later: float, speed: float, other: float, waiting: int, more: int, doubt: float
) -> None:
    def at(rtt_s: float, bytes_s: float, waits: int) -> float:
        return tau(
            LinkState(
                rtt_s=rtt_s, up_bytes_s=bytes_s, down_bytes_s=bytes_s, running=4, waiting=waits
            )
        )

    slow, fast = sorted((speed, other))
    assert at(rtt, slow, waiting) <= at(rtt + later, slow, waiting)
    assert at(rtt, fast, waiting) <= at(rtt, slow, waiting)
    assert at(rtt, slow, waiting) <= at(rtt, slow, waiting + more)
    assert 0 <= at(rtt, slow, waiting) <= 1


def router(meter: LinkMeter) -> Router:
    # probability 1/2 at a score of 0, which is a doubt of 1/2; about 0 at -10
    calibration = Calibration(slope=3.0, intercept=0.0, requests=9, faithful=0.5, base="b")
    return Router(load(), calibration, meter)


SURE, UNSURE = Written(text="a", nats=(0.0,)), Written(text="a", nats=(10.0,))


def test_keeps_by_what_the_link_costs() -> None:
    near = router(LinkMeter(lambda: LINK, fresh_s=30))
    near.look()
    assert not near.keeps(UNSURE)
    assert not near.keeps(SURE)  # a doubt of 0.5 is above 0.1 + 0.1 * 0.5
    far = router(
        LinkMeter(lambda: LinkState(rtt_s=6, up_bytes_s=1e6, down_bytes_s=1e6), fresh_s=30)
    )
    far.look()
    assert far.keeps(SURE)
    assert not far.keeps(UNSURE)  # a doubt of 1 is above 0.1 + 0.1 * 6.2


def test_without_a_way_to_the_cloud_own_answers_are_kept() -> None:
    def away() -> LinkState:
        raise GenerationError("away", status="UNAVAILABLE")

    cut_off = router(LinkMeter(away, fresh_s=30))
    cut_off.look()
    assert cut_off.keeps(UNSURE)


def test_measures_anew_when_old_and_once_at_a_time() -> None:
    now, measured, go = [0.0], [], threading.Event()

    def measure() -> LinkState:
        go.wait(10)
        measured.append(now[0])
        return LINK

    meter = LinkMeter(measure, fresh_s=30, clock=lambda: now[0])
    meter.look()
    meter.look()
    assert meter.state(wait_s=0.01) is None  # it waits no longer than told
    go.set()
    assert meter.state(wait_s=10) == LINK
    now[0] = 29.0
    meter.look()
    assert measured == [0.0]
    now[0] = 31.0
    meter.look()
    meter._thread.join(10)  # type: ignore[union-attr]
    assert measured == [0.0, 31.0]


def test_a_cloud_that_went_away_is_believed_until_the_next_look() -> None:
    now = [0.0]
    meter = LinkMeter(lambda: LINK, fresh_s=30, clock=lambda: now[0])
    meter.look()
    assert meter.state(wait_s=10) == LINK
    meter.lost()
    assert meter.state(wait_s=0) is None
    now[0] = 31.0
    meter.look()
    meter._thread.join(10)  # type: ignore[union-attr]
    assert meter.state(wait_s=0) == LINK


def test_what_is_usual_follows_what_was_seen() -> None:
    meter = LinkMeter(lambda: LINK, fresh_s=30)
    before = meter.usual
    meter.learn(bytes_up=1000, bytes_down=2000, cloud_s=1.0)
    assert meter.usual.bytes_up == pytest.approx(0.8 * before.bytes_up + 200)
    assert meter.usual.cloud_s == pytest.approx(0.8 * before.cloud_s + 0.2)

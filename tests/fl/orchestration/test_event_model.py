"""The discrete-event model: one request by hand, and what must hold of any scene."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.orchestration.admission import POLICIES, Admission
from fl.orchestration.batch_server import Pace
from fl.orchestration.event_model import EventModel
from fl.orchestration.scene import (
    Arrival,
    Burstiness,
    Change,
    Costs,
    Freight,
    Loss,
    Scene,
    bursty_arrivals,
)

EDGE = Pace(step_s=0.004, row_s=0.001, rows=4)  # 5 ms a token alone
CLOUD = Pace(step_s=0.008, row_s=0.002, rows=4)  # 10 ms a token alone

ONE = Scene(
    seconds=20.0,
    deadline_s=2.0,
    cell_of=(0,),
    arrivals=(Arrival(at=10.0, site=0, enriched_tokens=20, answer_tokens=40),),
    changes=(Change(at=0.0, cell=0, profile="satellite"),),  # 3 / 25 Mbit/s, 600 ms
    losses=(),
    freight=(),
    edge=EDGE,
    workers={"w": CLOUD},
    costs=Costs(enriched_tokens=20, answer_tokens=40, bytes_up=3750, bytes_down=6250, talk_bytes=0),
    advert_s=1.0,
    measure_s=1.0,
)


def test_one_request_takes_the_sum_of_its_parts() -> None:
    (outcome,) = EventModel(ONE, Admission(slack=0.0)).play().outcomes
    # enrich 0.1, done long before the verdict: 0.6; up 0.01 + 0.3; cloud 0.4; down 0.002 + 0.3
    assert outcome.place == "cloud"
    assert outcome.in_time
    assert outcome.seconds == pytest.approx(0.6 + 0.31 + 0.4 + 0.302)


def test_a_deadline_too_short_for_the_way_is_met_at_the_site() -> None:
    scene = replace(ONE, deadline_s=1.2)
    (outcome,) = EventModel(scene, Admission(slack=0.0)).play().outcomes
    # The verdict comes after 0.6 s; then 40 tokens of the site's own model.
    assert (outcome.place, outcome.in_time) == ("edge", True)
    assert outcome.seconds == pytest.approx(0.6 + 40 * 0.005)


def test_who_hears_nothing_in_time_answers_by_itself() -> None:
    jammed = replace(ONE, freight=(Freight(at=9.9, cell=0, up=3_000_000, down=0),))  # 8 s of line
    (outcome,) = EventModel(jammed, Admission(slack=0.1)).play().outcomes
    # Its own answer takes 0.2 s and shall be there after 1.8 s, so it waits for 1.6 s.
    assert (outcome.place, outcome.in_time) == ("edge", True)
    assert outcome.seconds == pytest.approx(1.6 + 0.2)


def test_a_worker_that_dies_loses_nothing() -> None:
    scene = replace(
        ONE,
        deadline_s=6.0,
        workers={"w": CLOUD, "v": CLOUD},
        losses=(Loss(at=11.2, worker="w", back_at=18.0),),
    )
    (outcome,) = EventModel(scene, Admission(slack=0.0)).play().outcomes
    # It had been at w since 10.91 and goes on at v.
    assert outcome.in_time
    assert outcome.seconds == pytest.approx(0.6 + 0.31 + 0.4 + 0.302)
    alone = replace(ONE, deadline_s=6.0, losses=(Loss(at=11.2, worker="w", back_at=12.0),))
    (outcome,) = EventModel(alone, Admission(slack=0.0)).play().outcomes
    assert outcome.seconds == pytest.approx((12.0 - 10.0) + (0.4 - 0.29) + 0.302)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), policy=st.sampled_from(POLICIES))
def test_every_request_has_one_end_within_its_deadline(seed: int, policy: str) -> None:
    rng = random.Random(seed)
    cell_of = (0, 0, 1)
    burst = Burstiness(quiet_per_s=0.2, crowd_per_s=4.0, quiet_s=5.0, crowd_s=3.0)
    scene = replace(
        ONE,
        seconds=20.0,
        deadline_s=1.0,
        cell_of=cell_of,
        arrivals=bursty_arrivals(
            cell_of, burst, seconds=20.0, enriched_tokens=(10, 30), answer_tokens=(20, 40), rng=rng
        ),
        changes=tuple(
            Change(at=at, cell=cell, profile=rng.choice(("lte", "5g-bad", "satellite")))
            for cell in (0, 1)
            for at in (0.0, 7.0, 14.0)
        ),
        losses=(Loss(at=8.0, worker="w", back_at=12.0),),
        freight=(Freight(at=5.0, cell=1, up=500_000, down=500_000),),
        workers={"w": CLOUD, "v": CLOUD},
    )
    admission = Admission(policy)
    outcomes = EventModel(scene, admission).play().outcomes
    assert len(outcomes) == len(scene.arrivals)
    assert all(0 <= outcome.seconds <= 1.0 + 1e-9 for outcome in outcomes)
    assert all(outcome.place in ("edge", "cloud") for outcome in outcomes if outcome.in_time)
    assert set(admission.workers.values()) == {0}  # nothing stays promised


def test_a_burst_is_its_cells_and_rates_are_as_asked() -> None:
    burst = Burstiness(quiet_per_s=0.1, crowd_per_s=2.0, quiet_s=30.0, crowd_s=10.0)
    arrivals = bursty_arrivals(
        (0, 0, 1, 1),
        burst,
        seconds=20_000.0,
        enriched_tokens=(5,),
        answer_tokens=(5,),
        rng=random.Random(0),
    )
    # A quarter of the time is crowded: 0.75 x 0.1 + 0.25 x 2 = 0.575 a second and site.
    assert len(arrivals) / 20_000 / 4 == pytest.approx(0.575, rel=0.15)
    assert [a.at for a in arrivals] == sorted(a.at for a in arrivals)

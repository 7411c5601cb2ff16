"""What is told of trials, by hand."""

import json
import re
from dataclasses import replace

import pytest

from clients.orchestrate.figures import picture
from clients.orchestrate.markdown import markdown
from clients.orchestrate.results import (
    ADMISSIONS,
    Losing,
    Orchestrated,
    Trial,
    as_json,
    fewer,
    misses,
    off,
    trial,
)
from clients.orchestrate.staging import guess
from fl.orchestration.outcomes import Outcome, Played, Sample
from fl.settings import load


def one(admission: str, seed: int, missed: int, p50_s: float = 1.0) -> Trial:
    return Trial(
        admission=admission,
        seed=seed,
        requests=100,
        missed=missed,
        cloud=60,
        edge=30,
        shed=10,
        p50_s=p50_s,
    )


# joint misses 10 and 20 of 100, compute 20 and 40, network 15 and 15
REAL = tuple(
    one(name, seed, missed)
    for name, both in zip(ADMISSIONS, ((10, 20), (20, 40), (15, 15)), strict=True)
    for seed, missed in enumerate(both)
)
OUTCOMES = (
    Outcome(at=0.0, site=0, place="cloud", seconds=1.0, in_time=True),
    Outcome(at=1.0, site=0, place="edge", seconds=2.0, in_time=True),
    Outcome(at=2.0, site=1, place="shed", seconds=0.1, in_time=False),
    Outcome(at=3.0, site=1, place="cloud", seconds=4.0, in_time=False),
    Outcome(at=3.5, site=1, place="", seconds=4.0, in_time=False),
)
SAMPLES = tuple(
    Sample(at=at, at_workers=int(at), workers_up=1 + (at > 1), bytes_up=10 * at, bytes_down=20 * at)
    for at in (0.0, 1.0, 2.0, 3.0)
)
FOUND = Orchestrated(
    real=REAL,
    modelled=tuple(replace(t, p50_s=1.2, missed=t.missed + 1) for t in REAL),
    large=REAL,
    losing=(
        Losing(
            load=1,
            deadline_s=2,
            missed={"joint": (0.2, 0.2), "compute": (0.5, 0.5), "network": (0.1, 0.1)},
        ),
        Losing(
            load=2,
            deadline_s=2,
            missed={"joint": (0.2, 0.2), "compute": (0.3, 0.3), "network": (0.4, 0.4)},
        ),
    ),
    calibrations={name: guess(load()) for name in ADMISSIONS},
    deadline_s=2.0,
    sites=2,
    large_sites=1000,
    large_hours=2.0,
    real_samples=dict.fromkeys(ADMISSIONS, SAMPLES),
    real_outcomes=dict.fromkeys(ADMISSIONS, OUTCOMES),
    large_samples=dict.fromkeys(ADMISSIONS, SAMPLES),
    large_outcomes=dict.fromkeys(ADMISSIONS, OUTCOMES),
)


def test_a_trace_is_counted() -> None:
    counted = trial("joint", 3, Played(outcomes=list(OUTCOMES), lost=["INTERNAL"]))
    assert (counted.requests, counted.missed) == (5, 3)
    assert (counted.cloud, counted.edge, counted.shed) == (2, 1, 1)
    assert counted.p50_s == 1.5  # of the two in time
    assert counted.miss_rate == 0.6
    assert counted.lost == ("INTERNAL",)


def test_misses_and_gains_are_means_over_seeds_and_pairs() -> None:
    assert misses(REAL, "joint").mean == pytest.approx(0.15)
    # 0.10 and 0.20 fewer: a standard deviation of 0.0707, by sqrt 2 and t = 12.71
    gain = fewer(REAL, "compute")
    assert gain.mean == pytest.approx(0.15)
    assert gain.half == pytest.approx(12.71 * 0.05, rel=1e-3)
    assert fewer(REAL, "network").mean == pytest.approx(0.0)


def test_how_far_the_model_is_off() -> None:
    p50, missed = off(FOUND.real, FOUND.modelled, "joint")
    assert p50 == pytest.approx(0.2)
    assert missed == pytest.approx(0.16 / 0.15 - 1)


def test_losing_is_against_the_better_of_the_others() -> None:
    loses, gains = FOUND.losing
    assert (loses.best_other, gains.best_other) == ("network", "compute")
    assert (loses.gain.mean, gains.gain.mean) == (pytest.approx(-0.1), pytest.approx(0.1))


def test_tables_say_gains_losses_and_what_was_lost() -> None:
    text = markdown(FOUND)
    assert "joint is level with compute-only: +0.150 ± 0.635" in text
    assert "Of 600 requests 0 were lost" in text
    cells = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if "|" in line]
    losing = ["1", "2", "0.200", "0.500", "0.100", "-0.100 ± 0.000", "loses to network"]
    assert losing in cells
    assert ["joint", "1.00", "1.20", "+20%", "0.150", "0.160", "+7%", "no"] in cells
    lost = replace(REAL[0], lost=("INTERNAL",))
    assert "1 were lost (INTERNAL)" in markdown(replace(FOUND, real=(lost, *REAL[1:])))


def test_numbers_and_picture_hold_everything() -> None:
    found = json.loads(as_json(FOUND))
    assert [t["missed"] for t in found["real"]] == [10, 20, 20, 40, 15, 15]
    assert found["losing"][0]["missed"]["joint"] == [0.2, 0.2]
    png = picture(FOUND)
    assert png.startswith(b"\x89PNG")
    assert png == picture(FOUND)

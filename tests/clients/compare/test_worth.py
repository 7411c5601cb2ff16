"""Worth, frontier and intervals by hand, and the fitted line."""

import pytest

from clients.compare.judging import Judged, JudgedRequest
from clients.compare.line_fit import fit_line
from clients.compare.timing import LinkTrial, Timed
from clients.compare.worth import (
    GRID_MBIT_S,
    GRID_RTT_MS,
    frontier,
    link_worth,
    rate_grid,
    spread,
)
from clients.ledger.entry import Entry
from clients.routing.threshold import LinkState, Usual

LINK = LinkState(rtt_s=0.1, up_bytes_s=1e6, down_bytes_s=1e6)


def request(seed: int, *, doubt: float, edge: bool, synergy: bool) -> JudgedRequest:
    def answer(complete: bool) -> Judged:
        return Judged(named={"fact": (int(complete), 1)}, complete=complete, characters=3)

    return JudgedRequest(
        seed=seed,
        site_id="elm",
        answers={"edge": answer(edge), "cloud": answer(False), "synergy": answer(synergy)},
        doubt=doubt,
        cloud_quality=0.9,
        whole=0.8,
        enriched_whole=True,
        faithful=synergy,
    )


def entry(mode: str, seconds: float, *, enrich: float = 0.0) -> Entry:
    zeros = {
        name: 0
        for name, kind in Entry.__annotations__.items()
        if kind in (int, float, "int", "float")
    }
    words = {name: "x" for name, kind in Entry.__annotations__.items() if kind in (str, "str")}
    values = (
        zeros
        | words
        | {
            "wanted": mode,
            "mode": mode,
            "total_seconds": seconds,
            "enrich_seconds": enrich,
        }
    )
    return Entry(**values)  # type: ignore[arg-type]


def trial() -> LinkTrial:
    seconds = {"edge": 1.0, "cloud": 2.0, "split": 9.0, "synergy": 3.0}
    return LinkTrial(
        profile="lte",
        state=LINK,
        usual=Usual(),
        requests=tuple(
            Timed(profile="lte", entry=entry(m, s, enrich=0.5 * (m == "synergy")), as_judged=None)
            for m, s in seconds.items()
        ),
        split_lengths=(),
    )


REQUESTS = [
    request(0, doubt=0.1, edge=True, synergy=True),
    request(0, doubt=0.9, edge=False, synergy=True),
]


def test_worth_by_hand() -> None:
    found = link_worth("lte", REQUESTS, {0: trial()}, price=0.1)
    assert found.worth["edge"].mean == pytest.approx(0.5 - 0.1)
    assert found.worth["cloud"].mean == pytest.approx(0.0 - 0.2)
    assert found.worth["split"].mean == pytest.approx(0.0 - 0.9)
    assert found.worth["synergy"].mean == pytest.approx(1.0 - 0.3)
    # one kept after 1 s; one sent after 1 s and 3 - 0.5 s more
    assert found.worth["auto"].mean == pytest.approx((1 - 0.1 + 1 - 0.35) / 2)
    assert found.fallbacks.mean == 0.5
    assert found.best_fixed == "synergy"
    # paired: 0.9 - 0.7 and 0.65 - 0.7
    assert found.auto_minus_best.mean == pytest.approx(0.075)
    assert found.auto_minus_best.half == pytest.approx(12.71 * 0.125, rel=1e-3)


def test_the_frontier_sends_the_most_doubtful_first() -> None:
    points = frontier(REQUESTS, (0.0, 0.5, 1.0))
    assert [p.auto.mean for p in points] == [0.5, 1.0, 1.0]
    assert [p.coin.mean for p in points] == [0.5, 0.75, 1.0]
    assert points[1].gain.mean == 0.25


def test_fewer_fall_back_the_worse_the_link() -> None:
    requests = [request(0, doubt=i / 50, edge=True, synergy=True) for i in range(50)]
    rates = rate_grid(requests, price=0.1)
    for mbit_s in GRID_MBIT_S:
        column = [rates[mbit_s, rtt] for rtt in GRID_RTT_MS]
        assert column == sorted(column, reverse=True)
    for rtt in GRID_RTT_MS:
        row = [rates[mbit_s, rtt] for mbit_s in GRID_MBIT_S]
        assert row == sorted(row)
    assert len(set(rates.values())) > 4


def test_intervals_and_lines() -> None:
    assert spread([1.0]).half == 0.0
    # mean 2, standard deviation 1, t of 2 degrees of freedom 4.30
    assert spread([1.0, 2.0, 3.0]).half == pytest.approx(4.30 / 3**0.5)
    line = fit_line([(1, 3.0), (2, 5.0), (3, 7.0)])
    assert (line.a, line.b, line.r2) == pytest.approx((1.0, 2.0, 1.0))
    assert fit_line([(1, 0.0), (2, 1.0), (3, 0.0)]).r2 == pytest.approx(0.0)
    with pytest.raises(ValueError, match="two different"):
        fit_line([(1, 1.0), (1, 2.0)])

"""What an answer is worth over a link, and how auto's choices compare with the fixed modes.

Worth = complete (0 or 1) less routing.price for every second, as auto itself reckons. Whether an
answer is complete is known for all judged requests; its seconds are the median of the timed ones of
the same mode, link and seed. auto that falls back has waited for its own answer too.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clients.compare.judging import JudgedRequest
from clients.compare.timing import LinkTrial
from clients.routing.threshold import LinkState, Usual, tolerated_doubt

FIXED = ("edge", "cloud", "split", "synergy")
STUDENT_95 = (0.0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # by degrees of freedom
GRID_MBIT_S = (0.02, 0.1, 1.0, 10.0, 100.0)
GRID_RTT_MS = (5, 50, 200, 600, 1500, 3000)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A mean and half the width of its 95 % confidence interval; 0 for a single value."""

    mean: float
    half: float


@dataclass(frozen=True, kw_only=True)
class LinkWorth:
    """auto against the fixed modes over one link."""

    profile: str
    worth: Mapping[str, Spread]  # of each mode and auto, over seeds
    fallbacks: Spread  # share of the judged requests that auto sends to the cloud, over seeds
    best_fixed: str
    auto_minus_best: Spread  # over the judged requests of all seeds, paired


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """auto at one threshold against a coin that falls back as often."""

    rate: float  # share that is sent to the cloud
    auto: Spread  # share of complete answers, over seeds
    coin: Spread
    gain: Spread  # auto - coin, over seeds


def spread(values: Sequence[float]) -> Spread:
    """Of the mean, by Student's t; for many values t is taken as 1.96."""
    n = len(values)
    if n < 2:
        return Spread(mean=values[0] if values else math.nan, half=0.0)
    t = STUDENT_95[n - 1] if n <= len(STUDENT_95) else 1.96
    return Spread(mean=statistics.fmean(values), half=t * statistics.stdev(values) / math.sqrt(n))


def link_worth(
    profile: str,
    requests: Sequence[JudgedRequest],
    trials: Mapping[int, LinkTrial],
    *,
    price: float,
) -> LinkWorth:
    """`trials` are of this link, by seed."""
    by_seed = {seed: [r for r in requests if r.seed == seed] for seed in trials}
    worth: dict[str, list[float]] = {}  # every request's, in the order of the seeds
    means: dict[str, list[float]] = {}  # every seed's
    rates = []
    for seed, mine in by_seed.items():
        trial = trials[seed]
        seconds = usual_seconds(trial)
        for mode in (*FIXED, "auto"):
            found = [_worth(r, mode, trial, seconds, price) for r in mine]
            worth.setdefault(mode, []).extend(found)
            means.setdefault(mode, []).append(statistics.fmean(found))
        rates.append(fallback_rate(mine, trial.state, trial.usual, price=price))
    best = max(FIXED, key=lambda mode: statistics.fmean(worth[mode]))
    paired = [a - b for a, b in zip(worth["auto"], worth[best], strict=True)]
    return LinkWorth(
        profile=profile,
        worth={mode: spread(values) for mode, values in means.items()},
        fallbacks=spread(rates),
        best_fixed=best,
        auto_minus_best=spread(paired),
    )


def usual_seconds(trial: LinkTrial) -> dict[str, float]:
    """Median seconds of the fixed modes, and `auto_back`, of an auto that falls back."""
    found = {
        mode: statistics.median(
            timed.entry.total_seconds for timed in trial.requests if timed.entry.wanted == mode
        )
        for mode in FIXED
    }
    rest = statistics.median(
        t.entry.total_seconds - t.entry.enrich_seconds
        for t in trial.requests
        if t.entry.wanted == "synergy"
    )
    return found | {"auto_back": found["edge"] + rest}


def fallback_rate(
    requests: Sequence[JudgedRequest], link: LinkState, usual: Usual, *, price: float
) -> float:
    """Share of the requests whose doubt is above what their sites tolerate over this link."""
    back = [r.doubt > tau(r, link, usual, price=price) for r in requests]
    return sum(back) / len(back)


def tau(request: JudgedRequest, link: LinkState, usual: Usual, *, price: float) -> float:
    """The doubt that auto tolerates at this request's site."""
    return tolerated_doubt(
        link,
        usual,
        cloud_quality=request.cloud_quality,
        price=price,
        enriched_whole=request.whole,
    )


def frontier(requests: Sequence[JudgedRequest], rates: Sequence[float]) -> list[FrontierPoint]:
    """auto with the threshold that gives each rate at each seed; the coin is its expectation."""
    seeds = sorted({request.seed for request in requests})
    points = []
    for rate in rates:
        auto, coin = [], []
        for seed in seeds:
            mine = sorted((r for r in requests if r.seed == seed), key=lambda r: -r.doubt)
            sent = round(rate * len(mine))
            own = [r.answers["edge"].complete for r in mine]
            cloud = [r.answers["synergy"].complete for r in mine]
            auto.append((sum(cloud[:sent]) + sum(own[sent:])) / len(mine))
            coin.append((sent * sum(cloud) + (len(mine) - sent) * sum(own)) / len(mine) ** 2)
        gain = spread([a - c for a, c in zip(auto, coin, strict=True)])
        points.append(FrontierPoint(rate=rate, auto=spread(auto), coin=spread(coin), gain=gain))
    return points


def rate_grid(
    requests: Sequence[JudgedRequest], *, price: float
) -> dict[tuple[float, float], float]:
    """(Mbit/s each way, RTT in ms) -> share of the requests that auto would send to the cloud."""

    def link(mbit_s: float, rtt_ms: float) -> LinkState:
        speed = mbit_s * 125_000
        return LinkState(rtt_s=rtt_ms / 1000, up_bytes_s=speed, down_bytes_s=speed)

    return {
        (mbit_s, rtt_ms): fallback_rate(requests, link(mbit_s, rtt_ms), Usual(), price=price)
        for mbit_s in GRID_MBIT_S
        for rtt_ms in GRID_RTT_MS
    }


def _worth(
    request: JudgedRequest,
    mode: str,
    trial: LinkTrial,
    seconds: Mapping[str, float],
    price: float,
) -> float:
    if mode == "auto":
        back = request.doubt > tau(request, trial.state, trial.usual, price=price)
        answer, took = ("synergy", "auto_back") if back else ("edge", "edge")
    else:
        answer, took = ("cloud" if mode == "split" else mode), mode
    return float(request.answers[answer].complete) - price * seconds[took]

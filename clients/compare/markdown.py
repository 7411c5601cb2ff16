"""A comparison as people read it: Markdown tables."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from clients.asking.modes import MODES
from clients.compare.judging import KNOWHOW, Judged, JudgedRequest
from clients.compare.line_fit import fit_line
from clients.compare.results import Comparison
from clients.compare.timing import LinkTrial, Timed
from clients.compare.worth import (
    FIXED,
    GRID_MBIT_S,
    GRID_RTT_MS,
    LinkWorth,
    Spread,
    frontier,
    link_worth,
    rate_grid,
    spread,
    tau,
)
from clients.ledger.summary import percentile
from fl.markdown_table import table

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def markdown(found: Comparison) -> str:
    """All tables; ± is half the width of a 95 % confidence interval over seeds."""
    seeds = ", ".join(str(seed.seed) for seed in found.seeds)
    worth = [
        link_worth(profile, found.requests, found.trials(profile), price=found.price)
        for profile in found.profiles
    ]
    parts = [
        f"# Modes compared: {', '.join(found.sites)}; seed {seeds}",
        f"{len(found.requests)} held-out requests are judged, some of them timed over every link, "
        "one at a time, with real processes and bytes counted on the socket. "
        f"± is half a 95 % confidence interval over seeds. {found.machine}.",
        "## The answers\n\nShare of the marked phrases that an answer names; complete: it names "
        f"all of them. {KNOWHOW} is in no card and no prompt. Characters: of the prompt that left "
        "as text, a request.\n\n" + _answers(found),
        "## The modes over the links\n\nSeconds from the short prompt: half and 99 of 100 requests "
        "had ended by then (of few requests p99 is the slowest), and the first text. kB on the "
        "socket, a request. Cloud: seconds it read and wrote; CPU: processor seconds at the site "
        "and in the cloud.\n\n" + _links(found),
        "## At the site\n\nMemory: the most of a fresh process that loads what the mode needs and "
        "asks once, Python and libraries included. Files: models and adapters.\n\n" + _site(found),
        f"## split: seconds = a + b D\n\nD is the number of new tokens; {found.layers_here} of "
        f"{found.layers} layers run at the site. NetGPT's form is 0.95 + 1.40 D ms "
        "(second-hand, D not defined there).\n\n" + _split(found),
        f"## auto\n\nWorth of an answer: 1 if it is complete, less {found.price:g} a second. "
        "Doubt above tau (its mean is shown) falls back. "
        f"{found.enriched_whole:.2f} of the enriched prompts name all that they should; "
        f"{found.faithful:.2f} of the cloud's answers say all that they can "
        "after that. auto learns both from the other half of the held-out requests. The last "
        "column's ± is over the judged requests, all others are over seeds.\n\n"
        + _auto(found, worth),
        "## auto against a coin\n\nShare of complete answers where so many requests fall back: "
        "the most doubtful ones, or any.\n\n" + _frontier(found),
        "## Requests that would fall back\n\nShare, by round trip and bandwidth each way, at the "
        "usual size and cloud's seconds.\n\n" + _grid(found),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(found: Comparison) -> str:
    kinds = list(dict.fromkeys(k for r in found.requests for k in r.answers["edge"].named))
    rows = []
    for mode in ("edge", "cloud", "synergy"):
        label = "cloud, split" if mode == "cloud" else mode
        cells = [label]
        for kind in kinds:
            cells.append(_over_seeds(found, mode, lambda some, kind=kind: _recall(some, kind)))  # type: ignore[misc]
        cells.append(_over_seeds(found, mode, lambda some: _mean(float(j.complete) for j in some)))
        cells.append(f"{_mean(r.answers[mode].characters for r in found.requests):.0f}")
        rows.append(cells)
    header = ["mode", *(f"{kind} recall" for kind in kinds), "complete", "characters"]
    return table(header, rows)


def _over_seeds(found: Comparison, mode: str, measure: Callable[[list[Judged]], float]) -> str:
    values = [measure([r.answers[mode] for r in seed.requests]) for seed in found.seeds]
    return _pm(spread(values))


def _recall(some: Sequence[Judged], kind: str) -> float:
    named = sum(j.named[kind][0] for j in some if kind in j.named)
    marked = sum(j.named[kind][1] for j in some if kind in j.named)
    return named / marked if marked else 0.0


def _links(found: Comparison) -> str:
    rows = []
    for profile in found.profiles:
        for mode in MODES:
            timed = [
                t
                for trial in found.trials(profile).values()
                for t in trial.requests
                if t.entry.wanted == mode
            ]
            rows.append([profile, mode, *_timed(timed)])
    header = ["link", "mode", "n", "p50 s", "p99 s", "first s", "kB up", "kB down"]
    return table([*header, "cloud s", "CPU s here", "CPU s cloud", "asked the cloud"], rows)


def _timed(timed: Sequence[Timed]) -> list[str]:
    entries = [t.entry for t in timed]
    totals = sorted(e.total_seconds for e in entries)
    away = sum(e.mode != "edge" for e in entries)
    return [
        str(len(entries)),
        f"{percentile(totals, 0.5):.2f}",
        f"{percentile(totals, 0.99):.2f}",
        f"{_mid(e.first_seconds for e in entries):.2f}",
        f"{_mean(e.bytes_up for e in entries) / 1000:.2f}",
        f"{_mean(e.bytes_down for e in entries) / 1000:.2f}",
        f"{_mean(e.prefill_seconds + e.decode_seconds for e in entries):.2f}",
        f"{_mean(e.site_cpu_seconds for e in entries):.2f}",
        f"{_mean(e.cloud_cpu_seconds for e in entries):.2f}",
        f"{away / len(entries):.2f}",
    ]


def _site(found: Comparison) -> str:
    rows = [[c.mode, f"{c.rss / 1e6:.0f}", f"{c.storage / 1e6:.1f}"] for c in found.costs]
    return table(["mode", "memory MB", "files MB"], rows)


def _split(found: Comparison) -> str:
    rows = []
    for profile in found.profiles:
        trials = list(found.trials(profile).values())
        points = [(float(n), s) for trial in trials for n, s in trial.split_lengths]
        fit = fit_line(points)
        split = [t for trial in trials for t in trial.requests if t.entry.wanted == "split"]
        rtt = statistics.fmean(trial.state.rtt_s for trial in trials)
        rows.append(
            [
                profile,
                f"{rtt * 1000:.0f}",
                f"{fit.a * 1000:.0f} + {fit.b * 1000:.1f} D",
                f"{fit.r2:.4f}",
                str(fit.points),
                f"{sum(bool(t.as_judged) for t in split)} of {len(split)}",
                f"{_states(found, split)} of {len(split)}",
            ]
        )
    header = ["link", "RTT ms", "ms", "R²", "points", "same text as cloud"]
    return table([*header, "states = tokens x width x bytes"], rows)


def _states(found: Comparison, timed: Iterable[Timed]) -> int:
    """How many requests sent as many bytes of states as the formula says."""
    each = found.width * {"float32": 4, "float16": 2}[found.numbers]

    def crossed(t: Timed) -> int:
        read = t.entry.completion_tokens - (t.entry.outcome == "length")
        return (t.entry.prompt_tokens + read) * each

    return sum(t.entry.states_bytes == crossed(t) for t in timed)


def _auto(found: Comparison, worth: Sequence[LinkWorth]) -> str:
    rows = []
    for one in worth:
        trials = list(found.trials(one.profile).values())
        rows.append(
            [
                one.profile,
                f"{_mean(t.state.rtt_s for t in trials) * 1000:.0f}",
                f"{_mbit(trials, up=True)} / {_mbit(trials, up=False)}",
                f"{_mean(_taus(found, one.profile)):.2f}",
                _pm(one.fallbacks),
                *(_pm(one.worth[mode]) for mode in (*FIXED, "auto")),
                f"{one.best_fixed}: {one.auto_minus_best.mean:+.3f} ± "
                f"{one.auto_minus_best.half:.3f}",
            ]
        )
    header = ["link", "RTT ms", "Mbit/s up / down", "tau", "falls back"]
    return table([*header, *FIXED, "auto", "auto - best fixed, paired"], rows)


def _taus(found: Comparison, profile: str) -> list[float]:
    """What is tolerated at each request's site and seed."""
    trials = found.trials(profile)
    return [
        tau(r, trials[r.seed].state, trials[r.seed].usual, price=found.price)
        for r in found.requests
    ]


def _mbit(trials: Sequence[LinkTrial], *, up: bool) -> str:
    speeds = [t.state.up_bytes_s if up else t.state.down_bytes_s for t in trials]
    return f"{statistics.median(speeds) / 125_000:.1f}"


def _frontier(found: Comparison) -> str:
    rows = [
        [f"{p.rate:.1f}", _pm(p.auto), _pm(p.coin), f"{p.gain.mean:+.3f} ± {p.gain.half:.3f}"]
        for p in frontier(found.requests, RATES)
    ]
    return table(["share that falls back", "auto", "coin", "auto - coin"], rows)


def _grid(found: Comparison) -> str:
    rates = rate_grid(found.requests, price=found.price)
    rows = [
        [f"{rtt} ms", *(f"{rates[mbit_s, rtt]:.2f}" for mbit_s in GRID_MBIT_S)]
        for rtt in GRID_RTT_MS
    ]
    return table(["RTT", *(f"{mbit_s:g} Mbit/s" for mbit_s in GRID_MBIT_S)], rows)


def share_of_complete(requests: Sequence[JudgedRequest], mode: str) -> float:
    """Of all answers of a fixed mode."""
    return _mean(float(r.answers[mode].complete) for r in requests)


def _pm(value: Spread) -> str:
    return f"{value.mean:.2f} ± {value.half:.2f}" if value.half else f"{value.mean:.2f}"


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _mid(values: Iterable[float]) -> float:
    return statistics.median(values)

"""What the cache replay found as people read it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from clients.compare.worth import Spread, spread
from clients.insight.acting.cache_replay import Replayed
from fl.markdown_table import table
from fl.settings_acting import CacheStudySettings

REMEMBERING = "lfu, remembering"  # the row
RIVALS = ("lru", "lfu", REMEMBERING)


@dataclass(frozen=True, kw_only=True)
class Found:
    """All of it: for each row and size, a replay a seed."""

    settings: CacheStudySettings
    topics: tuple[str, ...]
    left_out: tuple[str, ...]  # series that are too short
    hours: int  # the warm-up included
    results: Mapping[str, Mapping[int, Sequence[Replayed]]]

    def rates(self, row: str, size: int) -> list[float]:
        """Hit rates, a seed each."""
        return [one.hit_rate for one in self.results[row][size]]


def gain(found: Found, row: str, rival: str, size: int) -> Spread:
    """Hit rate beyond a rival's, paired by seed."""
    pairs = zip(found.rates(row, size), found.rates(rival, size), strict=True)
    return spread([mine - its for mine, its in pairs])


def markdown(found: Found) -> str:
    """All tables; ± is half the width of a 95 % confidence interval over seeds (Student's t)."""
    its = found.settings
    rows = list(found.results)
    requests = fmean(one.requests for one in found.results["lru"][its.sizes[0]])
    left = f" Too short, left out: {', '.join(found.left_out)}." if found.left_out else ""
    header = ["policy", *(f"{size} entries" for size in its.sizes)]

    def by_size(cell: Callable[[str, int], str], names: Sequence[str]) -> str:
        return table(header, [[name, *(cell(name, size) for size in its.sizes)] for name in names])

    fetching = [row for row in rows if "prefetching" in row]
    parts = [
        "# Cache: hit rates against LRU, both LFUs and the best possible",
        f"{requests:,.0f} requests in {found.hours - 24} hours after 24 that only warm up, "
        f"{its.seeds} draws. The hourly counts of {len(found.topics)} real series stand in for how "
        "often topics are asked for: they are mentions and taxi trips, not requests to a cache. "
        f"Each is scaled to a mean of {its.scale} an hour in its training part; which of a topic's "
        f"{its.items} items a request is for is drawn by a Zipf law ({its.zipf:g}) that does not "
        f"change.{left} Every forecast is of the hours before alone, the oracle's apart; flat "
        "forecasts the same of every topic. The cache of an edge service is as the rows without "
        "prefetching, its forecast as persistence. ± is half a 95 % confidence interval over "
        "draws: of items, not of series.",
        "## Hit rate, %",
        by_size(lambda row, size: _percent(spread(found.rates(row, size))), rows),
        "## Points beyond LRU, LFU, and LFU that remembers what has gone, paired",
        by_size(
            lambda row, size: " / ".join(_points(gain(found, row, r, size)) for r in RIVALS),
            [row for row in rows if row not in RIVALS],
        ),
        "## What prefetching costs: kB prefetched, share of items used before they went, kB missed",
        by_size(lambda row, size: _cost(found.results[row][size]), fetching),
        "## Said plainly",
        "\n".join(f"- {line}" for line in _verdicts(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(found: Found) -> list[str]:
    """Each forecast against each rival, by size; a difference within its interval is none."""
    lines = []
    for row in found.results:
        if not row.startswith("forecast"):
            continue
        for rival in RIVALS:
            won, lost, even = list[str](), list[str](), list[str]()
            for size in found.settings.sizes:
                its = gain(found, row, rival, size)
                where = even if abs(its.mean) <= its.half else won if its.mean > 0 else lost
                where.append(str(size))
            parts = [
                f"{word} at {', '.join(sizes)}"
                for word, sizes in (("wins", won), ("loses", lost), ("no difference", even))
                if sizes
            ]
            lines.append(f"{row} against {rival}: {'; '.join(parts)}.")
    return lines


def _cost(its: Sequence[Replayed]) -> str:
    fetched, used = fmean(o.prefetched for o in its), fmean(o.prefetched_used for o in its)
    share = f"{used / fetched:.0%}" if fetched else "-"
    kilo = fmean(one.bytes_prefetched for one in its) / 1000
    return f"{kilo:,.0f}, {share}, {fmean(one.bytes_missed for one in its) / 1000:,.0f}"


def _percent(its: Spread) -> str:
    return f"{100 * its.mean:.1f} ± {100 * its.half:.1f}"


def _points(its: Spread) -> str:
    return f"{100 * its.mean:+.1f} ± {100 * its.half:.1f}"

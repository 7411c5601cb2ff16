"""Ledgers added up by site and mode."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from clients.ledger.entry import Entry
from fl.markdown_table import table

_FINE = ("stop", "length")


def summary(entries: Iterable[Entry]) -> str:
    """A table, a line a site and mode, and one for all of a mode. "" where there is nothing."""
    by_key: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        by_key[entry.site_id, entry.mode].append(entry)
    if not by_key:
        return ""
    sites = {site for site, _ in by_key}
    rows = [_row(site, mode, by_key[site, mode]) for site, mode in sorted(by_key)]
    if len(sites) > 1:
        for mode in sorted({mode for _, mode in by_key}):
            every = [e for (_, m), mine in by_key.items() if m == mode for e in mine]
            rows.append(_row("all", mode, every))
    header = [
        *("site", "mode", "requests", "failed", "kB up", "kB down", "private characters"),
        *("states kB", "p50 s", "p99 s", "first s", "enrich s", "link s", "queue s", "cloud s"),
        *("CPU s here", "CPU s cloud", "tokens"),
    ]
    return table(header, rows)


def _row(site: str, mode: str, entries: Sequence[Entry]) -> list[str]:
    """Sums of what is spent, medians of what is waited for."""
    totals = sorted(e.total_seconds for e in entries)

    def mid(values: Iterable[float]) -> str:
        return f"{statistics.median(values):.3f}"

    return [
        *(site, mode, str(len(entries)), str(sum(e.outcome not in _FINE for e in entries))),
        f"{sum(e.bytes_up for e in entries) / 1000:,.1f}",
        f"{sum(e.bytes_down for e in entries) / 1000:,.1f}",
        f"{sum(e.private_characters for e in entries):,}",
        f"{sum(e.states_bytes for e in entries) / 1000:,.1f}",
        f"{percentile(totals, 0.5):.3f}",
        f"{percentile(totals, 0.99):.3f}",
        mid(e.first_seconds for e in entries),
        mid(e.enrich_seconds for e in entries),
        mid(e.link_seconds for e in entries),
        mid(e.queue_seconds for e in entries),
        mid(e.prefill_seconds + e.decode_seconds for e in entries),
        f"{sum(e.site_cpu_seconds for e in entries):,.1f}",
        f"{sum(e.cloud_cpu_seconds for e in entries):,.1f}",
        f"{sum(e.completion_tokens + e.enriched_tokens for e in entries):,}",
    ]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the ordered values do not exceed (nearest rank)."""
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]

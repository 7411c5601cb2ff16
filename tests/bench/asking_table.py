"""What the asking benchmark shows and keeps."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.asking import OURS, AskingRow
from tests.bench.mixed_batch import MixedRow

LONGEST = 2.0  # p99 of enriching while training, to idle, at the most
MIXED_BAR = 1.5


def show(
    asking: Sequence[AskingRow], mixed: Sequence[MixedRow], console: Console
) -> dict[str, Any]:
    """Print both tables and their verdicts; return what the JSON keeps."""
    table = Table(title="Enriching, one person asking")
    for column in ("shape", "edge service", "prompts", "p50 ms", "p99 ms", "p50", "p99", "turns"):
        table.add_column(column, justify="left" if len(table.columns) < 2 else "right")
    for row in asking:
        table.add_row(
            row.shape,
            row.way,
            str(row.prompts),
            f"{1000 * row.p50_s:.0f}",
            f"{1000 * row.p99_s:.0f}",
            f"{row.p50_ratio:.2f}x",
            f"{row.p99_ratio:.2f}x",
            f"{row.p99_ratio_lowest:.2f} to {row.p99_ratio_highest:.2f}",
        )
    console.print(table)
    for row in asking:
        if row.way == OURS:
            console.print(
                f"{row.shape}: p99 while training is {row.p99_ratio:.2f} times that of idle; the "
                f"aim of {LONGEST:.0f} is {_verdict(row.p99_ratio <= LONGEST)}. {row.steps} steps "
                f"were taken meanwhile, with {'the same' if row.same_bytes else 'OTHER'} bytes as "
                "without prompts."
            )
    table = Table(title="Prompts of several sites: one mixed batch against one pass an adapter")
    for column in ("shape", "adapters", "mixed s", "separate s", "one adapter s", "ratio", "equal"):
        table.add_column(column, justify="left" if not table.columns else "right")
    for m in mixed:
        table.add_row(
            m.shape,
            f"{m.adapters} of {m.prompts}",
            *(f"{seconds:.2f}" for seconds in (m.mixed_s, m.separate_s, m.one_adapter_s)),
            f"{m.ratio:.2f}x ({m.ratio_lowest:.2f} to {m.ratio_highest:.2f})",
            "yes" if m.equal else "NO",
        )
    console.print(table)
    console.print(
        f"The bar of {MIXED_BAR}x is {_verdict(min(m.ratio for m in mixed) >= MIXED_BAR)}."
    )
    return {"asking": [asdict(row) for row in asking], "mixed": [asdict(m) for m in mixed]}


def _verdict(met: bool) -> str:
    return "met" if met else "missed"

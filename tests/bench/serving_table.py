"""The serving benchmark as people read it: a table, and whether the bars are met."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.serving import CONTINUOUS, OURS, ServingRow

BAR = 2.5  # times one-by-one generate; and at least transformers' continuous batching


def show(rows: Sequence[ServingRow], console: Console) -> list[dict[str, Any]]:
    """Print rows and verdicts; return the rows for the file."""
    groups = dict.fromkeys((row.model, row.arrivals) for row in rows)
    for model, arrivals in groups:
        mine = [row for row in rows if (row.model, row.arrivals) == (model, arrivals)]
        table = Table(title=f"{model}, {arrivals}")
        for column in (
            "system",
            "tokens/s",
            "x one-by-one",
            "lowest",
            "highest",
            "first p50",
            "p99",
        ):
            table.add_column(column, justify="left" if column == "system" else "right")
        for row in mine:
            table.add_row(
                row.system,
                f"{row.tokens_per_second:.0f}",
                f"{row.ratio:.2f}",
                f"{row.ratio_lowest:.2f}",
                f"{row.ratio_highest:.2f}",
                f"{row.first_p50_s:.3f} s",
                f"{row.first_p99_s:.3f} s",
            )
        console.print(table)
        console.print(_verdict({row.system: row for row in mine}))
    return [asdict(row) for row in rows]


def _verdict(rows: dict[str, ServingRow]) -> str:
    exact = rows[f"{OURS}, float32"]
    beside = exact.tokens_per_second / rows[CONTINUOUS].tokens_per_second
    met = "met" if exact.ratio >= BAR and beside >= 1 else "missed"
    text = (
        f"This engine in float32: {exact.ratio:.2f}x one-by-one (bar {BAR}), {beside:.2f}x "
        f"transformers' continuous batching (bar 1): {met}."
    )
    if reference := rows.get("llama.cpp, q8_0"):
        best = rows[f"{OURS}, int8"].tokens_per_second / reference.tokens_per_second
        text += f" int8 against llama.cpp at q8_0: {best:.2f}x."
    return text

"""python -m tests.bench [SUITE ...] [key=value ...]

Measures, prints tables, writes var/bench/<name>.json. Without a name the first two run; that takes
about five minutes on 2 cores. Nothing is downloaded.

training      useful tokens (prompts and completions, no padding) per second of local LoRA training
              on a GPT-2-base shape: ours against transformers Trainer + PEFT. The bar is 3x.
aggregation   seconds and peak memory of combining many sites' updates (GPT-2-base, r = 8), by
              every method
federation    seconds a round of real processes, split into training, transport and aggregation:
              the edge service against Flower's default, training in the ClientApp. Needs
              ./run.sh foundation; takes about four minutes
serving       useful tokens a second and time to first token of one-by-one generate, transformers'
              continuous batching and our engine, all at once and Poisson; llama.cpp too, where
              NETGPT_LLAMA_PYTHON names a Python that has llama_cpp. Needs ./run.sh foundation
asking        how long enriching takes idle and while the edge service trains; adapters of several
              sites in one mixed batch against one pass each. Needs ./run.sh foundation
profiles      what of a person's profile the enriched prompt names, and what that costs the place's
              facts. Needs ./run.sh simulate

slow=false          true: five pairs of three times as many tokens
threads=2           torch threads
pairs=3             alternating runs of both loops
tokens=4000         useful tokens of one run
plain_batch=4       records of one batch of the plain loop
batch_tokens=256    tokens of one of our batches: about as many as 4 records have
learning_rate=0.002 of both loops
sites=1000          the largest number of sites, after 10 and 100
federated_sites=2   sites of the federation
rounds=4            its rounds; the first is left out of the mean
models=small,125m   of serving: the embedded shape and a LLaMA of 12 x 768
var=var             folder for the results
"""

import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fl.aggregation import METHODS
from fl.errors import NetGPTError, SettingsError
from fl.settings import load, resolve
from tests.bench.aggregation import AggregationRun, growth_mb, measure

BAR = 3.0
SITES = (10, 100)  # and settings.sites
SUITES = ("training", "aggregation", "federation", "serving", "asking", "profiles")
BY_DEFAULT = ("training", "aggregation")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """The keys of the command line; the module's text says what each does."""

    slow: bool = False
    threads: int = 2
    pairs: int = 3
    tokens: int = 4000
    plain_batch: int = 4
    batch_tokens: int = 256
    learning_rate: float = 0.002
    sites: int = 1000
    federated_sites: int = 2
    rounds: int = 4
    models: str = "small,125m"
    var: str = "var"


def main(arguments: Sequence[str]) -> int:
    """Run the named suites; 0 when they ran, 1 when one failed, 2 for wrong arguments."""
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return 0
    console = Console()
    try:
        suites, settings = parse(arguments)
        for suite in suites:
            found = _SUITES[suite](settings, console)
            _write(resolve(settings.var) / "bench" / f"{suite}.json", found)
        console.print(f"Written to {resolve(settings.var) / 'bench'}")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except NetGPTError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str]) -> tuple[list[str], BenchSettings]:
    """Names of suites and key=value settings; raise SettingsError for anything else."""
    suites, given = [], {}
    kinds: dict[str, Any] = {field.name: field.type for field in fields(BenchSettings)}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if argument in SUITES:
            suites.append(argument)
        elif sign and key in kinds:
            given[key] = _converted(key, value, kinds[key])
        else:
            raise SettingsError(
                f"{argument!r} is neither {' nor '.join(SUITES)} nor one of "
                f"{', '.join(f'{name}=' for name in kinds)}. See --help."
            )
    if given.get("slow"):
        given = {"pairs": 5, "tokens": 12_000, **given}
    return suites or list(BY_DEFAULT), BenchSettings(**given)


def _converted(key: str, value: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[value]
        return kind(value)
    except (ValueError, KeyError):
        raise SettingsError(f"{key}={value} is not a {kind.__name__}.") from None


def _training(settings: BenchSettings, console: Console) -> dict[str, Any]:
    from transformers.utils import logging  # torch: not for aggregation

    from tests.bench.training import bench_training

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # PEFT's use of a renamed attribute
    with _progress(console) as progress:
        task = progress.add_task("making a GPT-2-base shape", total=None)
        result = bench_training(
            threads=settings.threads,
            pairs=settings.pairs,
            tokens=settings.tokens,
            plain_batch=settings.plain_batch,
            batch_tokens=settings.batch_tokens,
            learning_rate=settings.learning_rate,
            on_run=lambda text: progress.update(task, description=text),
        )
    table = Table(title=f"Local LoRA training, GPT-2-base shape, r = 8 on c_attn: {result['text']}")
    for column in ("loop", "tokens/s", "tokens", "steps", "padding", "seconds", "held-out loss"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    for run in result["runs"]:
        table.add_row(
            run["loop"],
            f"{run['tokens_per_second']:.0f}",
            str(run["tokens"]),
            str(run["steps"]),
            f"{run['padding_share']:.1%}",
            f"{run['seconds']:.1f}",
            f"{run['heldout_loss']:.3f}",
        )
    console.print(table)
    verdict = "met" if result["ratio_median"] >= BAR else "missed"
    console.print(
        f"ours / plain: {result['ratio_median']:.2f}x (median of {len(result['ratios'])} pairs, "
        f"{result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f}; by CPU time "
        f"{result['cpu_ratio_median']:.2f}x); the bar of {BAR:.0f}x is {verdict}. Held-out loss: "
        f"{result['untrained_heldout_loss']:.3f} before, ours - plain "
        f"{result['heldout_loss_ours_minus_plain']:+.3f} after the same tokens."
    )
    return {"settings": asdict(settings), "machine": _machine(), **result}


def _aggregation(settings: BenchSettings, console: Console) -> dict[str, Any]:
    runs: list[AggregationRun] = []
    with _progress(console) as progress:
        task = progress.add_task("aggregating", total=None)
        for method in METHODS:
            for sites in (*SITES, settings.sites):
                progress.update(task, description=f"{method}: {sites} sites")
                runs.append(measure(sites, measure_error=True, method=method))
    table = Table(title="GPT-2-base updates, r = 8 on c_attn (1.2 MB each), with the exact error")
    for column in ("method", "sites", "seconds", "peak RSS MB", "of it added MB", "error"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for run in runs:
        table.add_row(
            run.method,
            str(run.sites),
            f"{run.seconds:.2f}",
            f"{run.peak_rss_mb:.0f}",
            f"{run.added_rss_mb:.0f}",
            "-" if run.error is None else f"{run.error:.3f}",
        )
    console.print(table)
    # The dense sums that stand for many sites are there from d_in / r = 96 sites on.
    many = [[run for run in runs if run.method == m and run.sites > SITES[0]] for m in METHODS]
    growth = max(map(growth_mb, many))
    console.print(
        f"From {SITES[1]} to {settings.sites} sites the peak moves by {growth:+.1f} MB at the most."
    )
    return {"machine": _machine(), "growth_mb": growth, "runs": [asdict(run) for run in runs]}


def _federation(settings: BenchSettings, console: Console) -> dict[str, Any]:
    from tests.bench.federation import measure as measure_rounds

    with _progress(console) as progress:
        task = progress.add_task("starting", total=None)
        runs = measure_rounds(
            sites=settings.federated_sites,
            rounds=settings.rounds,
            on_run=lambda text: progress.update(task, description=text),
        )
    table = Table(title=f"A round of {settings.federated_sites} sites in a deployment, seconds")
    for column in ("training", "a round", "first round", "training", "transport", "aggregation"):
        table.add_column(column, justify="left" if not table.columns else "right")
    for r in runs:
        parts = (r.seconds, r.first_round, r.training, r.transport, r.aggregation)
        table.add_row(r.way, *(f"{part:.1f}" for part in parts))
    console.print(table)
    ours, default = runs
    console.print(
        f"Flower's default / ours: {default.seconds / ours.seconds:.1f}x. Held-out loss after the "
        f"last round: {ours.heldout_loss:.3f} and {default.heldout_loss:.3f}."
    )
    return {"machine": _machine(), "runs": [asdict(run) for run in runs]}


def _serving(settings: BenchSettings, console: Console) -> dict[str, Any]:
    from tests.bench.serving import measure as measure_serving
    from tests.bench.serving_table import show

    with _progress(console) as progress:
        task = progress.add_task("loading", total=None)
        rows = measure_serving(
            pairs=settings.pairs,
            threads=settings.threads,
            models=settings.models.split(","),
            on_run=lambda text: progress.update(task, description=text),
        )
    return {"machine": _machine(), "rows": show(rows, console)}


def _asking(settings: BenchSettings, console: Console) -> dict[str, Any]:
    from tests.bench.asking import measure as measure_asking
    from tests.bench.asking_table import show

    with _progress(console) as progress:
        task = progress.add_task("loading", total=None)
        asking, mixed = measure_asking(
            pairs=settings.pairs,
            threads=settings.threads,
            on_run=lambda text: progress.update(task, description=text),
        )
    return {"machine": _machine(), **show(asking, mixed, console)}


def _profiles(settings: BenchSettings, console: Console) -> dict[str, Any]:
    from tests.bench.profiles import measure as measure_profiles
    from tests.bench.profiles import show

    with _progress(console) as progress:
        task = progress.add_task("loading", total=None)
        runs = measure_profiles(
            load([f"var={settings.var}", f"threads={settings.threads}"]),
            on_run=lambda text: progress.update(task, description=text),
        )
    return {"machine": _machine(), "rows": show(runs, console)}


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(result, indent=2) + "\n")
    aside.replace(path)


_SUITES = {
    "training": _training,
    "aggregation": _aggregation,
    "federation": _federation,
    "serving": _serving,
    "asking": _asking,
    "profiles": _profiles,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

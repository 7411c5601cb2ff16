"""Seconds and memory of combining the updates of many sites of GPT-2-base, r = 8, by every method.

Each size runs in a process of its own, because a process's peak memory never falls. Updates are
made one at a time and dropped, as they would arrive: what grows with the number of sites would be
the aggregator's own.
"""

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fl.adapter import Adapter, AdapterSpec, initial_adapter, subtract
from fl.aggregation import aggregator, turn
from fl.errors import NetGPTError
from fl.settings import home
from fl.sharing import factors_of
from fl.update import AdapterUpdate

LAYERS = {f"transformer.h.{layer}.attn.c_attn": (2304, 768) for layer in range(12)}
SPEC = AdapterSpec(base_model_fingerprint="0" * 64, rank=8, alpha=16.0, target_modules=("c_attn",))


@dataclass(frozen=True, kw_only=True)
class AggregationRun:
    """One size. Memory is the process's resident set, whole and what aggregation added to it."""

    method: str
    sites: int
    measure_error: bool
    seconds: float  # of add and finish, without making the updates
    peak_rss_mb: float
    added_rss_mb: float
    error: float | None  # the relative error of the product, where it was measured


def measure(sites: int, *, measure_error: bool, method: str = "fedavg") -> AggregationRun:
    """Aggregate in a fresh process; raise NetGPTError when it fails."""
    code = (
        "from tests.bench.aggregation import run_here; "
        f"run_here({sites}, measure_error={measure_error}, method={method!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NetGPTError(f"Aggregating {sites} sites failed:\n{done.stderr.strip()[-2000:]}")
    return AggregationRun(**json.loads(done.stdout.splitlines()[-1]))


def run_here(sites: int, *, measure_error: bool, method: str) -> None:
    """Aggregate in this process and print the numbers as one line of JSON."""
    release = initial_adapter(SPEC, LAYERS, seed=0)
    sends = turn(method, 1).sends
    _drawn_update(release, 0, sends)  # what making an update needs is not aggregation's
    before = _peak_rss_mb()
    combined = aggregator(
        method, release, round_number=1, rank=SPEC.rank, measure_error=measure_error
    )
    seconds = 0.0
    for site in range(sites):
        update = _drawn_update(release, site, sends)
        started = time.perf_counter()
        combined.add(update)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    result = combined.finish()
    seconds += time.perf_counter() - started
    run = AggregationRun(
        method=method,
        sites=sites,
        measure_error=measure_error,
        seconds=seconds,
        peak_rss_mb=_peak_rss_mb(),
        added_rss_mb=_peak_rss_mb() - before,
        error=None if math.isnan(result.error) else result.error,
    )
    print(json.dumps(asdict(run)))


def growth_mb(runs: Sequence[AggregationRun]) -> float:
    """How much more memory the most sites needed than the fewest."""
    ordered = sorted(runs, key=lambda run: run.sites)
    return ordered[-1].peak_rss_mb - ordered[0].peak_rss_mb


def _drawn_update(release: Adapter, site: int, sends: str) -> AdapterUpdate:
    """An update as after some local steps: every entry moved by about 0.02."""
    rng = np.random.default_rng(site)
    moved = Adapter(
        spec=release.spec,
        tensors={
            name: t + 0.02 * rng.standard_normal(t.shape, dtype=np.float32)
            for name, t in release.tensors.items()
        },
    )
    return AdapterUpdate(
        site_id=f"site-{site}",
        round_number=1,
        based_on_release=0,
        delta=factors_of(subtract(moved, release), sends),
        num_examples=40 + 5 * site,
        train_loss=1.0,
        heldout_loss=1.0,
        seconds=1.0,
    )


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

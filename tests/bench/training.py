"""Useful tokens per second of local LoRA training on GPT-2-base: our loop against the plain loop.

Fairness: the same records, encoded alike; the same first adapter, learning rate, warm-up, clipping,
optimiser and loss (mean over completion tokens); about the same tokens a step; both end after the
same number of tokens without padding and are judged by the same held-out evaluation. The plain loop
gets its records ready-made, ours tokenises within its time. Runs alternate, so that a machine that
slows down slows both.
"""

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clients.edge_model import EdgeModel
from clients.learning.batching import encode
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import WARM_UP_STEPS, train, use_bfloat16
from fl.adapter import AdapterSpec, initial_adapter
from fl.base_model import read_base
from fl.settings import Settings
from tests.bench.base_shape import make_base_shape
from tests.bench.plain_loop import PlainLoop
from tests.bench.text import bench_text

TARGETS = ("c_attn",)
RANK = 8


@dataclass(frozen=True, kw_only=True)
class LoopRun:
    """One run of one loop. Tokens are those of prompts and completions, without padding."""

    loop: str
    tokens: int
    steps: int
    padding_share: float
    seconds: float
    heldout_loss: float  # nats per completion token, after the run

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def bench_training(
    settings: Settings,
    *,
    pairs: int,
    tokens: int,
    plain_batch: int,
    batch_tokens: int,
    learning_rate: float,
    on_run: Callable[[str], None],
) -> dict[str, Any]:
    """Run both loops alternately `pairs` times; return what the table and the JSON show."""
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    text = bench_text(seed=settings.seed)
    learning = replace(settings.learning, batch_tokens=max(1024, batch_tokens))
    with tempfile.TemporaryDirectory() as name:
        folder = make_base_shape(Path(name) / "base", text.vocabulary_text, seed=settings.seed)
        base = read_base(folder, TARGETS)
        spec = AdapterSpec(
            base_model_fingerprint=base.fingerprint,
            rank=RANK,
            alpha=2.0 * RANK,
            target_modules=TARGETS,
        )
        model = EdgeModel(base, spec, shared_rank=RANK)
        plain = PlainLoop(folder, spec)
        start = initial_adapter(spec, base.layers, seed=settings.seed)
        encoded = [encode(model, r, max_tokens=learning.max_tokens) for r in text.train]

        def run_plain(seed: int, limit: int) -> LoopRun:
            done = plain.train(
                start,
                encoded,
                batch=plain_batch,
                tokens=limit,
                learning_rate=learning_rate,
                clip_norm=learning.clip_norm,
                warm_up=WARM_UP_STEPS,
                seed=seed,
                folder=Path(name) / "trainer",
            )
            model.set_adapter(done.adapter)
            return LoopRun(
                loop="plain",
                tokens=done.tokens,
                steps=done.steps,
                padding_share=done.padding_share,
                seconds=done.seconds,
                heldout_loss=heldout_nll(model, text.heldout, learning).per_token,
            )

        def run_ours(seed: int, limit: int) -> LoopRun:
            model.set_adapter(start)
            done = train(
                model,
                text.train,
                learning_rate=learning_rate,
                steps=max(1, round(limit / (batch_tokens * 0.97))),
                batch_tokens=batch_tokens,
                clip_norm=learning.clip_norm,
                seed=seed,
                max_tokens=learning.max_tokens,
                bfloat16=learning.bfloat16,
            )
            return LoopRun(
                loop="ours",
                tokens=done.tokens,
                steps=done.steps,
                padding_share=done.padding_share,
                seconds=done.seconds,
                heldout_loss=heldout_nll(model, text.heldout, learning).per_token,
            )

        model.set_adapter(start)
        untrained = heldout_nll(model, text.heldout, learning).per_token
        run_plain(0, 1), run_ours(0, 1)  # first steps allocate and convert; not counted
        runs: list[LoopRun] = []
        for pair in range(pairs):
            for run in (run_plain, run_ours) if pair % 2 == 0 else (run_ours, run_plain):
                runs.append(run(pair, tokens))
                on_run(f"{runs[-1].loop}: {runs[-1].tokens_per_second:.0f} tokens/s")
    return _summary(runs, text.name, untrained, bfloat16=use_bfloat16(learning.bfloat16))


def _summary(runs: list[LoopRun], text: str, untrained: float, *, bfloat16: bool) -> dict[str, Any]:
    plain = [run for run in runs if run.loop == "plain"]
    ours = [run for run in runs if run.loop == "ours"]
    ratios = [o.tokens_per_second / p.tokens_per_second for o, p in zip(ours, plain, strict=True)]
    return {
        "text": text,
        "threads": torch.get_num_threads(),
        "bfloat16": bfloat16,
        "untrained_heldout_loss": untrained,
        "ratio_median": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "ratios": ratios,
        "runs": [{**asdict(r), "tokens_per_second": r.tokens_per_second} for r in runs],
    }

"""Useful tokens per second of local LoRA training on GPT-2-base: our loop against the plain loop.

Fairness: the same records, encoded alike; the same first adapter, learning rate, warm-up, clipping,
optimiser and loss (mean over completion tokens); about the same tokens a step; both end after the
same number of tokens without padding and are judged by the same held-out evaluation. Dropout is 0,
which spares the plain loop. It gets its records ready-made, ours tokenises within its time. Runs
alternate, so that a machine that slows down slows both.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clients.edge_model import EdgeModel
from clients.learning.batching import EncodedRecord, encode, length_groups
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import WARM_UP_STEPS, train, use_bfloat16
from fl.adapter import Adapter, AdapterSpec, initial_adapter
from fl.base_model import read_base
from fl.settings import load
from tests.bench.base_shape import make_base_shape
from tests.bench.plain_loop import PlainLoop
from tests.bench.text import BenchText, bench_text

TARGETS = ("c_attn",)
RANK = 8
SEED = 0
EVALUATED_TOKENS = 1024  # of one batch of the held-out evaluation


@dataclass(frozen=True, kw_only=True)
class LoopRun:
    """One run of one loop. Tokens are those of prompts and completions, without padding."""

    loop: str
    tokens: int
    steps: int
    padding_share: float
    seconds: float
    cpu_seconds: float  # of all threads, so less disturbed by other work on the machine
    heldout_loss: float  # nats per completion token, after the run

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def bench_training(
    *,
    threads: int,
    pairs: int,
    tokens: int,
    plain_batch: int,
    batch_tokens: int,
    learning_rate: float,
    on_run: Callable[[str], None],
) -> dict[str, Any]:
    """Run both loops alternately `pairs` times; return what the table and the JSON show."""
    torch.set_num_threads(threads)
    text = bench_text(seed=SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = make_base_shape(Path(name) / "base", text.vocabulary_text, seed=SEED)
        contest = _Contest(
            folder,
            text,
            plain_batch=plain_batch,
            batch_tokens=batch_tokens,
            learning_rate=learning_rate,
        )
        on_run("first steps of both loops")
        contest.plain(0, 1)  # these allocate and convert; they are not counted
        contest.ours(0, 1)
        runs: list[LoopRun] = []
        for pair in range(pairs):
            for loop in ("plain", "ours") if pair % 2 == 0 else ("ours", "plain"):
                on_run(f"pair {pair + 1} of {pairs}: {loop}")
                runs.append(contest.run(loop, pair, tokens))
        untrained = contest.untrained_loss()
    return {
        "text": text.name,
        "threads": threads,
        "bfloat16": contest.bfloat16,
        "untrained_heldout_loss": untrained,
        **_ratios(runs),
        "runs": [{**asdict(run), "tokens_per_second": run.tokens_per_second} for run in runs],
    }


class _Contest:
    """Both loops on one folder, one text and one first adapter."""

    def __init__(
        self,
        folder: Path,
        text: BenchText,
        *,
        plain_batch: int,
        batch_tokens: int,
        learning_rate: float,
    ) -> None:
        base = read_base(folder, TARGETS)
        spec = AdapterSpec(
            base_model_fingerprint=base.fingerprint,
            rank=RANK,
            alpha=2.0 * RANK,
            target_modules=TARGETS,
        )
        self._learning = replace(load().learning, batch_tokens=EVALUATED_TOKENS)
        self._folder, self._text = folder, text
        self._plain_batch, self._batch_tokens = plain_batch, batch_tokens
        self._learning_rate = learning_rate
        self._model = EdgeModel(base, spec)
        self._plain_loop = PlainLoop(folder, spec)
        self._start = initial_adapter(spec, base.layers, seed=SEED)
        self._encoded = [
            encode(self._model, record, max_tokens=self._learning.max_tokens)
            for record in text.train
        ]
        self.bfloat16 = use_bfloat16(self._learning.bfloat16)

    def run(self, loop: str, seed: int, tokens: int) -> LoopRun:
        """One counted run."""
        return self.plain(seed, tokens) if loop == "plain" else self.ours(seed, tokens)

    def plain(self, seed: int, tokens: int) -> LoopRun:
        """The plain loop, until it has seen `tokens` tokens."""
        cpu = time.process_time()
        done = self._plain_loop.train(
            self._start,
            self._encoded,
            batch=self._plain_batch,
            tokens=tokens,
            learning_rate=self._learning_rate,
            clip_norm=self._learning.clip_norm,
            warm_up=WARM_UP_STEPS,
            seed=seed,
            folder=self._folder.parent / "trainer",
        )
        cpu = time.process_time() - cpu
        return LoopRun(
            loop="plain",
            tokens=done.tokens,
            steps=done.steps,
            padding_share=done.padding_share,
            seconds=done.seconds,
            cpu_seconds=cpu,
            heldout_loss=self._loss(done.adapter),
        )

    def ours(self, seed: int, tokens: int) -> LoopRun:
        """Our loop, for as many steps as `tokens` tokens take."""
        self._model.set_adapter(self._start)
        steps = math.ceil(tokens / _tokens_of_a_step(self._encoded, self._batch_tokens))
        cpu = time.process_time()
        done = train(
            self._model,
            self._text.train,
            learning_rate=self._learning_rate,
            steps=steps,
            batch_tokens=self._batch_tokens,
            clip_norm=self._learning.clip_norm,
            seed=seed,
            max_tokens=self._learning.max_tokens,
            bfloat16=self._learning.bfloat16,
        )
        cpu = time.process_time() - cpu
        return LoopRun(
            loop="ours",
            tokens=done.tokens,
            steps=done.steps,
            padding_share=done.padding_share,
            seconds=done.seconds,
            cpu_seconds=cpu,
            heldout_loss=self._loss(self._model.adapter()),
        )

    def untrained_loss(self) -> float:
        """Held-out loss with the first adapter."""
        return self._loss(self._start)

    def _loss(self, adapter: Adapter) -> float:
        self._model.set_adapter(adapter)
        return heldout_nll(self._model, self._text.heldout, self._learning).per_token


def _tokens_of_a_step(encoded: Sequence[EncodedRecord], batch_tokens: int) -> float:
    lengths = [len(record.ids) for record in encoded]
    return sum(lengths) / len(length_groups(lengths, batch_tokens=batch_tokens))


def _ratios(runs: Sequence[LoopRun]) -> dict[str, Any]:
    """Ours over plain, pair by pair."""
    plain = [run for run in runs if run.loop == "plain"]
    ours = [run for run in runs if run.loop == "ours"]
    pairs = list(zip(ours, plain, strict=True))
    ratios = [o.tokens_per_second / p.tokens_per_second for o, p in pairs]
    cpu = [(o.tokens / o.cpu_seconds) / (p.tokens / p.cpu_seconds) for o, p in pairs]
    return {
        "ratio_median": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "ratios": ratios,
        "cpu_ratio_median": statistics.median(cpu),
        "heldout_loss_ours_minus_plain": statistics.mean(
            o.heldout_loss - p.heldout_loss for o, p in pairs
        ),
    }

"""Prompts of several sites, each with its own adapter, in one batch against one pass an adapter."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clients.edge_model import EdgeModel
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter, initial_adapter
from fl.prompt_format import edge_prompt

Written = TypeVar("Written")

ADAPTERS, PROMPTS = (4, 8), 8  # adapters among so many prompts


@dataclass(frozen=True, kw_only=True)
class MixedRow:
    """One mixed batch against one pass an adapter; medians over the turns."""

    shape: str
    adapters: int
    prompts: int
    mixed_s: float
    separate_s: float
    one_adapter_s: float  # the same prompts in one batch, all with one adapter
    ratio: float  # separate / mixed
    ratio_lowest: float
    ratio_highest: float
    equal: bool  # what is written either way, in every turn


@dataclass(frozen=True, kw_only=True)
class _Turn:
    mixed_s: float
    separate_s: float
    one_adapter_s: float
    equal: bool


def measure_mixed(
    model: EdgeModel,
    shape: str,
    records: Sequence[PromptRecord],
    *,
    adapters: int,
    new_tokens: int,
    turns: int,
) -> MixedRow:
    """Write the same prompts every way, `turns` times, each time others."""
    own = [_drawn(model, seed=seed) for seed in range(adapters)]
    found = [
        _turn(model, random.Random(turn).sample(records, PROMPTS), own, new_tokens)
        for turn in range(turns)
    ]
    ratios = [turn.separate_s / turn.mixed_s for turn in found]
    return MixedRow(
        shape=shape,
        adapters=adapters,
        prompts=PROMPTS,
        mixed_s=statistics.median(turn.mixed_s for turn in found),
        separate_s=statistics.median(turn.separate_s for turn in found),
        one_adapter_s=statistics.median(turn.one_adapter_s for turn in found),
        ratio=statistics.median(ratios),
        ratio_lowest=min(ratios),
        ratio_highest=max(ratios),
        equal=all(turn.equal for turn in found),
    )


def _turn(
    model: EdgeModel, records: Sequence[PromptRecord], own: Sequence[Adapter], new_tokens: int
) -> _Turn:
    writer = model.writer
    prompts = [edge_prompt(record.card, record.short) for record in records]
    lines = [
        writer.line(prompt, own[i % len(own)], max_new_tokens=new_tokens)
        for i, prompt in enumerate(prompts)
    ]
    passes = [lines[place :: len(own)] for place in range(len(own))]
    same = [writer.line(prompt, own[0], max_new_tokens=new_tokens) for prompt in prompts]
    written, mixed_s = _timed(lambda: writer.write(lines))
    parts, separate_s = _timed(lambda: [writer.write(part) for part in passes])
    _, one_adapter_s = _timed(lambda: writer.write(same))
    return _Turn(
        mixed_s=mixed_s,
        separate_s=separate_s,
        one_adapter_s=one_adapter_s,
        equal=all(part == written[place :: len(own)] for place, part in enumerate(parts)),
    )


def _timed(write: Callable[[], Written]) -> tuple[Written, float]:
    began = time.perf_counter()
    written = write()
    return written, time.perf_counter() - began


def _drawn(model: EdgeModel, *, seed: int) -> Adapter:
    """An adapter that changes what the model writes."""
    rng = np.random.default_rng(seed)
    first = initial_adapter(model.spec, model.base.layers, seed=seed)
    tensors = {
        name: tensor + 0.02 * rng.standard_normal(tensor.shape).astype(np.float32)
        for name, tensor in first.tensors.items()
    }
    return Adapter(spec=first.spec, tensors=tensors)

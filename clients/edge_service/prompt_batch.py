"""The prompts that are written in one batch, each with its own site's adapter."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from clients.edge_model import EdgeModel
from clients.writing import Line, Written
from fl.adapter import Adapter
from fl.orchestration.turn_server import Turn

CountTokens = Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A prompt that waits for the model."""

    prompt_of: Callable[[CountTokens], str]
    adapter: Adapter = field(repr=False)
    max_new_tokens: int
    future: "Future[Written]"


def write_together(
    model: EdgeModel,
    taken: Sequence[Waiting],
    *,
    least_step_s: float,
    on_turn: Callable[[Turn], None],
) -> None:
    """Write what was not cancelled; every future gets its text, or what went wrong with it."""
    batch: list[tuple[Future[Written], Line]] = []
    for waiting in taken:
        if waiting.future.set_running_or_notify_cancel():
            try:
                batch.append((waiting.future, _line(model, waiting)))
            except BaseException as error:  # noqa: BLE001 - belongs to this prompt alone
                waiting.future.set_exception(error)
    if not batch:
        return
    try:
        # Nothing is learned meanwhile, so the process's time is the model's: all torch threads.
        began, began_cpu = time.perf_counter(), time.process_time()
        texts = model.writer.write([line for _, line in batch], between=_emulated(least_step_s))
        share = (time.process_time() - began_cpu) / len(batch)
        lengths = [len(text.nats) for text in texts]
        seconds = time.perf_counter() - began
        on_turn(Turn(seconds=seconds, steps=max(lengths), tokens=sum(lengths)))
    except BaseException as error:  # noqa: BLE001 - belongs to who asked; the thread goes on
        for future, _ in batch:
            future.set_exception(error)
    else:
        for (future, _), text in zip(batch, texts, strict=True):
            future.set_result(replace(text, cpu_seconds=share))


def _line(model: EdgeModel, waiting: Waiting) -> Line:
    prompt = waiting.prompt_of(lambda text: len(model.token_ids(text)))
    return model.writer.line(prompt, waiting.adapter, max_new_tokens=waiting.max_new_tokens)


def _emulated(least_step_s: float) -> Callable[[], object] | None:
    """Called before each step: waits until the last one has taken as long as it must."""
    if not least_step_s:
        return None
    next_at = time.perf_counter()

    def wait() -> None:
        nonlocal next_at
        time.sleep(max(0.0, next_at - time.perf_counter()))
        next_at = time.perf_counter() + least_step_s

    return wait

"""`foundation`: make the embedded base models that are not in the cache yet.

Both are made at the same time, each in a process of its own with one thread: at this size two
threads on one model gain little. A model appears under its final name only when it is complete: it
is made in a folder beside and renamed. A killed run leaves such a folder, which the next removes.
"""

import multiprocessing
import os
import queue
import shutil
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from fl.base_model import Side, base_folder
from fl.demo_world.corpus import corpus
from fl.errors import BaseModelError
from fl.processor import has_bfloat16
from fl.settings import Settings, ShapeSettings

ASIDE = ".making-"


def build(settings: Settings) -> None:
    """Make what is missing and say where each model is. Raises BaseModelError."""
    console = Console()
    missing: dict[Side, Path] = {}
    for side in _embedded_sides(settings):
        folder = base_folder(settings, side)
        if folder.exists():
            console.print(f"  {side} model: {folder} (made before)", soft_wrap=True)
        else:
            missing[side] = folder
    if missing:
        began = time.monotonic()
        _make_all(settings, missing, console)
        console.print(f"  made in {time.monotonic() - began:.0f} s")


def make(
    settings: Settings, side: Side, folder: Path, on_step: Callable[[int, float], None]
) -> None:
    """Corpus -> tokenizer -> model -> training -> a published Hugging Face folder."""
    # heavy imports only now: a model that is there is found without them
    import torch
    from transformers.utils import logging

    from server.foundation.models import new_gpt2, new_llama
    from server.foundation.pretraining import pretrain
    from server.foundation.tokenizer import token_pairs, train_tokenizer

    logging.set_verbosity_error()  # it warns of padding without a mask
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(settings.foundation.seed)
    shape = shape_of(settings, side)
    pairs = list(corpus(settings.foundation, side))
    tokenizer = train_tokenizer([p + c for p, c in pairs], vocabulary=shape.vocabulary)
    model = new_gpt2(shape) if side == "edge" else new_llama(shape)
    encoded = token_pairs(tokenizer, pairs, longest=shape.positions)
    if not encoded:
        raise BaseModelError(
            f"The corpus of the {side} model has no record of at most {shape.positions} tokens."
        )
    pretrain(
        model,
        encoded,
        shape,
        seed=settings.foundation.seed,
        bfloat16=has_bfloat16(),
        on_step=on_step,
    )
    aside = _aside(folder)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    for file in aside.iterdir():
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
    aside.rename(folder)


def shape_of(settings: Settings, side: Side) -> ShapeSettings:
    """The shape settings of this side's model."""
    return settings.foundation.edge if side == "edge" else settings.foundation.cloud


def _embedded_sides(settings: Settings) -> list[Side]:
    sides: list[Side] = []
    if settings.edge.model == "embedded":
        sides.append("edge")
    if settings.cloud.model == "embedded":
        sides.append("cloud")
    return sides


def _make_all(settings: Settings, missing: Mapping[Side, Path], console: Console) -> None:
    """One process a model, and a progress bar for each; stops them all if one fails."""
    spawn = multiprocessing.get_context("spawn")
    steps: multiprocessing.Queue[tuple[Side, int, float]] = spawn.Queue()
    processes: dict[Side, BaseProcess] = {
        side: spawn.Process(target=_make_in_process, args=(settings, side, folder, steps))
        for side, folder in missing.items()
    }
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    try:
        with Progress(*columns, console=console) as progress:
            tasks = {}
            for side, process in processes.items():
                process.start()
                total = shape_of(settings, side).steps
                tasks[side] = progress.add_task(f"{side} model", total=total, loss="")
            while any(process.is_alive() for process in processes.values()) or not steps.empty():
                try:
                    side, step, loss = steps.get(timeout=0.2)
                except queue.Empty:
                    if any(process.exitcode for process in processes.values()):
                        break  # one failed: the other is stopped below
                    continue
                progress.update(tasks[side], completed=step, loss=f"loss {loss:.2f}")
    finally:
        for process in processes.values():
            process.terminate()
            process.join()
    for side, folder in missing.items():
        if not folder.exists():
            raise BaseModelError(
                f"Making the {side} model failed (exit code {processes[side].exitcode}); "
                "the lines above say why. Nothing half-made was kept; run it again."
            )
        console.print(f"  {side} model: {folder}", soft_wrap=True)


def _make_in_process(
    settings: Settings,
    side: Side,
    folder: Path,
    steps: "multiprocessing.Queue[tuple[Side, int, float]]",
) -> None:
    make(settings, side, folder, lambda step, loss: steps.put((side, step, loss)))


def _aside(folder: Path) -> Path:
    """A fresh folder beside the final one; what a killed run left is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{folder.name}{ASIDE}*"):
        shutil.rmtree(left)
    aside = folder.with_name(f"{folder.name}{ASIDE}{os.getpid()}")
    aside.mkdir()
    return aside

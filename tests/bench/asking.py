"""How long enriching takes while the edge service is idle, and while it trains.

The ways take turns, so that a busy machine hits all of them; what counts are ratios within a run.
"""

import math
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.edge_model import EdgeModel, edge_model
from clients.edge_service.model_owner import ModelOwner
from clients.learning.edge_site import Pause
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import train
from clients.prompts.record import PromptRecord
from fl.adapter import digest, initial_adapter
from fl.prompt_format import edge_prompt
from fl.settings import Settings, load
from tests.bench.base_shape import make_base_shape
from tests.bench.mixed_batch import ADAPTERS, MixedRow, measure_mixed
from tests.bench.text import BenchText, bench_text

SEED = 5
IDLE, BETWEEN, OURS = "idle", "training, between steps", "training, within steps"
FIRST = 5  # prompts before anything is measured


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An edge model under test, and how much is asked of it."""

    name: str
    overrides: tuple[str, ...]
    asks: int  # prompts in a row, a turn and way
    think_s: float  # mean pause of the one person who asks
    new_tokens: int  # at the most
    steps: int  # of one training


@dataclass(frozen=True, kw_only=True)
class AskingRow:
    """How long a prompt takes, one person asking: over all turns, and beside idle turn by turn."""

    shape: str
    way: str
    prompts: int
    p50_s: float
    p99_s: float
    p50_ratio: float  # to idle; median of the turns
    p99_ratio: float
    p99_ratio_lowest: float
    p99_ratio_highest: float
    steps: int  # of finished trainings
    same_bytes: bool  # each ended with the adapter and the loss of one without prompts


def measure(
    *, pairs: int, threads: int, on_run: Callable[[str], None], shapes: Sequence[str] = ()
) -> tuple[list[AskingRow], list[MixedRow]]:
    """Both measurements on the embedded shape (it has to be there) and on a GPT-2-base shape."""
    asking: list[AskingRow] = []
    mixed: list[MixedRow] = []
    text = bench_text(seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        for shape in _shapes(Path(folder), text, shapes):
            settings = load(
                [f"threads={threads}", *shape.overrides], config="configs/embedded.yaml"
            )
            on_run(f"{shape.name}: loading")
            with _owner(settings) as owner:
                site = _BusySite(owner, settings, shape, text)
                asking += site.measure(pairs, on_run)
                for adapters in ADAPTERS:
                    on_run(f"{shape.name}: {adapters} adapters in one batch")
                    mixed.append(
                        measure_mixed(
                            owner.loaded.result(),
                            shape.name,
                            text.train,
                            adapters=adapters,
                            new_tokens=shape.new_tokens,
                            turns=pairs,
                        )
                    )
    return asking, mixed


def _shapes(folder: Path, text: BenchText, names: Sequence[str]) -> Iterator[Shape]:
    if not names or "embedded" in names:
        yield Shape(name="embedded", overrides=(), asks=50, think_s=0.1, new_tokens=64, steps=20)
    if not names or "gpt2" in names:
        base = make_base_shape(folder / "base", text.vocabulary_text, seed=SEED)
        yield Shape(
            name="GPT-2 base",
            overrides=(f"edge.model={base}",),
            asks=8,
            think_s=0.3,
            new_tokens=24,  # random weights write no end mark
            steps=4,
        )


@contextmanager
def _owner(settings: Settings) -> Iterator[ModelOwner]:
    owner = ModelOwner(lambda: edge_model(settings))
    owner.start()
    try:
        owner.loaded.result()
        yield owner
    finally:
        owner.close(wait_s=60)


class _BusySite:
    """A person who asks, and trainings beside it that never stop while they are wanted."""

    def __init__(
        self, owner: ModelOwner, settings: Settings, shape: Shape, text: BenchText
    ) -> None:
        self._owner, self._settings, self._shape, self._text = owner, settings, shape, text
        model = owner.loaded.result()
        self._adapter = initial_adapter(model.spec, model.base.layers, seed=1)
        self._start = initial_adapter(model.spec, model.base.layers, seed=2)
        self._heldout = text.heldout[: 4 * shape.steps]

    def measure(self, turns: int, on_run: Callable[[str], None]) -> list[AskingRow]:
        name = self._shape.name
        on_run(f"{name}: a training without prompts")
        alone = self._owner.learn(self._training(way=OURS)).result()
        self._ask(random.Random(0), count=FIRST)
        seconds: dict[str, list[list[float]]] = {IDLE: [], BETWEEN: [], OURS: []}
        trainings: dict[str, list[tuple[str, float]]] = {IDLE: [], BETWEEN: [], OURS: []}
        for turn in range(turns):
            for way in seconds:
                on_run(f"{name}, turn {turn + 1} of {turns}: asking {way}")
                rng = random.Random(turn)  # the same prompts and pauses, whichever way
                if way == IDLE:
                    seconds[way].append(self._ask(rng))
                else:
                    with self._learning(way, trainings[way]):
                        seconds[way].append(self._ask(rng))
        return [self._row(way, seconds, trainings[way], alone) for way in seconds]

    def _ask(self, rng: random.Random, *, count: int = 0) -> list[float]:
        found = []
        for _ in range(count or self._shape.asks):
            time.sleep(rng.expovariate(1 / self._shape.think_s))
            found.append(self._seconds(rng.choice(self._text.train)))
        return found

    def _seconds(self, record: PromptRecord) -> float:
        began = time.perf_counter()
        self._owner.write(
            lambda count_tokens: edge_prompt(record.card, record.short),
            self._adapter,
            max_new_tokens=self._shape.new_tokens,
        ).result()
        return time.perf_counter() - began

    @contextmanager
    def _learning(self, way: str, done: list[tuple[str, float]]) -> Iterator[None]:
        enough = threading.Event()

        def keep_on() -> None:
            while not enough.is_set():
                done.append(self._owner.learn(self._training(way=way)).result())

        thread = threading.Thread(target=keep_on, name="courier")
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()  # the last training ends too: it loses no step

    def _training(self, *, way: str) -> Callable[[EdgeModel, Pause], tuple[str, float]]:
        learning = self._settings.learning

        def job(model: EdgeModel, pause: Pause) -> tuple[str, float]:
            if way == BETWEEN:
                model.gate.way = None
            model.set_adapter(self._start)
            train(
                model,
                self._text.train,
                learning_rate=learning.learning_rate,
                steps=self._shape.steps,
                batch_tokens=learning.batch_tokens,
                clip_norm=learning.clip_norm,
                seed=SEED,
                max_tokens=learning.max_tokens,
                bfloat16=learning.bfloat16,
                on_step=lambda step, loss: pause(step),
            )
            loss = heldout_nll(model, self._heldout, learning, on_batch=lambda: pause(0))
            return digest(model.adapter()), loss.nats

        return job

    def _row(
        self,
        way: str,
        seconds: dict[str, list[list[float]]],
        trainings: list[tuple[str, float]],
        alone: tuple[str, float],
    ) -> AskingRow:
        mine = [s for turn in seconds[way] for s in turn]
        ratios = _ratios(seconds[way], seconds[IDLE], 0.99)
        return AskingRow(
            shape=self._shape.name,
            way=way,
            prompts=len(mine),
            p50_s=percentile(mine, 0.5),
            p99_s=percentile(mine, 0.99),
            p50_ratio=statistics.median(_ratios(seconds[way], seconds[IDLE], 0.5)),
            p99_ratio=statistics.median(ratios),
            p99_ratio_lowest=min(ratios),
            p99_ratio_highest=max(ratios),
            steps=self._shape.steps * len(trainings),
            same_bytes=all(training == alone for training in trainings),
        )


def _ratios(mine: list[list[float]], idle: list[list[float]], share: float) -> list[float]:
    """Turn by turn: a neighbour on the machine who comes for a while hits one turn."""
    return [percentile(m, share) / percentile(i, share) for m, i in zip(mine, idle, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]

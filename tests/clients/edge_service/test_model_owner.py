"""The owner of the model: prompts first, learning undisturbed, everything ended when it ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.edge_model import EdgeModel, edge_model
from clients.edge_service.model_owner import (
    LEARNING_SHARE,
    MOST_TOGETHER,
    MOST_WAITING,
    GivenUp,
    ModelOwner,
)
from clients.learning.edge_site import Pause
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import train
from clients.writing import Line, Writer, Written
from fl.adapter import Adapter, digest, initial_adapter
from fl.errors import AdapterError, BaseModelError, GenerationError
from fl.orchestration.turn_server import Turn
from fl.settings import Settings
from tests.clients.learning.sites import drawn_records, moved, tiny_settings

PROMPT = "Card: place Elmford\nRequest: food\nEnriched:"
STEPS = 6
LINEAR_LAYERS = 2 * 4  # of the tiny GPT-2


@pytest.fixture
def settings(edge_folder: Path, tmp_path: Path) -> Settings:
    return tiny_settings(edge_folder, tmp_path)


@pytest.fixture
def owner(settings: Settings) -> Iterator[ModelOwner]:
    """Its clock stands, so learning is never owed time."""
    started = ModelOwner(lambda: edge_model(settings), clock=lambda: 0.0)
    started.start()
    started.loaded.result()
    yield started
    started.close(wait_s=10)
    assert not started.alive


@pytest.fixture
def adapters(owner: ModelOwner) -> tuple[Adapter, Adapter]:
    """Two adapters with which the model writes otherwise."""
    model = owner.loaded.result()
    first = initial_adapter(model.spec, model.base.layers, seed=1)
    return moved(first, by=0.1, seed=1), moved(first, by=0.1, seed=2)


def asked(owner: ModelOwner, adapter: Adapter, prompt: str = PROMPT) -> "Future[Written]":
    return owner.write(lambda count_tokens: prompt, adapter, max_new_tokens=12)


def held(begun: threading.Event, go_on: threading.Event) -> Callable[[EdgeModel, Pause], None]:
    """A job that has the model until the test lets go."""

    def job(model: EdgeModel, pause: Pause) -> None:
        begun.set()
        go_on.wait(30)

    return job


class Passes:
    """Counts how often learning passes the model's gate and lets the test act at each."""

    def __init__(self, act: Callable[[int], object] = lambda number: None) -> None:
        self.count = 0
        self._act = act

    def watch(self, model: EdgeModel) -> None:
        """From here to the end of the job."""
        owners = model.gate.way
        assert owners is not None

        def way() -> None:
            self.count += 1
            self._act(self.count)
            owners()

        model.gate.way = way


def training(
    start: Adapter, paused: "Paused", *, passes: Passes | None = None, bfloat16: str = "off"
) -> Callable[[EdgeModel, Pause], tuple[str, int, float]]:
    """A job that trains from `start`, tells the test each step, and scores what it has learned."""

    def job(model: EdgeModel, pause: Pause) -> tuple[str, int, float]:
        if passes is not None:
            passes.watch(model)
        model.set_adapter(start)

        def on_step(step: int, loss: float) -> None:
            paused.reached(step)
            pause(step)

        done = train(
            model,
            drawn_records(20, seed=3),
            learning_rate=0.01,
            steps=STEPS,
            batch_tokens=256,
            clip_norm=1.0,
            seed=7,
            max_tokens=96,
            bfloat16=bfloat16,
            on_step=on_step,
        )
        learning = tiny_settings(model.base.folder, Path("unused")).learning
        loss = heldout_nll(model, drawn_records(5, seed=4), learning).per_token
        return digest(model.adapter()), done.steps, loss

    return job


class Paused:
    """Lets the test act at a step of training: `at[step]` is called there."""

    def __init__(self) -> None:
        self.at: dict[int, Callable[[], object]] = {}
        self.steps: list[int] = []

    def reached(self, step: int) -> None:
        self.steps.append(step)
        if action := self.at.get(step):
            action()


@pytest.mark.parametrize("bfloat16", ["off", "on"])
def test_prompts_inside_steps_leave_training_with_the_same_bytes(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter], bfloat16: str
) -> None:
    """Forwards, backwards, in the loss, while scoring; written by other adapters in float32."""
    start, other = adapters
    unseen = Passes()
    alone = owner.learn(training(start, Paused(), passes=unseen, bfloat16=bfloat16)).result()
    expected = [asked(owner, adapter).result() for adapter in (other, start)]
    assert expected[0] != expected[1]

    answers: list[Future[Written]] = []
    passes = Passes(
        lambda number: answers.extend(asked(owner, adapter) for adapter in (other, start))
    )
    paused = Paused()
    job = training(start, paused, passes=passes, bfloat16=bfloat16)
    assert owner.learn(job).result() == alone  # digest, steps and held-out loss
    assert paused.steps == list(range(1, STEPS + 1))
    assert passes.count == unseen.count
    assert passes.count > STEPS * 2 * LINEAR_LAYERS  # each layer forwards and backwards
    assert [answer.result() for answer in answers] == expected * passes.count


def test_a_prompt_is_answered_before_the_step_it_came_in_ends(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    paused, answers = Paused(), list[Future[Written]]()

    def act(number: int) -> None:
        if paused.steps == [1] and not answers:
            answers.append(asked(owner, adapters[1]))

    paused.at[2] = lambda: answers[0].result(timeout=0)  # or it raises, and the job with it
    job = owner.learn(training(adapters[0], paused, passes=Passes(act)))
    assert job.result()[1] == STEPS
    assert answers[0].result()


def test_prompts_without_end_leave_learning_its_share(
    settings: Settings, adapters: tuple[Adapter, Adapter]
) -> None:
    """A prompt takes 4 s and a layer 0.25 s; so 1 s of learning, 4 layers, between two prompts."""
    assert LEARNING_SHARE == 0.2
    now, events = 0.0, list[str]()
    owner = ModelOwner(lambda: edge_model(settings), clock=lambda: now)

    def prompt_of(count_tokens: object) -> str:
        nonlocal now
        now += 4.0
        events.append("prompt")
        return PROMPT

    def again(_: object = None) -> None:
        if not job.done():
            future = owner.write(prompt_of, adapters[1], max_new_tokens=1)
            future.add_done_callback(again)

    def learning(model: EdgeModel, pause: Pause) -> None:
        nonlocal now
        again()
        for _ in range(12):
            now += 0.25
            events.append("layer")
            model.gate()

    owner.start()
    job: Future[None] = owner.learn(learning)
    job.result(timeout=60)
    owner.close(wait_s=10)
    assert events[:15] == [
        "layer",
        *(["prompt"] + ["layer"] * 4) * 2,
        "prompt",
        "layer",
        "layer",
        "layer",
    ]


def test_prompts_that_wait_together_are_written_together(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    write = Writer.write

    def noted(writer: Writer, lines: list[Line], between: None) -> list[Written]:
        batches.append(len(lines))
        return write(writer, lines, between=between)

    monkeypatch.setattr(Writer, "write", noted)
    expected = [asked(owner, adapter).result() for adapter in adapters]
    begun, go_on = threading.Event(), threading.Event()
    busy = owner.learn(held(begun, go_on))
    assert begun.wait(30)
    answers = [asked(owner, adapters[i % 2]) for i in range(MOST_TOGETHER + 2)]
    assert owner.waiting == MOST_TOGETHER + 2
    go_on.set()
    busy.result()
    assert [a.result() for a in answers] == (expected * MOST_TOGETHER)[: MOST_TOGETHER + 2]
    assert batches == [1, 1, MOST_TOGETHER, 2]


def test_what_goes_wrong_belongs_to_who_asked(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    """An adapter that does not fit, a prompt that raises, in one batch with a good one."""
    start, other = adapters
    alone = owner.learn(training(start, Paused())).result()
    expected = asked(owner, other).result()
    misfit = Adapter(spec=start.spec, tensors=dict(list(start.tensors.items())[:-1]))
    paused = Paused()
    failing: list[Future[Any]] = []

    def raising(count_tokens: object) -> str:
        raise KeyError("a prompt")

    def ask() -> None:
        failing.append(asked(owner, misfit))
        failing.append(owner.write(raising, start, max_new_tokens=4))
        failing.append(owner.write(lambda count: PROMPT, start, max_new_tokens=10**6))
        failing.append(asked(owner, other))

    paused.at[2] = ask
    assert owner.learn(training(start, paused)).result() == alone
    assert isinstance(failing[0].exception(), AdapterError)
    assert isinstance(failing[1].exception(), KeyError)
    assert isinstance(failing[2].exception(), BaseModelError)
    assert failing[3].result() == expected


def test_a_batch_that_cannot_be_written_is_told_to_all_in_it_and_nobody_else(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(writer: Writer, lines: list[Line], between: None) -> list[Written]:
        raise MemoryError("too much")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", broken)
        assert isinstance(asked(owner, adapters[0]).exception(), MemoryError)
    assert asked(owner, adapters[0]).result()
    assert owner.learn(training(adapters[0], Paused())).result()[1] == STEPS


def test_a_prompt_is_made_with_the_models_count_of_tokens(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    counted: list[int] = []

    def prompt_of(count_tokens: Callable[[str], int]) -> str:
        counted.append(count_tokens(PROMPT))
        return PROMPT

    owner.write(prompt_of, adapters[0], max_new_tokens=1).result()
    assert counted == [len(owner.loaded.result().token_ids(PROMPT))]


def test_too_many_prompts_are_refused_and_who_leaves_makes_room(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    served: list[int] = []

    def prompt_of(count_tokens: object) -> str:
        served.append(1)
        return PROMPT

    def asking() -> "Future[Written]":
        return owner.write(prompt_of, adapters[0], max_new_tokens=1)

    busy = owner.learn(held(begun, go_on))
    assert begun.wait(30)
    prompts = [asking() for _ in range(MOST_WAITING)]
    with pytest.raises(GenerationError) as refused:
        asking()
    assert refused.value.status == "RESOURCE_EXHAUSTED"
    assert prompts[0].cancel()
    prompts.append(asking())
    go_on.set()
    busy.result()
    for prompt in prompts[1:]:
        prompt.result()
    assert len(served) == MOST_WAITING
    with pytest.raises(CancelledError):
        prompts[0].result()


def test_closing_gives_up_the_job_in_its_step_and_drops_what_waits(
    settings: Settings,
) -> None:
    owner, paused, closing = ModelOwner(lambda: edge_model(settings)), Paused(), threading.Event()
    owner.start()
    model = owner.loaded.result()
    start = initial_adapter(model.spec, model.base.layers, seed=1)
    begun = threading.Event()

    def wait_for_closing(number: int) -> None:
        if paused.steps == [1, 2] and not begun.is_set():
            begun.set()
            closing.wait(30)

    job = owner.learn(training(start, paused, passes=Passes(wait_for_closing)))
    begun.wait(30)
    waiting = owner.learn(training(start, Paused()))
    prompt = asked(owner, start)
    closer = threading.Thread(target=lambda: owner.close(wait_s=30))
    closer.start()
    while not owner.closing:
        pass
    closing.set()
    closer.join()
    for future in (job, waiting, prompt):
        assert isinstance(future.exception(timeout=30), GivenUp)
    assert paused.steps == [1, 2]
    assert model.gate.way is None
    with pytest.raises(GivenUp):
        asked(owner, start)


def test_closing_in_the_middle_of_a_backward_pass_ends_it_too(
    settings: Settings, adapters: tuple[Adapter, Adapter]
) -> None:
    """The error has to come through autograd as it is."""
    owner = ModelOwner(lambda: edge_model(settings))

    def act(number: int) -> None:
        if not torch.is_grad_enabled() and paused.steps == [1]:  # the loss, then layers backwards
            without_grad.append(number)
            owner.closing = len(without_grad) == 4

    paused, without_grad = Paused(), list[int]()
    owner.start()
    job = owner.learn(training(adapters[0], paused, passes=Passes(act)))
    assert isinstance(job.exception(timeout=60), GivenUp)
    assert paused.steps == [1]
    assert len(without_grad) == 4
    owner.close(wait_s=10)


def test_a_model_that_cannot_be_loaded_is_told_to_who_waits(tmp_path: Path) -> None:
    owner = ModelOwner(lambda: edge_model(tiny_settings(tmp_path / "nothing", tmp_path)))
    owner.start()
    with pytest.raises(BaseModelError):
        owner.loaded.result()
    owner.close(wait_s=10)


def test_a_larger_model_is_emulated_and_every_turn_is_told(settings: Settings) -> None:
    owner = ModelOwner(lambda: edge_model(settings), least_step_s=0.02)
    turns: list[Turn] = []
    owner.on_turn = turns.append
    owner.start()
    try:
        model = owner.loaded.result()
        adapter = initial_adapter(model.spec, model.base.layers, seed=1)
        written = asked(owner, adapter).result()
        [turn] = turns
        assert (turn.steps, turn.tokens) == (len(written.nats), len(written.nats))
        assert turn.seconds >= 0.02 * (turn.steps - 1)
    finally:
        owner.close(wait_s=10)


def test_calls_come_before_learning_goes_on_and_fail_alone(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter], settings: Settings
) -> None:
    """What one raises is its caller's alone."""
    second = adapters[1]
    begun, go_on = threading.Event(), threading.Event()
    learning = owner.learn(held(begun, go_on))
    begun.wait(10)

    def weighed(model: EdgeModel) -> str:
        line = model.writer.line(PROMPT, second, max_new_tokens=12)
        return model.writer.write([line])[0].text

    def fails(model: EdgeModel) -> None:
        raise BaseModelError("no room")

    called, failed = owner.call(weighed), owner.call(fails)
    assert owner.waiting == 2
    go_on.set()
    assert called.result(10) == asked(owner, second).result(10).text
    with pytest.raises(BaseModelError, match="no room"):
        failed.result(10)
    learning.result(10)

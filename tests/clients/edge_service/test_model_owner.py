"""The owner of the model: prompts first, learning undisturbed, everything ended when it ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from clients.edge_model import EdgeModel, edge_model
from clients.edge_service.model_owner import MOST_WAITING, GivenUp, ModelOwner
from clients.learning.contribution import Pause
from clients.learning.local_training import train
from fl.adapter import Adapter, digest, initial_adapter
from fl.errors import AdapterError, BaseModelError, GenerationError
from fl.settings import Settings
from tests.clients.learning.sites import drawn_records, moved, tiny_settings

PROMPT = "Card: place Elmford\nRequest: food\nEnriched:"
STEPS = 6


@pytest.fixture
def settings(edge_folder: Path, tmp_path: Path) -> Settings:
    return tiny_settings(edge_folder, tmp_path)


@pytest.fixture
def owner(settings: Settings) -> Iterator[ModelOwner]:
    started = ModelOwner(lambda: edge_model(settings))
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


def write(model: EdgeModel) -> str:
    [text] = model.generate([PROMPT], max_new_tokens=12)
    return text


def training(start: Adapter, paused: "Paused") -> Callable[[EdgeModel, Pause], tuple[str, int]]:
    """A job that trains from `start` and tells the test each step."""

    def job(model: EdgeModel, pause: Pause) -> tuple[str, int]:
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
            bfloat16="off",
            on_step=on_step,
        )
        return digest(model.adapter()), done.steps

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


def test_prompts_are_served_between_steps_and_training_ends_with_the_same_bytes(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    start, asked = adapters
    alone = owner.learn(training(start, Paused())).result()
    expected = owner.ask(write, asked).result()
    assert expected != owner.ask(write, start).result()

    paused = Paused()
    answers: list[Future[str]] = []
    for step in (1, 2, 5):
        paused.at[step] = lambda: answers.extend(owner.ask(write, asked) for _ in range(2))
    disturbed = owner.learn(training(start, paused)).result()
    assert disturbed == alone  # digest of the adapter, and no step lost
    assert paused.steps == list(range(1, STEPS + 1))
    assert [answer.result() for answer in answers] == [expected] * 6


def test_a_prompt_during_training_does_not_wait_for_its_end(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    paused, asked, answered = Paused(), threading.Event(), threading.Event()
    paused.at[2] = asked.wait  # the prompt is there before the pause of step 2
    paused.at[3] = lambda: answered.wait(30)
    job = owner.learn(training(adapters[0], paused))
    answer = owner.ask(write, adapters[1])
    answer.add_done_callback(lambda _: answered.set())
    asked.set()
    assert answer.result(timeout=30)
    assert not job.done()
    assert job.result()[1] == STEPS


def test_learning_takes_a_step_before_prompts_that_came_during_its_pause(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    """Or people who ask without end would stop it."""
    events: list[str] = []

    def asking_again(model: EdgeModel) -> None:
        events.append("prompt")
        if events.count("prompt") < 3:
            owner.ask(asking_again, adapters[1])

    def job(model: EdgeModel, pause: Pause) -> None:
        owner.ask(asking_again, adapters[1])
        for step in range(1, 4):
            events.append("step")
            pause(step)

    owner.learn(job).result()
    assert events == ["step", "prompt"] * 3


def test_what_goes_wrong_belongs_to_who_asked(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    """An adapter that does not fit, half set; a prompt that raises: training and thread go on."""
    start, _ = adapters
    alone = owner.learn(training(start, Paused())).result()
    misfit = Adapter(spec=start.spec, tensors=dict(list(start.tensors.items())[:-1]))
    paused = Paused()
    failing: list[Future[Any]] = []

    def raising(model: EdgeModel) -> str:
        raise KeyError("a prompt")

    paused.at[2] = lambda: failing.extend([owner.ask(write, misfit), owner.ask(raising, start)])
    assert owner.learn(training(start, paused)).result() == alone
    assert isinstance(failing[0].exception(), AdapterError)
    assert isinstance(failing[1].exception(), KeyError)
    assert owner.ask(write, start).result()


def test_too_many_prompts_are_refused_and_who_leaves_makes_room(
    owner: ModelOwner, adapters: tuple[Adapter, Adapter]
) -> None:
    go_on = threading.Event()
    served: list[int] = []
    busy = owner.learn(lambda model, pause: go_on.wait(30))
    prompts = [owner.ask(lambda _: served.append(1), adapters[0]) for _ in range(MOST_WAITING)]
    with pytest.raises(GenerationError) as refused:
        owner.ask(write, adapters[0])
    assert refused.value.status == "RESOURCE_EXHAUSTED"
    assert prompts[0].cancel()
    go_on.set()
    busy.result()
    for prompt in prompts[1:]:
        prompt.result()
    assert len(served) == MOST_WAITING - 1
    with pytest.raises(CancelledError):
        prompts[0].result()


def test_closing_gives_up_the_job_at_its_next_step_and_drops_what_waits(
    settings: Settings,
) -> None:
    owner, paused, closing = ModelOwner(lambda: edge_model(settings)), Paused(), threading.Event()
    owner.start()
    model = owner.loaded.result()
    start = initial_adapter(model.spec, model.base.layers, seed=1)
    begun = threading.Event()

    def wait_for_closing() -> None:
        begun.set()
        closing.wait(30)

    paused.at[2] = wait_for_closing
    job = owner.learn(training(start, paused))
    begun.wait(30)
    waiting = owner.learn(training(start, Paused()))
    asked = owner.ask(write, start)
    closer = threading.Thread(target=lambda: owner.close(wait_s=30))
    closer.start()
    while not owner.closing:
        pass
    closing.set()
    closer.join()
    for future in (job, waiting, asked):
        assert isinstance(future.exception(timeout=30), GivenUp)
    assert paused.steps == [1, 2]
    with pytest.raises(GivenUp):
        owner.ask(write, start)


def test_a_model_that_cannot_be_loaded_is_told_to_who_waits(tmp_path: Path) -> None:
    owner = ModelOwner(lambda: edge_model(tiny_settings(tmp_path / "nothing", tmp_path)))
    owner.start()
    with pytest.raises(BaseModelError):
        owner.loaded.result()
    owner.close(wait_s=10)

"""A prompt's way where the model, the cloud and the asker do what they like; no port is open."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.asking.ask import Answered, Leaving, Wish
from clients.edge_service.corridor import Corridor, Enrichment
from clients.edge_service.model_owner import GivenUp
from clients.edge_service.request_ledger import RequestLedger
from clients.edge_service.serving import InUse
from clients.edge_service.shared_line import SharedLine
from clients.ledger.entry import Entry
from clients.ledger.journal import entries, ledger_file
from clients.orchestration.own_pace import OwnPace
from clients.workflow.workflow import Workflow
from clients.workflow.workflow_file import workflow_of
from clients.writing import Written
from fl.adapter import AdapterSpec
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.network.rules import Rules
from fl.orchestration.admission import Verdict
from fl.service_metrics import ServiceMetrics
from fl.settings import load
from fl.site import Site
from fl.site_list import site_folder

SHORT = "zanzibar lantern"
SITE = Site(id="elm", place="Elmford")
REPLY = Reply(
    text="Yes.",
    finish_reason="stop",
    prompt_tokens=4,
    completion_tokens=2,
    queue_seconds=0,
    prefill_seconds=0,
    decode_seconds=0,
    model_fingerprint="ab12",
)


class Model:
    """The owner of a model, and the model, that writes when the test says so."""

    waiting = 0
    base = SimpleNamespace(fingerprint="cd34", layers={})
    spec = AdapterSpec(base_model_fingerprint="cd34", rank=2, alpha=4.0, target_modules=("c_attn",))

    def __init__(self) -> None:
        self.loaded: Future[Model] = Future()
        self.loaded.set_result(self)
        self.future: Future[Written] = Future()
        self.own: Future[Written] = Future()  # of what it answers by itself
        self.prompts: list[str] = []
        self.adapters: list[object] = []

    def token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def write(
        self, prompt_of: Callable[[Any], str], adapter: object, *, max_new_tokens: int
    ) -> "Future[Written]":
        if isinstance(self.future, Future):
            self.prompts.append(prompt_of(lambda text: len(text.split())))
            self.adapters.append(adapter)
            self.max_new_tokens = max_new_tokens
            return self.own if self.prompts[-1].endswith("Answer:") else self.future
        raise self.future


class Cloud:
    """A channel whose one generation plays a script."""

    bytes_up, bytes_down = 11, 22

    def __init__(self, *script: TextPiece | Reply | GenerationError) -> None:
        self.script = script
        self.requests: list[GenerationRequest] = []
        self.timeouts: list[float | None] = []
        self.cancelled = 0

    def generate(self, request: GenerationRequest, *, timeout_s: float | None = None) -> "Cloud":
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        return self

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(self, *left: object) -> None:
        pass

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        for event in self.script:
            if isinstance(event, GenerationError):
                raise event
            yield event

    def cancel(self) -> None:
        self.cancelled += 1


class Places:
    """A Placing, and the Place of every request."""

    def __init__(self) -> None:
        self.says = Verdict(place="cloud")
        self.deadlines: list[float] = []
        self.ids: list[str] = []
        self.given_back = 0
        self.drafts: list[bool] = []
        self.learned: list[Answered] = []

    def begin(
        self, request_id: str, *, started: float, deadline_s: float, drafts: bool = False
    ) -> "Places":
        self.ids.append(request_id)
        self.drafts.append(drafts)
        self.deadlines.append(deadline_s)
        return self

    def verdict(self, *, within_s: float) -> Verdict:
        assert within_s > 0
        return self.says

    def learn(self, answered: Answered) -> None:
        self.learned.append(answered)

    def give_back(self) -> None:
        self.given_back += 1


class World:
    """A corridor and all around it."""

    def __init__(
        self,
        folder: Path,
        *script: TextPiece | Reply | GenerationError,
        workflow: Workflow | None = None,
    ) -> None:
        self.settings = settings = load([f"var={folder}", "asking.timeout_s=0.05"])
        self.said: list[str] = []
        self.keeps, self.learned = True, list[Answered]()
        self.chooser = SimpleNamespace(
            look=lambda: None, keeps=lambda written: self.keeps, learn=self.learned.append
        )
        self.folder = site_folder(settings, SITE.id)
        self.model, self.cloud, self.metrics = Model(), Cloud(*script), ServiceMetrics("edge")
        release = SimpleNamespace(federation="001", number=1)
        self.in_use: InUse | None = cast(InUse, SimpleNamespace(adapter=None, release=release))
        self.leave: list[Callable[[], object]] = []
        self.places = Places()
        self.corridor = Corridor(
            settings,
            SITE,
            workflow=workflow or workflow_of(settings),
            owner=cast(Any, self.model),
            serving=cast(Any, SimpleNamespace(now=lambda: self.in_use)),
            channel=cast(Any, self.cloud),
            metrics=self.metrics,
            ledger=RequestLedger(
                settings,
                line=SharedLine(None),
                count_tokens=lambda text: len(self.model.token_ids(text)),
                say=self.said.append,
            ),
            router=lambda: cast(Any, self.chooser),
            pace=OwnPace(settings, rows=16),
            placing=cast(Any, self.places),
            rules=Rules,
        )

    def ask(
        self, mode: str = "", wish: Wish | None = None
    ) -> Iterator[Enrichment | Leaving | TextPiece | Answered]:
        return self.corridor.ask(
            SHORT,
            wish or Wish(),
            started=perf_counter(),
            when_left=self.leave.append,
            mode=mode,
        )

    @property
    def entries(self) -> list[Entry]:
        return list(entries(ledger_file(self.settings, SITE.id)))

    def counted(self, line: str) -> bool:
        return f"netgpt_edge_{line} 1.0" in self.metrics.render().decode().splitlines()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, TextPiece(text="Yes."), REPLY)


def test_the_way_in_its_order(world: World) -> None:
    world.model.future.set_result(Written(text=" a table for two ", nats=(0.1,)))
    enrichment, leaving, piece, answered = world.ask()
    assert isinstance(enrichment, Enrichment)
    assert isinstance(leaving, Leaving)
    assert isinstance(answered, Answered)
    assert (enrichment.enriched.text, leaving.disclosed.text) == ("a table for two",) * 2
    assert enrichment.prompt_tokens == len(world.model.prompts[0].split())
    assert enrichment.card == "place Elmford"
    assert (piece, answered.outcome) == (TextPiece(text="Yes."), REPLY)
    assert (answered.bytes_up, answered.bytes_down) == (11, 22)
    [request] = world.cloud.requests
    assert (request.prompt, request.site_id) == ("a table for two", "elm")
    assert world.counted('requests_total{end="stop"}')
    assert SHORT not in repr(enrichment)


def test_who_leaves_while_the_prompt_waits_frees_its_place(world: World) -> None:
    world.leave = cast(Any, SimpleNamespace(append=lambda cancel: cancel()))
    with pytest.raises(CancelledError):
        list(world.ask())
    assert world.model.future.cancelled()
    assert not world.cloud.requests
    assert world.counted('requests_total{end="cancelled"}')


def test_who_stops_reading_before_it_leaves_sends_nothing(world: World) -> None:
    world.model.future.set_result(Written(text="a table", nats=(0.1,)))
    events = world.ask()
    next(events)
    assert isinstance(next(events), Leaving)
    cast(Any, events).close()
    assert not world.cloud.requests
    assert world.counted('requests_total{end="cancelled"}')


def test_who_leaves_later_ends_the_clouds_work(world: World) -> None:
    world.model.future.set_result(Written(text="a table", nats=(0.1,)))
    events = world.ask()
    assert [type(next(events)) for _ in range(3)] == [Enrichment, Leaving, TextPiece]
    for cancel in world.leave:
        cancel()
    assert world.cloud.cancelled == 1


def test_a_cloud_that_fails_ends_with_what_the_site_wrote(tmp_path: Path) -> None:
    down = GenerationError("down", status="UNAVAILABLE")
    world = World(tmp_path, TextPiece(text="Ye"), down)
    world.model.future.set_result(Written(text="a table", nats=(0.1,)))
    *_, answered = world.ask()
    assert isinstance(answered, Answered)
    assert (answered.answer, answered.outcome) == ("Ye", down)
    assert world.counted('requests_total{end="unavailable"}')


def _busy(world: World) -> None:
    """Nothing is written within asking.timeout_s."""


def _full(world: World) -> None:
    world.model.future = cast(Any, GenerationError("full", status="RESOURCE_EXHAUSTED"))


def _stopping(world: World) -> None:
    world.model.future.set_exception(GivenUp("The edge service ends."))


def _without_release(world: World) -> None:
    world.in_use = None


def _with_bad_facts(world: World) -> None:
    world.folder.mkdir(parents=True)
    (world.folder / "place.json").write_text('{"place": "zanzibar"')


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        (_busy, "DEADLINE_EXCEEDED"),
        (_full, "RESOURCE_EXHAUSTED"),
        (_stopping, "UNAVAILABLE"),
        (_without_release, "FAILED_PRECONDITION"),
        (_with_bad_facts, "FAILED_PRECONDITION"),
    ],
)
def test_what_the_site_cannot_do_is_a_refusal(
    world: World, prepare: Callable[[World], None], status: str
) -> None:
    prepare(world)
    with pytest.raises((GenerationError, GivenUp)) as refused:
        list(world.ask())
    assert getattr(refused.value, "status", "UNAVAILABLE") == status
    assert world.counted(f'refusals_total{{reason="{status.lower()}"}}')
    assert not world.cloud.requests
    for private in ("zanzibar", str(world.folder)):
        assert private not in str(refused.value)

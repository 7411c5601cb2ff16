"""What sites say is not trusted; by the service's methods, without a network."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fl.errors import GenerationError
from fl.settings import load
from fl.wire.netgpt.v1 import orchestration_pb2 as pb
from server.generation.workers.placing import WorkerState
from server.orchestration.book import Book
from server.orchestration.orchestration_service import OrchestrationService

SETTINGS = load(["orchestration.step_ms=10", "orchestration.row_ms=5"])


@dataclass
class FakeEngine:
    workers: Sequence[WorkerState]
    model_name: str = "m"
    release: str = "base"


def service_of(*workers: WorkerState) -> SimpleNamespace:
    book = Book(SETTINGS)
    service = OrchestrationService(book)
    service.engine = cast(Any, FakeEngine(workers))

    def call(method: str, message: object) -> Any:
        return asyncio.run(getattr(service, method)(message, None))

    return SimpleNamespace(call=call, book=book, service=service)


def question(**other: Any) -> pb.AdmitRequest:
    fields = {"request_id": "one", "site_id": "elm", "cell": "elm", "deadline_s": 60.0}
    return pb.AdmitRequest(**cast(Any, fields | other))


def advert(**other: Any) -> pb.SiteAdvert:
    return pb.SiteAdvert(**cast(Any, {"site_id": "elm", "cell": "elm"} | other))


ADMIT: list[dict[str, Any]] = [
    {"request_id": ""},
    {"request_id": "a/b"},
    {"site_id": "elm/a"},
    {"cell": "a/b"},
    {"bytes_up": 1.1e9},
    {"bytes_down": math.inf},
    {"deadline_s": 86_401.0},
    {"deadline_s": 0.0},
    {"deadline_s": math.nan},
    {"ready_s": 86_401.0},
    {"own_s": 86_401.0},
    {"own_s": -1.0},
    {"rtt_s": 601.0},
]


@pytest.mark.parametrize("wrong", ADMIT, ids=json.dumps)
def test_questions_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    made = service_of(WorkerState(name="w"))
    with pytest.raises(GenerationError) as refused:
        made.call("Admit", question(**wrong))
    assert refused.value.status == "INVALID_ARGUMENT"
    assert made.book.decided == {"cloud": 0, "edge": 0, "shed": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"site_id": "a/b"},
        {"cell": "a/b"},
        {"step_s": math.inf},
        {"link": pb.Link(rtt_s=601)},
        {"link": pb.Link(up_bytes_s=-1)},
        {"link": pb.Link(down_bytes_s=math.inf)},
    ],
    ids=repr,
)
def test_adverts_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    made = service_of()
    with pytest.raises(GenerationError) as refused:
        made.call("Advertise", advert(**wrong))
    assert refused.value.status == "INVALID_ARGUMENT"
    assert made.book.adverts() == []


@pytest.mark.parametrize("wrong", [{"request_id": ""}, {"site_id": "elm/one"}, {"request_id": "/"}])
def test_releases_are_checked_as_questions_are(wrong: dict[str, str]) -> None:
    made = service_of(WorkerState(name="w"))
    made.call("Admit", question())
    with pytest.raises(GenerationError):
        made.call("Release", pb.ReleaseRequest(**{"site_id": "elm", "request_id": "one"} | wrong))
    assert made.book.workers()[0].promised == 1
    made.call("Release", pb.ReleaseRequest(site_id="elm", request_id="one"))
    assert made.book.workers()[0].promised == 0


def test_a_question_that_is_asked_again_has_one_place() -> None:
    made = service_of(WorkerState(name="w"))
    for _ in range(3):
        assert made.call("Admit", question()).place == pb.PLACE_CLOUD
    assert made.book.workers()[0].promised == 1


def test_a_link_of_0_bytes_a_second_has_no_bound() -> None:
    made = service_of(WorkerState(name="w"))
    made.call("Advertise", advert(link=pb.Link(rtt_s=0.5, down_bytes_s=1000)))
    ((_, kept),) = made.book.adverts()
    assert (kept.link.up_bytes_s, kept.link.down_bytes_s) == (math.inf, 1000)
    near = made.call("Admit", question(bytes_up=1e9)).expected_s
    far = made.call("Admit", question(request_id="two", bytes_down=5000)).expected_s
    assert far > near + 4
    (site,) = made.call("Show", pb.ShowRequest()).sites
    assert (site.advert.link.up_bytes_s, site.advert.link.down_bytes_s) == (0, 1000)


def test_a_worker_of_which_nothing_is_known_is_shown_as_it_is_believed_to_be() -> None:
    made = service_of(WorkerState(name="w"), WorkerState(name="away", up=False))
    shown = made.call("Show", pb.ShowRequest()).workers
    assert [(one.name, one.alive, one.promised) for one in shown] == [
        ("w", True, 0),
        ("away", False, 0),
    ]
    assert [(one.step_s, one.row_s) for one in shown] == [(0.01, 0.005)] * 2

"""Jobs done once: joined while they run, answered again after, tried anew after a failure."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clients.edge_model import EdgeModel, edge_model
from clients.edge_service.model_owner import GivenUp, ModelOwner
from clients.edge_service.workbench import KEPT_ANSWERS, Workbench, key_of
from clients.learning.edge_site import Pause
from clients.learning.site_work import Parts, Work
from fl.errors import BookError
from fl.flower_records import CONTRIBUTE, SETTLE
from fl.release_file import SentRelease
from tests.clients.learning.sites import tiny_plan, tiny_settings
from tests.fl.adapters import drawn
from tests.fl.releases import signed

RELEASE = signed(1)
SENT = SentRelease(manifest=RELEASE.manifest, signature=RELEASE.signature, shared=RELEASE.shared)


def work(round_number: int = 1, *, kind: str = CONTRIBUTE) -> Work:
    plan = tiny_plan(round_number=round_number)
    return Work(kind=kind, site_id="elm", plan=plan, sent=SENT)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def bench(edge_folder: Path, tmp_path: Path, said: list[str]) -> Iterator[Workbench]:
    owner = ModelOwner(lambda: edge_model(tiny_settings(edge_folder, tmp_path)))
    owner.start()
    owner.loaded.result()
    yield Workbench(owner, said.append)
    owner.close(wait_s=10)


class Job:
    """Answers with how often it was done; may be held up, may fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.done = 0
        self.failure = failure
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, model: EdgeModel, pause: Pause) -> Parts:
        self.begun.set()
        pause(3)
        assert self.go_on.wait(30)
        self.done += 1
        if self.failure:
            raise self.failure
        return f"done {self.done}", {}


def test_two_couriers_with_the_same_work_share_one_job(bench: Workbench) -> None:
    job = Job()
    job.go_on.clear()
    with ThreadPoolExecutor(2) as couriers:
        answers = [couriers.submit(bench.do, work(), job) for _ in range(2)]
        assert job.begun.wait(30)
        assert bench.progress is not None
        assert (bench.progress.work.plan.round_number, bench.progress.step) == (1, 3)
        job.go_on.set()
        assert [answer.result(30) for answer in answers] == [("done 1", {})] * 2
    assert bench.progress is None
    assert bench.do(work(), job) == ("done 1", {})  # kept
    assert job.done == 1


def test_other_work_waits_its_turn(bench: Workbench, said: list[str]) -> None:
    first, second = Job(), Job()
    first.go_on.clear()
    with ThreadPoolExecutor(2) as couriers:
        one = couriers.submit(bench.do, work(1), first)
        assert first.begun.wait(30)
        two = couriers.submit(bench.do, work(2), second)
        assert not second.begun.wait(0.1)
        first.go_on.set()
        one.result(30)
        two.result(30)
    events = [line.split(" after")[0] for line in said]
    assert events == [
        "train of round 1 begun",
        "train of round 1 ended",
        "train of round 2 begun",
        "train of round 2 ended",
    ]


def test_failed_work_is_tried_anew(bench: Workbench, said: list[str]) -> None:
    job = Job(BookError("a text"))
    for _ in range(2):
        with pytest.raises(BookError):
            bench.do(work(), job)
    job.failure = None
    assert bench.do(work(), job) == ("done 3", {})
    assert said[1].startswith("train of round 1 failed: BookError, after ")
    assert "a text" not in "".join(said)


def test_only_the_last_answers_are_kept(bench: Workbench) -> None:
    jobs = [Job() for _ in range(KEPT_ANSWERS + 1)]
    for number, job in enumerate(jobs, start=1):
        bench.do(work(number), job)
    bench.do(work(len(jobs)), jobs[-1])
    bench.do(work(1), jobs[0])
    assert [job.done for job in jobs] == [2, *[1] * KEPT_ANSWERS]


def test_what_makes_work_the_same() -> None:
    base = work()
    others = [
        work(2),
        work(kind=SETTLE),
        replace(base, sent=replace(SENT, signature=bytes(64))),
        replace(base, sent=replace(SENT, manifest=b"{}")),
        replace(base, sent=replace(SENT, shared=drawn(2))),
    ]
    assert key_of(work()) == key_of(base)
    assert len({key_of(other) for other in [base, *others]}) == 6


def test_work_that_the_service_gives_up_is_not_kept(bench: Workbench) -> None:
    def given_up(model: EdgeModel, pause: Pause) -> Parts:
        raise GivenUp("the end")

    with pytest.raises(GivenUp):
        bench.do(work(), given_up)
    assert bench.do(work(), Job()) == ("done 1", {})

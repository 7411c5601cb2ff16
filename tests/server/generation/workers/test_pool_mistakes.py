"""The pool and mistakes of our own."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from server.generation.workers import watch as watch_module
from server.generation.workers.placing import WorkerState
from tests.server.generation.workers.fakes import FakeLine, Fate, ask, new_pool, until, wanted


def test_a_mistake_ends_one_request_and_quotes_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_EVERY_S", 0.002)

    def wrong(request: GenerationRequest, workers: Sequence[WorkerState]) -> WorkerState:
        if request.written:
            raise ValueError(request.prompt)
        return workers[0]

    made = new_pool(FakeLine([Fate(dies_after=1)]), FakeLine(), place=wrong)
    until(lambda: all(worker.up for worker in made.pool.workers))
    _, error = ask(made.pool, replace(wanted(), prompt="a canary"))
    load = made.pool.load
    made.pool.close()

    assert isinstance(error, GenerationError)
    assert (error.status, "The cloud failed; error" in str(error)) == ("INTERNAL", True)
    assert (load.running, load.waiting) == (0, 0)
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text + str(error)

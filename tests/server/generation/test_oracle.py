"""Batched answers equal one-by-one `generate`, token for token, whoever joins, leaves or gives up.

The machine drives rows and cache step by step; requests arrive, prompts are read in stretches, and
rows are taken out in any order.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.generation.batch import Batch, Row
from server.generation.loading import LanguageModel, load_language_model
from server.generation.sampling import Sampler, next_tokens
from tests.server.generation.engine_cases import (
    PROMPTS,
    Inbox,
    ask_all,
    new_engine,
    oracle,
    wanted,
)
from tests.tiny_models import make_tiny_cloud

LONGEST = 18  # new tokens
CACHE_TOKENS = 500


class JoinsAndLeaves(RuleBasedStateMachine):
    """A batch of at most 5 rows that reads at most 10 tokens of prompts a step."""

    folder: Path
    model: LanguageModel
    known: dict[int, list[int]]  # the oracle's tokens by prompt

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch(self.model.network, most_rows=5, most_tokens=CACHE_TOKENS, most_read=10)
        self.running: dict[Row, tuple[int, int, list[int]]] = {}  # prompt, length, written

    @rule(prompt=st.integers(0, 7), length=st.integers(1, LONGEST))
    def arrive(self, prompt: int, length: int) -> None:
        ids = self.model.tokens.prompt_ids(wanted(self.text(prompt)))
        if self.batch.fits(len(ids) + length - 1):
            row = self.batch.join(ids, need=len(ids) + length - 1)
            self.running[row] = (prompt, length, [])

    @precondition(lambda self: self.running)
    @rule(times=st.integers(1, 6), data=st.data())
    def steps(self, times: int, data: st.DataObject) -> None:
        for _ in range(times):
            if not self.running:
                return
            with torch.inference_mode():
                rows, logits_RV = self.batch.step()
                chosen = next_tokens(logits_RV, [Sampler(wanted())] * len(rows))
            for row, token in zip(rows, chosen, strict=True):
                prompt, length, written = self.running[row]
                row.newest = token
                written.append(token)
                assert written == self.known[prompt][: len(written)]
                if len(written) == length:
                    self.leave(row)
        if self.running and data.draw(st.booleans()):
            self.leave(data.draw(st.sampled_from(list(self.running))))  # gives up

    def leave(self, row: Row) -> None:
        self.batch.leave(row)
        del self.running[row]

    @invariant()
    def the_books_are_right(self) -> None:
        assert set(self.batch.rows) == set(self.running)
        assert [row.place for row in self.batch.rows] == list(range(len(self.running)))
        assert self.batch.tokens <= CACHE_TOKENS

    @staticmethod
    def text(prompt: int) -> str:
        return f"{PROMPTS[prompt % 5]} {prompt}" * (1 + prompt // 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # no end mark among its tokens: every answer has its full length
    return make_tiny_cloud(tmp_path_factory.mktemp("oracle") / "model", seed=3)


def test_any_joins_and_leaves_give_what_generate_gives(folder: Path) -> None:
    class Machine(JoinsAndLeaves):
        pass

    Machine.folder, Machine.model = folder, load_language_model(folder)
    Machine.known = {
        prompt: oracle(folder, Machine.model, Machine.text(prompt), LONGEST) for prompt in range(8)
    }
    assert all(len(ids) == LONGEST for ids in Machine.known.values())
    case = Machine.TestCase
    case.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()


def test_forty_at_once_with_cancellations_equal_generate(folder: Path) -> None:
    model = load_language_model(folder)
    engine = new_engine(model)
    requests = [wanted(f"{PROMPTS[i % 5]} {i}", 4 + i % 20) for i in range(28)]
    doomed = [engine.submit(wanted(f"never {i}", 60), Inbox().events.put) for i in range(3)]

    for ticket in doomed[:2]:
        ticket.cancel()
    answers = ask_all(engine, requests)
    doomed[2].cancel()

    for request, (text, reply) in zip(requests, answers, strict=True):
        ids = oracle(folder, model, request.prompt, request.max_new_tokens or 0)
        assert text == reply.text == model.tokens.decode(ids).lstrip()
        assert (reply.completion_tokens, reply.finish_reason) == (len(ids), "length")
        assert reply.prompt_tokens == len(model.tokens.prompt_ids(request))
        assert min(reply.queue_seconds, reply.prefill_seconds, reply.decode_seconds) >= 0
    engine.close()

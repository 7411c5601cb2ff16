"""An answer that another engine began: what follows its tokens is what would have followed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from server.generation.embedded import EmbeddedEngine
from server.generation.loading import load_language_model
from tests.server.generation.engine_cases import Inbox, new_engine, wanted


@pytest.fixture(scope="module")
def engine(tiny_cloud: Path) -> Iterator[EmbeddedEngine]:
    engine = new_engine(load_language_model(tiny_cloud))
    yield engine
    engine.close()


def told(engine: EmbeddedEngine, request: GenerationRequest) -> tuple[list[TextPiece], Reply]:
    inbox = Inbox()
    engine.submit(request, inbox.events.put)
    pieces = []
    while isinstance(event := inbox.events.get(timeout=60), TextPiece):
        pieces.append(event)
    assert isinstance(event, Reply), event
    return pieces, event


def text_of(pieces: list[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


FIRST = wanted("東京 🙂", 24, temperature=0.0)
CASES = {
    "greedy": FIRST,
    "sampled": replace(FIRST, temperature=1.3, top_p=0.9, seed=7),
    "plain": replace(FIRST, plain=True, prompt=" a table"),
    "stops": replace(FIRST, temperature=1.3, seed=3, stop=("the", "zz", "q")),
}


@pytest.mark.parametrize("case", CASES)
def test_continued_at_every_piece_it_is_the_same_answer(engine: EmbeddedEngine, case: str) -> None:
    request = CASES[case]
    pieces, whole = told(engine, request)
    assert whole.completion_tokens > 3
    assert sum(len(piece.token_ids) for piece in pieces) == whole.completion_tokens

    for cut in range(1, len(pieces) + 1):
        said = tuple(i for piece in pieces[:cut] for i in piece.token_ids)
        again, reply = told(engine, replace(request, written=said))
        assert text_of(again) == reply.text == whole.text, cut
        assert text_of(again).startswith(text_of(pieces[:cut]))
        assert [i for piece in again for i in piece.token_ids][: len(said)] == list(said)
        counted = (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens)
        assert counted == (whole.finish_reason, whole.prompt_tokens, whole.completion_tokens)


def test_what_no_answer_begins_with_is_refused(engine: EmbeddedEngine) -> None:
    bad: dict[str, Any] = {
        "no token of the model": (3, 400),
        "an end mark": (3, 0),
        "at most 24 can be": (3,) * 25,
    }
    for words, ids in bad.items():
        with pytest.raises(GenerationError, match=words) as refused:
            engine.submit(replace(FIRST, written=ids), lambda event: None)
        assert refused.value.status == "INVALID_ARGUMENT"
    assert engine.load.running == engine.load.waiting == engine.load.waiting_tokens == 0
    assert told(engine, FIRST)[1].finish_reason in ("length", "stop")

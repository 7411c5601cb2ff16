"""Choosing among texts: exact probabilities, nothing else can come out, writing under a grammar."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.edge_model import EdgeModel
from clients.insight.choices import Options
from fl.prompt_format import completion
from tests.clients.test_edge_model import drawn, opened
from tests.tiny_models import SENTENCES, make_tiny_edge

PROMPT = "Request: food\nIntent:"
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
some_texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    min_size=1,
    max_size=12,
    unique=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return opened(make_tiny_edge(tmp_path_factory.mktemp("edge")), ("c_attn", "c_fc", "c_proj"))


def options(model: EdgeModel, texts: list[str]) -> Options:
    return Options(texts, model_ids=model.token_ids, end_id=model.end_id)


@given(texts=some_texts, seed=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_wide_beam_is_exact(model: EdgeModel, texts: list[str], seed: int) -> None:
    """Each text's probability is the product of the shares among a node's children, one by one."""
    found, adapter = options(model, texts), drawn(model, seed=seed)
    prompts = [PROMPT, "Request: a longer one about food\nIntent:"]
    model.set_adapter(adapter)
    for prompt, weighed in zip(
        prompts, model.writer.weigh(prompts, adapter, found, width=len(texts)), strict=True
    ):
        assert sorted(index for index, _ in weighed) == list(range(len(texts)))
        assert math.fsum(math.exp(p) for _, p in weighed) == pytest.approx(1.0, abs=1e-6)
        for index, log_p in weighed:
            assert log_p == pytest.approx(by_hand(model, prompt, texts, index), abs=1e-4)


def by_hand(model: EdgeModel, prompt: str, texts: list[str], index: int) -> float:
    """One forward pass a token, with the learner's own network."""
    wanted = [[*model.token_ids(completion(text)), model.end_id] for text in texts]
    ids, total = model.token_ids(prompt), 0.0
    for depth, token in enumerate(wanted[index]):
        before = wanted[index][:depth]
        rivals = sorted({w[depth] for w in wanted if w[:depth] == before and len(w) > depth})
        with torch.inference_mode():
            hidden = model.hidden(torch.tensor([[*ids, *before]]))[0, -1]
            logits = hidden @ model.head()[0].T
        total += float(torch.log_softmax(logits[rivals], dim=0)[rivals.index(token)])
    return total


def test_a_narrow_beam_finds_what_is_best_of_many(model: EdgeModel) -> None:
    texts = [f"{a} {b}" for a in WORDS[:12] for b in WORDS[:12]]
    found, adapter = options(model, texts), drawn(model, seed=5)
    (exact,) = model.writer.weigh([PROMPT], adapter, found, width=len(texts))
    (quick,) = model.writer.weigh([PROMPT], adapter, found, width=8)
    assert quick[0][0] == exact[0][0]
    assert quick[0][1] == pytest.approx(exact[0][1], abs=1e-5)
    assert len(quick) < len(exact) == 144


def test_where_there_is_no_choice_the_network_is_not_asked(
    model: EdgeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three words of one token are one call, for what follows each is its end mark.

    Two texts that differ in their last word are two: one for the prompt, one for what they share.
    """
    calls, forward = [0], model.writer._network.forward

    def counted(*args: object, **kwargs: object) -> object:
        calls[0] += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.writer._network, "forward", counted)
    adapter = drawn(model, seed=2)
    words = [word for word in WORDS if len(model.token_ids(completion(word))) == 1][:3]
    for texts, expected in (
        (words, 1),
        ([f"{words[0]} {words[1]} {one}" for one in words], 2),
    ):
        calls[0] = 0
        (weighed,) = model.writer.weigh([PROMPT], adapter, options(model, texts), width=3)
        assert calls == [expected]
        model.set_adapter(adapter)
        for index, log_p in weighed:
            assert log_p == pytest.approx(by_hand(model, PROMPT, texts, index), abs=1e-4)


def test_texts_must_differ_to_the_model(model: EdgeModel) -> None:
    with pytest.raises(ValueError, match="options 0 and 2 are the same"):
        options(model, ["food", "market", "food"])


def test_a_grammar_holds_beside_lines_without_one(model: EdgeModel) -> None:
    """Every second token is one of two, then the end; a free line of the batch is as it was."""
    adapter = drawn(model, seed=1)
    low, high = 5, 7

    def grammar(ids: object) -> list[int]:
        assert isinstance(ids, list)
        return [low, high] if len(ids) < 3 else [model.end_id]

    free = model.writer.line(PROMPT, adapter, max_new_tokens=9)
    bound = model.writer.line(PROMPT, adapter, max_new_tokens=9, grammar=grammar)
    written = model.writer.write([free, bound, free])
    assert written[0] == written[2] == model.writer.write([free])[0]
    assert len(written[1].nats) == 4
    assert written[1].nats[-1] == 0.0  # the only one that was allowed
    assert all(0 <= nats <= math.log(2) + 1e-6 for nats in written[1].nats)

"""Whatever a model prefers, what the grammar lets through is valid; and nothing valid is barred."""

import json
import random
from functools import cache

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.edge_model import EdgeModel
from clients.insight.intents.grammar import (
    SlotGrammar,
    borders,
    in_text_order,
    is_span,
    one_line,
    parse_slots,
)
from clients.insight.intents.reading import IntentReader
from clients.insight.intents.schema import to_object
from clients.insight.intents.schema_file import parse, read_schema
from clients.insight.intents.vocabulary import Vocabulary
from clients.writing import token_ids
from fl.settings import resolve
from tests.clients.test_edge_model import drawn, opened
from tests.tiny_models import make_tiny_edge, make_tokenizer

SLOTS = ("source", "target", "qosValue")
TOKENIZER = make_tokenizer()
VOCABULARY = Vocabulary(TOKENIZER)
END = TOKENIZER.eos_token_id


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return opened(make_tiny_edge(tmp_path_factory.mktemp("edge")), ("c_attn", "c_fc", "c_proj"))


def grammar(text: str, *, limit: int = 60, most: int = 3, repeats: bool = True) -> SlotGrammar:
    return SlotGrammar(
        text,
        SLOTS,
        vocabulary=VOCABULARY,
        model_ids=lambda t: token_ids(TOKENIZER, t),
        end_id=END,
        limit=limit,
        most=most,
        repeats=repeats,
    )


def follow(rule: SlotGrammar, ids: list[int]) -> bool:
    """Does it allow these tokens, one after the other, and then the end?"""
    return all(token in rule(ids[:i]) for i, token in enumerate(ids)) and END in rule(ids)


def test_borders_of_words_by_hand() -> None:
    assert borders("ab c.") == ([0, 3, 4], [2, 4, 5])
    text = "from 10.0.0.1, to höst_2!"
    assert is_span("10.0.0.1", text)
    assert is_span("höst_2", text)
    assert is_span("to höst_2!", text)
    assert not is_span("höst", text)
    assert not is_span("rom 10", text)
    assert not is_span(" to", text)
    assert is_span("a", "ba a")  # not the first place where it stands


words = st.text(st.sampled_from('ab1_-.:é漢 \n\t"{}<|>'), max_size=12)
texts = st.lists(words, max_size=8).map(" ".join).map(one_line)


@given(
    text=texts,
    seed=st.integers(0, 10**6),
    limit=st.integers(1, 40),
    most=st.integers(1, 4),
    repeats=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_walk_that_the_grammar_allows_is_valid(
    text: str, seed: int, limit: int, most: int, repeats: bool
) -> None:
    """Even where the limit of tokens is what ends it."""
    rng, rule = random.Random(seed), grammar(text, limit=limit, most=most, repeats=repeats)
    ids: list[int] = []
    while len(ids) < limit:
        allowed = rule(ids)
        assert allowed, "there is always something to write"
        others = [token for token in allowed if token != END]
        token = rng.choice(others) if others and rng.random() < 0.95 else rng.choice(allowed)
        if token == END:
            break
        ids.append(token)
    slots = parse_slots(TOKENIZER.decode(ids, clean_up_tokenization_spaces=False).strip(), SLOTS)
    assert len(slots) <= most
    assert all(is_span(value, text) for _, value in slots)
    assert repeats or len({name for name, _ in slots}) == len(slots)
    at = 0
    for _, value in slots:  # each behind the one before
        at = text.index(value, at) + len(value)


@given(data=st.data(), text=texts)
@settings(max_examples=200, deadline=None)
def test_every_valid_answer_is_allowed_as_the_tokenizer_writes_it(
    data: st.DataObject, text: str
) -> None:
    starts, ends = borders(text)
    if not starts:
        assert grammar(text)([]) == [END]
        return
    chosen: list[tuple[str, str]] = []
    at = 0
    while len(chosen) < 3 and (rest := [s for s in starts if s >= at]) and data.draw(st.booleans()):
        start = data.draw(st.sampled_from(rest))
        at = data.draw(st.sampled_from([end for end in ends if end > start]))
        chosen.append((data.draw(st.sampled_from(SLOTS)), text[start:at]))
    written = "".join(f"\n{name}: {value}" for name, value in chosen).replace("qosV", "qos v")
    ids = token_ids(TOKENIZER, written)
    if END not in ids:  # a request may spell the end mark, which the tokenizer then makes one
        assert follow(grammar(text, limit=500), ids)


def test_slots_in_the_order_of_the_text() -> None:
    pairs = (("target", "h2"), ("source", "h1"), ("source", "h2"))
    assert in_text_order(pairs, "h1 to h2 by h2") == (pairs[1], pairs[0], pairs[2])
    assert in_text_order(pairs[::-1], "h1 to h2 by h2") == (pairs[1], pairs[2], pairs[0])


def test_a_slot_comes_once_unless_slots_repeat() -> None:
    twice = token_ids(TOKENIZER, "\nsource: a\nsource: b")
    assert follow(grammar("a b"), twice)
    assert not follow(grammar("a b", repeats=False), twice)
    assert not follow(grammar("a b", most=1), twice)
    other = token_ids(TOKENIZER, "\nsource: a\ntarget: c")
    assert not follow(grammar("a b"), other)  # c does not stand in the request


@cache
def network() -> bytes:
    return resolve("configs/intents/network.yaml").read_bytes()


@given(
    requests=st.lists(words.map(lambda w: f"flow {w} to"), min_size=1, max_size=5),
    seed=st.integers(0, 50),
)
@settings(max_examples=25, deadline=None)
def test_a_random_model_answers_in_valid_json(
    model: EdgeModel, requests: list[str], seed: int
) -> None:
    schema = parse(network(), source="network")
    judge = jsonschema.Draft202012Validator(schema.json_schema())
    adapter = drawn(model, seed=seed)
    for threshold in (0.0, 0.2, 1.0):
        found = IntentReader(model, schema).read(adapter, requests, threshold=threshold)
        for intent, request in zip(found, requests, strict=True):
            judge.validate(json.loads(json.dumps(to_object(intent, schema))))
            assert all(is_span(value, one_line(request)) for _, value in intent.slots)
            if threshold == 1.0:
                assert intent.intent == "out_of_scope"


def test_a_batch_reads_what_each_text_gets_alone(model: EdgeModel) -> None:
    schema = read_schema(resolve("configs/intents/clinc150.yaml"), source="clinc150")
    reader, adapter = IntentReader(model, schema), drawn(model, seed=4)
    texts = ["food near the quay", "a taxi", "", "rain rain rain"]
    together = reader.read(adapter, texts, threshold=0.0)
    for text, found in zip(texts, together, strict=True):
        alone = reader.read(adapter, [text], threshold=0.0)[0]
        assert alone.intent == found.intent
        assert alone.confidence == pytest.approx(found.confidence, abs=1e-5)

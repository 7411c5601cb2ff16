"""Writing: a batch of many adapters gives each prompt what it gets alone, on the shared base."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.edge_model import EdgeModel
from fl.adapter import Adapter
from fl.errors import AdapterError, BaseModelError
from tests.clients.test_edge_model import drawn, of_rank, opened
from tests.tiny_models import SENTENCES, make_tiny_cloud, make_tiny_edge

PROMPT = "Card: place Elmford\nRequest: food\nEnriched:"
TARGETS = {"gpt2": ("c_attn", "c_fc", "c_proj"), "llama": ("down_proj", "q_proj", "v_proj")}
words = st.sampled_from([word for sentence in SENTENCES for word in sentence.split()])


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    make = {"gpt2": make_tiny_edge, "llama": make_tiny_cloud}[request.param]
    return opened(make(tmp_path_factory.mktemp(request.param)), TARGETS[request.param])


@st.composite
def mixes(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Prompt, seed of its adapter and length of each line; seeds repeat, or are all the same."""
    seeds = st.integers(0, draw(st.integers(0, 5)))
    prompt = st.lists(words, max_size=20).map(" ".join)
    return draw(st.lists(st.tuples(prompt, seeds, st.integers(1, 12)), min_size=1, max_size=10))


@given(mix=mixes())
@settings(max_examples=60, deadline=None)
def test_one_mixed_batch_writes_what_each_line_gets_alone(
    model: EdgeModel, mix: list[tuple[str, int, int]]
) -> None:
    adapter = cache(lambda seed: drawn(model, seed=seed))
    lines = [
        model.writer.line(prompt, adapter(seed), max_new_tokens=most) for prompt, seed, most in mix
    ]
    assert model.writer.write(lines) == [model.writer.write([line])[0] for line in lines]


def test_the_adapter_of_each_row_counts_and_not_the_learners(model: EdgeModel) -> None:
    """Each line gets what a learner with that adapter generates."""
    adapters = [drawn(model, seed=seed) for seed in range(4)]
    expected = []
    for adapter in adapters:
        model.set_adapter(adapter)
        expected += model.generate([PROMPT], max_new_tokens=12)
    assert len(set(expected)) == 4
    lines = [model.writer.line(PROMPT, adapter, max_new_tokens=12) for adapter in adapters]
    assert [w.text for w in model.writer.write(lines[::-1])] == expected[::-1]
    assert model.writer.write([]) == []


def test_adapters_of_different_rank_go_together_in_one_batch(model: EdgeModel) -> None:
    """flora's releases grow, and sites train what they can."""
    adapters = [of_rank(model, rank, seed=rank) for rank in (1, 3, 6)]
    lines = [model.writer.line(PROMPT, adapter, max_new_tokens=12) for adapter in adapters]
    texts = model.writer.write(lines)
    assert texts == [model.writer.write([line])[0] for line in lines]
    assert len(set(texts)) == 3


def test_no_weight_of_the_base_is_held_twice(model: EdgeModel) -> None:
    base = {p.data_ptr() for p in model._network.parameters() if not p.requires_grad}
    own = {p.data_ptr() for p in model.writer._network.parameters()}
    assert own == base
    assert not any(p.requires_grad for p in model.writer._network.parameters())


def test_writing_inside_bfloat16_learning_is_in_float32(model: EdgeModel) -> None:
    line = model.writer.line(PROMPT, drawn(model, seed=3), max_new_tokens=12)
    alone = model.writer.write([line])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.writer.write([line]) == alone
        assert torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()


def test_a_line_that_cannot_be_written_is_refused_before_any_batch(model: EdgeModel) -> None:
    good = drawn(model)
    name = next(iter(good.tensors))
    for bad in (
        Adapter(spec=replace(good.spec, alpha=1.0), tensors=good.tensors),
        Adapter(spec=good.spec, tensors={n: t for n, t in good.tensors.items() if n != name}),
        Adapter(spec=good.spec, tensors={**good.tensors, name: good.tensors[name].T}),
    ):
        with pytest.raises(AdapterError):
            model.writer.line(PROMPT, bad, max_new_tokens=4)
    for most in (0, -1, model.positions, 10**9):
        with pytest.raises(BaseModelError, match="256 positions"):
            model.writer.line(PROMPT, good, max_new_tokens=most)


def test_a_prompt_keeps_its_end_and_its_text_out_of_the_repr(model: EdgeModel) -> None:
    adapter = drawn(model)
    line = model.writer.line("rain " * 500 + "food", adapter, max_new_tokens=8)
    assert len(line.ids) == 256 - 8
    assert list(line.ids[-3:]) == model.token_ids("rain " * 500 + "food")[-3:]
    assert repr(line) == "Line(max_new_tokens=8)"
    assert model.writer.line("", adapter, max_new_tokens=1).ids == (model.end_id,)
    assert model.writer.write([line]) == [model.writer.write([line])[0]]


def test_a_batch_that_fails_leaves_no_adapter_behind(model: EdgeModel) -> None:
    line = model.writer.line(PROMPT, drawn(model), max_new_tokens=4)
    alone = model.writer.write([line])
    with pytest.raises(IndexError):
        model.writer.write([line, replace(line, ids=(10**6,))])  # no such token
    assert all(layer._taken is None and layer._chosen is None for layer in model.writer._layers)
    assert model.writer.write([line]) == alone

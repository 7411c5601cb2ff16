"""Local training: the right loss, the right parameters, the same bytes for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.edge_model import EdgeModel, edge_model
from clients.learning.batching import encode, pad
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import (
    Still,
    TrainingResult,
    batch_loss,
    train,
    use_bfloat16,
)
from fl.adapter import A_SUFFIX, Adapter, digest, initial_adapter
from fl.sharing import part_spec, split
from tests.clients.learning.sites import PERSONAL_RANK, RANK, drawn_records, tiny_settings

RECORDS = drawn_records(24, seed=0)


@pytest.fixture(scope="module")
def model(edge_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return edge_model(tiny_settings(edge_folder, tmp_path_factory.mktemp("var")))


@pytest.fixture
def start(model: EdgeModel) -> Adapter:
    """An adapter with B away from 0, so that A gets a gradient at the first step."""
    spec = part_spec(model.spec, RANK + PERSONAL_RANK)
    adapter = initial_adapter(spec, model.base.layers, seed=1)
    rng = np.random.default_rng(1)
    tensors = {
        name: t if name.endswith(A_SUFFIX) else rng.normal(0, 0.05, t.shape).astype(np.float32)
        for name, t in adapter.tensors.items()
    }
    model.set_adapter(Adapter(spec=spec, tensors=tensors))
    return model.adapter()


def run(model: EdgeModel, **changed: Any) -> TrainingResult:
    plan: dict[str, Any] = {
        "learning_rate": 0.01,
        "steps": 4,
        "batch_tokens": 512,
        "clip_norm": 1.0,
        "seed": 3,
        "max_tokens": 96,
        "bfloat16": "off",
    }
    return train(model, RECORDS, **{**plan, **changed})


def test_the_loss_is_the_naive_one_over_full_logits(model: EdgeModel, start: Adapter) -> None:
    """By hand: all logits of every record alone, the completion's log-likelihoods, their mean.

    The gradients come from autograd there and from the closed form here."""
    encoded = [encode(model, record, max_tokens=96) for record in RECORDS[:5]]
    weight, _ = model.head()
    total, count = torch.zeros(()), 0
    for record in encoded:
        ids = torch.tensor([record.ids])
        logits = model.hidden(ids)[0] @ weight.T  # (T, V)
        for position in range(record.completion_start, len(record.ids)):
            scores = logits[position - 1]
            total = total - (scores[record.ids[position]] - scores.exp().sum().log())
            count += 1
    expected = total / count
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = {
        n: p.grad.clone() for n, p in model.lora_parameters().items() if p.grad is not None
    }
    for parameter in model.lora_parameters().values():
        parameter.grad = None

    loss = batch_loss(model, pad(encoded))
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in model.lora_parameters().items():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-6, rtol=1e-3), name
        parameter.grad = None


def test_training_lowers_the_loss_and_moves_every_tensor(model: EdgeModel, start: Adapter) -> None:
    losses: list[float] = []
    result = run(model, steps=25, on_step=lambda _, loss: losses.append(loss))
    assert len(losses) == result.steps == 25
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert result.padding_share < 0.1
    after = model.adapter()
    assert all(not np.array_equal(t, start.tensors[n]) for n, t in after.tensors.items())


@pytest.mark.parametrize("bfloat16", ["off", "on"])
def test_the_same_seed_gives_the_same_bytes(model: EdgeModel, bfloat16: str) -> None:
    digests = []
    for seed in (3, 3, 4):
        model.set_adapter(initial_adapter(model.spec, model.base.layers, seed=1))
        run(model, seed=seed, bfloat16=bfloat16)
        digests.append(digest(model.adapter()))
    assert digests[0] == digests[1] != digests[2]


def test_personal_training_leaves_every_shared_bit(model: EdgeModel, start: Adapter) -> None:
    every = slice(0, RANK)
    run(model, still=Still(a=(every,), b=(every,)), steps=6)
    shared, personal = split(model.adapter(), shared_rank=RANK)
    shared_before, personal_before = split(start, shared_rank=RANK)
    for name, tensor in shared.tensors.items():
        assert tensor.tobytes() == shared_before.tensors[name].tobytes(), name
    assert all(
        not np.array_equal(t, personal_before.tensors[n]) for n, t in personal.tensors.items()
    )


def test_the_base_stays_frozen(model: EdgeModel, start: Adapter) -> None:
    before = {n: p.clone() for n, p in model._network.named_parameters() if not p.requires_grad}
    run(model)
    model.generate(["hello"], max_new_tokens=2)
    after = dict(model._network.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_bfloat16_learns_as_float32_does(model: EdgeModel) -> None:
    losses = {}
    for choice in ("off", "on"):
        model.set_adapter(initial_adapter(model.spec, model.base.layers, seed=1))
        run(model, steps=20, bfloat16=choice)
        learning = tiny_settings(model.base.folder, Path("unused")).learning
        losses[choice] = heldout_nll(model, drawn_records(20, seed=9), learning).per_token
    assert losses["on"] == pytest.approx(losses["off"], abs=0.1)


def test_heldout_nll_does_not_depend_on_how_records_are_batched(model: EdgeModel) -> None:
    from dataclasses import replace

    learning = tiny_settings(model.base.folder, Path("unused")).learning
    whole = heldout_nll(model, RECORDS, learning)
    alone = [heldout_nll(model, [record], learning) for record in RECORDS]
    small = heldout_nll(model, RECORDS, replace(learning, batch_tokens=128))
    assert whole.tokens == small.tokens == sum(nll.tokens for nll in alone)
    assert whole.nats == pytest.approx(sum(nll.nats for nll in alone), rel=1e-5)
    assert whole.per_token == pytest.approx(small.per_token, rel=1e-5)


def test_bfloat16_is_a_setting() -> None:
    assert use_bfloat16("on")
    assert not use_bfloat16("off")
    found = torch.cpu.get_capabilities()
    assert use_bfloat16("auto") == bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def test_a_step_of_sgd_hands_over_the_gradient(model: EdgeModel, start: Adapter) -> None:
    """Twice the rate, twice the way: what travels is rate times gradient and nothing else."""
    moved = []
    for rate in (0.5, 1.0):
        model.set_adapter(start)
        run(model, optimizer="sgd", steps=1, learning_rate=rate, clip_norm=1e9)
        after = model.adapter()
        moved.append({name: after.tensors[name] - start.tensors[name] for name in start.tensors})
    for name in start.tensors:
        np.testing.assert_allclose(moved[1][name], 2 * moved[0][name], rtol=1e-3, atol=1e-5)
    assert any(np.abs(tensor).max() > 1e-4 for tensor in moved[1].values())

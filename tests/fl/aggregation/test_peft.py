"""PEFT's own merged forward of every method's release is the exact sum of the sites' products.

On GPT-2, whose Conv1D keeps W as (d_in, d_out): a transposed product would show on c_proj, which is
square there.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fl import adapter_file
from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec, add, initial_adapter
from fl.aggregation import METHODS, aggregator, turn
from fl.base_model import BaseModel, read_base
from fl.sharing import factors_of, first_directions
from tests.fl.adapters import update
from tests.tiny_models import make_tiny_edge

TARGETS = ("c_attn", "c_proj")
RANKS, ALPHAS, COUNTS = (2, 4, 3), (4.0, 8.0, 6.0), (30, 10, 60)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return read_base(make_tiny_edge(tmp_path_factory.mktemp("edge")), TARGETS)


def drawn(base: BaseModel, *, rank: int, alpha: float, seed: int) -> Adapter:
    rng = np.random.default_rng(seed)
    spec = AdapterSpec(
        base_model_fingerprint=base.fingerprint, rank=rank, alpha=alpha, target_modules=TARGETS
    )
    first = initial_adapter(spec, base.layers, seed=seed)
    tensors = {
        name: (t + 0.2 * rng.standard_normal(t.shape)).astype(np.float32)
        for name, t in first.tensors.items()
    }
    return Adapter(spec=spec, tensors=tensors)


def logits(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.arange(12).reshape(1, 12)).logits[0].numpy()
    return found


@pytest.mark.parametrize("method", [name for name in METHODS if name != "fedsa"])
def test_merged_by_peft_the_release_is_what_the_method_promises(
    base: BaseModel, tmp_path: Path, method: str
) -> None:
    mixed, way = METHODS[method].mixed_ranks, turn(method, 1)
    release = drawn(base, rank=4, alpha=8.0, seed=0)
    combine = aggregator(method, release, round_number=1, rank=4, rank_limit=1000)
    wanted = {module: np.zeros((d_out, d_in)) for module, (d_out, d_in) in base.layers.items()}
    for place, count in enumerate(COUNTS):
        rank, alpha = (RANKS[place], ALPHAS[place]) if mixed else (4, 8.0)
        whole = drawn(base, rank=rank, alpha=alpha, seed=1 + place)
        delta = factors_of(whole, way.sends)
        combine.add(update(delta, site_id=f"{place}", num_examples=count))
        trained = whole if way.fresh else _moved(release, delta)
        for module in wanted:
            wanted[module] += count / sum(COUNTS) * _product(trained, module)
    if way.fresh:
        for module in wanted:
            wanted[module] += _product(release, module)
    made = combine.finish().shared
    if METHODS[method].exact.startswith("exact"):
        products = wanted
    else:  # not exact: PEFT must still compute the product that we mean
        products = {module: _product(made, module) for module in wanted}

    adapter_file.write(tmp_path, made)
    plain = AutoModelForCausalLM.from_pretrained(base.folder)
    merged = PeftModel.from_pretrained(plain, tmp_path).merge_and_unload().eval()
    by_hand = AutoModelForCausalLM.from_pretrained(base.folder).eval()
    untouched = logits(by_hand)
    with torch.no_grad():
        for module, product in products.items():
            weight = by_hand.get_submodule(module).weight  # Conv1D: (d_in, d_out)
            weight += torch.from_numpy(product.T.astype(np.float32))
    np.testing.assert_allclose(logits(merged), logits(by_hand), rtol=1e-4, atol=1e-4)
    assert np.abs(logits(merged) - untouched).max() > 0.1


def _moved(release: Adapter, delta: Adapter) -> Adapter:
    """The site's directions of the release, moved by its update."""
    own = first_directions(release, delta.spec.rank)
    whole = {n: delta.tensors.get(n, np.zeros_like(t)) for n, t in own.tensors.items()}
    return add(own, Adapter(spec=own.spec, tensors=whole))


def _product(adapter: Adapter, module: str) -> np.ndarray:
    a = adapter.tensors[PEFT_PREFIX + module + A_SUFFIX].astype(np.float64)
    b = adapter.tensors[PEFT_PREFIX + module + B_SUFFIX].astype(np.float64)
    product: np.ndarray = adapter.spec.scale * b @ a
    return product

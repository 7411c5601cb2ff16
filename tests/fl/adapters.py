"""Small adapters for tests: one layer or two, numbers worked out by hand or drawn by a seed."""

import numpy as np

from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec
from fl.update import AdapterUpdate

LAYERS = {"transformer.h.0.attn.c_attn": (6, 2), "transformer.h.1.mlp.c_fc": (8, 3)}


def spec(*, rank: int = 2, alpha: float = 4.0) -> AdapterSpec:
    return AdapterSpec(
        base_model_fingerprint="0" * 64,
        rank=rank,
        alpha=alpha,
        target_modules=("c_attn", "c_fc"),
    )


def drawn(seed: int, *, rank: int = 2, size: float = 1.0) -> Adapter:
    """Random factors for LAYERS."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for module, (d_out, d_in) in LAYERS.items():
        for suffix, shape in ((A_SUFFIX, (rank, d_in)), (B_SUFFIX, (d_out, rank))):
            values = size * rng.standard_normal(shape)
            tensors[PEFT_PREFIX + module + suffix] = values.astype(np.float32)
    return Adapter(spec=spec(rank=rank), tensors=tensors)


def update(
    delta: Adapter, *, site_id: str = "oslo", num_examples: int = 10, heldout_loss: float = 2.0
) -> AdapterUpdate:
    """An update of round 1 on release 0."""
    return AdapterUpdate(
        site_id=site_id,
        round_number=1,
        based_on_release=0,
        delta=delta,
        num_examples=num_examples,
        train_loss=1.5,
        heldout_loss=heldout_loss,
        seconds=0.1,
    )

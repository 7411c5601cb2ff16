"""What travels and what stays: one adapter is a shared part beside a personal part.

A site works with the two stacked as one adapter of rank r_shared + r_personal (methods: "dual"):
    A = [A_shared; A_personal]      B = [B_shared, B_personal]
so that scale * B A = scale * B_shared A_shared + scale * B_personal A_personal exactly, for one
common scale. Only the shared part ever leaves the site (FedDPA, 2403.19211; partial
personalisation with joint steps, Pillutla et al., 2204.03809).
"""

from dataclasses import replace

import numpy as np

from fl.adapter import A_SUFFIX, Adapter, AdapterSpec
from fl.errors import AdapterError


def part_spec(spec: AdapterSpec, rank: int) -> AdapterSpec:
    """The spec of a part of this rank with the same scale alpha / rank."""
    return replace(spec, rank=rank, alpha=spec.scale * rank)


def join(shared: Adapter, personal: Adapter) -> Adapter:
    """Stack shared (rank r_s) and personal (rank r_p) into one adapter of rank r_s + r_p.

    Raises AdapterError when they sit on different bases, layers or scales.
    """
    if abs(shared.spec.scale - personal.spec.scale) > 1e-9:
        raise AdapterError(
            "Cannot join a shared and a personal part of different scale alpha/rank: "
            f"{shared.spec.scale} and {personal.spec.scale}. Give both the same alpha/rank."
        )
    if part_spec(shared.spec, 1) != part_spec(personal.spec, 1):
        raise AdapterError(
            f"Cannot join parts made for different bases: {shared.spec} and {personal.spec}."
        )
    if shared.tensors.keys() != personal.tensors.keys():
        raise AdapterError("Cannot join a shared and a personal part that adapt other layers.")
    tensors = {
        name: np.concatenate(
            [tensor, personal.tensors[name]], axis=0 if name.endswith(A_SUFFIX) else 1
        )
        for name, tensor in shared.tensors.items()
    }
    spec = part_spec(shared.spec, shared.spec.rank + personal.spec.rank)
    return Adapter(spec=spec, tensors=tensors)


def split(joint: Adapter, *, shared_rank: int) -> tuple[Adapter, Adapter]:
    """Undo `join`: the first `shared_rank` directions are shared, the rest are personal."""
    if not 0 < shared_rank < joint.spec.rank:
        raise AdapterError(
            f"Cannot split an adapter of rank {joint.spec.rank} after {shared_rank} directions."
        )
    shared, personal = {}, {}
    for name, tensor in joint.tensors.items():
        rows = name.endswith(A_SUFFIX)
        shared[name] = (tensor[:shared_rank] if rows else tensor[:, :shared_rank]).copy()
        personal[name] = (tensor[shared_rank:] if rows else tensor[:, shared_rank:]).copy()
    personal_rank = joint.spec.rank - shared_rank
    return (
        Adapter(spec=part_spec(joint.spec, shared_rank), tensors=shared),
        Adapter(spec=part_spec(joint.spec, personal_rank), tensors=personal),
    )

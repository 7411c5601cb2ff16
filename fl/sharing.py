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


def same_but_rank(one: AdapterSpec, other: AdapterSpec) -> bool:
    """Whether adapters of these specs add up: one base, one set of layers, one scale."""
    alike = abs(one.scale - other.scale) <= 1e-9 * abs(other.scale)
    return alike and replace(one, rank=1, alpha=1.0) == replace(other, rank=1, alpha=1.0)


def join(shared: Adapter, personal: Adapter) -> Adapter:
    """Stack shared (rank r_s) and personal (rank r_p) into one adapter of rank r_s + r_p.

    Raises AdapterError when they sit on different bases, layers or scales.
    """
    if abs(shared.spec.scale - personal.spec.scale) > 1e-9:
        raise AdapterError(
            "Cannot join a shared and a personal part of different scale alpha/rank: "
            f"{shared.spec.scale} and {personal.spec.scale}. Give both the same alpha/rank."
        )
    if not same_but_rank(shared.spec, personal.spec):
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
    rest = last_directions(joint, shared_rank)
    assert rest is not None
    return first_directions(joint, shared_rank), rest


def first_directions(adapter: Adapter, rank: int) -> Adapter:
    """The first `rank` directions of an adapter, with its scale; all it has, if that is fewer."""
    if rank >= adapter.spec.rank:
        return adapter
    tensors = {
        name: (tensor[:rank] if name.endswith(A_SUFFIX) else tensor[:, :rank]).copy()
        for name, tensor in adapter.tensors.items()
    }
    return Adapter(spec=part_spec(adapter.spec, rank), tensors=tensors)


def last_directions(adapter: Adapter, start: int) -> Adapter | None:
    """The directions from `start` on; None where there are none."""
    if start >= adapter.spec.rank:
        return None
    tensors = {
        name: (tensor[start:] if name.endswith(A_SUFFIX) else tensor[:, start:]).copy()
        for name, tensor in adapter.tensors.items()
    }
    return Adapter(spec=part_spec(adapter.spec, adapter.spec.rank - start), tensors=tensors)


def factors_of(adapter: Adapter, factors: str) -> Adapter:
    """The tensors of these factors only: "A", "B" or "AB"."""
    return Adapter(
        spec=adapter.spec,
        tensors={
            name: tensor
            for name, tensor in adapter.tensors.items()
            if ("A" if name.endswith(A_SUFFIX) else "B") in factors
        },
    )


def exact_spec(adapter: Adapter, like: Adapter) -> Adapter:
    """The adapter with the exact scale of another, which cutting and joining may have rounded."""
    rank = adapter.spec.rank
    # alpha / rank * rank is not always alpha
    return replace(
        adapter, spec=like.spec if rank == like.spec.rank else part_spec(like.spec, rank)
    )

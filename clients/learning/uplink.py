"""An update on its way to the wire: rounded as the plan says, the rest kept for the next round."""

from clients.adapter_shelf import AdapterShelf
from fl.adapter import Adapter, add, subtract
from fl.rounds import RoundPlan
from fl.sharing import same_but_rank
from fl.uplink import Packed, pack, unpack


def round_off(delta: Adapter, plan: RoundPlan, shelf: AdapterShelf) -> tuple[Adapter, Packed]:
    """(the update as the cloud will see it, the same on the wire).

    What rounding takes away stays on the shelf and is added to the next update of the same factors
    (error feedback, 1901.09847): unless the base changed, or the site missed rounds.
    """
    rest: Adapter | None = None
    if plan.feedback_rounds and plan.uplink != "float32":
        since = plan.round_number - plan.feedback_rounds
        rest = shelf.feedback_before(plan.round_number, since=since)
        if rest is not None and not _fits(rest, delta):
            rest = None
    wanted = delta
    if rest is not None and delta.tensors.keys() <= rest.tensors.keys():
        wanted = add(delta, _of(rest, delta))
    packed = pack(wanted, plan.uplink)
    seen = unpack(packed, delta.spec)
    if plan.feedback_rounds and plan.uplink != "float32":
        missed = dict(rest.tensors if rest is not None else {})  # rolora: also of the other side
        missed |= subtract(wanted, seen).tensors
        shelf.keep_feedback(
            Adapter(spec=delta.spec, tensors=missed), round_number=plan.round_number
        )
    return seen, packed


def _fits(rest: Adapter, delta: Adapter) -> bool:
    return rest.spec.rank == delta.spec.rank and same_but_rank(rest.spec, delta.spec)


def _of(rest: Adapter, delta: Adapter) -> Adapter:
    return Adapter(spec=delta.spec, tensors={name: rest.tensors[name] for name in delta.tensors})

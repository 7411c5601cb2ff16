"""What a site's model holds when a round begins: directions that learn, frozen ones, its own.

    [ learning | frozen | personal ]     rows of A and columns of B, in this order

For most methods the release's directions learn. fedex's residual is frozen beside them. flora
freezes the whole release and learns a new pair beside it. flexlora's smaller sites take the first
directions and leave the others out.
"""

from dataclasses import dataclass

from clients.learning.local_training import Still
from clients.personal_part import Layers, seed_of
from fl.adapter import Adapter, initial_adapter
from fl.errors import FederationError
from fl.rounds import RoundPlan
from fl.sharing import first_directions, join, last_directions, part_spec


@dataclass(frozen=True, kw_only=True)
class RoundStart:
    """The shared part as a round at one site begins with it."""

    learning: Adapter
    frozen: Adapter | None

    @property
    def shared(self) -> Adapter:
        """Both as one adapter, the learning directions first."""
        return self.learning if self.frozen is None else join(self.learning, self.frozen)

    def still(self, trains: str) -> Still:
        """What must not move: the frozen directions, and the factor that is not this round's."""
        learning = slice(0, self.learning.spec.rank)
        frozen = slice(learning.stop, self.shared.spec.rank)
        return Still(
            a=(frozen,) if "A" in trains else (learning, frozen),
            b=(frozen,) if "B" in trains else (learning, frozen),
        )


def round_start(
    plan: RoundPlan, release: Adapter, *, rank: int, layers: Layers, site_id: str
) -> RoundStart:
    """The start of a round at a site that trains `rank` directions.

    Raises FederationError where the method wants the same rank at every site.
    """
    if rank != plan.rank and not (plan.mixed_ranks and rank < plan.rank):
        raise FederationError(
            f"Site {site_id} trains rank {rank}, and method={plan.method} wants rank {plan.rank} "
            "at every site. Set its rank to that, or federate with flora or flexlora."
        )
    if plan.fresh:
        seed = seed_of(plan.seed, site_id, plan.round_number, "fresh")
        new = initial_adapter(part_spec(release.spec, rank), layers, seed=seed)
        return RoundStart(learning=new, frozen=release)
    return RoundStart(
        learning=first_directions(release, rank),
        frozen=last_directions(release, plan.rank),
    )

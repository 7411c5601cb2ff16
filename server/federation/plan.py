"""The letters of a round: its plan, its release, one for each site."""

from collections.abc import Iterable

from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from server.federation.exchange import Letter

LEARNING_RANK = "learning_rank"  # in a release's metrics: learning.rank of its round


def letters(
    kind: str, plan: RoundPlan, release: AdapterRelease, sites: Iterable[str]
) -> list[Letter]:
    """One letter a site."""
    return [Letter(receiver=site, kind=kind, plan=plan, release=release) for site in sites]

"""A candidate's held-out loss at a site, beside that of the release in use."""

import math

from clients.learning.edge_site import EdgeSite, heldout, part_or_first
from clients.personal_part import kind, release_view, served_adapter
from fl.adapter import Adapter
from fl.errors import ReleaseError
from fl.release import AdapterRelease, Judgement
from fl.rounds import RoundPlan

WORST_LOSS = 1e9  # nats per token; stands for a loss that is no number, which JSON cannot carry


def judge(plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite) -> Judgement | None:
    """Compare a candidate with the current release; None where that one never reached this site.

    Nothing is trained. The candidate is kept, for it may be the current release soon.
    """
    shelf = edge_site.shelf
    shelf.keep_release(release, beside=plan.current_release)
    # As the candidate's own round, plan.round_number, left it; the next round starts from it too.
    part = part_or_first(shelf.personal_before(plan.round_number + 1), release, edge_site)
    return judgement(plan, release, part, edge_site)


def judgement(
    plan: RoundPlan, release: AdapterRelease, part: Adapter | None, edge_site: EdgeSite
) -> Judgement | None:
    """Both releases beside the same personal part, on the same held-out records."""
    if plan.current_release == plan.release_number:
        return None
    try:
        current = edge_site.shelf.release(plan.current_release)
    except ReleaseError:
        return None  # a damaged copy can be no measure
    if current is None:
        return None
    losses = []
    for one in (release, current):
        edge_site.model.set_adapter(_beside(release_view(one, edge_site.rank), part, edge_site))
        loss = heldout(edge_site)
        losses.append(loss if math.isfinite(loss) else WORST_LOSS)
    return Judgement(
        release_number=plan.release_number,
        loss=losses[0],
        current_number=plan.current_release,
        current_loss=losses[1],
    )


def _beside(shared: Adapter, part: Adapter | None, edge_site: EdgeSite) -> Adapter:
    """What a release is judged by: with a part beside it, but alone where a part replaces it."""
    if part is None or kind(edge_site.settings) in ("instead", "copy"):
        return shared
    return served_adapter(
        shared, part, layers=edge_site.model.base.layers, settings=edge_site.settings
    )

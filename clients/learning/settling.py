"""The end of a federation at a site: the release arrives, and the personal part settles beside it.

The release is on the shelf before anything is trained: a site that fails here can still use it.
"""

import time

from clients.learning.edge_site import EdgeSite, heldout, part_or_first, train_here, trained_toward
from clients.learning.local_training import Still
from clients.personal_part import (
    direction_weights,
    kind,
    release_view,
    require_fitting,
    served_adapter,
    with_b,
)
from fl.adapter import Adapter
from fl.release import AdapterRelease, Delivery
from fl.rounds import RoundPlan
from fl.sharing import exact_spec, factors_of, join, last_directions


def settle(
    plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite, *, use: bool = True
) -> Delivery:
    """Keep the last release and train the personal part alone beside it, `plan.local_steps` steps.

    With `use` people are served with the release from now on; an edge service decides that by
    itself, from what the cloud says is current. The release is on the shelf before anything is
    trained: a site that fails here can still use it.
    """
    started = time.perf_counter()
    require_fitting(plan, edge_site.settings)
    model, shelf = edge_site.model, edge_site.shelf
    shelf.keep_release(release, beside=plan.current_release)
    if use:
        shelf.use(release.number)
    shared = release_view(release, edge_site.rank)
    model.set_adapter(shared)
    shared_loss = settled_loss = heldout(edge_site)
    before = part_or_first(shelf.personal_after(plan.round_number), release, edge_site)
    if plan.local_steps:
        part = _settled(plan, shared, before, edge_site)
    else:
        part = before
        model.set_adapter(_served(shared, before, edge_site))
    if part is not None:
        settled_loss = heldout(edge_site, steps=plan.local_steps)
        # A copy is of one release, and is found by that one's round.
        copied = kind(edge_site.settings) == "copy"
        number = release.round_number if copied else plan.round_number
        shelf.keep_personal(part, round_number=number, settled=True)
    return Delivery(
        site_id=edge_site.site.id,
        release_number=plan.release_number,
        shared_heldout_loss=shared_loss,
        settled_heldout_loss=settled_loss,
        seconds=time.perf_counter() - started,
    )


def _served(shared: Adapter, part: Adapter | None, edge_site: EdgeSite) -> Adapter:
    return served_adapter(
        shared,
        part,
        layers=edge_site.model.base.layers,
        settings=edge_site.settings,
        site_id=edge_site.site.id,
    )


def _settled(
    plan: RoundPlan, shared: Adapter, part: Adapter | None, edge_site: EdgeSite
) -> Adapter | None:
    """The personal part trained alone beside the release; None where nothing is personal."""
    model, how = edge_site.model, kind(edge_site.settings)
    every = slice(0, shared.spec.rank)
    if how == "none":
        return None
    if how == "copy":
        model.set_adapter(shared)
        train_here(plan, edge_site)
        return model.adapter()
    assert part is not None
    if how == "instead":
        return trained_toward(plan, part, shared, edge_site)
    if how == "own B":
        model.set_adapter(with_b(shared, part))
        train_here(plan, edge_site, still=Still(a=(every,)))
        return factors_of(model.adapter(), "B")
    weights = direction_weights(
        edge_site.settings, shared=shared.spec.rank, personal=part.spec.rank
    )
    model.set_adapter(join(shared, part), weights=weights)
    train_here(plan, edge_site, still=Still(a=(every,), b=(every,)))
    own = last_directions(model.adapter(), shared.spec.rank)
    assert own is not None
    return exact_spec(own, shared)

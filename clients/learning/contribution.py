"""A round at a site: plan and release in, a delta of the shared part out.

    keep the release -> judge it, where it is a candidate -> put it together with the personal part
    -> train -> keep the personal part -> send what the plan asks for

It starts from what is on the shelf of an earlier round, so doing one again gives the same bytes.
What learns and what travels stands in the plan, so a method of aggregation needs no code here.
"""

import time

from clients.learning.edge_site import EdgeSite, heldout, part_or_first, train_here, trained_toward
from clients.learning.judging import judgement
from clients.learning.local_training import Pull, TrainingResult
from clients.learning.round_start import RoundStart, round_start
from clients.learning.uplink import round_off
from clients.personal_part import (
    direction_weights,
    kind,
    release_view,
    require_fitting,
    with_b,
)
from fl.adapter import Adapter, subtract
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.sharing import exact_spec, factors_of, first_directions, join, last_directions
from fl.update import AdapterUpdate


def contribute(plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite) -> AdapterUpdate:
    """Train from the release for one round; return what the shared part has learned.

    Raises FederationError where the cloud's method and the site's personal part do not go together,
    before anything is trained.
    """
    started = time.perf_counter()
    require_fitting(plan, edge_site.settings)
    model, book, shelf = edge_site.model, edge_site.book, edge_site.shelf

    # 1. Keep the release: in a later round it may be what a candidate is compared with.
    shelf.keep_release(release, beside=plan.current_release)

    # 2. Judge it, where it is only a candidate.
    part = part_or_first(shelf.personal_before(plan.round_number), release, edge_site)
    judged = judgement(plan, release, part, edge_site)

    # 3. Train the shared part, and with it what of the personal part is in the same model.
    start = round_start(
        plan,
        release.shared,
        rank=edge_site.rank,
        layers=model.base.layers,
        site_id=edge_site.site.id,
    )
    trained = _train_shared(plan, start, part, edge_site)
    after = model.adapter()
    learned = exact_spec(first_directions(after, start.learning.spec.rank), start.learning)

    # 4. The personal part stays; where it is a whole adapter, it has steps of its own.
    if part is not None:
        part = _own_part(plan, release, start, part, after, edge_site)
        shelf.keep_personal(part, round_number=plan.round_number)
    loss = heldout(edge_site, steps=plan.local_steps)

    # 5. The shared part's delta goes, rounded as the plan says.
    delta = factors_of(learned if plan.fresh else subtract(learned, start.learning), plan.sends)
    seen, packed = round_off(delta, plan, shelf)
    return AdapterUpdate(
        site_id=edge_site.site.id,
        round_number=plan.round_number,
        based_on_release=plan.release_number,
        delta=seen,
        num_examples=len(book.train),
        train_loss=trained.loss_nats_per_token,
        heldout_loss=loss,
        seconds=time.perf_counter() - started,
        uplink=plan.uplink,
        packed=packed,
        judgement=judged,
    )


def _own_part(
    plan: RoundPlan,
    release: AdapterRelease,
    start: RoundStart,
    part: Adapter,
    after: Adapter,
    edge_site: EdgeSite,
) -> Adapter:
    """The personal part as this round leaves it; the model then has what people would get."""
    how = kind(edge_site.settings)
    if how == "instead":
        return trained_toward(plan, part, release_view(release, edge_site.rank), edge_site)
    if how == "own B":
        return exact_spec(factors_of(after, "B"), start.learning)
    own = last_directions(after, start.shared.spec.rank)
    assert own is not None
    return exact_spec(own, release.shared)


def _train_shared(
    plan: RoundPlan, start: RoundStart, part: Adapter | None, edge_site: EdgeSite
) -> TrainingResult:
    """Train the learning directions; a part that is in the same model learns with them."""
    model, shared = edge_site.model, start.shared
    how = kind(edge_site.settings)
    if how == "beside" and part is not None:
        weights = direction_weights(
            edge_site.settings, shared=shared.spec.rank, personal=part.spec.rank
        )
        model.set_adapter(join(shared, part), weights=weights)
    elif how == "own B" and part is not None:
        model.set_adapter(with_b(shared, part))
    else:
        model.set_adapter(shared)
    pull = None
    if plan.proximal_mu > 0:
        # What does not travel was not received either: fedsa's B is the site's own.
        received = factors_of(start.learning, plan.sends)
        learning = slice(0, start.learning.spec.rank)
        pull = Pull(strength=plan.proximal_mu, toward=received.tensors, directions=learning)
    return train_here(plan, edge_site, still=start.still(plan.trains), pull=pull)

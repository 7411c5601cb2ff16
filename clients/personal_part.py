"""What stays at a site, and how it goes together with what the cloud sends.

    none      nothing stays
    dual      an adapter of its own beside the shared one, their changes added
              (FedDPA, 2403.19211: weighted a and 1 - a)
              with ditto_lambda a whole adapter of its own instead (Ditto, 2012.04221)
    local_b   its own B; A is shared (FedSA-LoRA, 2410.01463)
    finetune  its own copy of the last release, trained on

No tensor that this module makes is ever part of an update.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from clients.adapter_shelf import AdapterShelf
from clients.capability import site_rank
from fl.adapter import Adapter, initial_adapter
from fl.aggregation import METHODS
from fl.aggregation.compatibility import Choice, judge
from fl.aggregation.dual import mixture
from fl.errors import AdapterError, FederationError
from fl.release import AdapterRelease
from fl.rounds import OPTIMIZERS, RoundPlan
from fl.settings import Settings
from fl.sharing import factors_of, first_directions, join, part_spec
from fl.site import Site

Layers = Mapping[str, tuple[int, int]]  # adapted module -> (d_out, d_in)
Kind = Literal["none", "beside", "own B", "instead", "copy"]


def kind(settings: Settings) -> Kind:
    """How the personal part goes together with the shared one."""
    if settings.personal == "dual":
        return "instead" if settings.learning.ditto_lambda > 0 else "beside"
    named: Mapping[str, Kind] = {"none": "none", "local_b": "own B", "finetune": "copy"}
    return named[settings.personal]


def require_fitting(plan: RoundPlan, settings: Settings) -> None:
    """Raise FederationError unless what the cloud plans goes with this site's personal part.

    With another method than fedsa a site's own B would be part of what is sent; a gradient step
    of a rate that is meant for a server optimiser would ruin whatever stays.
    """
    learning = settings.learning
    if plan.optimizer not in OPTIMIZERS:
        raise FederationError(
            f"The cloud plans optimizer={plan.optimizer[:40]!r}; this site knows "
            f"{' and '.join(OPTIMIZERS)}. Cloud and sites must run the same version."
        )
    if plan.optimizer == "sgd" and settings.personal != "none":
        raise FederationError(
            "The cloud plans optimizer=sgd, whose steps are meant for the server's optimiser; this "
            f"site is set to personal={settings.personal}, which they would ruin. Nothing was "
            "trained or sent; give the site the cloud's settings."
        )
    answer = judge(
        Choice(
            method=plan.method,
            personal=settings.personal,
            ditto=learning.ditto_lambda > 0,
            weighted=learning.personal_weight > 0,
        )
    )
    if not answer.ok:
        raise FederationError(
            f"The cloud federates with method={plan.method}, this site is set to personal="
            f"{settings.personal}: {'; '.join(answer.reasons)}. Nothing was trained or sent; give "
            "the site the cloud's settings."
        )


def release_view(release: AdapterRelease, rank: int) -> Adapter:
    """The shared part as a site that can train `rank` directions works with it."""
    method = METHODS.get(release.method)
    if method is not None and method.cuts and rank < release.shared.spec.rank:
        return first_directions(release.shared, rank)
    return release.shared


def first_part(shared: Adapter, layers: Layers, settings: Settings, site_id: str) -> Adapter | None:
    """A part that changes nothing yet, the same whenever the site draws it; None where none is."""
    how = kind(settings)
    if how in ("none", "copy"):
        return None
    if how == "instead":
        return shared
    if how == "own B":
        return factors_of(shared, "B")
    spec = part_spec(shared.spec, settings.learning.personal_rank)
    return initial_adapter(spec, layers, seed=seed_of(settings.seed, site_id, "personal"))


def part_in_use(shelf: AdapterShelf, release: AdapterRelease, settings: Settings) -> Adapter | None:
    """The part on the shelf that goes with a release; None where there is none.

    A fine-tuned copy is of one release; beside another one it would undo that one's rounds.
    """
    how = kind(settings)
    if how == "none":
        return None
    return shelf.personal_settled(release.round_number) if how == "copy" else shelf.personal()


def in_use(
    shelf: AdapterShelf, release: AdapterRelease, settings: Settings, site: Site, layers: Layers
) -> Adapter:
    """Release and personal part of a site as its people get them.

    Raises AdapterError or OSError where the part on the shelf is damaged.
    """
    part = part_in_use(shelf, release, settings)
    view = release_view(release, site_rank(settings, site, layers))
    return served_adapter(view, part, layers=layers, settings=settings, site_id=site.id)


def served_adapter(
    shared: Adapter, part: Adapter | None, *, layers: Layers, settings: Settings, site_id: str = ""
) -> Adapter:
    """What people are served with, as one adapter. Raises AdapterError on a misfit.

    A site that has not learned yet has a part that changes nothing.
    """
    how = kind(settings)
    part = part or first_part(shared, layers, settings, site_id)
    if how == "none" or part is None:
        return shared
    if how == "beside":
        weight = settings.learning.personal_weight
        return mixture(shared, part, weight) if weight else join(shared, part)
    if how == "own B":
        return with_b(shared, part)
    return part


def direction_weights(settings: Settings, *, shared: int, personal: int) -> Sequence[float] | None:
    """FedDPA's weights of the directions, the shared ones first; None counts each once."""
    weight = settings.learning.personal_weight
    if kind(settings) != "beside" or not weight:
        return None
    return [1 - weight] * shared + [weight] * personal


def with_b(shared: Adapter, own: Adapter) -> Adapter:
    """A of the release with the site's own B. Raises AdapterError where they do not fit."""
    tensors = dict(factors_of(shared, "A").tensors) | dict(own.tensors)
    if tensors.keys() != shared.tensors.keys() or own.spec != shared.spec:
        raise AdapterError(
            f"The site's own B is of {own.spec}, the release of {shared.spec}: they make no "
            "adapter. Was the site's folder made with other settings?"
        )
    return Adapter(spec=shared.spec, tensors=tensors)


def seed_of(*parts: object) -> int:
    """A seed of its own for every combination, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")

"""What a worker process of the study does: one site, all its arms, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clients.adapter_shelf import open_shelf
from clients.learning.edge_site import EdgeSite, open_edge_site
from clients.prompts.record import PromptRecord
from clients.study import arms
from clients.study.arms import Scored
from clients.study.results import BASE, LOCAL, OTHER_ADAPTER, OTHER_CARD, PERSONAL, SHARED, TEMPLATE
from fl import adapter_file
from fl.adapter import Adapter
from fl.errors import FederationError
from fl.settings import Settings
from fl.site import Site

OTHERS_EACH = 4  # held-out prompts of each other site that "others" is measured on


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A site's scores by arm, its counterfactuals, and its held-out records for the cloud."""

    site: Site
    train_prompts: int
    heldout: tuple[PromptRecord, ...]
    arms: dict[str, Scored]
    counterfactual: dict[str, dict[str, float]]
    adapter_bytes: int  # of the shared part


def measure_site(
    settings: Settings, site: Site, sites: Sequence[Site], federation: str
) -> Measured:
    """Base, local-only, release, release + personal part, template and both counterfactuals."""
    here = open_edge_site(settings, site, federation)
    heldout, others = here.book.heldout, other_heldout(settings, site, sites, federation)
    scores: dict[str, Scored] = {TEMPLATE: arms.template(here, heldout)}

    # 1. untrained, then trained on the site's own book alone
    here.model.set_adapter(arms.untrained(here))
    scores[BASE] = arms.score(here, heldout, others)
    arms.train_alone(here, here.book.train, steps=arms.local_steps(settings))
    scores[LOCAL] = arms.score(here, heldout, others)

    # 2. what the federation delivered, without and with the personal part
    release = release_of(here)
    here.model.set_adapter(arms.with_personal(release, None, here))
    scores[SHARED] = arms.score(here, heldout, others)
    here.model.set_adapter(arms.with_personal(release, here.shelf.personal(), here))
    scores[PERSONAL] = arms.score(here, heldout, others)

    # 3. the same prompts under other cards, then with a neighbour's personal part
    counterfactual = {OTHER_CARD: arms.other_card(here, heldout, others)}
    if settings.personal != "none" and len(sites) > 1:
        neighbour = sites[(sites.index(site) + 1) % len(sites)]
        theirs = open_shelf(settings, neighbour.id, federation).personal()
        here.model.set_adapter(arms.with_personal(release, theirs, here))
        counterfactual[OTHER_ADAPTER] = arms.other_adapter(here, heldout)
    return Measured(
        site=site,
        train_prompts=len(here.book.train),
        heldout=heldout,
        arms=scores,
        counterfactual=counterfactual,
        adapter_bytes=release.num_bytes,
    )


def measure_late(
    settings: Settings, site: Site, sites: Sequence[Site], federation: str
) -> Measured:
    """A site that joins after the last round: alone, and from the release that `sites` made."""
    here = open_edge_site(settings, site, federation)
    heldout, others = here.book.heldout, other_heldout(settings, site, sites, federation)
    # one site alone is a small sample: all its held-out prompts are asked
    asked_all = replace(settings.study, heldout_per_site=len(heldout))
    here = replace(here, settings=replace(settings, study=asked_all))
    scores: dict[str, Scored] = {}
    here.model.set_adapter(arms.untrained(here))
    scores[BASE] = arms.score(here, heldout, others)
    arms.train_alone(here, here.book.train, steps=arms.local_steps(settings))
    scores[LOCAL] = arms.score(here, heldout, others)
    release = release_of(open_edge_site(settings, sites[0], federation))
    here.model.set_adapter(arms.with_personal(release, None, here))
    scores[SHARED] = arms.score(here, heldout, others)
    # few steps: more of them overfit so small a book (measured: 24 beat 48 and 104 on NLL)
    arms.train_alone(here, here.book.train, steps=settings.learning.settle_steps)
    scores[PERSONAL] = arms.score(here, heldout, others)
    return Measured(
        site=site,
        train_prompts=len(here.book.train),
        heldout=heldout,
        arms=scores,
        counterfactual={},
        adapter_bytes=release.num_bytes,
    )


def train_central(settings: Settings, sites: Sequence[Site], federation: str, folder: Path) -> Path:
    """The central model: all books pooled, each record told its site. Returns its folder."""
    pooled: list[PromptRecord] = []
    for site in sites:
        here = open_edge_site(settings, site, federation)
        pooled += [arms.told_the_site(record, site.place) for record in here.book.train]
    here.model.set_adapter(arms.untrained(here))
    arms.train_alone(here, pooled, steps=settings.study.central_steps)
    folder.mkdir(parents=True, exist_ok=True)
    adapter_file.write(folder, here.model.adapter())
    return folder


def measure_central(
    settings: Settings, site: Site, sites: Sequence[Site], federation: str, folder: Path
) -> Scored:
    """The central model at one site."""
    here = open_edge_site(settings, site, federation)
    here.model.set_adapter(adapter_file.read(folder))
    heldout = [arms.told_the_site(record, site.place) for record in here.book.heldout]
    return arms.score(here, heldout, other_heldout(settings, site, sites, federation))


def release_of(here: EdgeSite) -> Adapter:
    """The release on the site's shelf. Raises FederationError before the first federation."""
    release = here.shelf.current()
    if release is None:
        raise FederationError(
            f"Site {here.site.id} has no release on its shelf. Run ./run.sh simulate first."
        )
    return release.shared


def other_heldout(
    settings: Settings, site: Site, sites: Sequence[Site], federation: str
) -> list[PromptRecord]:
    """A few held-out records of every other site, told their site."""
    return [
        arms.told_the_site(record, other.place)
        for other in sites
        if other.id != site.id
        for record in open_edge_site(settings, other, federation).book.heldout[:OTHERS_EACH]
    ]

"""What a profile brings: held-out requests of the demo sites, asked by people no model has met.

Their names and wishes are pairs of parts that no training text holds. `base` is the edge model with
nothing added, `served` the site's release and personal part.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from clients.asking.site_in_process import load_site_adapter
from clients.edge_model import EdgeModel, edge_model
from clients.prompts.recall import Recall, names, recall_of
from clients.prompts.synthesis import draw_book
from fl.adapter import initial_adapter
from fl.demo_world.intents import PUBLIC_INTENTS
from fl.demo_world.people import AGAIN, LAST, Person, person_name, wish_text
from fl.demo_world.places import ALL_INTENTS, BOOK_SIZES, PRIVATE_PLACES
from fl.demo_world.requests import DemoRequest
from fl.prompt_format import edge_prompt, render_card
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites

EACH = 24  # held-out requests a site, and as many others put as "same again"
INTENTS = {intent.name: intent for intent in ALL_INTENTS}


@dataclass(frozen=True, kw_only=True)
class ProfileRun:
    """Shares of the phrases looked for, of all sites' requests together."""

    model: str  # base | served
    fact: float  # nobody asks
    habit: float
    person_fact: float  # the same requests, somebody asks
    person_habit: float
    name: float
    wish: float
    again: float  # "same again" is for the right errand and venue; public intents
    again_private: float  # intents that only the sites' books teach
    strange: float  # of prompts that nobody asked and that name a person or a wish


def measure(settings: Settings, *, on_run: Callable[[str], None]) -> list[ProfileRun]:
    """Both models. Raises FederationError where nothing has been federated yet."""
    model = edge_model(settings)
    plain = initial_adapter(model.spec, model.base.layers, seed=0)
    runs = []
    for name in ("base", "served"):
        totals: dict[str, Recall] = defaultdict(lambda: Recall(found=0, looked_for=0))
        for site in federated_sites(settings):
            on_run(f"{name}: {site.id}")
            model.set_adapter(plain)
            if name == "served":
                load_site_adapter(model, settings, site)
            for kind, recall in _at(site, model, settings).items():
                totals[kind] += recall
        runs.append(ProfileRun(model=name, **{kind: r.share for kind, r in totals.items()}))
    return runs


def show(runs: Sequence[ProfileRun], console: Console) -> list[dict[str, Any]]:
    """Print a table; the rows as JSON holds them."""
    table = Table(title="Recall without a profile, with one of somebody new, and of 'same again'")
    rows = [asdict(run) for run in runs]
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="left" if not table.columns else "right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:.2f}" for v in row.values()))
    console.print(table)
    return rows


def _at(site: Site, model: EdgeModel, settings: Settings) -> dict[str, Recall]:
    rng = random.Random(f"somebody new {site.id} {settings.seed}")
    size = BOOK_SIZES[PRIVATE_PLACES.index(site.place)]
    _, heldout = draw_book(site, size=size, seed=settings.seed)
    asked, others = heldout[:EACH], heldout[EACH:]
    people = [_somebody(rng) for _ in asked]
    prompts = [
        *(_prompt(r, {}, r.short) for r in asked),
        *(_prompt(r, p.facts(), r.short) for r, p in zip(asked, people, strict=True)),
        *(_prompt(r, {LAST: INTENTS[r.intent].key}, rng.choice(AGAIN)) for r in others),
    ]
    written = model.generate(prompts, max_new_tokens=settings.asking.enriched_tokens)
    alone, told, again = written[:EACH], written[EACH : 2 * EACH], written[2 * EACH :]
    found = recall_of(alone, [{"fact": r.facts, "habit": r.habits} for r in asked])
    marks = [
        {"person_fact": r.facts, "person_habit": r.habits, "name": [p.name], "wish": [p.wish]}
        for r, p in zip(asked, people, strict=True)
    ]
    found |= recall_of(told, marks)
    strange = [", person " in text or ", wish " in text for text in alone]
    right = {
        public: [
            text.startswith(INTENTS[r.intent].ask) and names(text, r.facts[0])
            for r, text in zip(others, again, strict=True)
            if (INTENTS[r.intent] in PUBLIC_INTENTS) == public
        ]
        for public in (True, False)
    }
    hits = {"strange": strange, "again": right[True], "again_private": right[False]}
    return found | {k: Recall(found=sum(h), looked_for=len(h)) for k, h in hits.items()}


def _prompt(request: DemoRequest, person: dict[str, str], short: str) -> str:
    return edge_prompt(render_card({**request.card, **person}), short)


def _somebody(rng: random.Random) -> Person:
    return Person(name=person_name(rng, unseen=True), wish=wish_text(rng, unseen=True))

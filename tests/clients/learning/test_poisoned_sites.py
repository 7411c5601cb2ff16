"""Two bad sites of seven: what honest sites lose with and without a robust rule, in held-out NLL.

The base model is tiny and random, so learning is quick and visible. The measure is the mean over
honest sites of the release's held-out NLL, against the same rounds without the bad sites.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.adapter_shelf import AdapterShelf
from clients.edge_model import EdgeModel, edge_model
from clients.learning.contribution import contribute
from clients.learning.edge_site import EdgeSite
from clients.learning.evaluation import heldout_nll
from clients.prompts.book import Book
from fl.adapter import Adapter, initial_adapter
from fl.aggregation import aggregator, turn
from fl.aggregation.robust import robust
from fl.release import AdapterRelease
from fl.release_file import sign_release
from fl.round_plan import round_plan
from fl.settings import Settings
from fl.site import Site
from fl.update import AdapterUpdate
from tests.clients.learning.sites import drawn_book, tiny_settings

HONEST, BAD = 5, 2
ROUNDS, STEPS = 3, 8
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITHIN = 1.05  # of the loss without attackers

Attack = Callable[[AdapterUpdate, int], AdapterUpdate]


def times(factor: float) -> Attack:
    """Every number of the update multiplied."""

    def attack(update: AdapterUpdate, place: int) -> AdapterUpdate:
        tensors = {n: t * np.float32(factor) for n, t in update.delta.tensors.items()}
        return replace(update, delta=Adapter(spec=update.delta.spec, tensors=tensors))

    return attack


def sybil(update: AdapterUpdate, place: int) -> AdapterUpdate:
    """All bad sites send one harmful direction, with noise so that no two are copies."""
    common, own = np.random.default_rng(99), np.random.default_rng(place)
    tensors = {}
    for name, tensor in update.delta.tensors.items():
        size = 3 * float(np.abs(tensor).mean())
        noise = common.standard_normal(tensor.shape) + 0.01 * own.standard_normal(tensor.shape)
        tensors[name] = (size * noise).astype(np.float32)
    return replace(update, delta=Adapter(spec=update.delta.spec, tensors=tensors))


def as_it_is(update: AdapterUpdate, place: int) -> AdapterUpdate:
    return update


def flipped(book: Book) -> Book:
    """A large book whose prompts have the completions of others, each backwards."""
    texts = [" ".join(reversed(record.enriched.split())) for record in book.train]
    moved = [*texts[7:], *texts[:7]]
    pairs = zip(book.train, moved, strict=True)
    return replace(book, train=3 * tuple(replace(r, enriched=t) for r, t in pairs))


# name -> (what becomes of an update, whether the bad sites' books are flipped)
ATTACKS: Mapping[str, tuple[Attack, bool]] = {
    "sign flip": (times(-4.0), False),
    "a hundredfold": (times(100.0), False),
    "sybil copies": (sybil, False),
    "label-flipped book": (times(1.0), True),
}


class Laboratory:
    """Runs over one model; the loss without attackers is worked out once."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._model: EdgeModel = edge_model(settings)
        self._runs = 0
        self.without_attackers = cache(lambda: self.loss("none", as_it_is, bad=0))

    def loss(self, rule: str, attack: Attack, *, bad: int = BAD, flip: bool = False) -> float:
        """Mean held-out NLL of the honest sites after all rounds."""
        self._runs += 1
        sites = [self._site(place, flip and place >= HONEST) for place in range(HONEST + bad)]
        settings, model = self._settings, self._model
        release = self._signed(initial_adapter(model.spec, model.base.layers, seed=0), 0)
        for number in range(1, ROUNDS + 1):
            plan = round_plan(
                settings,
                release,
                current_release=release.number,
                round_number=number,
                steps=STEPS,
            )
            combine = aggregator(
                "fedavg", release.shared, round_number=number, rank=plan.rank, measure_error=False
            )
            if rule != "none":
                combine = robust(
                    combine, rule, release.shared, turn("fedavg", 1), bad=BAD, norm_bound=0.0
                )
            for place, edge_site in enumerate(sites):
                update = contribute(plan, release, edge_site)
                combine.add(attack(update, place) if place >= HONEST else update)
            release = self._signed(combine.finish().shared, number)
        losses = []
        for edge_site in sites[:HONEST]:
            model.set_adapter(release.shared)
            learning = settings.learning
            losses.append(heldout_nll(model, edge_site.book.heldout, learning).per_token)
        return float(np.mean(losses))

    def _site(self, place: int, flip: bool) -> EdgeSite:
        book = drawn_book(f"site-{place}", seed=place)
        return EdgeSite(
            site=Site(id=f"site-{place}", place="Elm"),
            book=flipped(book) if flip else book,
            model=self._model,
            shelf=AdapterShelf(
                self._folder / f"{self._runs}" / f"{place}" / "001", KEY.public_key()
            ),
            settings=self._settings,
        )

    def _signed(self, shared: Adapter, number: int) -> AdapterRelease:
        return sign_release(
            shared,
            federation="001",
            number=number,
            parent_digest="",
            method="fedavg",
            round_number=number,
            metrics={},
            key=KEY,
        )


@pytest.fixture(scope="module")
def laboratory(edge_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    folder = tmp_path_factory.mktemp("poison")
    settings = tiny_settings(edge_folder, folder, personal="none")
    learning = replace(settings.learning, learning_rate=0.01)
    return Laboratory(replace(settings, learning=learning), folder)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("rule", ["multi_krum", "trimmed_mean"])
def test_honest_sites_lose_little(laboratory: Laboratory, rule: str, attack: str) -> None:
    change, flip = ATTACKS[attack]
    assert laboratory.loss(rule, change, flip=flip) <= WITHIN * laboratory.without_attackers()


@pytest.mark.parametrize("attack", ["sign flip", "a hundredfold", "sybil copies"])
def test_a_norm_bound_stops_what_is_large_and_softens_the_rest(
    laboratory: Laboratory, attack: str
) -> None:
    """It bounds sizes, not directions: against a flipped sign it is no defence by itself, and
    none at all against a flipped book, whose update is of ordinary size."""
    change, flip = ATTACKS[attack]
    bounded = laboratory.loss("norm_bound", change, flip=flip)
    if attack == "a hundredfold":
        assert bounded <= WITHIN * laboratory.without_attackers()
    assert bounded < laboratory.loss("none", change, flip=flip)


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_a_rule_the_same_attacks_do_harm(laboratory: Laboratory, attack: str) -> None:
    change, flip = ATTACKS[attack]
    assert laboratory.loss("none", change, flip=flip) > WITHIN * laboratory.without_attackers()

"""A whole federation in one process, without Flower: the sites' own code and the cloud's own maths.

What travels is packed and unpacked as on the wire, so that bytes are measured; transport, admission
and the gate are left out, because they decide nothing where every site is honest.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.adapter_shelf import AdapterShelf
from clients.edge_model import EdgeModel
from clients.learning.contribution import contribute
from clients.learning.edge_site import EdgeSite
from clients.learning.settling import settle
from clients.personal_part import part_in_use, release_view, served_adapter
from clients.prompts.book import Book
from fl.adapter import Adapter, digest, initial_adapter, moved_by
from fl.aggregation import aggregator
from fl.aggregation.aggregator import Aggregated
from fl.aggregation.server_optimizer import State, server_optimizer
from fl.flower_records import plan_records, read_plan, read_update, update_records, wire_bytes
from fl.release import AdapterRelease
from fl.release_file import sign_release
from fl.round_plan import rate_share, round_plan, settling_plan
from fl.settings import Settings
from fl.site import Site

FEDERATION = "001"

Measure = Callable[["Lab"], dict[str, float]]  # site -> nats per token


@dataclass(frozen=True, kw_only=True)
class Played:
    """A round that was played."""

    number: int
    bytes_up: int
    bytes_down: int
    error: float
    nll: dict[str, float]


class Lab:
    """Sites over one model, and the release they share now."""

    def __init__(
        self,
        settings: Settings,
        sites: Sequence[Site],
        books: Sequence[Book],
        model: EdgeModel,
        folder: Path,
        *,
        measure_error: bool = True,
    ) -> None:
        """`sites` carry their ranks; shelves lie in `folder`, which is the caller's."""
        self._settings, self._model, self._measure_error = settings, model, measure_error
        self._key = Ed25519PrivateKey.generate()
        self.edge_sites = [
            EdgeSite(
                site=site,
                # A round's own held-out loss is not needed here: one record makes it cheap.
                book=replace(book, heldout=book.heldout[:1]),
                model=model,
                shelf=AdapterShelf(folder / site.id / FEDERATION, self._key.public_key()),
                settings=settings,
            )
            for site, book in zip(sites, books, strict=True)
        ]
        first = initial_adapter(model.spec, model.base.layers, seed=settings.seed)
        self._optimizer: State = {}  # of federation.server_optimizer
        self.release = self._signed(first, round_number=0, method="initial", parent="")

    def play(self, measure: Measure, *, deliver: bool = True) -> list[Played]:
        """All rounds, then the delivery, after which the last round is measured again."""
        played = []
        for number in range(1, self._settings.rounds + 1):
            up, down, error = self.play_round(number)
            played.append(
                Played(number=number, bytes_up=up, bytes_down=down, error=error, nll=measure(self))
            )
        if deliver and self._settings.personal != "none":
            self._deliver()
            last = played[-1]
            played.append(replace(last, bytes_up=0, bytes_down=0, nll=measure(self)))
        return played

    def served(self, edge_site: EdgeSite) -> Adapter:
        """What people of a site would be served with now."""
        return served_adapter(
            release_view(self.release, edge_site.rank),
            part_in_use(edge_site.shelf, self.release, self._settings),
            layers=self._model.base.layers,
            settings=self._settings,
            site_id=edge_site.site.id,
        )

    def play_round(self, number: int) -> tuple[int, int, float]:
        """Play a round; return bytes up, bytes down, and the aggregation's error."""
        settings, release = self._settings, self.release
        plan = round_plan(
            settings,
            release,
            current_release=release.number,
            round_number=number,
            steps=settings.learning.local_steps,
        )
        combine = aggregator(
            settings.method,
            release.shared,
            round_number=number,
            rank=plan.rank,
            rank_limit=settings.learning.rank_limit,
            measure_error=self._measure_error,
        )
        up = down = 0
        for edge_site in self.edge_sites:
            message = plan_records(plan, release, site_id=edge_site.site.id)
            down += wire_bytes(message)
            _, same_plan, sent = read_plan(message)
            update = contribute(same_plan, sent.open(self._key.public_key()), edge_site)
            reply = update_records(update)
            up += wire_bytes(reply)
            combine.add(read_update(reply))
        combined = combine.finish()
        self.release = self._signed(
            self._moved(combined, number),
            round_number=number,
            method=settings.method,
            parent=digest(release.shared),
        )
        return up, down, combined.error

    def _moved(self, combined: Aggregated, number: int) -> Adapter:
        """The next shared part: the mean, or what the server's optimiser makes of it."""
        its = self._settings.federation
        if its.server_optimizer == "none" or combined.delta is None:
            return combined.shared
        rate = its.server_learning_rate * rate_share(self._settings, number)
        optimizer = server_optimizer(its.server_optimizer, rate)
        optimizer.load(self._optimizer)
        step = optimizer.step(combined.delta)
        self._optimizer = optimizer.state()
        return moved_by(self.release.shared, step)

    def _deliver(self) -> None:
        """Every site settles its personal part beside the last release."""
        plan = settling_plan(
            self._settings,
            self.release,
            current_release=self.release.number,
            round_number=self.release.round_number,
        )
        for edge_site in self.edge_sites:
            settle(plan, self.release, edge_site)

    def _signed(
        self, shared: Adapter, *, round_number: int, method: str, parent: str
    ) -> AdapterRelease:
        return sign_release(
            shared,
            federation=FEDERATION,
            number=round_number,
            parent_digest=parent,
            method=method,
            round_number=round_number,
            metrics={},
            key=self._key,
            task=self._settings.task,
        )


def defined(error: float) -> float | None:
    """The error, None where a method has none."""
    return None if math.isnan(error) else error


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the shelves of one run."""
    return tempfile.TemporaryDirectory(prefix="netgpt-study-")

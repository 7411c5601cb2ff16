"""Admission: nothing a site sends is trusted. One refused update never ends a round.

Checks run from cheap to dear and stop at the first that fails. What cannot be seen from one update
alone is not decided here: a flipped sign, or a poisoned direction within the norm bound, passes.
"""

from collections.abc import Collection, Set

import numpy as np
from flwr.app import RecordDict

from fl.adapter import A_SUFFIX, Adapter, AdapterSpec, digest, norm
from fl.aggregation import METHODS
from fl.errors import UpdateRefused
from fl.flower_records import read_update
from fl.release import Judgement
from fl.rounds import RoundPlan
from fl.settings import FederationSettings
from fl.sharing import factors_of, part_spec, same_but_rank
from fl.update import AdapterUpdate
from fl.uplink import SCALE


def open_update(records: RecordDict, release: Adapter, plan: RoundPlan) -> AdapterUpdate:
    """A site's reply as the update it claims to be. Raises UpdateRefused.

    Names of tensors are looked at first: only those that are our own may stand in a reason.
    """
    names = {name for arrays in records.array_records.values() for name in arrays}
    expected = set(factors_of(release, plan.sends).tensors)
    if plan.uplink == "int8":
        expected |= {name + SCALE for name in expected}
    _check_names(names, expected)
    return read_update(records)


class Admission:
    """Judges the updates of one round, each by itself and against those admitted before it."""

    def __init__(
        self,
        plan: RoundPlan,
        release: Adapter,
        *,
        expected_sites: Collection[str],
        settings: FederationSettings,
    ) -> None:
        self._plan = plan
        self._release = factors_of(release, plan.sends)
        self._expected = frozenset(expected_sites)
        self._settings = settings
        self._digests: dict[str, str] = {}  # of an admitted update -> its site

    def admit(self, update: AdapterUpdate, *, addressed_to: str) -> float:
        """Return the update's norm, or raise UpdateRefused with the reason.

        `addressed_to` is the site whose plan the update answers.
        """
        self._check_identity(update, addressed_to)
        self._check_freshness(update)
        self._check_numbers(update)
        if update.judgement is not None:
            check_judgement(update.judgement, self._plan)
        self._check_form(update.delta)
        size = self._check_values(update.delta)
        self.remember(update)
        return size

    def remember(self, update: AdapterUpdate) -> None:
        """Two sites with other books never send equal bytes: a copy is a replay, and is refused."""
        sha256 = digest(update.delta)
        if twin := self._digests.get(sha256):
            raise UpdateRefused(f"a copy of the update of {twin}")
        self._digests[sha256] = update.site_id

    def _check_identity(self, update: AdapterUpdate, addressed_to: str) -> None:
        if update.site_id != addressed_to:
            raise UpdateRefused(f"it answers the plan of {addressed_to} under another name")
        if update.site_id not in self._expected:
            raise UpdateRefused("the site was not asked in this round")
        if update.site_id in self._digests.values():
            raise UpdateRefused("the site's second update in this round")

    def _check_freshness(self, update: AdapterUpdate) -> None:
        plan = self._plan
        if not _is_whole(update.round_number) or update.round_number != plan.round_number:
            raise UpdateRefused(
                f"made for round {_said(update.round_number)}, this is round {plan.round_number}"
            )
        if not _is_whole(update.based_on_release) or update.based_on_release != plan.release_number:
            raise UpdateRefused(
                f"based on release {_said(update.based_on_release)}, "
                f"this round starts from release {plan.release_number}"
            )

    def _check_numbers(self, update: AdapterUpdate) -> None:
        count, limit = update.num_examples, self._settings.max_examples
        if not _is_whole(count) or not 1 <= count <= limit:
            raise UpdateRefused(
                f"num_examples must be a whole number from 1 to {limit}, found {_said(count)}"
            )
        if update.uplink != self._plan.uplink:
            raise UpdateRefused(f"its numbers are {update.uplink}, not {self._plan.uplink}")
        for name in ("train_loss", "heldout_loss", "seconds"):
            value: object = getattr(update, name)
            if not _is_loss(value):
                raise UpdateRefused(f"{name} must be a number, 0 or more, found {_said(value)}")

    def _check_form(self, delta: Adapter) -> None:
        """Spec, names, shapes and dtype are what the plan asked for."""
        rank = self._checked_rank(delta)
        _check_names(delta.tensors.keys(), self._release.tensors.keys())
        for name, tensor in delta.tensors.items():
            rows, columns = self._release.tensors[name].shape
            shape = (rank, columns) if name.endswith(A_SUFFIX) else (rows, rank)
            if tensor.shape != shape:
                raise UpdateRefused(f"{name} has shape {tensor.shape}, expected {shape}")
            if tensor.dtype != np.float32:
                raise UpdateRefused(f"{name} has dtype {tensor.dtype}, expected float32")

    def _checked_rank(self, delta: Adapter) -> int:
        """The update's rank: the plan's, or a smaller one where the method takes that."""
        plan, ours = self._plan, part_spec(self._release.spec, self._plan.rank)
        odd = [name for name, value in vars(ours).items() if getattr(delta.spec, name) != value]
        if odd and (set(odd) - {"rank", "alpha"} or not _is_spec(delta.spec)):
            raise UpdateRefused(f"made with another {', '.join(odd)} than the release")
        if delta.spec.rank != plan.rank and not (plan.mixed_ranks and delta.spec.rank < plan.rank):
            takers = ", ".join(name for name, method in METHODS.items() if method.mixed_ranks)
            at_most = "at most " if plan.mixed_ranks else ""
            raise UpdateRefused(
                f"its rank is {delta.spec.rank}, method={plan.method} takes {at_most}{plan.rank} "
                f"(mixed ranks: {takers})"
            )
        if not same_but_rank(delta.spec, ours):
            raise UpdateRefused("made with another alpha/rank than the release")
        return delta.spec.rank

    def _check_values(self, delta: Adapter) -> float:
        if not all(np.isfinite(tensor).all() for tensor in delta.tensors.values()):
            raise UpdateRefused("it holds NaN or infinity")
        size, limit = norm(delta), self._settings.max_update_norm
        if size == 0:
            raise UpdateRefused("all zero: the site did not learn")
        if not size <= limit:
            raise UpdateRefused(f"its norm {size:.3g} is above federation.max_update_norm {limit}")
        return size


def check_judgement(judgement: Judgement, plan: RoundPlan) -> None:
    """Raise UpdateRefused unless it compares the plan's release with the current one, soundly."""
    asked = (plan.release_number, plan.current_release)
    found = (judgement.release_number, judgement.current_number)
    if plan.release_number == plan.current_release:
        raise UpdateRefused("it judges a release, and none was to be judged")
    if not all(map(_is_whole, found)) or found != asked:
        raise UpdateRefused(
            f"it compares release {_said(found[0])} with release {_said(found[1])}, "
            f"release {asked[0]} was to be compared with release {asked[1]}"
        )
    for name in ("loss", "current_loss"):
        value: object = getattr(judgement, name)
        if not _is_loss(value):
            raise UpdateRefused(
                f"its judgement's {name} must be a number, 0 or more, found {_said(value)}"
            )


def _check_names(found: Set[str], expected: Set[str]) -> None:
    if missing := expected - found:
        raise UpdateRefused(f"{len(missing)} of {len(expected)} tensors are missing")
    if extra := found - expected:
        raise UpdateRefused(f"{len(extra)} tensors are not part of the release")


def _is_spec(spec: AdapterSpec) -> bool:
    """Are rank and alpha numbers that can be reckoned with?"""
    return _is_whole(spec.rank) and spec.rank >= 1 and _is_loss(spec.alpha) and spec.alpha > 0


def _is_loss(value: object) -> bool:
    """A finite number, 0 or more; comparing is safe for whole numbers beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e30


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _said(value: object) -> str:
    """What a site claimed, fit for a report: numbers as they are, everything else by its type."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"a {type(value).__name__}"
    return "a huge number" if abs(value) >= 1e30 else f"{value:.6g}"

"""Updates that come in after their round has ended: noted, or used with a smaller weight.

A late update is a step from an older release, added to a newer one. FedBuff (2106.06639, staleness
scaling) weights it by 1 / sqrt(1 + s), where s counts the releases made meanwhile, here rounds;
FedAsync (1903.03934) by polynomials of the same shape. Late updates never count for a quorum.
"""

import math
from collections.abc import Callable, Collection

from fl.adapter import Adapter
from fl.aggregation import Aggregator
from fl.errors import UpdateRefused
from fl.rounds import LateUpdate, RoundPlan
from fl.settings import FederationSettings
from fl.update import AdapterUpdate
from server.federation.admission import Admission, open_update
from server.federation.exchange import Answer


class Stragglers:
    """Holds late updates from when they come in until a round's report names them."""

    def __init__(self, settings: FederationSettings, *, kept_back: Callable[[int], bool]) -> None:
        """`kept_back` tells whether the gate kept a release back."""
        self._settings, self._kept_back = settings, kept_back
        self._held: dict[str, AdapterUpdate] = {}  # by site
        self._noted: list[LateUpdate] = []

    def take(self, answer: Answer, release: Adapter) -> None:
        """Admit a late answer against its own plan.

        Where late updates are used, all releases have the form of `release`; elsewhere admission
        refuses what does not fit.
        """
        site, plan = answer.receiver, answer.plan
        judge = Admission(plan, release, expected_sites=[site], settings=self._settings)
        try:
            update = open_update(answer.records(), release, plan)
            judge.admit(update, addressed_to=site)
            if self._settings.late != "weighted":
                raise UpdateRefused(
                    f"it came after the deadline of round {plan.round_number}, and "
                    "federation.late is record"
                )
        except UpdateRefused as refused:
            self._note(site, plan.round_number, reason=str(refused))
            return
        if (older := self._held.get(site)) is not None:
            self._note(site, older.round_number, reason="a later one of the site came in as well")
        self._held[site] = update

    def use(
        self, combine: Aggregator, plan: RoundPlan, admission: Admission, *, fresh: Collection[str]
    ) -> None:
        """Add what is held to the aggregation of a round; `fresh` sites have an update in it."""
        for site, update in sorted(self._held.items()):
            rounds_late = plan.round_number - update.round_number
            weight = update.num_examples / math.sqrt(1 + rounds_late)
            try:
                if site in fresh:
                    raise UpdateRefused("the site's own update of this round counts")
                if self._kept_back(update.based_on_release):
                    raise UpdateRefused(
                        f"based on release {update.based_on_release}, which was kept back"
                    )
                admission.remember(update)
            except UpdateRefused as refused:
                self._note(site, update.round_number, reason=str(refused))
            else:
                combine.add(update, weight=weight)
                self._note(site, update.round_number, weight=weight)
        self._held.clear()

    def tell(self) -> tuple[LateUpdate, ...]:
        """What came in since the last report."""
        noted, self._noted = tuple(self._noted), []
        return noted

    def _note(self, site: str, round_number: int, *, weight: float = 0.0, reason: str = "") -> None:
        self._noted.append(
            LateUpdate(
                site_id=site,
                round_number=round_number,
                used=not reason,
                weight=weight,
                reason=reason,
            )
        )

"""The gate: a candidate becomes current only if it makes no site worse than the tolerance allows.

Each site compares the candidate with the current release on its own held-out records. The site that
loses most decides, so that a release which is good on average but spoils one place is kept back.
"""

import logging
from collections.abc import Mapping

from fl.release import Judgement, Verdict
from server.federation.verdicts import Verdicts
from server.releases import Releases

_log = logging.getLogger("flwr.netgpt")


class Gate:
    """Decides on candidates. The verdict is on disk before an alias moves."""

    def __init__(self, releases: Releases, verdicts: Verdicts, *, tolerance: float) -> None:
        """`tolerance` in nats per token."""
        self._releases, self._verdicts, self._tolerance = releases, verdicts, tolerance

    def decide(
        self, candidate: int, current: int, judgements: Mapping[str, Judgement]
    ) -> Verdict | None:
        """Promote or reject a candidate that was compared with `current`; None while undecided."""
        now = self._releases.current_number()
        if now != current:
            _log.warning(
                "release %d was compared with release %d, but release %s is current now: it stays "
                "a candidate",
                *(candidate, current, now),
            )
            return None
        verdict = weigh(candidate, current, judgements, tolerance=self._tolerance)
        if verdict is None:
            _log.warning("no site could judge release %d: it stays a candidate", candidate)
            return None
        self._verdicts.keep(verdict)
        self._carry_out(verdict)
        return verdict

    def keep_back(self, candidate: int, current: int, reason: str) -> Verdict:
        """Reject a candidate that no site could even judge."""
        verdict = Verdict(
            release_number=candidate,
            current_number=current,
            passed=False,
            reason=f"release {candidate} kept back: {reason}",
            sites=0,
            worst_site="",
            worst_rise=0.0,
        )
        self._verdicts.keep(verdict)
        self._carry_out(verdict)
        return verdict

    def finish(self, candidate: int) -> None:
        """Carry out the verdict on a candidate, if a cloud was killed before it did.

        Where an operator has made another release current since, the candidate is to be judged
        again: the verdict compared it with what is no longer in use.
        """
        verdict = self._verdicts.of(candidate)
        if verdict is None:
            return
        known = (verdict.current_number, candidate)
        if not verdict.passed or self._releases.current_number() in known:
            self._carry_out(verdict)

    def _carry_out(self, verdict: Verdict) -> None:
        """Move the aliases as a verdict says; safe to repeat."""
        move = self._releases.promote if verdict.passed else self._releases.reject
        move(verdict.release_number, why=verdict.reason)
        _log.info(verdict.reason)


def weigh(
    candidate: int, current: int, judgements: Mapping[str, Judgement], *, tolerance: float
) -> Verdict | None:
    """The verdict on these judgements (by site); None where there are none."""
    if not judgements:
        return None
    rises = {site: j.loss - j.current_loss for site, j in sorted(judgements.items())}
    worst = max(rises, key=lambda site: rises[site])
    rise = rises[worst]
    passed = rise <= tolerance
    place = "is current" if passed else "kept back"
    change = f"{worst} lost {rise:.3g}" if rise > 0 else f"{worst} gained least, {abs(rise):.3g}"
    return Verdict(
        release_number=candidate,
        current_number=current,
        passed=passed,
        reason=f"release {candidate} {place}: {change} nats/token against release {current}",
        sites=len(rises),
        worst_site=worst,
        worst_rise=rise,
    )

"""From what actions would do to what is done: shown, confirmed by a person, done, each audited."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from rich.console import Console
from rich.text import Text

from clients.insight.acting.actuator import Agree, Effect
from clients.insight.acting.audit import Audit
from fl.errors import ActionError
from fl.markdown_table import table

WHERE = (
    "The services of this host obey at once. Where it is the cloud's, sites on hosts of their own "
    "hear what denies them the cloud, bounds their requests or keeps them at the edge with their "
    "next advert; what opens a site to the cloud is obeyed only where it is applied on the site's "
    "own host."
)


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What a person has said already, and how he is asked for more."""

    apply: bool = False  # else it is a dry run
    yes: bool = False  # to all that takes nothing away
    confirm: str = ""  # ids, with commas, for the others
    ask: Callable[[str], str] | None = None  # None: there is nobody on a terminal


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to be done."""

    id: str
    kind: str
    effect: Effect
    destructive: bool
    assumed: tuple[str, ...] = ()  # what the request did not say
    expires: float = inf  # seconds since 1970, UTC

    @property
    def needs_confirmation(self) -> bool:
        """Must a person say yes to just this one?"""
        return self.destructive or bool(self.assumed)

    @property
    def why(self) -> str:
        """Why it does."""
        parts = []
        if self.destructive:
            parts.append("something that works now may no longer, or may leave a site")
        if self.assumed:
            parts.append("the request did not say " + ", ".join(self.assumed))
        return "; ".join(parts) or "it changes the network"


@dataclass(frozen=True, kw_only=True)
class CarryingOut:
    """Of one call of the verb."""

    audit: Audit
    console: Console
    consent: Consent
    seen: str  # where figures come from
    expires_s: float  # for how long a dry run can be confirmed

    def __call__(
        self, steps: Sequence[Step], do: Callable[[Agree], Sequence[Effect]], *, done: str
    ) -> bool:
        """Show the steps; with consent do all of them or none. Was it done?

        `done` is what the audit calls it. Raises ActionError where it was wanted and was not done.
        """
        # 1. Show. Only a dry run of this very effect that came before this one can be confirmed.
        seen = {s.id for s in steps if self.audit.was_shown(s.id, s.effect.digest, self.expires_s)}
        for step in steps:
            self._note("dry_run", step)
        self._show([step.effect for step in steps])
        if not self.consent.apply:
            self._say("A dry run: nothing has changed. apply=true applies it.")
            for step in steps:
                if step.needs_confirmation:
                    self._say(f"{step.id} needs confirmation: {step.why}.")
            return False
        # 2. Does a person want it?
        confirmed = {one.strip() for one in self.consent.confirm.split(",")} & seen
        for step in steps:
            self._check_wanted(step, confirmed)
            self._note("confirmed", step)
        # 3. Do it, if it is still what was shown.
        try:
            do(lambda effects: self._agree(steps, effects))
        except ActionError:
            self._failed(steps, "changed")
            raise
        except OSError as error:
            with suppress(ActionError):  # the audit may lie on the same full disk
                self._failed(steps, "disk")
            raise ActionError(
                f"The rules could not be written ({error.strerror}). Make room or rights, then "
                "look at a dry run: it shows what holds."
            ) from None
        for step in steps:
            self._note(done, step)
            self._say(f"{done} {step.id}")
        self._say(WHERE)
        return True

    def _check_wanted(self, step: Step, confirmed: set[str]) -> None:
        if not self._wanted(step, confirmed):
            self._note("refused", step, reason="unconfirmed")
            raise ActionError(
                f"Nothing was done: {step.id} is not confirmed ({step.why}). Look at a dry run, "
                f"then say confirm={step.id} within {self.expires_s:g} s, or type the id on a "
                "terminal."
            )
        if time.time() > step.expires:
            self._note("refused", step, reason="expired")
            raise ActionError(
                f"Nothing was done: {step.id} has expired before it was confirmed. Propose it anew."
            )

    def _wanted(self, step: Step, confirmed: set[str]) -> bool:
        ask = self.consent.ask
        if step.id in confirmed:
            return True
        if not step.needs_confirmation:
            if self.consent.yes or ask is None:  # apply=true is somebody's word already
                return True
            return ask(f"Do {step.id} ({step.kind})? [y/N] ").strip().lower() in ("y", "yes")
        if ask is None:
            return False
        return ask(f"{step.id}: {step.why}. Type its id to do it: ").strip() == step.id

    def _agree(self, steps: Sequence[Step], effects: Sequence[Effect]) -> None:
        """Nobody else can change anything any more."""
        if [step.effect.digest for step in steps] != [effect.digest for effect in effects]:
            raise ActionError(
                "Nothing was done: what it would change is another than what was shown. Look at a "
                "dry run again."
            )
        for step in steps:
            self._note("applying", step)

    def _failed(self, steps: Sequence[Step], reason: str) -> None:
        for step in steps:
            self._note("failed", step, reason=reason)

    def _note(self, event: str, step: Step, *, reason: str = "") -> None:
        self.audit.add(
            event,
            action=step.id,
            kind=step.kind,
            reason=reason,
            rules=step.effect.rules,
            removed=step.effect.removed,
            effect=step.effect.digest,
        )

    def _show(self, effects: Sequence[Effect]) -> None:
        rows = [[e.action, f.what, f.before, f.after] for e in effects for f in e.figures]
        if rows:
            header = ["action", "what", "before", "after"]
            self.console.print(Text(table(header, rows)), soft_wrap=True)
        self._say(f"Links and paces are those of {self.seen}.")

    def _say(self, line: str) -> None:
        self.console.print(f"  {line}", soft_wrap=True, highlight=False)

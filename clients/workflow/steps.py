"""The steps a workflow may have: what each takes, gives, sends, and may fall back to.

    profile -> card     enrich -> enriched     draft -> draft     disclose -> disclosed
    route -> way        generate -> answer, figures               record

`short` is the request itself. Every kind of step occurs once at the most, so a value has one giver.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clients.workflow.privacy import Privacy

MODES = ("edge", "cloud", "split", "synergy", "auto")
REQUEST = "request"  # route: the mode that the request or the settings want
SHORT = "short"  # the short prompt: a value that no step gives

SKIP, REFUSE, EDGE = "skip", "refuse", "edge"
FALLBACKS: Mapping[str, str] = {
    REFUSE: "the request ends with a typed error",
    SKIP: "go on without what the step gives",
    SHORT: "the short prompt in its place",
    EDGE: "the site's own answer",
}

_SENDS = ("cloud", "split", "synergy", "auto")  # modes in which something may leave
_DRAFTS = ("edge", "auto")  # modes that need the site's own answer


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for a taken value: the first of them that is there when the step begins."""

    name: str
    values: tuple[str, ...]  # that may stand here
    needed: tuple[str, ...] = ()  # modes in which the step cannot do without
    least: Privacy = Privacy.PRIVATE  # nothing more private may stand here
    verb: str = "takes"  # what the step does with it: sends, keeps


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of step. Only `sends` slots are ever read by what talks to the cloud."""

    name: str
    says: str
    gives: str = ""
    also: Mapping[str, Privacy] = field(default_factory=dict)  # further values, of fixed class
    slots: tuple[Slot, ...] = ()
    privacy: Privacy = Privacy.PRIVATE  # of what it gives, at the most open
    releases: bool = False  # what it gives may go further than what it takes
    fallbacks: tuple[str, ...] = (REFUSE,)
    required: bool = False  # in every workflow, in every mode
    streams: bool = False  # hands over pieces of the answer while it runs

    def slot_of(self, value: str) -> Slot | None:
        """Where a value would stand; None where the step has no use for it."""
        return next((slot for slot in self.slots if value in slot.values), None)

    @property
    def guarded(self) -> Slot | None:
        """The slot that leads out of private hands, where there is one."""
        return next((slot for slot in self.slots if slot.least > Privacy.PRIVATE), None)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="profile",
            says="what the site knows now, as the card",
            gives="card",
            fallbacks=(SKIP, REFUSE),
        ),
        Kind(
            name="enrich",
            says="GPT-2 completes the short prompt under the card",
            gives="enriched",
            slots=(
                Slot(name="short", values=(SHORT,), needed=MODES),
                Slot(name="card", values=("card",)),
            ),
            fallbacks=(SHORT, REFUSE),
        ),
        Kind(
            name="draft",
            says="GPT-2 answers by itself",
            gives="draft",
            slots=(Slot(name="text", values=("enriched", SHORT), needed=MODES),),
            fallbacks=(SKIP, REFUSE),
        ),
        Kind(
            name="disclose",
            says="decides what may leave: masks, cuts",
            gives="disclosed",
            slots=(Slot(name="text", values=("enriched", SHORT), needed=MODES),),
            privacy=Privacy.DISCLOSED,
            releases=True,
        ),
        # Probes of the link, which auto's choice needs, are zeros: nothing taken is in them.
        Kind(
            name="route",
            says="who answers: the site or the cloud",
            gives="way",
            slots=(Slot(name="draft", values=("draft",), needed=("auto",)),),
            privacy=Privacy.OPEN,
            releases=True,
            fallbacks=(EDGE, REFUSE),
            required=True,
        ),
        Kind(
            name="generate",
            says="hands over the draft, or sends and streams the answer",
            gives="answer",
            also={"figures": Privacy.OPEN},
            slots=(
                Slot(name="way", values=("way",), needed=MODES),
                Slot(name="draft", values=("draft",), needed=_DRAFTS),
                Slot(
                    name="text",
                    values=("disclosed",),
                    needed=_SENDS,
                    least=Privacy.DISCLOSED,
                    verb="sends",
                ),
            ),
            fallbacks=(EDGE, REFUSE),
            required=True,
            streams=True,
        ),
        Kind(
            name="record",
            says="a line in the site's ledger",
            slots=(
                Slot(
                    name="figures",
                    values=("figures",),
                    needed=MODES,
                    least=Privacy.OPEN,
                    verb="keeps",
                ),
            ),
            privacy=Privacy.OPEN,
            fallbacks=(SKIP, REFUSE),
            required=True,
        ),
    )
}

# value -> the kind of step that gives it
GIVERS: Mapping[str, str] = {
    value: kind.name
    for kind in KINDS.values()
    for value in ((kind.gives,) if kind.gives else ()) + tuple(kind.also)
}
VALUES = (SHORT, *GIVERS)

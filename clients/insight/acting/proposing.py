"""From an inferred network intent to proposed actions.

create_flow     with a rate: bandwidth_reservation; with seconds: qos_class; else route_preference
remove_flow     route_preference: withdrawn
allocate_batch  slice: its flows share what they ask for
apply_filter    filter: allow or deny a service
a+b             the actions of a, then those of b
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clients.insight.acting.actions import Action, Parameters, Target
from clients.insight.acting.filter_words import allows, service_of
from clients.insight.acting.quantities import Quantity, bound, quantity
from clients.insight.intents.schema_file import schema_of
from fl.errors import ActionError
from fl.settings import Settings

INTENTS = ("create_flow", "remove_flow", "allocate_batch", "apply_filter")
MOST_FLOWS = 32
LONGEST_NAME = 64  # characters


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """What the edge model made of a request; slots are in the request's order and may repeat."""

    intent: str
    slots: tuple[tuple[str, str], ...]
    confidence: float


def inferred(found: Any) -> Inferred:
    """From {intent, slots, confidence}; slots are pairs, or an object of texts or lists of them.

    Raises ActionError for anything else.
    """
    wrong = ActionError(
        'An inferred intent is {"intent": text, "slots": {name: text or [texts]} or [[name, text], '
        '...], "confidence": 0 to 1}.'
    )
    if not isinstance(found, Mapping) or not isinstance(found.get("intent"), str):
        raise wrong
    confidence = found.get("confidence")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise wrong
    if not 0 <= confidence <= 1:  # also refuses NaN
        raise wrong
    if found.get("complete", True) is not True:
        raise ActionError(
            "The intent's slots may not be all there: the request was too long to be read to its "
            "end. Say it in fewer words, or in two requests."
        )
    pairs = list(_pairs(found.get("slots", {})))
    if not all(isinstance(name, str) and isinstance(text, str) for name, text in pairs):
        raise wrong
    return Inferred(intent=found["intent"], slots=tuple(pairs), confidence=float(confidence))


def propose(intent: Inferred, settings: Settings, *, now: float) -> list[Action]:
    """The actions that the intent asks for. Raises ActionError, which says why there are none.

    Those of an intent that the schema marks are destructive; what others take away shows when they
    are tried out.
    """
    acting = settings.acting
    if any(part not in INTENTS for part in intent.intent.split("+")):
        raise ActionError(
            f"The request is outside of what can be managed: intents are {', '.join(INTENTS)} and "
            "combinations of them."
        )
    if intent.confidence < acting.least_confidence:
        raise ActionError(
            f"The intent is only {intent.confidence:.0%} sure; acting.least_confidence is "
            f"{acting.least_confidence:.0%}. Say the request in other words."
        )
    actions: list[Action] = []
    kind = schema_of(settings).intents.get(intent.intent)
    marked = kind is not None and kind.destructive
    for name, slots in _parts(intent):
        part = _Part(name, slots, intent, bare_unit=acting.bare_unit, marked=marked)
        actions.append(_ACTIONS[name](part))
    expires = now + acting.expires_s
    return [replace(action, expires=expires) for action in actions]


class _Part:
    """The slots of one of an intent's parts."""

    def __init__(
        self,
        name: str,
        slots: Sequence[tuple[str, str]],
        intent: Inferred,
        *,
        bare_unit: str,
        marked: bool,
    ) -> None:
        self.name, self.intent, self._slots = name, intent, slots
        self._bare_unit, self._marked = bare_unit, marked

    def texts(self, name: str) -> list[str]:
        return [text for slot, text in self._slots if slot == name]

    def text(self, name: str) -> str:
        """The one text of a slot; "" where there is none. Raises ActionError for several."""
        found = self.texts(name)
        if len(found) > 1:
            raise ActionError(f"{self.name} has one {name}, found {len(found)}.")
        return found[0] if found else ""

    def flow(self) -> Target:
        """From whom to whom. Raises ActionError where one is missing."""
        source, target = self.text("source"), self.text("target")
        if not source or not target:
            missing = "source" if not source else "target"
            raise ActionError(f"The request names no {missing}; {self.name} needs both ends.")
        return Target(source=_name(source), target=_name(target))

    def quantities(self) -> list[Quantity]:
        return [quantity(text, bare_unit=self._bare_unit) for text in self.texts("qos")]

    def action(
        self,
        kind: str,
        targets: Sequence[Target],
        parameters: Parameters,
        *,
        assumed: Sequence[str] = (),
    ) -> Action:
        return Action(
            kind=kind,
            target=tuple(targets),
            parameters=parameters,
            destructive=self._marked,
            assumed=tuple(assumed),
            why=f"{self.name} of the intent {self.intent.intent}",
            confidence=self.intent.confidence,
        )


def _create_flow(part: _Part) -> Action:
    flow, found = part.flow(), part.quantities()
    if len(found) > 1:
        raise ActionError(f"create_flow has one quantity, found {len(found)}.")
    if not found:
        return part.action("route_preference", [flow], {"prefer": "cloud"})
    (its,), kept = found, bound(part.text("operator"))
    assumed = ("unit",) if its.assumed else ()
    if its.unit == "s":
        return part.action("qos_class", [flow], {"deadline_s": its.value}, assumed=assumed)
    if its.unit == "share":
        return part.action("slice", [flow], {"worker_share": its.value}, assumed=assumed)
    return part.action(
        "bandwidth_reservation",
        [flow],
        {"bits_per_s": its.value, "bound": kept},
        assumed=assumed,
    )


def _remove_flow(part: _Part) -> Action:
    return part.action("route_preference", [part.flow()], {"prefer": "edge", "withdraw": True})


def _allocate_batch(part: _Part) -> Action:
    sources, targets = part.texts("source"), part.texts("target")
    if not sources or len(sources) != len(targets):
        raise ActionError(
            f"allocate_batch names as many sources as targets, at least one; found {len(sources)} "
            f"and {len(targets)}."
        )
    if len(sources) > MOST_FLOWS:
        raise ActionError(f"allocate_batch has at most {MOST_FLOWS} flows, found {len(sources)}.")
    flows = [
        Target(source=_name(a), target=_name(b)) for a, b in zip(sources, targets, strict=True)
    ]
    found = part.quantities()
    if len(found) not in (0, len(flows)):
        raise ActionError(
            f"allocate_batch has a quantity for every flow or for none; found {len(found)} for "
            f"{len(flows)}."
        )
    if not found:
        equal = tuple(round(1 / len(flows), 6) for _ in flows)
        return part.action("slice", flows, {"shares": equal}, assumed=("equal shares",))
    if any(each.unit != "bit/s" for each in found):
        raise ActionError("The quantities of allocate_batch are bits or bytes a second.")
    assumed = ("unit",) if any(each.assumed for each in found) else ()
    rates = tuple(each.value for each in found)
    return part.action("slice", flows, {"bits_per_s": rates}, assumed=assumed)


def _apply_filter(part: _Part) -> Action:
    source, target = part.text("source"), part.text("target")
    if not source:
        raise ActionError("The request names nobody; a filter needs at least a source.")
    said = part.text("action")
    allowed = allows(said) if said.strip() else True
    assumed = () if said.strip() else ("allow",)
    flow = Target(source=_name(source), target=_name(target) if target else "any")
    parameters: Parameters = {"service": service_of(part.text("port")), "allow": allowed}
    return part.action("filter", [flow], parameters, assumed=assumed)


def _parts(intent: Inferred) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each part of the intent with its slots; a filter behind flows has the last names."""
    names = intent.intent.split("+")
    if len(names) == 1:
        return [(names[0], list(intent.slots))]
    if len(names) != 2 or names[1] != "apply_filter" or names[0] == "apply_filter":
        raise ActionError("Only flows and one filter behind them can be combined.")
    slots = list(intent.slots)
    flows = _flows_before_filter(slots) if names[0] == "allocate_batch" else 1
    seen = {"source": 0, "target": 0}
    first: list[tuple[str, str]] = []
    second: list[tuple[str, str]] = []
    for name, text in slots:
        if name in seen:
            seen[name] += 1
            (first if seen[name] <= flows else second).append((name, text))
        else:
            (second if name in ("action", "port") else first).append((name, text))
    return [(names[0], first), (names[1], second)]


def _flows_before_filter(slots: Sequence[tuple[str, str]]) -> int:
    """How many flows a batch has: as many as quantities; else all but the filter's last names."""
    counts = {name: sum(slot == name for slot, _ in slots) for name in ("source", "target", "qos")}
    if counts["qos"]:
        return counts["qos"]
    if counts["source"] > counts["target"]:
        return counts["target"]
    return max(0, counts["source"] - 1)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ActionError(f"A name has at most {LONGEST_NAME} printable characters.")
    return name


def _pairs(slots: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(slots, Mapping):
        return [
            (name, text)
            for name, its in slots.items()
            for text in (its if isinstance(its, list) else [its])
        ]
    if isinstance(slots, list) and all(isinstance(s, list) and len(s) == 2 for s in slots):
        return [(name, text) for name, text in slots]
    return [(None, None)]


_ACTIONS: dict[str, Callable[[_Part], Action]] = {
    "create_flow": _create_flow,
    "remove_flow": _remove_flow,
    "allocate_batch": _allocate_batch,
    "apply_filter": _apply_filter,
}

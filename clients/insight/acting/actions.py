"""A proposed management action, and the JSON document that it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

Parameters = Mapping[str, float | str | bool | tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Between whom, as the request names them."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Action:
    """One. Nothing of the request's text is in it but the names, numbers and services it needs."""

    kind: str
    target: tuple[Target, ...]
    parameters: Parameters
    destructive: bool  # by its schema, or by what trying it out has shown
    assumed: tuple[str, ...] = ()  # what the request did not say
    why: str = ""  # which intent
    confidence: float = 1.0  # of the intent
    expires: float = field(default=0.0, compare=False)  # seconds since 1970, UTC

    @property
    def id(self) -> str:
        """The same for the same change, whenever it is proposed: a person confirms by it."""
        its = {"kind": self.kind, "target": [asdict(t) for t in self.target]}
        text = json.dumps(its | {"parameters": dict(self.parameters)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def document(action: Action) -> dict[str, object]:
    """The action as JSON has it."""
    return {
        "id": action.id,
        "kind": action.kind,
        "target": [asdict(target) for target in action.target],
        "parameters": dict(action.parameters),
        "destructive": action.destructive,
        "assumed": list(action.assumed),
        "why": action.why,
        "confidence": round(action.confidence, 4),
        "expires": round(action.expires, 3),
    }

"""Which choices go together, said before the first round: one function over one table of rules.

A rule that finds something wrong gives the reason and the nearest choice that it accepts. A choice
is judged by all rules, and the nearest one is what is left when each has had its way.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from fl.aggregation import METHODS
from fl.errors import SettingsError

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "method": tuple(METHODS),
    "personal": ("none", "local_b", "dual", "finetune"),
    "robust": ("none", "norm_bound", "multi_krum", "trimmed_mean"),
    "server_optimizer": ("none", "adam", "yogi"),
    "uplink": ("float32", "float16", "int8"),
    "late": ("record", "weighted"),
}
_SETTINGS: Mapping[str, str] = {  # where a choice stands in the settings, if not at the top
    "robust": "federation.robust",
    "server_optimizer": "federation.server_optimizer",
    "uplink": "federation.uplink",
    "late": "federation.late",
    "ditto": "learning.ditto_lambda",
    "weighted": "learning.personal_weight",
}
MIXED = tuple(name for name, one in METHODS.items() if one.mixed_ranks)
_REFACTORED = tuple(name for name, one in METHODS.items() if not one.steps)
_LATE = ("fedavg", "dual", "ffa", "fedsa", "flora")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the settings choose."""

    method: str
    personal: str = "none"
    mixed_ranks: bool = False
    robust: str = "none"
    server_optimizer: str = "none"
    uplink: str = "float32"
    late: str = "record"
    ditto: bool = False  # personal=dual with learning.ditto_lambda above 0
    weighted: bool = False  # personal=dual with learning.personal_weight above 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a choice works; if not, why, and the nearest that does."""

    ok: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    nearest: Choice


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that does not go."""

    wrong: Callable[[Choice], bool]
    reason: str  # may name the choice's fields
    instead: Callable[[Choice], Choice]


RULES: Sequence[Rule] = (
    Rule(
        wrong=lambda c: c.method == "fedsa" and c.personal != "local_b",
        reason="method=fedsa leaves B at the sites, which is personal=local_b and nothing else",
        instead=lambda c: replace(c, personal="local_b"),
    ),
    Rule(
        wrong=lambda c: c.personal == "local_b" and c.method != "fedsa",
        reason="personal=local_b keeps B at the site, but method={method} needs it: only fedsa "
        "shares A alone",
        instead=lambda c: replace(c, personal="dual"),
    ),
    Rule(
        wrong=lambda c: c.method == "dual" and c.personal != "dual",
        reason="method=dual is a shared adapter beside a personal one: it needs personal=dual",
        instead=lambda c: replace(c, personal="dual"),
    ),
    Rule(
        wrong=lambda c: c.mixed_ranks and c.method not in MIXED,
        reason="method={method} combines factors entry by entry, and entries of factors of "
        f"different rank do not correspond; {' and '.join(MIXED)} take mixed ranks",
        # method=dual is fedavg with a personal part, which flora takes as well
        instead=lambda c: replace(
            c, method="flora", personal="dual" if c.personal == "local_b" else c.personal
        ),
    ),
    Rule(
        wrong=lambda c: (c.ditto or c.weighted) and c.personal != "dual",
        reason="learning.ditto_lambda and learning.personal_weight are options of personal=dual, "
        "found personal={personal}",
        instead=lambda c: replace(c, ditto=False, weighted=False),
    ),
    Rule(
        wrong=lambda c: c.ditto and c.weighted,
        reason="learning.ditto_lambda serves the personal adapter alone, learning.personal_weight "
        "a mixture: choose one",
        instead=lambda c: replace(c, ditto=False),
    ),
    Rule(
        wrong=lambda c: c.ditto and c.method in _REFACTORED,
        reason="learning.ditto_lambda pulls to the release entry by entry, and method={method} "
        "gives every release other coordinates",
        instead=lambda c: replace(c, ditto=False),
    ),
    Rule(
        wrong=lambda c: c.server_optimizer != "none" and c.method in _REFACTORED,
        reason="federation.server_optimizer={server_optimizer} remembers entries from round to "
        "round, and method={method} gives every release other coordinates",
        instead=lambda c: replace(c, server_optimizer="none"),
    ),
    Rule(
        wrong=lambda c: c.robust != "none" and c.method == "fedsa",
        reason="federation.robust compares changes of the product B A, and with method=fedsa the "
        "cloud never sees a B",
        instead=lambda c: replace(c, robust="none"),
    ),
    Rule(
        wrong=lambda c: c.late == "weighted" and c.method not in _LATE,
        reason="federation.late=weighted adds an update of an older release, and with "
        "method={method} that one had another frozen factor or other coordinates",
        instead=lambda c: replace(c, late="record"),
    ),
)

WARNINGS: Sequence[tuple[Callable[[Choice], bool], str]] = (
    (
        lambda c: c.server_optimizer != "none" and c.method in ("fedavg", "dual"),
        "federation.server_optimizer steps on A and B separately, which for method={method} "
        "depends on how the release happens to be factored.",
    ),
    (
        lambda c: c.uplink != "float32" and c.method in MIXED,
        "federation.uplink={uplink} runs without error feedback: with method={method} an entry has "
        "another meaning in every round.",
    ),
)


def judge(choice: Choice) -> Answer:
    """All that is wrong with a choice, and the nearest that works.

    Raises SettingsError for a name that does not exist.
    """
    for field in fields(choice):
        if field.name in OPTIONS:
            _check_name(field.name, getattr(choice, field.name))
    reasons: list[str] = []
    nearest, changed = choice, True
    while changed:  # what one rule suggests may be wrong for another; each mends one thing
        changed = False
        for rule in RULES:
            if rule.wrong(nearest):
                reasons.append(rule.reason.format(**vars(nearest)))
                nearest, changed = rule.instead(nearest), True
    found = [rule.reason.format(**vars(choice)) for rule in RULES if rule.wrong(choice)]
    warnings = [text.format(**vars(choice)) for applies, text in WARNINGS if applies(choice)]
    return Answer(ok=not reasons, reasons=tuple(found), warnings=tuple(warnings), nearest=nearest)


def require(choice: Choice) -> tuple[str, ...]:
    """The warnings of a choice that works; SettingsError with all reasons for one that does not."""
    answer = judge(choice)
    if answer.ok:
        return answer.warnings
    differs = [
        _setting(field.name, getattr(answer.nearest, field.name))
        for field in fields(choice)
        if getattr(answer.nearest, field.name) != getattr(choice, field.name)
    ]
    raise SettingsError(
        "These choices do not go together:\n- "
        + "\n- ".join(answer.reasons)
        + f"\nNearest that works: {', '.join(differs)}."
    )


def _check_name(what: str, name: str) -> None:
    known = OPTIONS[what]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        setting = _SETTINGS.get(what, what)
        raise SettingsError(f"{setting} is one of {', '.join(known)}; found {name!r}.{hint}")


def _setting(what: str, value: object) -> str:
    """A choice as somebody would set it; a flag is only ever mended by turning it off."""
    return f"{_SETTINGS.get(what, what)}={0 if isinstance(value, bool) else value}"

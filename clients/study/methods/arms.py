"""What is compared: baselines that need no federation, and methods with their personal part."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fl.aggregation import METHODS
from fl.errors import SettingsError
from fl.settings import Settings

DRIFTS = ("low", "high")

BASE = "base"
LOCAL = "local-only"
CENTRAL = "centralised"
CENTRAL_TOLD = "centralised, told the site"
BASELINES = (BASE, LOCAL, CENTRAL, CENTRAL_TOLD)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of the tables: a baseline (method "") or a method with a personal part."""

    name: str
    method: str = ""
    personal: str = "none"

    @property
    def federated(self) -> bool:
        """Whether it has rounds."""
        return bool(self.method)


_PERSONAL_OF = {"fedsa": "local_b", "dual": "dual"}

ARMS: Sequence[Arm] = (
    *(Arm(name=name) for name in BASELINES),
    *(Arm(name=m, method=m, personal=_PERSONAL_OF.get(m, "none")) for m in METHODS),
    Arm(name="fedavg + finetune", method="fedavg", personal="finetune"),
    Arm(name="ffa + dual", method="ffa", personal="dual"),
)


def arm(name: str) -> Arm:
    """The arm of this name."""
    return next(one for one in ARMS if one.name == name)


def wanted_arms(settings: Settings) -> list[Arm]:
    """The arms and kinds of round that are asked for exist. Raises SettingsError."""
    for found, known, key in (
        (settings.study.arms, [one.name for one in ARMS], "study.arms"),
        (settings.study.drifts, DRIFTS, "study.drifts"),
    ):
        for name in found:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise SettingsError(f"{key} are of {', '.join(known)}; found '{name}'.{hint}")
    if not settings.study.drifts:
        raise SettingsError(f"study.drifts names at least one of {', '.join(DRIFTS)}; found none.")
    names = settings.study.arms or [one.name for one in ARMS]
    return [one for one in ARMS if one.name in names]


def settings_of(
    settings: Settings, one: Arm, drift: str, *, learning_rate: float, seed: int
) -> Settings:
    """The settings of one run. Mixed ranks (high drift) only where the method takes them."""
    study, learning = settings.study, settings.learning
    low = drift == "low"
    mixed = bool(one.method) and METHODS[one.method].mixed_ranks
    ranks = study.high_ranks if mixed and not low else []
    return replace(
        settings,
        seed=seed,
        method=one.method or "fedavg",
        personal=one.personal if one.federated else "dual",
        rounds=study.low_rounds if low else study.high_rounds,
        learning=replace(
            learning,
            learning_rate=learning_rate,
            local_steps=study.low_steps if low else study.high_steps,
            ranks=ranks,
            rank=max([learning.rank, *ranks]),
            alpha=learning.alpha * max([learning.rank, *ranks]) / learning.rank,
        ),
    )

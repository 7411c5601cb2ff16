"""All that a comparison measured. As JSON it holds numbers and names, no text of anybody's."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from clients.compare.footprint import SiteCost
from clients.compare.judging import JudgedRequest
from clients.compare.timing import LinkTrial


@dataclass(frozen=True, kw_only=True)
class SeedTrials:
    """One seed: its judged requests, and its timed ones over every link."""

    seed: int
    federation: str
    requests: tuple[JudgedRequest, ...]
    trials: tuple[LinkTrial, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The whole of it."""

    seeds: tuple[SeedTrials, ...]
    sites: tuple[str, ...]
    costs: tuple[SiteCost, ...]
    layers_here: int  # of the split
    layers: int  # of the cloud's model
    width: int  # of its hidden states
    numbers: str  # that cross the wire: float32 or float16
    price: float
    machine: str

    @property
    def requests(self) -> list[JudgedRequest]:
        """The judged requests of all seeds, in their order."""
        return [request for seed in self.seeds for request in seed.requests]

    @property
    def enriched_whole(self) -> float:
        """Share of the enriched prompts that name all that they should."""
        return sum(r.enriched_whole for r in self.requests) / len(self.requests)

    @property
    def faithful(self) -> float:
        """Share of the cloud's answers that say what they were asked for."""
        return sum(r.faithful for r in self.requests) / len(self.requests)

    @property
    def profiles(self) -> list[str]:
        """The links, in the settings' order."""
        return [trial.profile for trial in self.seeds[0].trials]

    def trials(self, profile: str) -> dict[int, LinkTrial]:
        """One link's, by seed."""
        return {
            seed.seed: trial
            for seed in self.seeds
            for trial in seed.trials
            if trial.profile == profile
        }


def as_json(found: Comparison) -> str:
    """A line for each of many small things, so that two runs can be laid side by side."""
    whole = asdict(found)
    seeds = whole.pop("seeds")
    lines = [json.dumps({"comparison": whole})]
    for seed in seeds:
        requests, trials = seed.pop("requests"), seed.pop("trials")
        lines.append(json.dumps({"seed": seed}))
        lines += _lines("judged", requests)
        for trial in trials:
            timed = trial.pop("requests")
            lines.append(json.dumps({"link": {"seed": seed["seed"], **trial}}))
            lines += _lines("timed", timed)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _lines(name: str, values: Sequence[object]) -> list[str]:
    return [json.dumps({name: value}) for value in values]

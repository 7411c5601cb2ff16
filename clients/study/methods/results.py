"""What one run of the study of methods measures, as values that go to JSON and come back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fl import durable


@dataclass(frozen=True, kw_only=True)
class Job:
    """Which run."""

    arm: str
    drift: str  # low | high
    learning_rate: float
    seed: int

    @property
    def key(self) -> str:
        """A file name for it."""
        arm = "".join(c if c.isalnum() else "-" for c in self.arm)
        return f"{arm}_{self.drift}_{self.learning_rate:g}_{self.seed}"


@dataclass(frozen=True, kw_only=True)
class RoundPoint:
    """After a round (the last one again after settling). Bytes of all sites, that round alone."""

    number: int
    bytes_up: int
    bytes_down: int
    error: float | None  # relative aggregation error; None where it is not defined
    nll: Mapping[str, float]  # site -> nats per completion token, as its people would be served


@dataclass(frozen=True, kw_only=True)
class SiteScore:
    """One site at the end, on all its held-out records."""

    nats: float
    tokens: int  # of completions, end marks included
    characters: int  # of completions
    recall: Mapping[str, tuple[int, int]]  # kind of mark -> (named, looked for); empty: not asked

    @property
    def nll(self) -> float:
        """Nats per completion token."""
        return self.nats / self.tokens


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm, drift, learning rate and seed."""

    job: Job
    rounds: tuple[RoundPoint, ...]
    sites: Mapping[str, SiteScore]
    train_prompts: Mapping[str, int]
    seconds: float  # of one process
    rank: int  # of the last release; of the adapter where there is none

    @property
    def mean_nll(self) -> float:
        """Mean over sites of nats per token."""
        return sum(score.nll for score in self.sites.values()) / len(self.sites)


def write_run(folder: Path, run: Run) -> None:
    """Keep a run; it is not done again."""
    durable.publish(_file(folder, run.job), json.dumps(as_json(run)).encode())


def read_run(folder: Path, job: Job) -> Run | None:
    """A run that was kept; None where it has not been done."""
    file = _file(folder, job)
    return from_json(json.loads(file.read_text())) if file.is_file() else None


def as_json(run: Run) -> dict[str, Any]:
    """A run as plain values, numbers rounded to what they are worth."""
    return {**_rounded(asdict(run)), "job": asdict(run.job)}


def from_json(found: dict[str, Any]) -> Run:
    """The run again. Raises KeyError or TypeError for what is none."""
    sites = {
        site: SiteScore(
            **{**score, "recall": {kind: (n, of) for kind, (n, of) in score["recall"].items()}}
        )
        for site, score in found["sites"].items()
    }
    return Run(
        job=Job(**found["job"]),
        rounds=tuple(RoundPoint(**point) for point in found["rounds"]),
        sites=sites,
        train_prompts=found["train_prompts"],
        seconds=found["seconds"],
        rank=found["rank"],
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.key}.json"

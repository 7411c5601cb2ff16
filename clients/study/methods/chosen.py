"""From all runs to the few numbers that are shown: one learning rate an arm, its seeds together."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clients.study.methods.arms import ARMS, BASELINES
from clients.study.methods.results import Run, SiteScore

SLACK = 1.01  # of a budget in bytes: equal tensors make messages of a few bytes more or less


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An arm under one drift with the learning rate that the first seed chose."""

    arm: str
    drift: str
    learning_rate: float
    at_edge: bool  # of the grid: a better rate may lie beyond
    runs: tuple[Run, ...]  # one a seed

    def mean(self, value: Callable[[Run], float | None]) -> float | None:
        """Mean over seeds; None where no seed has it."""
        found = [v for run in self.runs if (v := value(run)) is not None]
        return statistics.fmean(found) if found else None

    def spread(self, value: Callable[[Run], float | None]) -> float:
        """Standard deviation over seeds; 0 for one."""
        found = [v for run in self.runs if (v := value(run)) is not None]
        return statistics.stdev(found) if len(found) > 1 else 0.0


def chosen_arms(runs: Sequence[Run], drift: str) -> list[Chosen]:
    """Every arm that was run, baselines first; these have no drift."""
    found = []
    first_seed = min(run.job.seed for run in runs)
    for one in ARMS:
        wanted = "low" if one.name in BASELINES else drift
        mine = [run for run in runs if (run.job.arm, run.job.drift) == (one.name, wanted)]
        if not mine:
            continue
        grid = [run for run in mine if run.job.seed == first_seed]
        best = min(grid, key=lambda run: run.mean_nll).job.learning_rate
        rates = sorted({run.job.learning_rate for run in grid})
        found.append(
            Chosen(
                arm=one.name,
                drift=wanted,
                learning_rate=best,
                at_edge=len(rates) > 1 and best in (rates[0], rates[-1]),
                runs=tuple(
                    sorted(
                        (run for run in mine if run.job.learning_rate == best),
                        key=lambda run: run.job.seed,
                    )
                ),
            )
        )
    return found


def worst(run: Run) -> float:
    """Nats per token at the site where the arm does worst."""
    return max(score.nll for score in run.sites.values())


def per_character(run: Run) -> float:
    """Nats per character of all sites' completions; comparable across tokenizers."""
    scores = run.sites.values()
    return sum(s.nats for s in scores) / sum(s.characters for s in scores)


def recall(run: Run, kind: str) -> float | None:
    """Share of all sites' marked phrases of a kind that the enriched prompts name."""
    counts = [score.recall[kind] for score in run.sites.values() if kind in score.recall]
    looked_for = sum(of for _, of in counts)
    return sum(found for found, _ in counts) / looked_for if looked_for else None


def megabytes(run: Run) -> float | None:
    """Bytes up and down of one site over all rounds, mean over sites, MB; None for a baseline."""
    if not run.rounds:
        return None
    total = sum(point.bytes_up + point.bytes_down for point in run.rounds)
    return total / len(run.sites) / 1e6


def last_error(run: Run) -> float | None:
    """The aggregation error of the last round."""
    return run.rounds[-1].error if run.rounds else None


def nll_within(run: Run, budget_mb: float) -> float | None:
    """Mean NLL after the last round whose traffic fits in a budget; None where none does.

    `budget_mb` is of one site, up and down together, MB. Settling costs no bytes.
    """
    spent, reached = 0.0, None
    for point in run.rounds:
        spent += (point.bytes_up + point.bytes_down) / len(run.sites) / 1e6
        if spent <= budget_mb * SLACK:
            reached = sum(point.nll.values()) / len(point.nll)
    return reached


def site_scores(chosen: Chosen) -> Mapping[str, list[SiteScore]]:
    """Site -> its scores, one a seed."""
    return {site: [run.sites[site] for run in chosen.runs] for site in chosen.runs[0].sites}

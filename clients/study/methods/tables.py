"""The study of methods as Markdown."""

from collections.abc import Callable, Sequence
from functools import partial

from clients.study.methods.arms import BASELINES, DRIFTS
from clients.study.methods.chosen import (
    Chosen,
    chosen_arms,
    last_error,
    megabytes,
    nll_within,
    per_character,
    recall,
    site_scores,
    worst,
)
from clients.study.methods.results import Run
from fl.markdown_table import table
from fl.settings_sections import StudySettings

# Word trigrams on the same held-out text (the data's own README): not our arms, a yardstick.
TRIGRAMS = "own 0.60, pooled 0.55, half own and half pooled 0.51"


def markdown(runs: Sequence[Run], study: StudySettings) -> str:
    """All tables. Mean ± standard deviation over seeds."""
    seeds = sorted({run.job.seed for run in runs})
    sites = len(runs[0].sites)
    parts = [
        f"# Study of methods: {sites} sites, seeds {', '.join(map(str, seeds))}",
        "NLL in nats per held-out completion token (mean over sites), lower is better; beside it "
        "nats per character of all sites' text, which other tokenizers can be compared with: word "
        f"trigrams reach {TRIGRAMS}. Recall: share of marked phrases named. The learning rate is "
        "the best of the grid on the same held-out records, with the first seed; * marks one at "
        "the edge of the grid. MB: up and down, of one site, over all rounds.",
    ]
    drifts = [d for d in DRIFTS if any(run.job.drift == d for run in runs)]
    for drift in drifts:
        arms = chosen_arms(runs, drift)
        if any(arm.arm not in BASELINES for arm in arms):
            parts += [f"## {_title(drift, study)}\n\n{_arms(arms)}", _equal_bytes(arms)]
    shown = next((d for d in drifts if any(_federated(run, d) for run in runs)), drifts[0])
    parts.append(f"## NLL by site, {shown} drift\n\n{_sites(chosen_arms(runs, shown))}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(drift: str, study: StudySettings) -> str:
    if drift == "low":
        return f"Low drift: {study.low_rounds} rounds of {study.low_steps} local steps"
    ranks = ", ".join(map(str, study.high_ranks))
    return (
        f"High drift: {study.high_rounds} rounds of {study.high_steps} local steps; ranks {ranks} "
        "in turn where the method takes mixed ranks"
    )


def _arms(arms: Sequence[Chosen]) -> str:
    kinds = [k for k in ("site", "venue", "fact", "habit") if _has(arms, k)]
    header = ["arm", "NLL", "nats/char", "worst site", *(f"{kind} recall" for kind in kinds)]
    header += ["MB", "error", "rank", "lr", "s"]
    rows = []
    for arm in arms:
        row = [arm.arm, _over(arm, lambda r: r.mean_nll), _over(arm, per_character)]
        row += [_over(arm, worst)]
        row += [_over(arm, partial(recall, kind=kind), 2) for kind in kinds]
        row += [_over(arm, megabytes, 2, plain=True), _over(arm, last_error, plain=True)]
        row += [str(arm.runs[0].rank), f"{arm.learning_rate:g}{'*' if arm.at_edge else ''}"]
        rows.append([*row, _over(arm, lambda r: r.seconds, 0, plain=True)])
    return table(header, rows)


def _equal_bytes(arms: Sequence[Chosen]) -> str:
    """What each method reaches with the bytes that the cheapest spends in all its rounds."""
    federated = [arm for arm in arms if arm.arm not in BASELINES]
    budget = min(total for arm in federated if (total := arm.mean(megabytes)) is not None)
    rows = []
    for arm in federated:
        rows.append([arm.arm, _over(arm, lambda run: nll_within(run, budget))])
    said = f"Equal bytes: NLL after the last round within {budget:.2f} MB a site"
    return f"### {said}\n\n" + table(["arm", "NLL"], rows)


def _sites(arms: Sequence[Chosen]) -> str:
    header = ["arm", *arms[0].runs[0].sites]
    prompts = ["training prompts", *(str(n) for n in arms[0].runs[0].train_prompts.values())]
    rows = [prompts]
    for arm in arms:
        scores = site_scores(arm)
        rows.append(
            [arm.arm, *(f"{sum(s.nll for s in mine) / len(mine):.3f}" for mine in scores.values())]
        )
    return table(header, rows)


def _federated(run: Run, drift: str) -> bool:
    return run.job.drift == drift and run.job.arm not in BASELINES


def _has(arms: Sequence[Chosen], kind: str) -> bool:
    return any(recall(run, kind) is not None for arm in arms for run in arm.runs)


def _over(
    arm: Chosen,
    value: Callable[[Run], float | None],
    digits: int = 3,
    *,
    plain: bool = False,
) -> str:
    """Mean over seeds, with the standard deviation unless `plain`."""
    if (mean := arm.mean(value)) is None:
        return "-"
    if plain or len(arm.runs) < 2:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {arm.spread(value):.{digits}f}"

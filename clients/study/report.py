"""The study as people read it: Markdown tables over one or more seeds, and the same as JSON."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from clients.study.results import (
    BASE,
    CENTRAL,
    LOCAL,
    OTHER_ADAPTER,
    OTHER_CARD,
    PERSONAL,
    SHARED,
    TEMPLATE,
    ArmScore,
    SeedStudy,
)
from fl import durable
from fl.markdown_table import table

NLL_ARMS = (BASE, LOCAL, SHARED, PERSONAL, CENTRAL)
ALL_ARMS = (*NLL_ARMS, TEMPLATE)


def write_study(folder: Path, studies: Sequence[SeedStudy]) -> str:
    """Publish study.md and study.json in `folder`; return the Markdown."""
    text = markdown(studies)
    folder.mkdir(parents=True, exist_ok=True)
    as_json = json.dumps([asdict(s) for s in studies], indent=2) + "\n"
    durable.publish(folder / "study.md", text.encode())
    durable.publish(folder / "study.json", as_json.encode())
    return text


def markdown(studies: Sequence[SeedStudy]) -> str:
    """All tables. Mean ± s.d. over seeds where there is more than one."""
    seeds = ", ".join(str(s.seed) for s in studies)
    parts = [
        f"# Study: {len(studies[0].sites)} sites, seed {seeds}",
        "NLL in nats per held-out completion token, lower is better. Recall: share of the marked "
        "phrases that the enriched prompt (or the cloud's answer) names.",
        _arms_table(studies),
        _sites_table(studies),
        _small_table(studies),
        _answers_table(studies),
        _counterfactual_table(studies),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _arms_table(studies: Sequence[SeedStudy]) -> str:
    kinds = _kinds(studies)
    header = ["arm", "own", "others", "pooled", "worst", *(f"{kind} recall" for kind in kinds)]
    rows = []
    for arm in ALL_ARMS:
        scores = [[site.arms[arm] for site in study.sites] for study in studies]
        row = [arm, *(_over(map(nll, scores)) for nll in (_own, _others, _pooled, _worst))]
        rows.append([*row, *(_over(_recall(s, kind) for s in scores) for kind in kinds)])
    return "## All sites\n\n" + table(header, rows)


def _sites_table(studies: Sequence[SeedStudy]) -> str:
    header = ["site", "prompts", *(f"NLL {arm}" for arm in NLL_ARMS), "kB up", "kB down"]
    rows = []
    for index, site in enumerate(studies[0].sites):
        nll = [_over(s.sites[index].arms[arm].own_nll for s in studies) for arm in NLL_ARMS]
        traffic = [f"{site.bytes_up / 1000:.0f}", f"{site.bytes_down / 1000:.0f}"]
        rows.append([site.site_id, str(site.train_prompts), *nll, *traffic])
    return "## Own held-out NLL by site; bytes of one round\n\n" + table(header, rows)


def _small_table(studies: Sequence[SeedStudy]) -> str:
    """Small books, large books and the late joiner: local-only against release + personal."""
    kinds = _kinds(studies)
    most = studies[0].small_book
    groups = {
        f"books up to {most}": [[x for x in s.sites if x.train_prompts <= most] for s in studies],
        f"books above {most}": [[x for x in s.sites if x.train_prompts > most] for s in studies],
        "joins after the last round": [[s.late] if s.late else [] for s in studies],
    }
    header = ["sites", "arm", "NLL", *(f"{kind} recall" for kind in kinds)]
    rows = []
    for name, chosen in groups.items():
        for arm in (LOCAL, PERSONAL) if chosen[0] else ():
            scores = [[site.arms[arm] for site in sites] for sites in chosen]
            recalls = [_over(_recall(s, kind) for s in scores) for kind in kinds]
            rows.append([name, arm, _over(map(_own, scores)), *recalls])
    return "## Where the federation pays\n\n" + table(header, rows)


def _answers_table(studies: Sequence[SeedStudy]) -> str:
    kinds = sorted({kind for x in studies[0].sites for kind in x.short_answer_recall})
    if not kinds:
        return ""
    short = [[site.short_answer_recall for site in study.sites] for study in studies]
    asked = {
        "short prompt": short,
        TEMPLATE: [[x.arms[TEMPLATE].answer_recall for x in s.sites] for s in studies],
        f"enriched prompt, {PERSONAL}": [
            [x.arms[PERSONAL].answer_recall for x in s.sites] for s in studies
        ],
    }
    rows = [
        [
            name,
            *(_over(_mean(r.get(kind) for r in recalls) for recalls in by_seed) for kind in kinds),
        ]
        for name, by_seed in asked.items()
    ]
    header = ["what the cloud was asked", *(f"{kind} recall of the answer" for kind in kinds)]
    return "## The cloud's answers\n\n" + table(header, rows)


def _counterfactual_table(studies: Sequence[SeedStudy]) -> str:
    rows = []
    for case in (OTHER_CARD, OTHER_ADAPTER):
        found = [[x.counterfactual.get(case, {}) for x in s.sites] for s in studies]
        for what in sorted({name for sites in found for shares in sites for name in shares}):
            share = _over(_mean(shares.get(what) for shares in sites) for sites in found)
            rows.append([case, what, share])
    if not rows:
        return ""
    header = ["same short prompt under", "phrases named", "share"]
    return "## Counterfactuals of shared + personal\n\n" + table(header, rows)


def _own(scores: Sequence[ArmScore]) -> float | None:
    return _mean(s.own_nll for s in scores)


def _others(scores: Sequence[ArmScore]) -> float | None:
    return _mean(s.others_nll for s in scores)


def _pooled(scores: Sequence[ArmScore]) -> float | None:
    tokens = sum(s.own_tokens for s in scores)
    if not tokens:
        return None
    return sum((s.own_nll or 0.0) * s.own_tokens for s in scores) / tokens


def _worst(scores: Sequence[ArmScore]) -> float | None:
    return max((s.own_nll for s in scores if s.own_nll is not None), default=None)


def _recall(scores: Sequence[ArmScore], kind: str) -> float | None:
    return _mean(s.recall.get(kind) for s in scores)


def _kinds(studies: Sequence[SeedStudy]) -> list[str]:
    return sorted({k for s in studies for x in s.sites for k in x.arms[BASE].recall})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _over(values: Iterable[float | None]) -> str:
    """Mean over seeds, with the standard deviation where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.2f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.2f}"

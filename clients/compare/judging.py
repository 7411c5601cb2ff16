"""How good the modes' answers to the same held-out requests are. No link is in it: greedy answers
are the same over any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clients.asking.alone import answers_alone
from clients.asking.ask import answer_many
from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import disclose
from clients.asking.site_in_process import SiteInProcess
from clients.prompts.book import read_book
from clients.prompts.recall import recall_of
from clients.prompts.record import PromptRecord
from clients.routing.calibrating import (
    calibrate,
    has_marks,
    is_complete,
    is_faithful,
    names_all_marks,
)
from clients.routing.calibration import Calibration, score_of
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path

if TYPE_CHECKING:
    from clients.edge_model import EdgeModel

KNOWHOW = "know-how"  # the kind of an answer's own marks


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One answer against the marks of its request."""

    named: Mapping[str, tuple[int, int]]  # kind of mark -> phrases named, phrases marked
    complete: bool  # all of them
    characters: int  # of the prompt that left as text


@dataclass(frozen=True, kw_only=True)
class JudgedRequest:
    """A held-out request, answered by edge, cloud and synergy. split's answer is cloud's."""

    seed: int
    site_id: str
    answers: Mapping[str, Judged]  # by mode
    doubt: float  # of the own answer, 0 to 1
    cloud_quality: float  # that its site's auto counts on
    whole: float  # share of whole enriched prompts that its site's auto counts on
    enriched_whole: bool  # does the enriched prompt name all that it should?
    faithful: bool  # does the cloud's answer name what the enriched prompt does, and know-how?


@dataclass(frozen=True, kw_only=True)
class JudgedSite:
    """A site's judged half of its held-out requests; the other half calibrated auto."""

    site: Site
    calibration: Calibration
    requests: tuple[JudgedRequest, ...]
    records: tuple[PromptRecord, ...] = field(repr=False)  # private: stays in this process
    cloud_answers: tuple[str, ...] = field(repr=False)  # to the short prompts


def judge_site(
    settings: Settings,
    site: Site,
    here: SiteInProcess,
    model: "EdgeModel",
    channel: CloudChannel,
) -> JudgedSite:
    """All of a site's held-out requests, in batches. `here` is at the site.

    Raises BookError where too few held-out records have marks.
    """
    heldout = read_book(book_path(settings, site), site=site).heldout
    marked = [record for record in heldout if has_marks(record)]
    calibration = calibrate(
        marked[0::2],
        here.enrich_many,
        lambda prompts: answers_alone(model, settings, prompts),
        base=model.base.fingerprint,
        ask=lambda prompts: answer_many(channel, prompts, settings=settings, site_id=site.id),
    )
    records = tuple(marked[1::2])
    enriched = here.enrich_many(records)
    own = answers_alone(model, settings, enriched)
    shorts = [record.short for record in records]
    cloud = answer_many(channel, shorts, settings=settings, site_id=site.id)
    synergy = answer_many(channel, enriched, settings=settings, site_id=site.id)

    def left(prompts: Sequence[str]) -> list[int]:
        return [disclose(prompt, settings.asking).characters for prompt in prompts]

    by_mode = {
        "edge": _judged([w.text for w in own], records, [0] * len(records)),
        "cloud": _judged(cloud, records, left(shorts)),
        "synergy": _judged(synergy, records, left(enriched)),
    }
    requests = tuple(
        JudgedRequest(
            seed=settings.seed,
            site_id=site.id,
            answers={mode: answers[i] for mode, answers in by_mode.items()},
            doubt=1 - calibration.probability(score_of(own[i])),
            cloud_quality=calibration.cloud_faithful or settings.routing.cloud_quality,
            whole=calibration.enriched_whole,
            enriched_whole=names_all_marks(enriched[i], records[i]),
            faithful=is_faithful(synergy[i], enriched[i], records[i]),
        )
        for i in range(len(records))
    )
    return JudgedSite(
        site=site,
        calibration=calibration,
        requests=requests,
        records=records,
        cloud_answers=tuple(cloud),
    )


def judged(answer: str, record: PromptRecord, characters: int) -> Judged:
    """One answer against a record's marks and answer marks."""
    marks = dict(record.marks)
    if record.answer_marks:
        marks[KNOWHOW] = record.answer_marks
    found = recall_of([answer], [marks])
    return Judged(
        named={kind: (recall.found, recall.looked_for) for kind, recall in found.items()},
        complete=is_complete(answer, record),
        characters=characters,
    )


def _judged(
    answers: Sequence[str], records: Sequence[PromptRecord], characters: Sequence[int]
) -> list[Judged]:
    return [judged(a, r, c) for a, r, c in zip(answers, records, characters, strict=True)]

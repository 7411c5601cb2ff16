"""The section `intent:` of the settings, and what cannot work in it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class IntentStudySettings:
    """The verb `insight intents`."""

    data: str
    sets: list[str]
    train_records: int
    heldout_records: int
    timed_requests: int


@dataclass(frozen=True, kw_only=True)
class IntentSettings:
    """task=intent."""

    schema: str
    false_alarms: float
    study: IntentStudySettings


INTENT_SETS = ("clinc150", "snips", "network")


def intent_mistakes(its: IntentSettings) -> list[tuple[bool, str]]:
    """(is it well, else what is wrong) of each key."""
    return [
        (its.schema != "", "intent.schema must name a file; configs/intents holds some"),
        (
            0 <= its.false_alarms < 1,
            f"intent.false_alarms is 0 or more and below 1, found {its.false_alarms}",
        ),
        (
            len(its.study.sets) >= 1
            and set(its.study.sets) <= set(INTENT_SETS)
            and len(set(its.study.sets)) == len(its.study.sets),
            f"intent.study.sets are of {', '.join(INTENT_SETS)}, each once at the most, found "
            f"{its.study.sets}",
        ),
        (
            its.study.train_records >= 0 and its.study.heldout_records >= 0,
            "intent.study.train_records and heldout_records must be 0 or more",
        ),
        (its.study.timed_requests >= 1, "intent.study.timed_requests must be at least 1"),
    ]

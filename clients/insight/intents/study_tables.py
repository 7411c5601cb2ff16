"""The study of intents as Markdown."""

from collections.abc import Sequence

from clients.insight.intents.results import CENTRAL, FEDERATED, WORDS, SetResult
from clients.insight.intents.scores import Score
from fl.markdown_table import table
from fl.settings import Settings

_HEADER = [
    "arm",
    "accuracy",
    "slot F1",
    "oos recall",
    "calibrated: recall / alarms",
    "valid JSON",
    "ms alone",
    "ms in a batch",
    "s",
]


def markdown(results: Sequence[SetResult], settings: Settings) -> str:
    """A table a data set, and what stands against what."""
    alarms = settings.intent.false_alarms
    learning = settings.learning
    parts = [
        "# Study of intents",
        "Accuracy: texts in scope whose intent is the right one of all in scope. Slot F1: exact "
        f"values, micro. Oos recall: share of texts out of scope refused at {alarms:.0%} false "
        "alarms, exactly so on the held-out texts (-: more at any threshold); "
        "calibrated: the same with a threshold drawn from records held back from training, and the "
        "false alarms it causes. Valid JSON: re-parsed and checked against the JSON Schema. The "
        "regression knows no slots. Ms alone: median of texts chosen by digest, each read with "
        "every adapter in turn. "
        f"Adapters: rank {learning.rank}, {settings.rounds} rounds of {learning.local_steps} "
        f"step(s) of {learning.batch_tokens} tokens at every site ({learning.optimizer} there, "
        f"{settings.federation.server_optimizer} at the server); the centralised one has all "
        f"records at one site, and batches as large as all sites' together; seed {settings.seed}.",
    ]
    for result in results:
        sites = ", ".join(f"{name} {count}" for name, count in result.sites.items())
        rows = [_row(arm, score, result.seconds[arm]) for arm, score in result.scores.items()]
        parts.append(
            f"## {result.name}: {result.train} records learned, {result.heldout} held out"
            f"\n\n{table(_HEADER, rows)}\n\n{compared(result)} {_too_long(result)}"
            f"\n\nSites: {sites}."
        )
    return "\n\n".join(parts) + "\n"


def compared(result: SetResult) -> str:
    """The two comparisons that matter, in accuracy in scope."""
    words, central, federated = (result.scores[arm] for arm in (WORDS, CENTRAL, FEDERATED))
    assert central is not None
    assert federated is not None
    said = [_against("federated", federated, "centralised", central)]
    if words is not None:
        said.insert(0, _against("centralised", central, "the regression on words", words))
    return " ".join(said)


def _too_long(result: SetResult) -> str:
    return (
        "Held-out texts longer than the model reads, which count as out of scope: "
        f"{result.unread}; without room for their whole answer: {result.unwritten}. Records "
        f"learned without the end of their answer: {result.shortened}."
    )


def _against(name: str, one: Score, other_name: str, other: Score) -> str:
    points = 100 * (one.accuracy - other.accuracy)
    which = "above" if points >= 0 else "below"
    return f"Accuracy {name}: {abs(points):.1f} points {which} {other_name}."


def _row(arm: str, score: Score | None, seconds: float) -> list[str]:
    if score is None:
        return [arm, "scikit-learn is not installed", *["-"] * (len(_HEADER) - 2)]
    pair = f"{_share(score.calibrated_recall)} / {_share(score.calibrated_alarms)}"
    return [
        arm,
        _share(score.accuracy),
        "-" if score.slot_f1 is None else f"{score.slot_f1:.3f}",
        _share(score.oos_recall),
        pair,
        _share(score.valid),
        _ms(score.one_ms),
        _ms(score.batch_ms),
        f"{seconds:.0f}",
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

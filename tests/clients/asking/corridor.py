"""The whole way of a prompt with an edge model of the test and any way to a cloud."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from clients.asking.ask import Answered
from clients.asking.cloud_channel import CloudChannel
from clients.asking.enrichment import Completing, enrich
from clients.asking.modes import Asked, Here, answer_by
from clients.workflow.workflow_file import workflow_of
from fl.generation import TextPiece
from fl.settings import Settings

SITE = "elmford"


def ask(
    short: str,
    *,
    card: str,
    model: Completing,
    channel: CloudChannel,
    settings: Settings,
    on_piece: Callable[[str], None] = lambda text: None,
) -> Answered:
    """In mode synergy, by the settings' workflow."""

    def never(*_: object) -> Any:
        raise AssertionError("synergy needs no own answer and no layers")

    here = Here(
        card=lambda: card,
        enrich=lambda card, short, deadline: enrich(
            model, card, short, settings.asking.enriched_tokens, between=deadline.check
        ),
        answer=never,
        lower=never,
        fingerprint="",
    )
    asked = Asked(
        short=short,
        mode="synergy",
        workflow=workflow_of(settings),
        here=here,
        channel=channel,
        settings=settings,
        site_id=SITE,
        started=perf_counter(),
    )
    *before, answered = answer_by(asked)
    for event in before:
        if isinstance(event, TextPiece):
            on_piece(event.text)
    return cast(Answered, answered)

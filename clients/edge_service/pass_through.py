"""netgpt-cloud: a call that goes on to the cloud as it came, but through the disclosure step."""

from collections.abc import Generator
from contextlib import ExitStack
from time import perf_counter

from clients.asking.ask import Answered, Leaving, Wish, request_of
from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import Disclosed, disclose
from clients.asking.enrichment import unenriched
from clients.asking.figures import figures_of
from clients.asking.permitted import permitted
from clients.edge_service.corridor import Corridor, count, metered
from clients.edge_service.site_part import WhenLeft
from clients.workflow.workflow import Workflow
from fl.errors import GenerationError
from fl.generation import Reply, Turn
from fl.openai_api.backend import ApiEvent, Extension
from fl.openai_api.calls import TEXT, Call
from fl.settings import Settings


def may_pass(workflow: Workflow) -> bool:
    """A workflow that fixes another mode than cloud sends nothing but in its own way."""
    return workflow.mode("cloud") == "cloud"


def passed_through(
    call: Call,
    wish: Wish,
    *,
    settings: Settings,
    corridor: Corridor,
    channel: CloudChannel,
    when_left: WhenLeft,
) -> Generator[ApiEvent, None, None]:
    """The events of one call; the figures and the ledger are the corridor's."""
    started, asking, site = perf_counter(), settings.asking, corridor.site.id
    with metered(corridor.metrics) as meter, ExitStack() as noting:
        permitted(corridor.rules(), site, "cloud", corridor.workflow)
        hidden = corridor.visit(call.person, call.prompt).hidden
        tab = noting.enter_context(
            corridor.ledger.request(site, "cloud", call.prompt, started=started)
        )
        disclosed = disclose(call.prompt, asking, hidden=hidden)
        history = [
            Turn(role=turn.role, content=disclose(turn.content, asking, hidden=hidden).text)
            for turn in call.history
        ]
        request = request_of(
            disclosed, settings, site, wish, history=history, plain=call.kind == TEXT
        )
        yield Extension(fields={"site": site, "disclosed_prompt": disclosed.text})
        leaving = _leaving(call.prompt, disclosed, history)
        tab.leaves(leaving)
        outcome: Reply | GenerationError | None = None
        bytes_up = bytes_down = 0

        def answered(outcome: Reply | GenerationError) -> Answered:
            return Answered(
                card="",
                short=leaving.short,
                enriched=leaving.enriched,
                disclosed=leaving.disclosed,
                answer="",
                reply=outcome if isinstance(outcome, Reply) else None,
                error=outcome if isinstance(outcome, GenerationError) else None,
                bytes_up=bytes_up,
                bytes_down=bytes_down,
                seconds=perf_counter() - started,
                mode="cloud",
            )

        try:
            with channel.generate(request) as generation:
                when_left(generation.cancel)
                bytes_up = generation.bytes_up
                for event in generation:
                    bytes_down = generation.bytes_down
                    if isinstance(event, Reply):
                        outcome = event
                    else:
                        meter.piece()
                        tab.piece()
                        yield event
        except GenerationError as error:
            outcome = error
        except GeneratorExit:
            left = GenerationError("The caller left.", status="CANCELLED")
            tab.ends(figures_of(answered(left)))
            raise
        assert outcome is not None
        count(meter, outcome)
        end = answered(outcome)
        tab.ends(figures_of(end))
        yield at_the_end(end)
        yield outcome


def at_the_end(answered: Answered) -> Extension:
    """What is known when the answer is complete."""
    return Extension(
        fields={
            "mode": answered.mode,
            "bytes_up": answered.bytes_up,
            "bytes_down": answered.bytes_down,
            "states_bytes": answered.states_bytes,
            "seconds": answered.seconds,
        }
    )


def _leaving(prompt: str, disclosed: Disclosed, history: list[Turn]) -> Leaving:
    """What leaves, earlier messages included."""
    characters = disclosed.characters + sum(len(turn.content) for turn in history)
    return Leaving(
        card="",
        short=prompt,
        enriched=unenriched(prompt),
        disclosed=Disclosed(
            text=disclosed.text, characters=characters, redactions=disclosed.redactions
        ),
        mode="cloud",
    )

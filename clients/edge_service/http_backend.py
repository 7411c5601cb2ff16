"""A site behind the OpenAI-compatible HTTP API: which models there are and what each does.

netgpt          answered as the settings' mode says
netgpt-synergy  enrich here, then the cloud
netgpt-alone    enrich and answer here, mode=edge: nothing leaves
netgpt-auto     the site's own answer where it is good enough, else as netgpt-synergy
netgpt-split    the first layers of the cloud's model here: hidden states leave, no text
netgpt-edge     enrich only: the enriched prompt is the answer
netgpt-cloud    the cloud, without enriching: conversations and plain texts too, each text through
                the disclosure step; not where the site's workflow fixes another way
NAME@SITE       the same, netgpt-cloud excepted, at another site that this machine hosts

A site that a filter keeps from the cloud has neither netgpt-split nor netgpt-cloud.

Of a conversation only the last message is used, and what was said before stays at the site; again
netgpt-cloud excepted. What GPT-2 writes is decoded greedily whatever the temperature.
"""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import perf_counter

from clients.asking.ask import Answered, Leaving, Wish
from clients.asking.cloud_channel import CloudChannel
from clients.asking.permitted import NEEDS_CLOUD
from clients.edge_service.corridor import Corridor, Enrichment, count, metered
from clients.edge_service.http_answer import EdgeAnswer
from clients.edge_service.pass_through import at_the_end, may_pass, passed_through
from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.openai_api.backend import ApiEvent, Extension, Model, no_such_model
from fl.openai_api.calls import Call
from fl.settings import Settings
from fl.text_stream import before_stop

CLOUD = "netgpt-cloud"
_ENRICH = "enrich"  # no mode of asking
_KINDS = {  # name -> its mode; "" is the settings' own
    "netgpt": "",
    "netgpt-edge": _ENRICH,
    "netgpt-synergy": "synergy",
    "netgpt-alone": "edge",
    "netgpt-auto": "auto",
    "netgpt-split": "split",
}
MOST_CALLS = 64  # at the same time, each holds a thread; one more is refused at once

Events = Generator[ApiEvent, None, None]


class EdgeBackend:
    """The corridors of one machine's sites; the first is the edge service's own."""

    def __init__(
        self,
        settings: Settings,
        corridors: Mapping[str, Corridor],
        *,
        fingerprint: str,
        channel: CloudChannel,
    ) -> None:
        """`corridors` by the site's id; `fingerprint` is the edge model's."""
        self._settings, self._channel, self._fingerprint = settings, channel, fingerprint
        own, *others = corridors
        named = [(own, "")] + [(site, f"@{site}") for site in others]
        self._models = {
            f"{kind}{suffix}": (corridors[site], mode)
            for site, suffix in named
            for kind, mode in _KINDS.items()
        }
        self._own = corridors[own]
        self._pool = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="http call")
        self._lock = Lock()
        self._calls: set[EdgeAnswer] = set()

    def models(self) -> Sequence[Model]:
        """Each with the release people are served with."""
        found = [
            Model(id=name, owned_by="netgpt", extension=_about(corridor))
            for name, (corridor, mode) in self._models.items()
            if mode not in NEEDS_CLOUD or not corridor.denied
        ]
        if may_pass(self._own.workflow) and not self._own.denied:
            about = {"site": self._own.site.id}
            found.append(Model(id=CLOUD, owned_by="netgpt", extension=about))
        return found

    async def open(self, call: Call) -> EdgeAnswer:
        """Begin a call. Raises GenerationError or ApiError."""
        answer = EdgeAnswer(self._ended)
        events: Events
        if call.model == CLOUD and may_pass(self._own.workflow):
            events = passed_through(
                call,
                _wish(call),
                settings=self._settings,
                corridor=self._own,
                channel=self._channel,
                when_left=answer.when_left,
            )
        elif call.model not in self._models:
            raise no_such_model(call.model, self.models())
        else:
            corridor, mode = self._models[call.model]
            if mode == _ENRICH:
                events = self._enrich(call, corridor, answer)
            else:
                events = self._ask(call, corridor, mode, answer)
        with self._lock:
            if len(self._calls) >= MOST_CALLS:
                self._own.metrics.refused("RESOURCE_EXHAUSTED")
                raise GenerationError(
                    f"{MOST_CALLS} calls are being answered here. Try again later.",
                    status="RESOURCE_EXHAUSTED",
                )
            self._calls.add(answer)
        self._pool.submit(answer.run, events)
        return answer

    def close(self) -> None:
        """Give up what runs."""
        with self._lock:
            calls = list(self._calls)
        for answer in calls:
            answer.cancel()
        self._pool.shutdown(wait=True)

    def _ended(self, answer: EdgeAnswer) -> None:
        with self._lock:
            self._calls.discard(answer)

    # --- what each model does, on a thread of the pool ---

    def _ask(self, call: Call, corridor: Corridor, mode: str, answer: EdgeAnswer) -> Events:
        enrichment: Enrichment | None = None
        for event in corridor.ask(
            call.prompt,
            _wish(call),
            started=perf_counter(),
            when_left=answer.when_left,
            mode=mode,
            person=call.person,
        ):
            if isinstance(event, Enrichment):
                enrichment = event
            elif isinstance(event, Answered):
                yield at_the_end(event)
                yield event.outcome
            elif isinstance(event, Leaving):
                told = {"disclosed_prompt": event.disclosed.text}
                if enrichment is None:  # nothing was made of the short prompt
                    yield Extension(fields={"site": corridor.site.id, **told})
                else:
                    yield _before(enrichment, corridor, told)
            else:
                yield event

    def _enrich(self, call: Call, corridor: Corridor, answer: EdgeAnswer) -> Events:
        started = perf_counter()
        with metered(corridor.metrics) as meter:
            limit = self._settings.asking.enriched_tokens
            most = limit if call.max_new_tokens is None else min(limit, call.max_new_tokens)
            enrichment = corridor.enrich(
                call.prompt,
                when_left=answer.when_left,
                max_new_tokens=most,
                person=call.person,
            )
            seconds = perf_counter() - started
            text = before_stop(enrichment.enriched.text, call.stop)
            cut = text != enrichment.enriched.text
            # counted anew from the text, which may take more tokens than the model wrote it in
            written = min(most, enrichment.enriched.new_tokens)
            release = enrichment.in_use.release
            meter.piece()
            reply = Reply(
                text=text,
                finish_reason="stop" if cut or written < most else "length",
                prompt_tokens=enrichment.prompt_tokens,
                completion_tokens=written,
                queue_seconds=0.0,
                prefill_seconds=0.0,
                decode_seconds=enrichment.enriched.seconds,
                model_fingerprint=self._fingerprint,
                release=f"{release.federation}/{release.number}",
            )
            count(meter, reply)
            yield _before(
                enrichment, corridor, {"bytes_up": 0, "bytes_down": 0, "seconds": seconds}
            )
            yield TextPiece(text=text)
            yield reply


def _wish(call: Call) -> Wish:
    return Wish(
        max_new_tokens=call.max_new_tokens,
        temperature=call.temperature,
        top_p=call.top_p,
        seed=call.seed,
        stop=call.stop,
        deadline_s=call.deadline_s,
    )


def _about(corridor: Corridor) -> dict[str, object]:
    in_use = corridor.in_use()
    return {
        "site": corridor.site.id,
        "federation": in_use.release.federation if in_use else None,
        "release": in_use.release.number if in_use else None,
    }


def _before(enrichment: Enrichment, corridor: Corridor, more: Mapping[str, object]) -> Extension:
    release, enriched = enrichment.in_use.release, enrichment.enriched
    return Extension(
        fields={
            "site": corridor.site.id,
            "federation": release.federation,
            "release": release.number,
            "enriched_prompt": enriched.text,
            "fell_back": enriched.fell_back,
            **more,
        }
    )

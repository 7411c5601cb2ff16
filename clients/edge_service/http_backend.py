"""A site behind the OpenAI-compatible HTTP API: which models there are and what each does.

netgpt        enrich here, then the cloud; of a conversation only the last message is used, and what
              was said before stays at the site
netgpt-edge   enrich only: the enriched prompt is the answer; decoded greedily whatever the
              temperature
netgpt-cloud  the cloud, without enriching; every text goes through the disclosure step
netgpt@SITE, netgpt-edge@SITE    the same at another site that this machine hosts
"""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import perf_counter

from clients.asking.ask import Answered, Leaving, Wish, request_of
from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import disclose
from clients.edge_service.corridor import Corridor, Enrichment, count, metered
from clients.edge_service.http_answer import EdgeAnswer
from fl.errors import GenerationError
from fl.generation import Reply, TextPiece, Turn
from fl.openai_api.backend import ApiEvent, Extension, Model, no_such_model
from fl.openai_api.calls import TEXT, Call
from fl.settings import Settings

NETGPT, EDGE, CLOUD = "netgpt", "netgpt-edge", "netgpt-cloud"
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
            f"{kind}{suffix}": corridors[site] for site, suffix in named for kind in (NETGPT, EDGE)
        }
        self._own = corridors[own]
        self._pool = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="http call")
        self._lock = Lock()
        self._calls: set[EdgeAnswer] = set()

    def models(self) -> Sequence[Model]:
        """Each with the release people are served with."""
        found = [
            Model(id=name, owned_by="netgpt", extension=_about(corridor))
            for name, corridor in self._models.items()
        ]
        return [*found, Model(id=CLOUD, owned_by="netgpt", extension={"site": self._own.site.id})]

    async def open(self, call: Call) -> EdgeAnswer:
        """Begin a call. Raises GenerationError or ApiError."""
        answer = EdgeAnswer(self._ended)
        events: Events
        if call.model == CLOUD:
            events = self._pass_through(call, answer)
        elif call.model not in self._models:
            raise no_such_model(call.model, self.models())
        elif call.model.startswith(EDGE):
            events = self._enrich(call, self._models[call.model], answer)
        else:
            events = self._ask(call, self._models[call.model], answer)
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

    def _ask(self, call: Call, corridor: Corridor, answer: EdgeAnswer) -> Events:
        enrichment: Enrichment | None = None
        for event in corridor.ask(
            call.prompt, _wish(call), started=perf_counter(), when_left=answer.when_left
        ):
            if isinstance(event, Enrichment):
                enrichment = event
            elif isinstance(event, Answered):
                yield _at_the_end(event.bytes_up, event.bytes_down, event.seconds)
                yield event.outcome
            elif isinstance(event, Leaving):
                assert enrichment is not None
                yield _before(enrichment, corridor, {"disclosed_prompt": event.disclosed.text})
            else:
                yield event

    def _enrich(self, call: Call, corridor: Corridor, answer: EdgeAnswer) -> Events:
        started = perf_counter()
        with metered(corridor.metrics) as meter:
            limit = self._settings.asking.enriched_tokens
            most = limit if call.max_new_tokens is None else min(limit, call.max_new_tokens)
            enrichment = corridor.enrich(
                call.prompt, when_left=answer.when_left, max_new_tokens=most
            )
            seconds = perf_counter() - started
            text, cut = _cut(enrichment.enriched.text, call.stop)
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

    def _pass_through(self, call: Call, answer: EdgeAnswer) -> Events:
        started, asking = perf_counter(), self._settings.asking
        with metered(self._own.metrics) as meter:
            disclosed = disclose(call.prompt, asking)
            history = [
                Turn(role=turn.role, content=disclose(turn.content, asking).text)
                for turn in call.history
            ]
            site = self._own.site.id
            request = request_of(
                disclosed,
                self._settings,
                site,
                _wish(call),
                history=history,
                plain=call.kind == TEXT,
            )
            yield Extension(fields={"site": site, "disclosed_prompt": disclosed.text})
            outcome: Reply | GenerationError | None = None
            bytes_up = bytes_down = 0
            try:
                with self._channel.generate(request) as generation:
                    answer.when_left(generation.cancel)
                    bytes_up = generation.bytes_up
                    for event in generation:
                        bytes_down = generation.bytes_down
                        if isinstance(event, Reply):
                            outcome = event
                        else:
                            meter.piece()
                            yield event
            except GenerationError as error:
                outcome = error
            assert outcome is not None
            count(meter, outcome)
            yield _at_the_end(bytes_up, bytes_down, perf_counter() - started)
            yield outcome


def _wish(call: Call) -> Wish:
    return Wish(
        max_new_tokens=call.max_new_tokens,
        temperature=call.temperature,
        top_p=call.top_p,
        seed=call.seed,
        stop=call.stop,
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


def _at_the_end(bytes_up: int, bytes_down: int, seconds: float) -> Extension:
    return Extension(fields={"bytes_up": bytes_up, "bytes_down": bytes_down, "seconds": seconds})


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text, and whether there was one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)

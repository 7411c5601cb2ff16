"""The site's line to the cloud: requests go up, streamed answers come down, failures have a type.

An error's text is written here from the status alone. What the far end says about a failure is not
repeated, for it might quote the prompt.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic, perf_counter, sleep
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fl.errors import GenerationError, SettingsError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.settings import Settings
from fl.wire.address import is_loopback, require_loopback, split_address
from fl.wire.channel import open_channel, why_unavailable
from fl.wire.codec import events_from_wire, request_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name
ADDRESS_FILE = "service.address"  # the service writes it into the run folder while it runs
KEY_VARIABLE = "NETGPT_API_KEY"  # for a cloud that wants one of callers without a certificate
LOOK_EVERY_S = 0.1  # how often a starting service is asked whether it is ready
PROBE_S = 10.0  # a way that takes longer is none
BLAME_S = 1.0  # to find out why a call failed; who asks waits for it

_MEANING = {
    "UNAVAILABLE": "No cloud service answers at {address}: it is not running, still loading, or "
    "shutting down. {start}",
    "DEADLINE_EXCEEDED": "The cloud at {address} did not answer within {timeout_s:g} s "
    "(asking.timeout_s, or its step's deadline_s).",
    "RESOURCE_EXHAUSTED": "The cloud at {address} is busy: its queue is full (service.queue), or "
    "the prompt is far too large. Try again later.",
    "INVALID_ARGUMENT": "The cloud at {address} refused the request: the prompt is longer than "
    "service.max_prompt_tokens, or asking.answer_tokens is more than service.max_new_tokens or "
    "the model's positions allow.",
    "CANCELLED": "The request was cancelled.",
    "UNAUTHENTICATED": "The cloud at {address} wants an API key; set NETGPT_API_KEY to one of "
    "service.api_keys.",
    "PERMISSION_DENIED": "The cloud at {address} says that the certificate in site.keys is not "
    "this site's, or that a filter keeps the site from it. The site that asks and site.keys must "
    "belong together; ./run.sh act audit=true says there which filters were set.",
    "UNIMPLEMENTED": "What listens at {address} answers no prompts: it is a cloud without a model "
    "(cloud.model=none), or no netgpt.v1 service.",
}
_ERROR_ID = re.compile(r"\berror ([0-9a-f]{12})\b")


def service_address(settings: Settings) -> str:
    """Where this run's service listens: as it wrote down itself, else as configured."""
    file = settings.service_dir / ADDRESS_FILE
    return file.read_text().strip() if file.is_file() else settings.service.address


@dataclass(frozen=True, kw_only=True)
class Probed:
    """How long a probe took, and how many requests the cloud had then."""

    seconds: float
    running: int
    waiting: int


class Generation:
    """One running request: iterate it for pieces of text and, last, the reply.

    Leaving its `with` block early gives the request up.
    """

    def __init__(
        self, channel: "CloudChannel", request: GenerationRequest, timeout_s: float
    ) -> None:
        message = request_to_wire(request)
        self.bytes_up = message.ByteSize()  # of messages, without HTTP/2's own
        self.bytes_down = 0
        self._channel, self._timeout_s = channel, timeout_s
        self._call = channel.stub.Generate(message, timeout=timeout_s, metadata=channel.metadata)
        self._events = events_from_wire(self._messages())

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        return self

    def __next__(self) -> TextPiece | Reply:
        return next(self._events)

    def cancel(self) -> None:
        """Give the request up; iterating it then raises GenerationError (CANCELLED)."""
        self._call.cancel()  # no effect on a call that has ended

    def __enter__(self) -> "Generation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.cancel()

    def _messages(self) -> Iterator[pb.GenerateResponse]:
        try:
            for message in self._call:
                self.bytes_down += message.ByteSize()
                yield message
        except grpc.RpcError as error:
            raise self._channel.typed(error, timeout_s=self._timeout_s) from None


class CloudChannel:
    """A connection to the cloud's service; safe to share between threads. Close it, or use with.

    `keys` is the site's bundle, needed where the cloud is not on this machine.
    """

    def __init__(
        self, address: str, timeout_s: float, *, keys: Path | None = None, via: str = ""
    ) -> None:
        """Raises SettingsError where the address is none, or not on this machine without keys.

        `via` is a relay in front of an address of this machine; errors name the address.

        Shows the API key in NETGPT_API_KEY, where there is one.
        """
        self.address = address
        self.timeout_s = timeout_s  # of one answer, waiting included
        self._keys = keys
        self._setting = "site.cloud" if keys else "service.address"
        if via:  # a relay is always of this machine; what lies behind it must be as well
            require_loopback(address, setting=self._setting)
        self.grpc = open_channel(via or address, keys, setting=self._setting)
        key = _key()
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.stub = pb_grpc.GenerationServiceStub(self.grpc)

    def generate(self, request: GenerationRequest, *, timeout_s: float | None = None) -> Generation:
        """Send a request; `timeout_s` is to its end, None the channel's.

        Raises GenerationError, here for bad fields, else while iterating.
        """
        return Generation(self, request, self.timeout_s if timeout_s is None else timeout_s)

    def probe(self, site_id: str, *, padding: int = 0, wanted: int = 0) -> Probed:
        """Send and get so many bytes of nothing, each at most 64 KiB. Raises GenerationError."""
        request = pb.ProbeRequest(padding=bytes(padding), wanted_bytes=wanted, site_id=site_id)
        began = perf_counter()
        try:
            said = self.stub.Probe(request, timeout=PROBE_S, metadata=self.metadata)
        except grpc.RpcError as error:
            raise self.typed(error) from None
        return Probed(seconds=perf_counter() - began, running=said.running, waiting=said.waiting)

    def wait_ready(self, seconds: float) -> None:
        """Wait until the service is SERVING. Raises GenerationError (UNAVAILABLE) after that."""
        health = health_pb2_grpc.HealthStub(self.grpc)
        question = health_pb2.HealthCheckRequest(service=SERVICE)
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            try:
                status = health.Check(question, timeout=left, wait_for_ready=True).status
            except grpc.RpcError as error:
                if error.code() not in _NOT_YET:
                    raise self.typed(error) from None
                status = None
            if status == health_pb2.HealthCheckResponse.SERVING:
                return
            sleep(min(LOOK_EVERY_S, max(end - monotonic(), 0)))
        if blame := why_unavailable(self.address, self._keys, setting=self._setting):
            raise GenerationError(blame, status="UNAVAILABLE")
        raise GenerationError(
            f"The cloud at {self.address} was not ready within {seconds:g} s. "
            "Start it with ./run.sh serve; its output says what it waits for.",
            status="UNAVAILABLE",
        )

    def typed(self, error: grpc.RpcError, *, timeout_s: float | None = None) -> GenerationError:
        """The typed error of a failed call, which had `timeout_s`; None: the channel's."""
        had_s = float(f"{self.timeout_s if timeout_s is None else timeout_s:.3g}")
        status: str = error.code().name
        if status == "NOT_FOUND":  # so says a health service that does not know ours
            status = "UNIMPLEMENTED"
        error_id = _ERROR_ID.search(error.details() or "") if status == "INTERNAL" else None
        text = _MEANING.get(status, f"The cloud at {{address}} failed with {status}.")
        if error_id:
            text += f" Its log knows more under error {error_id[1]}."
        here = is_loopback(split_address(self.address, setting=self._setting)[0])
        start = "Start it with ./run.sh serve." if here else "Its host's ./run.sh cloud says more."
        text = text.format(address=self.address, timeout_s=had_s, start=start)
        if status == "UNAVAILABLE":
            text = self._blame() or text
        return GenerationError(text, status=status)

    def _blame(self) -> str | None:
        """Why the cloud is unavailable, where certificates or the way can be seen to be to blame.

        A wrong certificate shows within a handshake; an address that answers nothing would take
        `check_tls` seconds at every call, which is no more than is known already.
        """
        found: list[str | None] = []

        def look() -> None:
            found.append(why_unavailable(self.address, self._keys, setting=self._setting))

        looking = Thread(target=look, name="why unavailable", daemon=True)
        looking.start()
        looking.join(BLAME_S)
        return found[0] if found else None

    def close(self) -> None:
        """Close the connection; requests that still run end as CANCELLED."""
        self.grpc.close()

    def __enter__(self) -> "CloudChannel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.close()


def _key() -> str:
    """The API key for the cloud; raise SettingsError for one that no header can hold."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(f"{KEY_VARIABLE} must hold one key, of printable ASCII characters.")
    return key


_NOT_YET = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

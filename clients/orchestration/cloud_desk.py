"""The site's words with the cloud's OrchestrationService. Figures and names only."""

import math
from dataclasses import dataclass

import grpc

from clients.asking.cloud_channel import CloudChannel
from fl.link.speed import LinkSpeed
from fl.network.rules import Rule, Rules, is_rule
from fl.orchestration.admission import Verdict
from fl.wire.netgpt.v1 import orchestration_pb2 as pb
from fl.wire.netgpt.v1 import orchestration_pb2_grpc as pb_grpc

ADVERT_S = 2.0  # an advert that takes longer is given up; the next one comes soon

_PLACES = {pb.PLACE_CLOUD: "cloud", pb.PLACE_EDGE: "edge", pb.PLACE_SHED: "shed"}


@dataclass(frozen=True, kw_only=True)
class OwnState:
    """What a site tells of itself."""

    site_id: str
    cell: str
    cores: int
    memory_mb: int
    waiting: int  # prompts at its model
    step_s: float  # seconds of a step of its model, and more for each prompt in it
    row_s: float
    link: LinkSpeed | None
    federation: str  # of the release that it serves; "" before the first
    release: int
    forecast_per_s: float = 0.0  # requests a second that are forecast


@dataclass(frozen=True, kw_only=True)
class Question:
    """May this request come? Seconds from now; bytes as on the socket."""

    request_id: str
    site_id: str
    cell: str
    deadline_s: float
    bytes_up: float
    bytes_down: float
    ready_s: float
    own_s: float  # inf where the site cannot answer by itself
    rtt_s: float | None = None  # as it was seen a moment ago


class CloudDesk:
    """For any thread; uses the channel it is given."""

    def __init__(self, channel: CloudChannel) -> None:
        self._channel = channel
        self._stub = pb_grpc.OrchestrationServiceStub(channel.grpc)

    def advertise(self, state: OwnState) -> Rules:
        """Tell what the site has and does; hear what rules are set for it there.

        Raises GenerationError.
        """
        link = state.link
        advert = pb.SiteAdvert(
            site_id=state.site_id,
            cell=state.cell,
            cores=state.cores,
            memory_mb=state.memory_mb,
            waiting=state.waiting,
            step_s=state.step_s,
            row_s=state.row_s,
            link=None
            if link is None
            else pb.Link(
                rtt_s=link.rtt_s,
                up_bytes_s=_or_no_bound(link.up_bytes_s),
                down_bytes_s=_or_no_bound(link.down_bytes_s),
            ),
            federation=state.federation,
            release_number=state.release,
            forecast_per_s=state.forecast_per_s,
        )
        try:
            taken = self._stub.Advertise(advert, timeout=ADVERT_S, metadata=self._channel.metadata)
        except grpc.RpcError as error:
            raise self._channel.typed(error) from None
        told = (
            Rule(kind=its.kind, site=state.site_id, value=its.value, word=its.word)
            for its in taken.rules
        )
        return Rules(rules=tuple(rule for rule in told if is_rule(rule)))

    def admit(self, question: Question) -> Verdict:
        """Ask for a place; waits as long as the request has. Raises GenerationError."""
        request = pb.AdmitRequest(
            request_id=question.request_id,
            site_id=question.site_id,
            cell=question.cell,
            deadline_s=question.deadline_s,
            bytes_up=question.bytes_up,
            bytes_down=question.bytes_down,
            ready_s=question.ready_s,
            own_s=None if math.isinf(question.own_s) else question.own_s,
            rtt_s=question.rtt_s,
        )
        try:
            said = self._stub.Admit(
                request, timeout=question.deadline_s, metadata=self._channel.metadata
            )
        except grpc.RpcError as error:
            raise self._channel.typed(error) from None
        return Verdict(
            place=_PLACES.get(said.place, "shed"),
            worker=said.worker,
            expected_s=said.expected_s,
            short_of=said.short_of,
        )

    def release(self, site_id: str, request_id: str) -> None:
        """Give a place back that will not be used; does not wait, for it lapses anyway."""
        request = pb.ReleaseRequest(site_id=site_id, request_id=request_id)
        self._stub.Release.future(request, timeout=ADVERT_S, metadata=self._channel.metadata)

    def show(self, site_id: str = "") -> pb.ShowResponse:
        """Everything, for people. Raises GenerationError."""
        try:
            shown: pb.ShowResponse = self._stub.Show(
                pb.ShowRequest(site_id=site_id),
                timeout=ADVERT_S,
                metadata=self._channel.metadata,
            )
        except grpc.RpcError as error:
            raise self._channel.typed(error) from None
        return shown


def _or_no_bound(bytes_s: float) -> float:
    return 0.0 if math.isinf(bytes_s) else bytes_s  # as the .proto says it

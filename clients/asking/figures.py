"""What an answer cost, without any of its texts."""

from dataclasses import dataclass

from clients.asking.ask import Answered


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Numbers and names of one answered, failed or broken off request. 0 where a part was not."""

    mode: str  # that answered, or was on it: edge, cloud, split or synergy
    outcome: str  # finish reason, or the gRPC status of a failure
    bytes_up: int = 0  # of messages
    bytes_down: int = 0
    states_bytes: int = 0
    private_characters: int = 0  # that left as text
    enriched_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float  # from the short prompt to the end
    site_seconds: float = 0.0  # enriching, and an own answer whether it was kept or not
    layers_seconds: float = 0.0  # for the layers that run here: loaded, waited for, run
    queue_seconds: float = 0.0  # at the cloud
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    cloud_cpu_seconds: float = 0.0
    cloud_release: str = ""
    cached: bool = False  # the answer had been kept by the site


def figures_of(answered: Answered) -> Figures:
    """Its figures."""
    reply, by_cloud = answered.reply, answered.mode != "edge"
    site_seconds, outcome = answered.enriched.seconds + answered.own_seconds, ""
    if reply is not None:
        outcome = reply.finish_reason
        site_seconds += 0.0 if by_cloud else reply.decode_seconds
    elif answered.error is not None:
        outcome = answered.error.status
    cloud = reply if by_cloud else None
    return Figures(
        mode=answered.mode,
        outcome="cancelled" if outcome == "CANCELLED" else outcome,
        bytes_up=answered.bytes_up,
        bytes_down=answered.bytes_down,
        states_bytes=answered.states_bytes,
        private_characters=answered.disclosed.characters,
        enriched_tokens=answered.enriched.new_tokens,
        prompt_tokens=reply.prompt_tokens if reply else 0,
        completion_tokens=reply.completion_tokens if reply else 0,
        seconds=answered.seconds,
        site_seconds=site_seconds,
        layers_seconds=answered.layers_seconds,
        queue_seconds=cloud.queue_seconds if cloud else 0.0,
        prefill_seconds=cloud.prefill_seconds if cloud else 0.0,
        decode_seconds=cloud.decode_seconds if cloud else 0.0,
        cloud_cpu_seconds=cloud.cpu_seconds if cloud else 0.0,
        cloud_release=cloud.release if cloud else "",
        cached=answered.cached,
    )

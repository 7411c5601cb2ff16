"""From an answered request to its line in the ledger."""

import time
import uuid

from clients.asking.ask import Answered
from clients.ledger.entry import Entry
from fl.link.relay import Crossed


def account(
    answered: Answered,
    *,
    site_id: str,
    wanted: str,
    crossed: Crossed | None,
    first_seconds: float,
    cpu_seconds: float,
    short_tokens: int,
    federation: str,
    release: int,
) -> Entry:
    """The line of a request. `crossed` is what the socket saw of it alone, None where unknown.

    Seconds on the link are what is left of the whole when the site's and the cloud's are taken off.
    """
    reply, by_cloud = answered.reply, answered.mode != "edge"
    cloud = (
        (reply.queue_seconds, reply.prefill_seconds, reply.decode_seconds)
        if reply is not None and by_cloud
        else (0.0, 0.0, 0.0)
    )
    here = answered.enriched.seconds + answered.own_seconds
    if reply is not None and not by_cloud:
        here += reply.decode_seconds
    outcome = reply.finish_reason if reply else answered.error.status if answered.error else ""
    link = max(0.0, answered.seconds - here - answered.layers_seconds - sum(cloud))
    return Entry(
        request_id=uuid.uuid4().hex[:16],
        site_id=site_id,
        at=time.time(),
        wanted=wanted,
        mode=answered.mode,
        outcome="cancelled" if outcome == "CANCELLED" else outcome,
        bytes_up=crossed.up if crossed else answered.bytes_up,
        bytes_down=crossed.down if crossed else answered.bytes_down,
        counted="socket" if crossed else "messages",
        private_characters=answered.disclosed.characters,
        states_bytes=answered.states_bytes,
        short_tokens=short_tokens,
        enriched_tokens=answered.enriched.new_tokens,
        prompt_tokens=reply.prompt_tokens if reply else 0,
        completion_tokens=reply.completion_tokens if reply else 0,
        total_seconds=answered.seconds,
        queue_seconds=cloud[0],
        enrich_seconds=here,
        link_seconds=link if by_cloud else 0.0,
        prefill_seconds=cloud[1],
        decode_seconds=cloud[2],
        first_seconds=first_seconds,
        site_cpu_seconds=cpu_seconds,
        cloud_cpu_seconds=reply.cpu_seconds if reply and by_cloud else 0.0,
        federation=federation,
        release=release,
        cloud_release=reply.release if reply and by_cloud else "",
    )

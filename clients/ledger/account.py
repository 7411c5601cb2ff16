"""From a request's figures to its line in the ledger."""

import time

from clients.asking.figures import Figures
from clients.ledger.entry import Entry
from fl.link.relay import Crossed


def account(
    figures: Figures,
    *,
    request_id: str,
    site_id: str,
    wanted: str,
    crossed: Crossed | None,
    first_seconds: float,
    cpu_seconds: float,
    short_tokens: int,
    federation: str,
    release: int,
    kept: str = "",
) -> Entry:
    """The line of a request. `crossed` is what the socket saw of it alone, None where unknown.

    Seconds on the link are what is left of the whole when the site's and the cloud's are taken off.
    """
    cloud = figures.queue_seconds + figures.prefill_seconds + figures.decode_seconds
    link = figures.seconds - figures.site_seconds - figures.layers_seconds - cloud
    return Entry(
        request_id=request_id,
        site_id=site_id,
        at=time.time(),
        wanted=wanted,
        mode=figures.mode,
        outcome=figures.outcome,
        bytes_up=crossed.up if crossed else figures.bytes_up,
        bytes_down=crossed.down if crossed else figures.bytes_down,
        counted="socket" if crossed else "messages",
        private_characters=figures.private_characters,
        states_bytes=figures.states_bytes,
        short_tokens=short_tokens,
        enriched_tokens=figures.enriched_tokens,
        prompt_tokens=figures.prompt_tokens,
        completion_tokens=figures.completion_tokens,
        total_seconds=figures.seconds,
        queue_seconds=figures.queue_seconds,
        enrich_seconds=figures.site_seconds,
        link_seconds=max(0.0, link) if figures.mode != "edge" else 0.0,
        prefill_seconds=figures.prefill_seconds,
        decode_seconds=figures.decode_seconds,
        first_seconds=first_seconds,
        site_cpu_seconds=cpu_seconds,
        cloud_cpu_seconds=figures.cloud_cpu_seconds,
        federation=federation,
        release=release,
        cloud_release=figures.cloud_release,
        kept=kept,
    )

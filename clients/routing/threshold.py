"""How much doubt in an own answer is tolerated, given what asking the cloud costs right now.

An answer is worth its quality (0 to 1) less a price for every second waited for it. The own answer
is there already, of quality w (1 - doubt); the cloud's has w Q. w is how often the enriched prompt
itself says all that it should: what it misses, neither can answer. So the cloud is worth asking
where

    w Q - price * seconds  >  w (1 - doubt)
    doubt  >  tau  =  1 - Q + price * seconds(bandwidth, RTT, load) / w
"""

from dataclasses import dataclass

from fl.link.speed import LinkSpeed


@dataclass(frozen=True, kw_only=True)
class LinkState(LinkSpeed):
    """The way to the cloud and its load, as measured last."""

    running: int = 0  # requests in the cloud
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What a request to the cloud usually takes, beside the way."""

    bytes_up: float = 500.0
    bytes_down: float = 1500.0
    cloud_s: float = 0.2  # prefill and decode


def seconds_to_ask(link: LinkState, usual: Usual) -> float:
    """Seconds from sending an enriched prompt to the end of its answer.

    Who waits at the cloud waits for as many turns as each of its places has waiting.
    """
    way = link.rtt_s + usual.bytes_up / link.up_bytes_s + usual.bytes_down / link.down_bytes_s
    turns = link.waiting / max(1, link.running)
    return way + usual.cloud_s * (1 + turns)


def tolerated_doubt(
    link: LinkState | None,
    usual: Usual,
    *,
    cloud_quality: float,
    price: float,
    enriched_whole: float = 1.0,
) -> float:
    """tau, 0 to 1; 1 without a way to the cloud: then the own answer is as good as it gets.

    `cloud_quality` is Q, `enriched_whole` w; `price` is quality a second.
    """
    if link is None:
        return 1.0
    waiting = price * seconds_to_ask(link, usual) / max(enriched_whole, 0.01)
    return min(1.0, max(0.0, 1 - cloud_quality + waiting))

"""Demo requests to whoever runs a place's network; intents and slots are configs/intents/network's.

Places differ in how they name hosts, how they put things, and which intents they have most. Some
requests are between a site and the cloud, the links that there are here; a share is out of scope.
Everything is drawn by a seed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from fl.demo_world.intents import PRIVATE_INTENTS, PUBLIC_INTENTS
from fl.demo_world.words import PLACE_FIRST, PLACE_SECOND, VENUE_FIRST

OUT_OF_SCOPE = "out_of_scope"
OUT_OF_SCOPE_SHARE = 0.15
SECOND_NATURE = 0.8  # of a place's requests are put as it mostly does

FLOWS = (
    "connect {source} with {target} at {operator} {qos}",
    "i need a link from {source} to {target}",
    "give {source} and {target} {operator} {qos} between them",
    "open a path {source} towards {target} with {qos}",
    "let traffic run from {source} to {target}, {operator} {qos}",
    "wire {source} up to {target}",
    "reserve {operator} {qos} from {source} to {target}",
)
REMOVALS = (
    "drop the link between {source} and {target}",
    "{source} to {target} is not needed any more, take it down",
    "cut what runs from {source} to {target}",
    "tear down the path {source} towards {target}",
    "get rid of the connection of {source} and {target}",
)
FILTERS = (
    "{action} {port} from {source} to {target}",
    "for {source} please {action} everything on {port}",
    "{action} {source} and {target} to talk over {port}",
    "on the way to {target}, {action} {port}",
    "{port} between {source} and {target}: {action} it",
)
BATCHES = (
    "plan these together: {flows}",
    "find room for {flows}",
    "share the links out among {flows}",
    "we have several to place, {flows}",
)
BATCH_FLOWS = (
    "{source} to {target} {qos}",
    "{source} - {target} - {qos}",
    "{qos} {source} {target}",
)
JOINTS = (", and ", " and also ", ". besides, ", "; then ")
TALK = (
    "who is on call {when}",
    "is the network team in {when}",
    "what does a link to the {thing} cost",
    "why was the {thing} slow {when}",
    "print the invoice of the {thing}",
    "book the meeting room {when}",
    "how many {thing}s have we got",
    "thank you, that was all {when}",
    "tell me a joke about a {thing}",
)
WHENS = "tonight;today;this week;on Sunday;yesterday;at noon;in May".split(";")
THINGS = "camera printer turbine tram ferry crane kiosk lift radio archive".split()
OPERATORS = "at least;at most;exactly;no less than;up to".split(";")
UNITS = "Mbps Gbps kbps Mbit/s".split()
ACTIONS = "block allow deny permit".split()
PORTS = "tcp 22;tcp 80;tcp 443;udp 53;udp 123;icmp;tcp 8080;udp 5060;ssh;https".split(";")
KINDS = "camera gateway switch server printer radio kiosk mast".split()
CLOUD_SHARE = 0.3  # of what is asked for is between a site and the cloud, as `act` can carry it out
CLOUDS = ("the cloud", "cloud")
HOSTS = tuple(f"{{name}} {kind}" for kind in KINDS) + tuple(f"{kind} {{name}}" for kind in KINDS)


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """One request. The values of its slots stand in the text, in this order."""

    text: str
    intent: str
    slots: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class NetworkHabits:
    """How a place names hosts, puts requests, and what it wants how often."""

    hosts: tuple[str, ...]
    wordings: Mapping[str, tuple[str, ...]]  # the usual ones, by the intent they are for
    weights: Mapping[str, float]


_WORDINGS: Mapping[str, tuple[str, ...]] = {
    "create_flow": FLOWS,
    "remove_flow": REMOVALS,
    "apply_filter": FILTERS,
    "allocate_batch": BATCHES,
}
_INTENTS = (*_WORDINGS, "create_flow+apply_filter", "allocate_batch+apply_filter")


def draw_habits(place: str, *, seed: int) -> NetworkHabits:
    """A place's own: two ways to name hosts, two usual wordings an intent, an uneven mix."""
    rng = random.Random(f"network {place} {seed}")
    return NetworkHabits(
        hosts=tuple(rng.sample(HOSTS, 2)),
        wordings={name: tuple(rng.sample(ways, 2)) for name, ways in _WORDINGS.items()},
        weights={name: rng.expovariate(1.0) + 0.1 for name in _INTENTS},
    )


def draw_requests(
    habits: NetworkHabits, rng: random.Random, count: int, *, seen: set[str]
) -> list[NetworkRequest]:
    """So many requests with texts that are not in `seen`, which they are added to."""
    found: list[NetworkRequest] = []
    while len(found) < count:
        request = draw_request(habits, rng)
        if request.text not in seen:
            seen.add(request.text)
            found.append(request)
    return found


def draw_request(habits: NetworkHabits, rng: random.Random) -> NetworkRequest:
    """One request of a place."""
    if rng.random() < OUT_OF_SCOPE_SHARE:
        return NetworkRequest(text=_out_of_scope(rng), intent=OUT_OF_SCOPE, slots=())
    intent = rng.choices(list(habits.weights), list(habits.weights.values()))[0]
    parts = [_part(name, habits, rng) for name in intent.split("+")]
    return NetworkRequest(
        text=rng.choice(JOINTS).join(text for text, _ in parts),
        intent=intent,
        slots=tuple(slot for _, slots in parts for slot in slots),
    )


def _part(
    intent: str, habits: NetworkHabits, rng: random.Random
) -> tuple[str, list[tuple[str, str]]]:
    """Text and slots of what is asked for once."""
    usual = rng.random() < SECOND_NATURE
    pattern = rng.choice(habits.wordings[intent] if usual else _WORDINGS[intent])
    if intent != "allocate_batch":
        return _filled(pattern, habits.hosts, rng)
    one = rng.choice(BATCH_FLOWS)
    flows = [_filled(one, habits.hosts, rng) for _ in range(2)]
    listed = ", ".join(text for text, _ in flows)
    return pattern.replace("{flows}", listed), [slot for _, slots in flows for slot in slots]


def _filled(
    pattern: str, hosts: Sequence[str], rng: random.Random
) -> tuple[str, list[tuple[str, str]]]:
    names = [name for _, name, _, _ in Formatter().parse(pattern) if name]
    slots = [(name, _value(name, hosts, rng)) for name in names]
    if rng.random() < CLOUD_SHARE:
        ends = {"source": _site(rng), "target": rng.choice(CLOUDS)}
        slots = [(name, ends.get(name, value)) for name, value in slots]
    return pattern.format(**dict(slots)), slots


def _value(slot: str, hosts: Sequence[str], rng: random.Random) -> str:
    if slot == "qos":
        return f"{rng.choice((1, 2, 5, 10, 20, 50, 100, 200))} {rng.choice(UNITS)}"
    fixed = {"operator": OPERATORS, "action": ACTIONS, "port": PORTS}
    if slot in fixed:
        return rng.choice(fixed[slot])
    return rng.choice(hosts).format(name=rng.choice(VENUE_FIRST))


def _site(rng: random.Random) -> str:
    """A site's name; which one there is matters to whoever acts, not to whoever reads."""
    return f"{rng.choice(PLACE_FIRST)}-{rng.choice(PLACE_SECOND)}".lower()


def _out_of_scope(rng: random.Random) -> str:
    """What a site's people ask otherwise, or talk that only sounds like the network's."""
    if rng.random() < 0.5:
        said = rng.choice(rng.choice(PUBLIC_INTENTS + PRIVATE_INTENTS).shorts)
        return f"{said} {rng.choice(WHENS)}"
    return rng.choice(TALK).format(when=rng.choice(WHENS), thing=rng.choice(THINGS))

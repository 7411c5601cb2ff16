"""Which node hosts which site?

A node that carries a registered name is the site of that name, and no other. A node without one, as
in a simulation, is asked once; its id says nothing about who it is. So any number of nodes works: a
simulation with fewer nodes than sites lets each host several, and a site that joins late, leaves or
comes back under a new node id is found.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from fl.errors import UpdateRefused
from fl.flower_records import ROLL_CALL, read_roll_call, roll_call_records

_START_S = 60.0  # for the last sites to start, once there are enough for a round
_ANSWER_S = 10.0  # for new nodes to say whom they host
_INTERVAL_S = 0.2
_FIRST_INTERVAL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node at one time of its life; what was sent to it before it was activated is lost."""

    node_id: int
    activated: str  # when, as Flower says; "" where it does not


class RollCall:
    """Remembers what nameless nodes answered; asks only those that are new."""

    def __init__(self, grid: Grid, sites: Sequence[str]) -> None:
        self._grid = grid
        self.sites = sites
        self._answers: dict[Host, tuple[str, ...]] = {}
        self._asked: dict[str, Host] = {}  # by the id of the message that is out
        self._failed: set[Host] = set()
        self._first = True

    def hosts(
        self,
        *,
        enough: int,
        deadline_s: float,
        busy: Callable[[Mapping[str, Host]], Mapping[str, int]] = lambda hosts: {},
    ) -> dict[str, Host]:
        """Site id -> its host, in the order of the sites.

        Waits until `enough` of them are there and not `busy`, and for the others some seconds more:
        the first time as long as a site may need to start, later for what new nodes answer. Waits
        no longer than the deadline.
        """
        started = enough_since = time.monotonic()
        grace_s = _START_S if self._first else 0.0
        self._first = False
        self._failed.clear()
        while True:
            hosts, now = self.look(), time.monotonic()
            if len(hosts.keys() - busy(hosts).keys()) < enough:
                enough_since = now
                complete = False
            else:
                patience_s = max(grace_s, _ANSWER_S if self._asked else 0.0)
                complete = len(hosts) == len(self.sites) or now - enough_since >= patience_s
            if complete or now - started >= deadline_s:
                return hosts
            time.sleep(_INTERVAL_S if now - started > _INTERVAL_S else _FIRST_INTERVAL_S)

    def look(self) -> dict[str, Host]:
        """Who is there now; asks new nodes and takes in what they answer, without waiting."""
        named: dict[str, list[Host]] = {}
        nameless: list[Host] = []
        for node in self._grid.get_nodes():
            host = Host(node_id=node.node_id, activated=node.last_activated_at)
            if node.name:
                named.setdefault(node.name, []).append(host)
            else:
                nameless.append(host)
        self._ask(nameless)
        claims: dict[str, list[Host]] = {}
        for host in nameless:
            for site in self._answers.get(host, ()):
                claims.setdefault(site, []).append(host)
        found = claims | named  # who is registered under a name need not be believed
        return {site: _newest(found[site]) for site in self.sites if site in found}

    def _ask(self, present: Sequence[Host]) -> None:
        """Ask the nodes that are new; forget those that left."""
        self._answers = {host: self._answers[host] for host in present if host in self._answers}
        self._asked = {i: host for i, host in self._asked.items() if host in present}
        known = self._answers.keys() | self._asked.values() | self._failed
        new = sorted((host for host in present if host not in known), key=lambda h: h.node_id)
        if new:
            messages = [
                Message(roll_call_records(), dst_node_id=host.node_id, message_type=ROLL_CALL)
                for host in new
            ]
            delivered = set(self._grid.push_messages(messages))
            for host, message in zip(new, messages, strict=True):
                if message.metadata.message_id in delivered:
                    self._asked[message.metadata.message_id] = host
        if self._asked:
            self._take_in(self._grid.pull_messages(list(self._asked)))

    def _take_in(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            host = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if host is None:
                continue
            try:
                if reply.has_error():
                    raise UpdateRefused("no answer")
                self._answers[host] = read_roll_call(reply.content)
            except UpdateRefused:
                self._failed.add(host)  # asked again in the next round


def _newest(hosts: Sequence[Host]) -> Host:
    """Of several nodes the one that was activated last: the others may be dead; else the first."""
    last = max(host.activated for host in hosts)
    return min((h for h in hosts if h.activated == last), key=lambda h: h.node_id)

"""Which node hosts which site? A node is asked once; its id says nothing about who it is.

So any number of SuperNodes works: a simulation with fewer nodes than sites lets each host several,
and a site that comes back under a new node id is found again.
"""

import time
from collections.abc import Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from fl.flower_records import ROLL_CALL, read_roll_call, roll_call_records
from server.federation.exchange import exchange

_GRACE_S = 10.0  # for the last sites, once there are enough for a round
_INTERVAL_S = 0.2


class RollCall:
    """Remembers the nodes that answered; asks only those that are new."""

    def __init__(self, grid: Grid, sites: Sequence[str]) -> None:
        self._grid = grid
        self.sites = sites
        self._answers: dict[int, tuple[str, ...]] = {}
        self._first = True

    def hosts(self, *, enough: int, deadline_s: float) -> dict[str, int]:
        """Site id -> node id, in the order of the sites.

        Waits until all sites are there; or until `enough` are, and some seconds of grace passed the
        first time; or until the deadline.
        """
        started = time.monotonic()
        grace_s = _GRACE_S if self._first else 0.0
        self._first = False
        asked: set[int] = set()
        while True:
            waited_s = time.monotonic() - started
            asked |= self._ask(skip=asked, deadline_s=max(deadline_s - waited_s, _INTERVAL_S))
            hosts = self._hosts()
            waited_s = time.monotonic() - started
            if len(hosts) == len(self.sites) or waited_s >= deadline_s:
                return hosts
            if len(hosts) >= enough and waited_s >= grace_s:
                return hosts
            time.sleep(_INTERVAL_S)

    def _ask(self, *, skip: set[int], deadline_s: float) -> set[int]:
        """Ask the nodes that have not answered yet; forget those that left."""
        present = set(self._grid.get_node_ids())
        self._answers = {node: s for node, s in self._answers.items() if node in present}
        new = present - self._answers.keys() - skip
        messages = {
            str(node): Message(roll_call_records(), dst_node_id=node, message_type=ROLL_CALL)
            for node in sorted(new)
        }
        for answer in exchange(self._grid, messages, deadline_s=deadline_s):
            if answer.content is not None:
                self._answers[int(answer.receiver)] = read_roll_call(answer.content)
        return new

    def _hosts(self) -> dict[str, int]:
        """Where two nodes claim one site, the smaller node id has it."""
        claimed: dict[str, int] = {}
        for node in sorted(self._answers):
            for site in self._answers[node]:
                claimed.setdefault(site, node)
        return {site: claimed[site] for site in self.sites if site in claimed}

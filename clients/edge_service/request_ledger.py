"""The edge service's lines in the ledgers of its sites: one for every request it took on.

A request that is none has no line: an unknown mode or person, a prompt of no or too many
characters. Neither has one that only wants its prompt enriched (netgpt-edge): nobody answers it. A
ledger that cannot be written costs a line in the log, never a person's answer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from threading import get_ident
from time import perf_counter, thread_time

from clients.asking.ask import Answered, Leaving
from clients.asking.enrichment import Enriched
from clients.asking.modes import NOTHING
from clients.edge_service.model_owner import GivenUp
from clients.edge_service.serving import Say
from clients.edge_service.shared_line import SharedLine, Use
from clients.ledger.account import account
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file, record
from fl.errors import GenerationError
from fl.link.relay import Crossed
from fl.release import AdapterRelease
from fl.settings import Settings


class RequestLedger:
    """Of all sites of one service. For any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        line: SharedLine,
        count_tokens: Callable[[str], int],
        say: Say,
    ) -> None:
        """`count_tokens` is the edge model's; it may be called on any thread."""
        self.line, self.count_tokens = line, count_tokens
        self._settings, self._say = settings, say
        self._fault = ""  # why the last entry was lost

    @contextmanager
    def request(self, site_id: str, wanted: str, short: str, *, started: float) -> Iterator["Tab"]:
        """A request's tab for the block; who leaves it before an end was told is noted too.

        `wanted` is a mode; `started` is perf_counter() at the short prompt.
        """
        tab = Tab(self, site_id, wanted, short, started=started)
        try:
            yield tab
        except GenerationError as error:
            tab.breaks_off(error.status)
            raise
        except GivenUp:
            tab.breaks_off("UNAVAILABLE")
            raise
        except (GeneratorExit, CancelledError):
            tab.breaks_off("CANCELLED")
            raise
        except BaseException:
            tab.breaks_off("INTERNAL")
            raise
        tab.breaks_off("CANCELLED")

    def enter(self, entry: Entry) -> None:
        """Add a line to the site's ledger, or say once that it cannot be done."""
        try:
            record(ledger_file(self._settings, entry.site_id), entry)
            self._fault = ""
        except OSError as error:
            fault = f"{type(error).__name__}: {error.strerror}"
            if fault != self._fault:
                self._say(f"{entry.site_id}: requests are missing from the ledger: {fault}")
            self._fault = fault


class Tab:
    """What one request costs, until it ends; it ends once, whatever is told later."""

    def __init__(
        self, ledger: RequestLedger, site_id: str, wanted: str, short: str, *, started: float
    ) -> None:
        self._ledger, self._site_id, self._wanted = ledger, site_id, wanted
        self._short, self._started = short, started
        self._thread, self._cpu_began = get_ident(), thread_time()
        self._first = 0.0
        self._left: Leaving | None = None
        self._use: Use | None = None
        self.model_cpu_seconds = 0.0  # of the model's thread
        self.release: AdapterRelease | None = None  # that the site's part was written with
        self.ended = False

    def leaves(self, leaving: Leaving) -> None:
        """What was shown is about to be sent, unless the site answers by itself."""
        self._left = leaving
        if not self._stays():
            self._use = self._ledger.line.take()

    def piece(self) -> None:
        """Some text of the answer came."""
        self._first = self._first or perf_counter() - self._started

    def ends(self, answered: Answered, *, outcome: str = "") -> None:
        """Enter it; `outcome` where it is not what the answer says."""
        if self.ended:
            return
        self.ended = True
        crossed = self._use.end() if self._use else None
        if self._use is None and self._ledger.line.seen:
            crossed = Crossed(up=0, down=0)  # it never was on the line
        own_cpu = thread_time() - self._cpu_began if self._thread == get_ident() else 0.0
        release = self.release
        entry = account(
            answered,
            site_id=self._site_id,
            wanted=self._wanted,
            crossed=crossed,
            first_seconds=self._first,
            cpu_seconds=own_cpu + self.model_cpu_seconds,
            short_tokens=self._ledger.count_tokens(self._short),
            federation=release.federation if release else "",
            release=release.number if release else 0,
        )
        self._ledger.enter(replace(entry, outcome=outcome) if outcome else entry)

    def breaks_off(self, status: str) -> None:
        """Enter what was known when it ended without an answer; `status` is gRPC's name."""
        if self.ended:
            return
        seconds, left = perf_counter() - self._started, self._left
        nothing = Enriched(text="", new_tokens=0, seconds=seconds, fell_back=False)
        self.ends(
            Answered(
                card="",
                short=self._short,
                enriched=left.enriched if left else nothing,
                disclosed=left.disclosed if left else NOTHING,
                answer="",
                reply=None,
                error=GenerationError("broken off", status=status),
                bytes_up=0,
                bytes_down=0,
                seconds=seconds,
                mode=self._way(),
            )
        )

    def _stays(self) -> bool:
        if self._wanted == "auto":
            return self._left is None or self._left.disclosed == NOTHING
        return self._wanted == "edge"

    def _way(self) -> str:
        """The mode it was on; auto begins as edge."""
        if self._wanted == "auto":
            return "edge" if self._stays() else "synergy"
        return self._wanted

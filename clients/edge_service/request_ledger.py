"""The edge service's lines in the ledgers of its sites: one for every request it took on.

And in their traces, one for every request that went through the workflow.

A request that is none has no line: an unknown mode or person, a prompt of no or too many
characters. Neither has one that only wants its prompt enriched (netgpt-edge): nobody answers it. A
ledger or a trace that cannot be written costs a line in the log, never a person's answer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from threading import get_ident
from time import perf_counter, thread_time

from clients.asking.ask import Leaving
from clients.asking.figures import Figures
from clients.asking.modes import new_request_id
from clients.edge_service.model_owner import GivenUp
from clients.edge_service.serving import Say
from clients.edge_service.shared_line import SharedLine, Use
from clients.ledger.account import account
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file, record
from clients.workflow.trace import Trace
from clients.workflow.trace_file import keep, trace_file
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
        self._faults: dict[str, str] = {}  # why the last line was lost, by the file it is of

    @contextmanager
    def request(
        self, site_id: str, wanted: str, short: str, *, started: float, way: str = ""
    ) -> Iterator["Tab"]:
        """A request's tab for the block; who leaves it before an end was told is noted too.

        `wanted` is a mode, `way` the workflow's where that is another; `started` is perf_counter()
        at the short prompt.
        """
        tab = Tab(self, site_id, wanted, short, started=started, way=way or wanted)
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
        file = ledger_file(self._settings, entry.site_id)
        self._written("the ledger", entry.site_id, lambda: record(file, entry))

    def trace(self, trace: Trace) -> None:
        """Add a line to the site's traces, or say once that it cannot be done."""
        file = trace_file(self._settings, trace.site_id)
        self._written("the traces", trace.site_id, lambda: keep(file, trace))

    def _written(self, what: str, site_id: str, write: Callable[[], None]) -> None:
        fault = ""
        try:
            write()
        except OSError as error:
            fault = f"{type(error).__name__}: {error.strerror}"
        if fault and fault != self._faults.get(what):
            self._say(f"{site_id}: requests are missing from {what}: {fault}")
        self._faults[what] = fault


class Tab:
    """What one request costs, until it ends; it ends once, whatever is told later."""

    def __init__(
        self,
        ledger: RequestLedger,
        site_id: str,
        wanted: str,
        short: str,
        *,
        started: float,
        way: str,
    ) -> None:
        self.request_id = new_request_id()
        self._ledger, self._site_id, self._wanted = ledger, site_id, wanted
        self._way = "edge" if way == "auto" else way  # the mode it is on; auto begins as edge
        self._short, self._started = short, started
        self._thread, self._cpu_began = get_ident(), thread_time()
        self._first = 0.0
        self._shown: Leaving | None = None
        self._use: Use | None = None
        self.model_cpu_seconds = 0.0  # of the model's thread
        self.release: AdapterRelease | None = None  # that the site's part was written with
        self.kept_enriched = False  # the site had kept the enriched prompt
        self.left = False  # who asked has left
        self.ended = False

    def leaves(self, leaving: Leaving) -> None:
        """What was shown is about to be sent, unless the site answers by itself."""
        self._shown, self._way = leaving, leaving.mode
        if leaving.mode != "edge":
            self.on_the_line()

    def on_the_line(self) -> None:
        """Something of it crosses from now on: what leaves, or the question for a place."""
        self._use = self._use or self._ledger.line.take()

    def piece(self) -> None:
        """Some text of the answer came."""
        self._first = self._first or perf_counter() - self._started

    def ends(self, figures: Figures) -> None:
        """Enter it."""
        if self.ended:
            return
        self.ended = True
        crossed = self._use.end() if self._use else None
        if self._use is None and self._ledger.line.seen:
            crossed = Crossed(up=0, down=0)  # it never was on the line
        own_cpu = thread_time() - self._cpu_began if self._thread == get_ident() else 0.0
        release = self.release
        entry = account(
            replace(figures, outcome="cancelled") if self.left else figures,
            request_id=self.request_id,
            site_id=self._site_id,
            wanted=self._wanted,
            crossed=crossed,
            first_seconds=self._first,
            cpu_seconds=own_cpu + self.model_cpu_seconds,
            short_tokens=self._ledger.count_tokens(self._short),
            federation=release.federation if release else "",
            release=release.number if release else 0,
            kept=_kept(self.kept_enriched, figures.cached),
        )
        self._ledger.enter(entry)

    def trace(self, trace: Trace) -> None:
        """Keep its trace, which ends as its line does."""
        self._ledger.trace(replace(trace, outcome="cancelled") if self.left else trace)

    def breaks_off(self, status: str) -> None:
        """Enter what was known when it ended without an answer; `status` is gRPC's name."""
        if self.ended:
            return
        seconds, shown = perf_counter() - self._started, self._shown
        self.ends(
            Figures(
                mode=self._way,
                outcome="cancelled" if status == "CANCELLED" else status,
                private_characters=shown.disclosed.characters if shown else 0,
                enriched_tokens=shown.enriched.new_tokens if shown else 0,
                seconds=seconds,
                site_seconds=shown.enriched.seconds if shown else seconds,
            )
        )


def _kept(enriched: bool, answer: bool) -> str:
    if enriched and answer:
        return "both"
    return "enriched" if enriched else "answer" if answer else ""

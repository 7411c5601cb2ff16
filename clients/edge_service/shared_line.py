"""The service's one connection to the cloud's answers, and whose bytes on it are whose.

A relay sees bytes, not requests. So what crosses while one request alone is on its way is that
request's; of requests that overlap nobody can say, and their messages are counted instead.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from clients.asking.cloud_channel import CloudChannel
from fl.link.profiles import profile
from fl.link.relay import Crossed, Relay
from fl.settings import Settings


class SharedLine:
    """Who uses the connection now. For any thread."""

    def __init__(self, crossed: Callable[[], Crossed] | None) -> None:
        """`crossed` looks up what has crossed so far; None where the socket is not seen."""
        self._crossed = crossed
        self._lock = Lock()
        self._uses: set[Use] = set()

    @property
    def seen(self) -> bool:
        """Are bytes on the socket seen?"""
        return self._crossed is not None

    def take(self) -> "Use":
        """Begin to use it; whoever uses it now has it no longer for itself."""
        with self._lock:
            use = Use(self, alone=not self._uses, before=self._now())
            for other in self._uses:
                other.alone = False
            self._uses.add(use)
        return use

    def _now(self) -> Crossed | None:
        return self._crossed() if self._crossed else None

    def _give_back(self, use: "Use") -> Crossed | None:
        with self._lock:
            self._uses.discard(use)
            now = self._now()
            if now is None or use.before is None or not use.alone:
                return None
            return now.since(use.before)


class Use:
    """One request's time on the line."""

    def __init__(self, line: SharedLine, *, alone: bool, before: Crossed | None) -> None:
        self._line = line
        self.alone, self.before = alone, before  # changed under the line's lock only

    def end(self) -> Crossed | None:
        """What crossed meanwhile; None where that is not only this request's, or not seen."""
        return self._line._give_back(self)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The service's ways to the cloud."""

    channel: CloudChannel  # of requests
    shared: SharedLine  # whose bytes on it are whose
    aside: CloudChannel  # over the same link: adverts and probes, which are no request's


@contextmanager
def line_to_cloud(settings: Settings, keys: Path | None) -> Iterator[Lines]:
    """The ways to `site.cloud` for the block, behind a relay where that is possible.

    Raises SettingsError for an address elsewhere without keys.
    """
    address, timeout_s = settings.site.cloud, settings.asking.timeout_s
    with ExitStack() as closing:
        if keys is not None:  # a relay would need the cloud's own name in its certificate
            channel, aside = [
                closing.enter_context(CloudChannel(address, timeout_s, keys=keys)) for _ in range(2)
            ]
            yield Lines(channel=channel, shared=SharedLine(None), aside=aside)
            return
        relay = Relay(address, profile(settings.link.profile), seed=settings.seed)
        closing.enter_context(relay)
        channel, aside = [
            closing.enter_context(CloudChannel(address, timeout_s, via=via))
            for via in (relay.address, relay.side_address)
        ]
        shared = SharedLine(lambda: relay.crossed)
        yield Lines(channel=channel, shared=shared, aside=aside)

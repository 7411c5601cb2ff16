"""One HTTP call at a site: a thread of a pool works, a coroutine of the gateway reads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from threading import Lock

from clients.edge_service.model_owner import GivenUp
from fl.errors import GenerationError
from fl.generation import Reply
from fl.openai_api.backend import ApiEvent


class EdgeAnswer:
    """Made on the gateway's loop."""

    def __init__(self, ended: Callable[["EdgeAnswer"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[ApiEvent | Exception] = asyncio.Queue()
        self._ended = ended
        self._lock = Lock()
        self._cancelled = False
        self._give_up: list[Callable[[], object]] = []

    async def __aiter__(self) -> AsyncIterator[ApiEvent]:
        while True:
            event = await self._events.get()
            if isinstance(event, Exception) and not isinstance(event, GenerationError):
                raise event
            yield event
            if isinstance(event, Reply | GenerationError):
                return

    def cancel(self) -> None:
        """Give the work up, here and in the cloud."""
        with self._lock:
            self._cancelled, give_up = True, self._give_up
            self._give_up = []
        for each in give_up:
            each()

    def when_left(self, give_up: Callable[[], object]) -> None:
        """Call this when the caller leaves; now, if it has left already."""
        with self._lock:
            if not self._cancelled:
                self._give_up.append(give_up)
                return
        give_up()

    def run(self, events: Generator[ApiEvent, None, None]) -> None:
        """On a thread of the pool: work to the end, or until the caller has left."""
        try:
            with closing(events):
                for event in events:
                    if self._cancelled:  # before the next step: nothing leaves for nobody
                        raise CancelledError
                    self._hand_over(event)
        except CancelledError:
            self._hand_over(GenerationError("The caller left.", status="CANCELLED"))
        except GivenUp as error:
            self._hand_over(GenerationError(str(error), status="UNAVAILABLE"))
        except Exception as error:  # noqa: BLE001 - the gateway's border tells the caller
            self._hand_over(error)
        finally:
            self._ended(self)

    def _hand_over(self, event: ApiEvent | Exception) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

"""An engine's events on their way from its thread to the coroutine that sends them."""

import asyncio
from collections.abc import AsyncIterator

from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from server.generation.engine import Event


def hand_over(
    loop: asyncio.AbstractEventLoop, events: "asyncio.Queue[Event]", event: Event
) -> None:
    """Put an event where its reader waits; called on a thread of the engine's."""
    try:
        loop.call_soon_threadsafe(events.put_nowait, event)
    except RuntimeError:  # the loop has been closed: nobody reads any more
        return


async def joined(events: "asyncio.Queue[Event]") -> AsyncIterator[Event]:
    """The events to the end; pieces that wait together become one, so that a burst costs little."""
    while True:
        event = await events.get()
        texts: list[str] = []
        token_ids: list[int] = []
        while isinstance(event, TextPiece):
            texts.append(event.text)
            token_ids += event.token_ids
            if events.empty():
                break
            event = events.get_nowait()
        if texts:
            yield TextPiece(text="".join(texts), token_ids=tuple(token_ids))
        if not isinstance(event, TextPiece):
            yield event
            if isinstance(event, Reply | GenerationError):
                return

"""Messages to sites and their replies, one at a time as they come in, until a deadline.

Flower's own send_and_receive returns when all replies are there. Handing them on one by one lets
the cloud judge and add up an update while other sites still learn, and forget it.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl.errors import UpdateRefused
from fl.flower_records import read_failure

_PULL_INTERVAL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A receiver's answer: content, or the reason why there is none."""

    receiver: str  # a site id, or a node in the roll call
    content: RecordDict | None
    failure: str  # "" when there is content

    def records(self) -> RecordDict:
        """The content; raises UpdateRefused with the reason where there is none."""
        if self.content is None:
            raise UpdateRefused(self.failure)
        return self.content


def exchange(grid: Grid, messages: Mapping[str, Message], *, deadline_s: float) -> Iterator[Answer]:
    """Send one message a receiver and yield exactly one answer for each."""
    until = time.monotonic() + deadline_s
    sent = set(grid.push_messages(list(messages.values())))
    waiting: dict[str, str] = {}  # message id -> receiver
    for receiver, message in messages.items():
        if (message_id := message.metadata.message_id) in sent:
            waiting[message_id] = receiver
        else:
            yield Answer(receiver=receiver, content=None, failure="the message was not delivered")
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            receiver = waiting.pop(reply.metadata.reply_to_message_id, "")
            if receiver:  # a second reply to one message has no receiver left
                yield _answer(receiver, reply)
        if time.monotonic() > until:
            break
        if waiting:
            time.sleep(_PULL_INTERVAL_S)
    for receiver in waiting.values():
        yield Answer(receiver=receiver, content=None, failure=f"no reply within {deadline_s:g} s")


def _answer(receiver: str, reply: Message) -> Answer:
    if reply.has_error():
        failure = read_failure(code=reply.error.code, reason=reply.error.reason or "")
        return Answer(receiver=receiver, content=None, failure=failure)
    return Answer(receiver=receiver, content=reply.content, failure="")

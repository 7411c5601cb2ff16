"""A Flower Grid that calls the ClientApp in this process: no SuperLink, no Ray, no threads.

It suffices because the real ServerApp, strategy and ClientApp run, and every message passes through
Flower's own records; what it leaves out (queues, transport) has the simulation test. Faults are put
in by `tamper`, which sees every reply and may change it, drop it (None) or repeat it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

Tamper = Callable[[Message, Message], Message | None]  # (request, reply) -> reply


class DirectGrid(Grid):
    """Hands messages to `client_app` with the context of the node they are addressed to."""

    def __init__(
        self,
        client_app: ClientApp,
        contexts: Mapping[int, Context],
        *,
        tamper: Tamper = lambda request, reply: reply,
    ) -> None:
        self.contexts = dict(contexts)  # a test may let nodes leave and join
        self.sent: list[Message] = []
        self.answered: list[Message] = []
        self._app = client_app
        self._tamper = tamper
        self._replies: dict[str, Message] = {}

    @property
    def run(self) -> Any:
        return None

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("no run outside of a runtime")

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError("deprecated; use Message(...)")

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message_id = message.metadata.__dict__["_message_id"] = uuid4().hex
            context = self.contexts.get(message.metadata.dst_node_id)
            if context is None:
                continue  # the node left: not delivered
            ids.append(message_id)
            self.sent.append(message)
            if reply := self._tamper(message, self._call(message, context)):
                self.answered.append(reply)
                self._replies[message_id] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _call(self, message: Message, context: Context) -> Message:
        try:
            return self._app(message, context)
        except Exception as error:  # noqa: BLE001 - as Flower does with an app that raises
            return Message(Error(code=0, reason=repr(error)), reply_to=message)


def simulated_nodes(count: int, run_config: Mapping[str, str]) -> dict[int, Context]:
    """Contexts of `count` simulated SuperNodes, as Flower's simulation makes them."""
    return {
        100 + i: Context(
            run_id=1,
            node_id=100 + i,
            node_config={"partition-id": i, "num-partitions": count},
            state=RecordDict(),
            run_config=dict(run_config),
        )
        for i in range(count)
    }

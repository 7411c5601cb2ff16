"""A Flower Grid that calls the ClientApp in this process: no SuperLink, no Ray, no threads.

It suffices because the real ServerApp, strategy and ClientApp run, and every message passes through
Flower's own records; what it leaves out (queues, transport) has the simulation test. Faults are put
in by `tamper`, which sees every reply and may change it, drop it (None) or repeat it (a list). A
reply that was dropped may be handed in later with `deliver`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

Tamper = Callable[[Message, Message], Message | list[Message] | None]  # (request, reply) -> replies


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a deployment knows about a node, and a simulation does not."""

    name: str = ""
    activated: str = ""  # when; a node that was started again has another one


class DirectGrid(Grid):
    """Hands messages to `client_app` with the context of the node they are addressed to."""

    def __init__(
        self,
        client_app: ClientApp,
        contexts: Mapping[int, Context],
        *,
        tamper: Tamper = lambda request, reply: reply,
        registered: Mapping[int, Registration] | None = None,
    ) -> None:
        self.contexts = dict(contexts)  # a test may let nodes leave and join
        self.registered = dict(registered or {})
        self.sent: list[Message] = []
        self.answered: list[Message] = []
        self._app = client_app
        self._tamper = tamper
        self._replies: dict[str, list[Message]] = {}

    @property
    def run(self) -> Any:
        return None

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("no run outside of a runtime")

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError("deprecated; use Message(...)")

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        known = {node: self.registered.get(node, Registration()) for node in self.contexts}
        return [
            NodeInfo(node_id=node, name=known[node].name, last_activated_at=known[node].activated)
            for node in known
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message_id = message.metadata.__dict__["_message_id"] = uuid4().hex
            context = self.contexts.get(message.metadata.dst_node_id)
            if context is None:
                continue  # the node left: not delivered
            ids.append(message_id)
            self.sent.append(message)
            replies = self._tamper(message, self._call(message, context))
            for reply in replies if isinstance(replies, list) else [replies]:
                if reply is not None:
                    self.deliver(reply)
        return ids

    def deliver(self, reply: Message) -> None:
        """Let a reply come in now."""
        self.answered.append(reply)
        self._replies.setdefault(reply.metadata.reply_to_message_id, []).append(reply)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [r for i in list(message_ids) for r in self._replies.pop(i, ())]

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


def registered_nodes(sites: Iterable[str]) -> tuple[dict[int, Context], dict[int, Registration]]:
    """Contexts and registrations of one SuperNode a site, as a deployment has them."""
    contexts, registered = {}, {}
    for number, site in enumerate(sites):
        contexts[200 + number] = Context(
            run_id=1,
            node_id=200 + number,
            node_config={"site": site},
            state=RecordDict(),
            run_config={},
        )
        registered[200 + number] = Registration(name=site, activated="2030-01-01T00:00:00+00:00")
    return contexts, registered

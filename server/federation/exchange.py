"""Messages to sites and their replies, one at a time as they come in, until a deadline.

Flower's own send_and_receive returns when all replies are there. Handing them on one by one lets
the cloud judge and add up an update while other sites still learn, and forget it. And it loses what
was on its way to a node that is restarted; here such a message is sent again, which costs a site
that had it nothing: it answers the same plan with the same update.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fl.errors import UpdateRefused
from fl.flower_records import CONTRIBUTE, plan_records, read_failure, wire_bytes
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from server.federation.roll_call import Host, RollCall

# Errors by which Flower says that a process of a site died, not that its work failed.
_DIED: Mapping[int, str] = {
    ErrorCode.MESSAGE_UNAVAILABLE: "the message was lost",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its reply was lost",
    ErrorCode.NODE_UNAVAILABLE: "its node is gone",
    ErrorCode.CLIENT_APP_CRASHED: "its courier died",
}
_MOST_DEATHS = 2  # of one message, before its site counts as failed
_MOST_OVERDUE = 3  # letters to one site whose late answers are waited for
_LOOK_S = 2.0  # between two looks at which nodes are there
_GONE_S = 90.0  # for a node that is gone to come back; Flower needs 60 s to let it in again
# Pauses between two pulls grow with the time waited: over HTTP a pull is a request.
_SHORTEST_S, _LONGEST_S, _SHARE = 0.05, 0.25, 0.02


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a site is asked; made into a message whenever it is sent."""

    receiver: str  # a site id
    kind: str
    plan: RoundPlan
    release: AdapterRelease

    def message(self, node_id: int) -> Message:
        records = plan_records(self.plan, self.release, site_id=self.receiver)
        return Message(records, dst_node_id=node_id, message_type=self.kind)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A site's answer: content, or the reason why there is none."""

    receiver: str
    plan: RoundPlan  # that it answers
    content: RecordDict | None
    failure: str  # "" when there is content
    bytes_down: int = 0  # serialised content of the last message that was sent
    bytes_up: int = 0  # and of this answer
    late: bool = False  # it answers a letter of an earlier call

    def records(self) -> RecordDict:
        """The content; raises UpdateRefused with the reason where there is none."""
        if self.content is None:
            raise UpdateRefused(self.failure)
        return self.content


@dataclass(kw_only=True)
class _Errand:
    """A letter on its way."""

    letter: Letter
    ids: set[str] = field(default_factory=set)  # of its messages that are out
    host: Host | None = None  # it was sent to
    bytes_down: int = 0
    deaths: int = 0
    lost_since: float = 0.0  # no message of it is out; monotonic
    failure: str = ""  # of the last message
    free_at: float = 0.0  # from when on its site is asked again although it has not answered


class Exchange:
    """All messages of a run that are out, also beyond the round they belong to."""

    def __init__(self, grid: Grid, roll_call: RollCall) -> None:
        self._grid, self._roll_call = grid, roll_call
        self._errands: dict[str, _Errand] = {}  # by the ids of messages that are out
        self._overdue: list[_Errand] = []
        self._late: list[Answer] = []  # came in, and not handed on yet

    def ask(
        self, letters: Collection[Letter], hosts: Mapping[str, Host], *, deadline_s: float
    ) -> Iterator[Answer]:
        """Send the letters, at most one a site; yield exactly one answer for each.

        Late answers to earlier contributions come in between, marked as such. A letter that is
        still out from an earlier call is not sent again, but waited for.
        """
        started = looked = time.monotonic()
        until = started + deadline_s
        waiting = {letter.receiver: self._errand(letter) for letter in letters}
        self._send([e for e in waiting.values() if not e.ids or started >= e.free_at], hosts)
        late, self._late = self._late, []
        yield from late
        while True:
            yield from self._pull(waiting, list(self._errands))
            now = time.monotonic()
            if not waiting or now >= until:
                break
            lost = any(not e.ids and e.lost_since >= looked for e in waiting.values())
            if lost or now - looked >= _LOOK_S:
                hosts, looked = self._roll_call.look(), now
                yield from self._send_again(waiting, hosts)
            time.sleep(min(_pause(now - started), until - now))
        for errand in waiting.values():
            if errand.ids:
                self._put_off(errand, deadline_s)
            failure = errand.failure if not errand.ids else f"no reply within {deadline_s:g} s"
            yield _answer(errand, failure=failure)

    def busy(self, hosts: Mapping[str, Host], plan: RoundPlan) -> dict[str, int]:
        """Sites that are still at work on another plan, and the round of that one."""
        others = [i for i, errand in self._errands.items() if errand.letter.plan != plan]
        self._late += self._pull({}, others)
        now = time.monotonic()
        return {
            errand.letter.receiver: errand.letter.plan.round_number
            for errand in self._overdue
            if errand.letter.plan != plan
            and now < errand.free_at
            and hosts.get(errand.letter.receiver) == errand.host  # else the message is lost
        }

    def _errand(self, letter: Letter) -> _Errand:
        """The same letter that is still out, or a new one."""
        for errand in self._overdue:
            same = (errand.letter.receiver, errand.letter.kind, errand.letter.plan)
            if same == (letter.receiver, letter.kind, letter.plan):
                self._overdue.remove(errand)
                return errand
        return _Errand(letter=letter)

    def _put_off(self, errand: _Errand, deadline_s: float) -> None:
        """Its site has as long again; of those that never answer, only the last few are kept."""
        errand.free_at = time.monotonic() + deadline_s
        same = [e for e in self._overdue if e.letter.receiver == errand.letter.receiver]
        for old in same[: 1 - _MOST_OVERDUE]:
            self._overdue.remove(old)
            self._forget(old)
        self._overdue.append(errand)

    def _forget(self, errand: _Errand) -> None:
        """Listen for no more replies to it."""
        for message_id in errand.ids:
            del self._errands[message_id]
        errand.ids.clear()

    def _send(self, errands: Collection[_Errand], hosts: Mapping[str, Host]) -> None:
        now = time.monotonic()
        messages = []
        for errand in errands:
            errand.host = hosts[errand.letter.receiver]
            message = errand.letter.message(errand.host.node_id)
            errand.bytes_down = wire_bytes(message.content)
            messages.append(message)
        delivered = set(self._grid.push_messages(messages)) if messages else set()
        for errand, message in zip(errands, messages, strict=True):
            if (message_id := message.metadata.message_id) in delivered:
                errand.ids.add(message_id)
                self._errands[message_id] = errand
            elif not errand.ids:
                errand.lost_since, errand.deaths = now, errand.deaths + 1
                errand.failure = "the message was not delivered"

    def _send_again(
        self, waiting: dict[str, _Errand], hosts: Mapping[str, Host]
    ) -> Iterator[Answer]:
        """Send what was lost, and what a node got before it was started again; give up some."""
        now, again = time.monotonic(), []
        for site, errand in list(waiting.items()):
            host = hosts.get(site)
            if not errand.ids and (
                errand.deaths > _MOST_DEATHS or now - errand.lost_since > _GONE_S
            ):
                del waiting[site]
                yield _answer(errand, failure=errand.failure)
            elif host is not None and (not errand.ids or host != errand.host):
                again.append(errand)
        self._send(again, hosts)

    def _pull(self, waiting: dict[str, _Errand], ids: Collection[str]) -> list[Answer]:
        """Answers to these messages that came in; those to `waiting` are taken out of it."""
        answers: list[Answer] = []
        for reply in self._grid.pull_messages(ids) if ids else ():
            errand = self._errands.pop(reply.metadata.reply_to_message_id, None)
            if errand is None:
                continue  # a second reply to one message
            errand.ids.discard(reply.metadata.reply_to_message_id)
            if reply.has_error() and errand.ids:
                continue  # another message of the same letter is out
            expected = waiting.get(errand.letter.receiver) is errand
            if reply.has_error() and reply.error.code in _DIED and expected:
                errand.deaths, errand.lost_since = errand.deaths + 1, time.monotonic()
                errand.failure = _DIED[reply.error.code]
                continue
            self._forget(errand)
            if expected:
                del waiting[errand.letter.receiver]
                answers.append(_answer(errand, reply))
            elif errand in self._overdue:
                self._overdue.remove(errand)
                if reply.has_content() and errand.letter.kind == CONTRIBUTE:
                    answers.append(replace(_answer(errand, reply), late=True))
        return answers


def _answer(errand: _Errand, reply: Message | None = None, *, failure: str = "") -> Answer:
    content = None
    if reply is not None and reply.has_error():
        failure = read_failure(code=reply.error.code, reason=reply.error.reason or "")
    elif reply is not None:
        content = reply.content
    return Answer(
        receiver=errand.letter.receiver,
        plan=errand.letter.plan,
        content=content,
        failure=failure,
        bytes_down=errand.bytes_down,
        bytes_up=0 if content is None else wire_bytes(content),
    )


def _pause(waited_s: float) -> float:
    return min(_LONGEST_S, max(_SHORTEST_S, _SHARE * waited_s))

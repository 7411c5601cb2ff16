"""What may follow an intent: lines `<slot>: <value>` whose values are words of the request.

The grammar walks over bytes and says, after any tokens, which may come next. It allows a token only
where a whole value can still be finished within the limit of tokens, so that whatever the model
prefers, and wherever the writing ends, the text is valid:

    answer  = { "\\n" slot ": " value }  end        at most `most` of them
    slot    = the words of one of the intent's slots, each once unless they repeat
    value   = a span of the request that begins and ends at a border of words, behind the value
              before it: slots come in the order of the request, and no place in it is used twice
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clients.insight.intents.schema import Slots, words
from clients.insight.intents.vocabulary import Vocabulary

ModelIds = Callable[[str], Sequence[int]]
_WORD = re.compile(r"\w")


def one_line(text: str) -> str:
    """A text without line breaks and double blanks, in valid Unicode."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def borders(text: str) -> tuple[list[int], list[int]]:
    """Where in a line a value may begin, and where it may end (characters)."""
    inside = [
        0 < i < len(text) and _is_word(text[i - 1]) and _is_word(text[i])
        for i in range(len(text) + 1)
    ]
    starts = [i for i in range(len(text)) if not inside[i] and not text[i].isspace()]
    ends = [i for i in range(1, len(text) + 1) if not inside[i] and not text[i - 1].isspace()]
    return starts, ends


def is_span(value: str, text: str) -> bool:
    """Does a value stand in a line from one border of words to another?"""
    return bool(_occurrences(value, text))


def _occurrences(value: str, text: str) -> list[int]:
    """Where a value stands, in characters."""
    starts, ends = borders(text)
    last = set(ends)
    return [i for i in starts if value and text.startswith(value, i) and i + len(value) in last]


def in_text_order(slots: Slots, text: str) -> Slots:
    """Slots by where their values stand, each behind the one before where that can be."""
    placed: list[tuple[int, int]] = []
    for place, (_, value) in enumerate(slots):
        at = _occurrences(value, text)
        free = [i for i in at if all(i >= j + len(slots[k][1]) for j, k in placed)]
        apart = [
            i
            for i in at
            if all(i >= j + len(slots[k][1]) or i + len(value) <= j for j, k in placed)
        ]
        placed.append(((free or apart or at or [len(text)])[0], place))
    return tuple(slots[place] for _, place in sorted(placed))


def parse_slots(written: str, slots: Sequence[str]) -> Slots:
    """The slots of a text that the grammar let through."""
    names = {words(slot): slot for slot in slots}
    pairs = [line.split(": ", 1) for line in written.strip("\n").split("\n") if line]
    return tuple((names[said], value) for said, value in pairs)


@dataclass(frozen=True)
class _State:
    """Between two tokens."""

    where: str  # rest: of an answer or of a value that may end | name | blank | value
    name: tuple[int, ...] = ()  # tokens of the slot's name so far
    at: frozenset[int] = frozenset()  # bytes of the request where the value may have come to
    used: tuple[int, ...] = ()  # slots that have a value, by their place
    behind: int = 0  # byte of the request where the next value may begin at the earliest


class SlotGrammar:
    """Of one request; clients.greedy calls it with the tokens so far."""

    def __init__(
        self,
        text: str,
        slots: Sequence[str],
        *,
        vocabulary: Vocabulary,
        model_ids: ModelIds,
        end_id: int,
        limit: int,
        most: int,
        repeats: bool,
    ) -> None:
        """`text` is one line; `limit` tokens are written at the most, `most` values."""
        self._vocabulary, self._end_id = vocabulary, end_id
        self._limit, self._most, self._repeats = limit, most, repeats
        self.short = False  # has a slot or a value been barred for lack of room alone?
        self._data = text.encode()
        starts, ends = ([len(text[:i].encode()) for i in found] for found in borders(text))
        self._starts, self._ends = frozenset(starts), frozenset(ends)
        self._last_start = max(starts, default=-1)
        self._to_end = _distances(self._ends, len(self._data))
        self._least = _suffix_least(
            {start: 2 + self._to_end[start + 1] for start in starts}, len(self._data), limit + 1
        )
        self._names = [tuple(model_ids(f"{words(slot)}:")) for slot in slots]
        self._taken: tuple[int, ...] = ()
        self._state = _State("rest")

    def __call__(self, ids: Sequence[int]) -> list[int]:
        """The tokens that may follow `ids`."""
        if tuple(ids[: len(self._taken)]) != self._taken:
            self._taken, self._state = (), _State("rest")
        for token in ids[len(self._taken) :]:
            self._state = self._steps(self._state, self._limit - len(self._taken))[token]
            self._taken = (*self._taken, token)
        return [*self._steps(self._state, self._limit - len(self._taken))]

    def _steps(self, state: _State, left: int) -> dict[int, _State]:
        """Token -> the state after it, where `left` tokens may be written yet."""
        if state.where == "name":
            return self._in_name(state, left)
        steps = self._in_value(state, left)
        ends = state.at & self._ends if state.where == "value" else {0}
        if state.where in ("rest", "value") and ends:
            steps[self._end_id] = state
            after = _State("name", used=state.used, behind=min(ends))
            if self._in_name(after, left - 1):
                steps[self._vocabulary.newline] = after
        return steps

    def _in_name(self, state: _State, left: int) -> dict[int, _State]:
        if len(state.used) >= self._most:
            return {}
        steps = {}
        depth = len(state.name)
        for place, name in enumerate(self._names):
            fits = len(name) - depth + self._least[state.behind] <= left
            barred = place in state.used and not self._repeats
            if name[:depth] != state.name or barred or not fits:
                self.short |= not (barred or fits or depth or state.behind > self._last_start)
                continue
            so_far = name[: depth + 1]
            after = replace(state, name=so_far)
            if so_far == name:
                starts = frozenset(start for start in self._starts if start >= state.behind)
                after = replace(state, where="blank", at=starts, used=(*state.used, place))
            steps[name[depth]] = after
        return steps

    def _in_value(self, state: _State, left: int) -> dict[int, _State]:
        """A blank leads every value, and often is a part of its first token."""
        if state.where == "rest":
            return {}
        reached: dict[int, set[int]] = {}
        before = b" " if state.where == "blank" else b""
        for start in state.at:
            for token, taken in self._vocabulary.prefixes(self._data, start, before=before):
                if self._to_end[start + taken] <= left - 1:
                    reached.setdefault(token, set()).add(start + taken)
                else:
                    self.short = True
        steps = {
            token: replace(state, where="value", at=frozenset(at)) for token, at in reached.items()
        }
        if state.where == "blank" and self._least[state.behind] <= left:
            steps[self._vocabulary.ids[b" "]] = replace(state, where="begun")
        return steps


def _distances(ends: frozenset[int], length: int) -> list[int]:
    """Bytes from each place to the next end, which takes as many tokens at the most."""
    found, last = [length + 1] * (length + 1), None
    for place in range(length, -1, -1):
        last = place if place in ends else last
        if last is not None:
            found[place] = last - place
    return found


def _suffix_least(of: dict[int, int], length: int, none: int) -> list[int]:
    """The least of all from each place on: tokens that a whole value takes, its blank included."""
    found = [none] * (length + 2)
    for place in range(length, -1, -1):
        found[place] = min(found[place + 1], of.get(place, none))
    return found


def _is_word(character: str) -> bool:
    return _WORD.match(character) is not None

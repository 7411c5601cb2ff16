"""The sequences that one model works on together: they join and leave at any step.

Rows being written come first; behind them may stand one whose prompt is not read to its end, for a
long prompt is read in several steps. The last row takes the place of one that leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from server.generation.attention import Cache, Stretch
from server.generation.llama import Llama


@dataclass(eq=False, kw_only=True)
class Row:
    """One sequence."""

    prompt_ids: Sequence[int] = field(repr=False)
    need: int  # tokens it may come to hold
    place: int  # its row of the cache
    held: int = 0  # tokens in the cache
    newest: int = -1  # the token to be written next; set it after each step

    @property
    def ready(self) -> bool:
        """Whether the whole prompt has been read."""
        return self.held >= len(self.prompt_ids)


class Batch:
    """Rows and their key/value cache, for one model. Runs in torch's inference mode."""

    def __init__(self, network: Llama, *, most_rows: int, most_tokens: int, most_read: int) -> None:
        """`most_tokens` bounds rows times columns of the cache, `most_read` what a step reads."""
        self._network = network
        self._most_read = most_read  # tokens of prompts
        self._most_rows, self._most_tokens = most_rows, most_tokens
        self._usual_columns = max(1, most_tokens // most_rows)
        self._cache: Cache | None = None  # none while empty
        self._columns = self._usual_columns
        self.rows: list[Row] = []  # in the order of their places

    @property
    def tokens(self) -> int:
        """Tokens of the cache that its rows take, at their longest."""
        return len(self.rows) * self._columns if self.rows else 0

    def fits(self, need: int, *, elsewhere: int = 0) -> bool:
        """Whether a sequence of `need` tokens may join now; `elsewhere` is what others take."""
        if (
            sum(len(row.prompt_ids) - row.held for row in self.rows if not row.ready)
            >= self._most_read
        ):
            return False  # so that only the last row can be left half read
        rows = len(self.rows) + 1
        columns = max(self._columns if self.rows else self._usual_columns, need)
        return rows <= self._most_rows and rows * columns + elsewhere <= self._most_tokens

    def join(self, prompt_ids: Sequence[int], *, need: int) -> Row:
        """Add a sequence that fits; its prompt is read in the next steps."""
        if not self.rows:
            self._cache, self._columns = None, self._usual_columns
        row = Row(prompt_ids=prompt_ids, need=need, place=len(self.rows))
        self.rows.append(row)
        if self._cache is None or need > self._columns:
            self._columns = max(self._columns, need)
            self._widen()
        return row

    def leave(self, row: Row) -> None:
        """Take a sequence out, after a step and before others join; another takes its place."""
        last = self.rows.pop()
        if last is not row:
            filler = last
            if not last.ready:  # it stays behind those that are being written
                filler = self.rows.pop()
            if filler is not row:
                self.rows[row.place] = filler
                self._move(filler, row.place)
            if not last.ready:
                self.rows.append(last)
                self._move(last, len(self.rows) - 1)
        if not self.rows:
            self._cache = None

    def step(self) -> tuple[list[Row], Tensor]:
        """Write the newest token of every ready row, read prompts of the others.

        Returns the rows that are to get a next token, and their logits (rows, V).
        """
        assert self._cache is not None
        writing = [row for row in self.rows if row.ready]
        predicting, predict = list(writing), list(range(len(writing)))
        stretches: list[Stretch] = []
        tokens, most_read = len(writing), self._most_read
        for row in self.rows[len(writing) :]:
            ids = row.prompt_ids[row.held : row.held + most_read]
            most_read -= len(ids)
            if ids:
                stretches.append(Stretch(row=row.place, start=row.held, ids=ids))
                tokens += len(ids)
            if row.held + len(ids) == len(row.prompt_ids):
                predicting.append(row)
                predict.append(tokens - 1)
        logits = self._network.forward(
            self._cache,
            [row.newest for row in writing],
            [row.held for row in writing],
            stretches,
            predict=predict,
        )
        for row in writing:
            row.held += 1
        for stretch in stretches:
            self.rows[stretch.row].held += len(stretch.ids)
        return predicting, logits

    def _widen(self) -> None:
        """A cache with this many columns, and what was held."""
        before = self._cache
        rows = min(self._most_rows, max(self._most_tokens // self._columns, len(self.rows)))
        self._cache = self._network.new_cache(rows, self._columns)
        for row in self.rows[:-1] if before is not None else []:
            assert before is not None
            for new, old in (
                (self._cache.keys, before.keys),
                (self._cache.values, before.values),
            ):
                new[:, row.place, :, : row.held] = old[:, row.place, :, : row.held]

    def _move(self, row: Row, place: int) -> None:
        assert self._cache is not None
        if row.place != place:
            for held in (self._cache.keys, self._cache.values):
                held[:, place, :, : row.held] = held[:, row.place, :, : row.held]
            row.place = place

"""Batches of several tasks, taken in turn: what one adapter for all of them learns from.

A task's batches are its own, of its own records and size, whoever shares the adapter; mixed into
one heap instead, the largest book would have most of the steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clients.learning.batching import EncodedRecord, TokenBatch, token_batches


@dataclass(frozen=True, kw_only=True)
class Part:
    """One task at a site."""

    records: Sequence[EncodedRecord]
    steps: int  # of a round
    batch_tokens: int  # padded tokens of a batch, at the most


def in_turn(parts: Sequence[Part], *, seed: int) -> Iterator[TokenBatch]:
    """The batches of one round, each part's spread evenly among those of the others."""
    own = [token_batches(p.records, batch_tokens=p.batch_tokens, seed=seed) for p in parts]
    for number in turns([part.steps for part in parts]):
        yield next(own[number])


def turns(steps: Sequence[int]) -> list[int]:
    """Whose turn it is: part i comes steps[i] times, at even distances."""
    places = [((k + 0.5) / n, number) for number, n in enumerate(steps) for k in range(n)]
    return [number for _, number in sorted(places)]

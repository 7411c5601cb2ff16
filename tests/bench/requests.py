"""What the serving benchmarks ask for and what they note of it, for every engine alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """One request; it gets exactly `new_tokens`, greedily, whatever end mark comes."""

    prompt_ids: list[int] = field(repr=False)
    new_tokens: int
    arrives_s: float  # after the run's start


@dataclass(frozen=True, kw_only=True)
class RequestTimes:
    """When its tokens came, in seconds after the run's start (not after its arrival)."""

    first_s: float
    done_s: float
    tokens: int  # written


def tokens_per_second(times: Sequence[RequestTimes]) -> float:
    """Useful tokens a second, from the run's start to the last token of all."""
    return sum(t.tokens for t in times) / max(t.done_s for t in times)


def seconds_to_first_token(
    requests: Sequence[BenchRequest], times: Sequence[RequestTimes]
) -> list[float]:
    """Of each request, counted from its arrival."""
    return [t.first_s - r.arrives_s for r, t in zip(requests, times, strict=True)]

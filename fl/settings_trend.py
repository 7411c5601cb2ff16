"""The section `trend:` of the settings, and what cannot work in it."""

from dataclasses import dataclass

MOST_AHEAD = 48  # steps that are forecast at once


@dataclass(frozen=True, kw_only=True)
class TrendStudySettings:
    """The verb `insight trends`."""

    data: str
    series: list[str]
    timed_forecasts: int


@dataclass(frozen=True, kw_only=True)
class TrendSettings:
    """task=trend."""

    coverage: float
    horizon: int
    step_s: float
    study: TrendStudySettings


def trend_mistakes(its: TrendSettings) -> list[tuple[bool, str]]:
    """(is it well, else what is wrong) of each key."""
    return [
        (0 < its.coverage < 1, f"trend.coverage is above 0 and below 1, found {its.coverage}"),
        (
            1 <= its.horizon <= MOST_AHEAD,
            f"trend.horizon is 1 to {MOST_AHEAD}, found {its.horizon}",
        ),
        (its.step_s >= 1, f"trend.step_s must be at least 1, found {its.step_s}"),
        (its.study.timed_forecasts >= 1, "trend.study.timed_forecasts must be at least 1"),
    ]

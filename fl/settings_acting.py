"""The sections of what intents and forecasts do; configs/base.yaml says what each key means."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fl.settings import Settings

POLICIES = ("lru", "lfu", "lfu-remembering", "forecast")


@dataclass(frozen=True, kw_only=True)
class ActingSettings:
    """Management actions."""

    least_confidence: float
    bare_unit: str
    expires_s: float
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class CacheStudySettings:
    """`insight cache`."""

    data: str
    items: int
    zipf: float
    sizes: list[int]
    scale: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Enriched prompts and answers that an edge service keeps."""

    entries: int
    bytes: int
    policy: str
    answer_s: float
    interval_s: float
    study: CacheStudySettings


@dataclass(frozen=True, kw_only=True)
class PrewarmSettings:
    """What forecasts load and fetch before it is asked for."""

    adapters: int
    interval_s: float
    put_off_s: float


def acting_checks(s: "Settings") -> list[tuple[bool, str]]:
    """What of these sections cannot work."""
    acting, cache, warm = s.acting, s.cache, s.prewarm
    return [
        (
            0 <= acting.least_confidence <= 1,
            f"acting.least_confidence is 0 to 1, found {acting.least_confidence}",
        ),
        (
            acting.bare_unit in ("", "kbps", "Mbps", "Gbps"),
            f"acting.bare_unit is kbps, Mbps, Gbps or empty, found {acting.bare_unit!r}",
        ),
        (acting.expires_s > 0, "acting.expires_s must be above 0"),
        (
            all(name.count("=") == 1 and all(name.split("=")) for name in acting.names),
            f"acting.names are NAME=SITE or NAME=cloud, found {acting.names}",
        ),
        (cache.entries >= 0, "cache.entries must be 0 or more"),
        (cache.bytes >= 1, "cache.bytes must be at least 1"),
        (
            cache.policy in POLICIES,
            f"cache.policy is one of {', '.join(POLICIES)}, found {cache.policy!r}",
        ),
        (cache.answer_s >= 0, "cache.answer_s must be 0 or more"),
        (cache.interval_s > 0, "cache.interval_s must be above 0"),
        (
            min(cache.study.items, cache.study.scale, cache.study.seeds) >= 1,
            "cache.study.items, scale and seeds must be at least 1",
        ),
        (cache.study.zipf >= 0, "cache.study.zipf must be 0 or more"),
        (
            len(cache.study.sizes) >= 1 and min(cache.study.sizes, default=0) >= 1,
            f"cache.study.sizes are numbers of entries, 1 or more, found {cache.study.sizes}",
        ),
        (warm.adapters >= 0, "prewarm.adapters must be 0 or more"),
        (warm.interval_s > 0, "prewarm.interval_s must be above 0"),
        (warm.put_off_s >= 0, "prewarm.put_off_s must be 0 or more"),
        (
            0 <= s.orchestration.forecast_share < 1,
            "orchestration.forecast_share must be 0 or more and below 1",
        ),
    ]

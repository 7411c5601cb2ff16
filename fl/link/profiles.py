"""Named links, for trying out what a site far away would see.

A profile is a bandwidth each way and a round-trip time. The figures are round ones of ordinary
service, not measurements of an operator: fibre to the home; 5G in the open and at the cell's edge;
LTE; a geostationary satellite, whose 36,000 km up and down twice are 480 ms at the speed of light.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from fl.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of link. 0 Mbit/s is no bound."""

    name: str
    up_mbit_s: float  # site -> cloud
    down_mbit_s: float
    rtt_ms: float  # both ways together, without what the bytes themselves take
    jitter_ms: float = 0.0  # standard deviation of a chunk's delay, one way


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(name="none", up_mbit_s=0, down_mbit_s=0, rtt_ms=0),
        Profile(name="fibre", up_mbit_s=500, down_mbit_s=500, rtt_ms=5),
        Profile(name="5g-good", up_mbit_s=50, down_mbit_s=300, rtt_ms=15, jitter_ms=1),
        Profile(name="lte", up_mbit_s=10, down_mbit_s=30, rtt_ms=50, jitter_ms=3),
        Profile(name="5g-bad", up_mbit_s=2, down_mbit_s=8, rtt_ms=80, jitter_ms=8),
        Profile(name="satellite", up_mbit_s=3, down_mbit_s=25, rtt_ms=600, jitter_ms=5),
    )
}


def profile(name: str) -> Profile:
    """The profile of this name. Raises SettingsError."""
    if wrong := mistake(name, setting="link.profile"):
        raise SettingsError(wrong if wrong.endswith("?") else f"{wrong}.")
    return PROFILES[name]


def mistake(name: str, *, setting: str) -> str:
    """What is wrong with a name, as one clause; "" where there is such a profile."""
    if name in PROFILES:
        return ""
    near = difflib.get_close_matches(name, PROFILES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{setting} is one of {', '.join(PROFILES)}, found {name!r}{hint}"

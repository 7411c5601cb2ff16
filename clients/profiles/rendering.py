"""A profile as further facts of the place card (NetGPT's I), within a token budget of its own."""

from collections.abc import Mapping

from clients.profiles.profile import HISTORY, PersonalProfile


def personal_facts(
    profile: PersonalProfile, place_facts: Mapping[str, str], *, history: bool
) -> dict[str, str]:
    """The person's facts in their order, then what was asked for last.

    What the place's card says itself stays the place's. The `history` counts only where the card
    shows such a venue now: elsewhere nobody could be sent there, and nothing need be told.
    """
    told = {name: text for name, text in profile.facts.items() if name not in place_facts}
    if history and profile.history.last in place_facts:
        told[HISTORY] = profile.history.last
    return told

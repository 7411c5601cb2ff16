"""What the sites do with the shared part in a round, and what they send."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One round of a method, from a site's side."""

    trains: str  # factors of the shared directions that learn: AB, A or B
    sends: str  # factors whose delta travels: AB, A or B
    fresh: bool  # a new pair learns beside the frozen release, and is sent as it is


BOTH = Turn(trains="AB", sends="AB", fresh=False)
ONLY_A = Turn(trains="A", sends="A", fresh=False)
ONLY_B = Turn(trains="B", sends="B", fresh=False)
LEARN_BOTH_SEND_A = Turn(trains="AB", sends="A", fresh=False)
NEW_PAIR = Turn(trains="AB", sends="AB", fresh=True)

"""One request of one person: the profile as it was when the request began, and what it does there.

profile -> further facts of the card; texts that must not leave; one more request in the history
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from clients.place_card import card_text, fitting
from clients.profiles.hidden import NOTHING_HIDDEN, Hidden, told_words
from clients.profiles.profile import PersonalProfile
from clients.profiles.rendering import personal_facts
from clients.profiles.store import ProfileStore, profiles_of
from clients.profiles.summary import asks_for_history, kind_named
from fl.errors import GenerationError, ProfileError, UnknownPerson
from fl.prompt_format import join_cards, render_card
from fl.settings import Settings


class Visit:
    """For one request; made by `visit`. Without a profile it is nobody's, and changes nothing."""

    def __init__(
        self,
        settings: Settings,
        store: ProfileStore | None = None,
        profile: PersonalProfile | None = None,
        *,
        short: str = "",
    ) -> None:
        self._settings, self._store, self._profile = settings, store, profile
        again = settings.profile.again
        self._history = settings.profile.history and asks_for_history(short, again)
        self._place_facts: Mapping[str, str] = {}

    def card(self, place_facts: Mapping[str, str], *, count_tokens: Callable[[str], int]) -> str:
        """The place's facts, then the person's, each within its budget (profile.tokens)."""
        self._place_facts = dict(place_facts)
        asking, profile = self._settings.asking, self._settings.profile
        place = card_text(place_facts, budget=asking.card_tokens, count_tokens=count_tokens)
        if self._profile is None:
            return place
        told = personal_facts(self._profile, place_facts, history=self._history)
        kept = fitting(told, budget=profile.tokens, count_tokens=count_tokens, least=0)
        return join_cards(place, render_card(kept))

    @property
    def hidden(self) -> Hidden:
        """Texts of the facts that profile.disclose does not name."""
        if self._profile is None:
            return NOTHING_HIDDEN
        disclosed = self._settings.profile.disclose
        texts = [text for name, text in self._profile.facts.items() if name not in disclosed]
        return Hidden(texts=tuple(texts), told=told_words(render_card(self._place_facts)))

    @property
    def owner(self) -> tuple[str, str] | None:
        """Whose it is, and that profile's version; None where it is nobody's."""
        return (self._profile.person, self._profile.version) if self._profile else None

    def kind(self, enriched: str) -> str:
        """For which kind of venue of the place it is; "" for none. After `card`."""
        return kind_named(enriched, self._place_facts)

    def remember(self, enriched: str) -> None:
        """Note for which kind of venue the person asked, if profile.history wants it."""
        if self._profile is None or self._store is None or not self._settings.profile.history:
            return
        if kind := kind_named(enriched, self._place_facts):
            with suppress(OSError, ProfileError):  # no answer is lost for a summary
                self._store.add_to_history(self._profile, kind)


def visit(settings: Settings, site_id: str, person: str, short: str) -> Visit:
    """The visit of a request with this short prompt; `person` "" is nobody.

    Raises GenerationError: INVALID_ARGUMENT for a person without a profile, FAILED_PRECONDITION for
    a damaged profile. It does not repeat the name.
    """
    if not person:
        return Visit(settings)
    store = profiles_of(settings, site_id)
    try:
        return Visit(settings, store, store.read(person), short=short)
    except UnknownPerson as error:
        raise GenerationError(str(error), status="INVALID_ARGUMENT") from None
    except (ProfileError, OSError):
        raise GenerationError(
            "The profile of this person cannot be read. Who runs the site must put it right, or "
            "erase it.",
            status="FAILED_PRECONDITION",
        ) from None

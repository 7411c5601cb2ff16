"""Profiles on a site's disk: sites/SITE/profiles/PERSON.json, for the site's user alone.

The service reads a profile at each request and keeps nothing of it. Who changes one holds the
folder's lock, so what lies aside then is a killed writer's and goes.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from clients.atomic import clear_asides, publish_text
from clients.profiles.profile import (
    PersonalProfile,
    check_facts,
    check_person,
    from_object,
    is_person,
    to_object,
)
from clients.profiles.summary import with_request
from fl import durable
from fl.errors import UnknownPerson
from fl.settings import Settings
from fl.site_list import site_folder

_LOCK = "lock"  # beside the profiles; it never holds anything


def profiles_of(settings: Settings, site_id: str) -> "ProfileStore":
    """The profiles of a site of this machine."""
    return ProfileStore(site_folder(settings, site_id) / "profiles")


class ProfileStore:
    """One site's; safe for several threads and processes. Raises OSError where the disk does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def people(self) -> list[str]:
        """Who has a profile."""
        return sorted(file.stem for file in self._folder.glob("*.json") if is_person(file.stem))

    def read(self, person: str) -> PersonalProfile:
        """A profile as it is now. Raises UnknownPerson; ProfileError for a damaged one."""
        if not is_person(person):
            raise UnknownPerson
        try:
            found = json.loads(self._file(person).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UnknownPerson from None
        except ValueError:
            found = None
        return from_object(found)

    def set(
        self, person: str, facts: Mapping[str, str], *, afresh: bool = False, make: bool = True
    ) -> PersonalProfile:
        """Set facts, remove those whose text is ""; `afresh` removes all others first.

        A person without a profile gets one, unless `make` is false: then raises UnknownPerson.
        Raises ProfileError for a bad name or text; nothing is changed then.
        """
        check_person(person)
        check_facts({name: text for name, text in facts.items() if text})
        if not make:
            self.read(person)  # before a folder is made
        with self._alone():
            try:
                before = self.read(person)
            except UnknownPerson:
                if not make:
                    raise
                now = datetime.now(UTC).isoformat()
                before = PersonalProfile(person=person, since=now, facts={})
            kept = {} if afresh else dict(before.facts)
            kept.update(facts)
            after = replace(before, facts={name: text for name, text in kept.items() if text})
            self._write(after)
        return after

    def add_to_history(self, profile: PersonalProfile, kind: str) -> None:
        """Note a request; nothing where the profile has been erased since it was read."""
        if not self._folder.is_dir():
            return
        with self._alone():
            try:
                now = self.read(profile.person)
            except UnknownPerson:
                return
            if now.since == profile.since:  # else another one of the same name
                self._write(replace(now, history=with_request(now.history, kind)))

    def erase(self, person: str) -> None:
        """Remove all that is held of a person. Raises UnknownPerson."""
        check_person(person)
        if not self._folder.is_dir():
            raise UnknownPerson
        with self._alone():
            try:
                self._file(person).unlink()
            except FileNotFoundError:
                raise UnknownPerson from None
            finally:
                durable.sync_folder(self._folder)

    def clear_asides(self) -> None:
        """Remove what a killed writer left."""
        if self._folder.is_dir():
            with self._alone():
                pass

    def _write(self, profile: PersonalProfile) -> None:
        text = json.dumps(to_object(profile), ensure_ascii=False, indent=2) + "\n"
        publish_text(self._file(profile.person), text)

    def _file(self, person: str) -> Path:
        return self._folder / f"{person}.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """As the only writer; what others were killed at writing is removed."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._folder / _LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the file
            clear_asides(self._folder)
            yield

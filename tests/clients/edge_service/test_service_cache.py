"""A running edge service that keeps what it wrote: a second time nothing crosses; who is erased by
another process is forgotten by this one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from clients.asking.ask import Leaving
from clients.edge_service.asking_client import AskingClient
from clients.edge_service.asking_codec import Ended
from clients.ledger.entry import Entry
from clients.ledger.journal import entries, ledger_file
from clients.profiles.store import profiles_of
from tests.clients.edge_service.tiny_service import SHORT, SITE, TinySite, tiny_site
from tests.clients.edge_service.wiretap import Wiretap, wiretap
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud


@dataclass
class World:
    site: TinySite
    tap: Wiretap
    client: AskingClient

    def ask(self, *, person: str = "") -> tuple[str, str, Entry]:
        """Enriched prompt, answer, and the ledger's line."""
        leaving, *pieces, ended = self.client.ask(SHORT, mode="synergy", person=person)
        assert isinstance(leaving, Leaving)
        assert isinstance(ended, Ended)
        text = "".join(getattr(piece, "text", "") for piece in pieces)
        *_, entry = entries(ledger_file(self.site.settings, SITE))
        return leaving.enriched.text, text, entry

    def figure(self, name: str) -> float:
        service = self.site.service
        shown = {"authorization": f"Bearer {service.token}"}
        lines = httpx.get(f"{service.http[:-3]}/metrics", headers=shown).text.splitlines()
        return next(
            float(one.split()[1]) for one in lines if one.startswith(f"netgpt_edge_{name} ")
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    model = make_tiny_cloud(tmp_path_factory.mktemp("cloud"))
    with (
        running_service(model, tmp_path_factory.mktemp("var")) as (_, address),
        wiretap(address) as tap,
    ):
        site = tiny_site(
            tmp_path_factory.mktemp("site"),
            f"cloud.model={model}",
            "asking.answer_tokens=8",
            "cache.entries=8",
            cloud=tap.address,
        )
        site.put_in_use(site.release())
        (site.folder / "place.json").write_text('{"place": "Elmford", "cafe": "Amber Fox"}')
        with site.running() as client:
            yield World(site, tap, client)


def test_the_second_time_nothing_crosses(world: World) -> None:
    *first, before = world.ask()
    *second, after = world.ask()
    assert first == second
    assert (before.kept, after.kept) == ("", "both")
    assert before.private_characters > 0
    assert (after.private_characters, after.bytes_up, after.bytes_down) == (0, 0, 0)
    assert world.figure("cache_hits") == 2


def test_who_is_erased_elsewhere_is_forgotten_here(world: World) -> None:
    store = profiles_of(world.site.settings, SITE)
    store.set("ada", {"wish": "a lilac chair"})
    *_, first = world.ask(person="ada")
    before = world.figure("cache_entries")
    *_, again = world.ask(person="ada")
    assert (first.kept, again.kept) == ("", "both")
    store.erase("ada")
    world.site.until(lambda: world.figure("cache_entries") == before - 2)

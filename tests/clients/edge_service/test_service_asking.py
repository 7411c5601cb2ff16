"""What people are answered through the running edge service."""

import threading
from pathlib import Path

import pytest

from clients.asking.ask import Leaving
from clients.asking.enrichment import enrich
from clients.edge_model import edge_model
from clients.edge_service.asking_codec import Ended
from clients.personal_part import served_adapter
from fl.errors import GenerationError
from fl.generation import TextPiece
from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.tiny_service import SHORT, TinySite, tiny_site, told
from tests.clients.learning.sites import moved


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    return tiny_site(tmp_path)


def test_a_damaged_personal_part_leaves_the_release_alone(site: TinySite) -> None:
    release = site.release()
    site.put_in_use(release)
    with site.running() as client:
        alone = told(client)
    site.shelf().keep_personal(moved(release.shared, by=0.3), round_number=1)
    with site.running() as client:
        assert told(client) != alone
    (site.shelf().folder / "personal-1" / "adapter_model.safetensors").write_bytes(b"torn")
    with site.running() as client:
        assert told(client) == alone
    assert "a personal part on the shelf is damaged: AdapterError" in site.said


def test_the_whole_corridor_through_the_service(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        release = site.release(3, shared=moved(site.shared(), by=0.1))
        cloud.offer(release)
        site.folder.mkdir(parents=True)
        (site.folder / "place.json").write_text('{"place": "Elmford", "weather": "snow"}')
        with site.running() as client:
            site.until(lambda: client.status().release_number == 3)
            leaving, *pieces, ended = client.ask(SHORT)
            assert isinstance(leaving, Leaving)
            assert isinstance(ended, Ended)
            model = edge_model(site.settings)
            assert leaving.card == "place Elmford; weather snow"
            assert "".join(p.text for p in pieces if isinstance(p, TextPiece)) == "".join(PIECES)
            assert cloud.prompts == [leaving.disclosed.text]
            assert ended.bytes_up > len(leaving.disclosed.text)
            # the card is of this moment
            (site.folder / "place.json").write_text('{"place": "Elmford", "weather": "fog"}')
            later = next(client.ask(SHORT))
            assert isinstance(later, Leaving)
            assert later.card == "place Elmford; weather fog"
        # the service's text is what the same adapter writes in this process
        model.set_adapter(
            served_adapter(release.shared, None, layers=model.base.layers, settings=site.settings)
        )
        enriched = enrich(model, leaving.card, SHORT, site.settings.asking.enriched_tokens)
        assert leaving.enriched.text == enriched.text


def test_who_leaves_ends_the_clouds_work_too(tmp_path: Path) -> None:
    go_on = threading.Event()
    with fake_cloud() as cloud:
        cloud.hold = lambda: go_on.wait(30)
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        with site.running() as client:
            events = client.ask(SHORT)
            next(events)
            site.until(lambda: cloud.prompts)
            events.close()  # type: ignore[attr-defined]
            assert cloud.ended.wait(30)  # while it is still held up
        go_on.set()


def test_before_the_first_release_it_says_so(site: TinySite) -> None:
    with site.running() as client:
        with pytest.raises(GenerationError, match="No release has reached site elm") as failed:
            list(client.ask(SHORT))
        assert failed.value.status == "FAILED_PRECONDITION"
        for prompt in ("", "  ", "x" * 4001):
            with pytest.raises(GenerationError) as refused:
                list(client.ask(prompt))
            assert refused.value.status == "INVALID_ARGUMENT"

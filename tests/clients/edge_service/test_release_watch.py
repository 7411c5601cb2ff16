"""Following the cloud's current release: swapped while people ask, refused when it is not right."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.asking.ask import Leaving
from clients.edge_service.asking_client import AskingClient
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.release_watch import ReleaseWatch
from clients.edge_service.service import edge_service
from fl.adapter import Adapter
from fl.errors import GenerationError
from fl.release import AdapterRelease
from fl.site_list import hosted_site
from tests.clients.edge_service.fake_cloud import FakeCloud, fake_cloud
from tests.clients.edge_service.tiny_service import TinySite, tiny_plan, tiny_site
from tests.clients.learning.sites import moved, signed
from tests.fl.releases import OTHER_KEY

SHORT = "a table for two"


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with fake_cloud() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, cloud: FakeCloud) -> TinySite:
    return tiny_site(tmp_path, cloud=cloud.address)


def release(site: TinySite, number: int, *, federation: str = "001") -> AdapterRelease:
    """With each the model writes otherwise."""
    shared = moved(site.shared(), by=0.3, seed=int(federation) * 100 + number)
    return site.release(number, shared=shared, federation=federation)


def written(client: AskingClient) -> str:
    leaving = next(client.ask(SHORT))
    assert isinstance(leaving, Leaving)
    return leaving.enriched.text


def in_use(client: AskingClient) -> str:
    status = client.status()
    return f"{status.federation}/{status.release_number}"


def follow(site: TinySite, cloud: FakeCloud, client: AskingClient, made: AdapterRelease) -> str:
    """Offer, wait for the swap, return what the model writes now."""
    cloud.offer(made)
    site.until(lambda: in_use(client) == f"{made.federation}/{made.number}")
    return written(client)


def test_it_swaps_forth_and_back_and_remembers(site: TinySite, cloud: FakeCloud) -> None:
    one, two, other = release(site, 1), release(site, 2), release(site, 1, federation="002")
    with site.running() as client:
        texts = [follow(site, cloud, client, made) for made in (one, two, other)]
        assert len(set(texts)) == 3
        assert follow(site, cloud, client, two) == texts[1]  # a rollback to a federation before
        assert follow(site, cloud, client, one) == texts[0]
        assert cloud.fetched == ["001/1", "001/2", "002/1"]  # the shelf had the others
    swaps = [line for line in site.said if line.startswith("release swapped")]
    assert swaps == [
        "release swapped from none to 001/1",
        "release swapped from 001/1 to 001/2",
        "release swapped from 001/2 to 002/1",
        "release swapped from 002/1 to 001/2",
        "release swapped from 001/2 to 001/1",
    ]
    with site.running() as client:  # started again
        assert in_use(client) == "001/1"
        assert written(client) == texts[0]


def test_a_prompt_in_flight_finishes_on_the_release_it_started_with(
    site: TinySite, cloud: FakeCloud
) -> None:
    """It waits for the model while the swap happens; one that comes later gets the new release."""
    one, two = release(site, 1), release(site, 2)
    with held_owner(site) as (client, owner), ThreadPoolExecutor(2) as people:
        first = follow(site, cloud, client, one)
        begun, go_on = threading.Event(), threading.Event()

        def busy(count_tokens: object) -> str:
            begun.set()
            go_on.wait(30)
            return SHORT

        adapter = Adapter(
            spec=owner.loaded.result().spec, tensors=owner.loaded.result().adapter().tensors
        )
        owner.write(busy, adapter, max_new_tokens=1)
        assert begun.wait(30)
        in_flight = people.submit(lambda: next(client.ask(SHORT)))
        site.until(lambda: client.status().waiting == 1)
        cloud.offer(two)
        site.until(lambda: client.status().waiting == 2)  # the new release is tried out
        go_on.set()
        old = in_flight.result(30)
        assert isinstance(old, Leaving)
        assert old.enriched.text == first
        site.until(lambda: in_use(client) == "001/2")
        assert written(client) != first


@contextmanager
def held_owner(site: TinySite) -> Iterator[tuple[AskingClient, ModelOwner]]:
    stop = threading.Event()
    with edge_service(site.settings, site.said.append, stop=stop) as owner:
        assert owner is not None
        with site.client() as client:
            yield client, owner


def test_learning_goes_on_across_a_swap_and_people_get_the_new_personal_part(
    site: TinySite, cloud: FakeCloud
) -> None:
    one = site.release(1)
    with site.running() as client, ThreadPoolExecutor(1) as courier:
        before = follow(site, cloud, client, one)
        plan = tiny_plan(steps=60, round_number=2, release_number=1)
        learning = courier.submit(site.carry, plan, one)
        site.until(lambda: client.status().learning.step > 0)
        follow(site, cloud, client, site.release(2, shared=moved(site.shared(), by=0.05)))
        assert learning.result(60)
        after = follow(site, cloud, client, one)
    assert after != before  # the same release beside what was learned
    assert site.shelf().personal() is not None


def flipped(name: str, data: bytes) -> bytes:
    if name != "adapter_model.safetensors":
        return data
    return data[:-1] + bytes([data[-1] ^ 1])


def test_what_is_not_right_is_refused_once_and_the_old_one_stays(
    site: TinySite, cloud: FakeCloud
) -> None:
    one = release(site, 1)
    with site.running() as client:
        text = follow(site, cloud, client, one)

        def refused(name: str) -> None:
            site.until_said(f"release {name} refused: ReleaseError")
            looks = cloud.looks
            site.until(lambda: cloud.looks > looks + 3)
            assert in_use(client) == "001/1"
            assert written(client) == text
            assert sum(name in line for line in site.said) == 1

        cloud.alter = flipped  # a bit of the tensors on their way
        cloud.offer(release(site, 2))
        refused("001/2")
        cloud.offer(signed(site.shared(), number=3, key=OTHER_KEY))  # another cloud's
        refused("001/3")
        cloud.alter = lambda name, data: data
        cloud.offer(release(site, 4), number=5)  # another number than the manifest's
        refused("001/5")
        cloud.offer(release(site, 6), federation="../..")
        refused("?/6")
        assert not {folder.name for folder in site.shelf().folder.iterdir()} - {
            "current",
            "release-1",
        }
        assert written(client) == text
        assert follow(site, cloud, client, release(site, 7)) != text  # a sound one follows
        details = (site.folder / "failure.txt").read_text()
        assert "ReleaseError: The cloud names a federation that is no number." in details


def test_a_release_for_another_model_is_refused(site: TinySite, cloud: FakeCloud) -> None:
    one, shared = release(site, 1), site.shared()
    foreign = Adapter(
        spec=replace(shared.spec, base_model_fingerprint="0" * 64), tensors=shared.tensors
    )
    with site.running() as client:
        text = follow(site, cloud, client, one)
        cloud.offer(site.release(2, shared=foreign))
        site.until_said("refused: AdapterError")
        assert written(client) == text


def test_a_transfer_that_failed_once_is_tried_again(site: TinySite, cloud: FakeCloud) -> None:
    cloud.alter = flipped
    cloud.offer(release(site, 1))
    with site.running() as client:
        site.until_said("refused")
        cloud.alter = lambda name, data: data
        site.until(lambda: in_use(client) == "001/1")


def test_the_cloud_goes_and_comes_back(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        one, two = release(site, 1), release(site, 2)
        cloud.offer(one)
        with site.running() as client:
            site.until(lambda: in_use(client) == "001/1")
    with site.running() as client:
        assert in_use(client) == "001/1"  # from the shelf
        site.until_said("cloud away (UNAVAILABLE): No cloud service answers at 127.0.0.1")
        text = written(client)
        with fake_cloud(cloud.address) as again:
            again.offer(two)
            site.until(lambda: in_use(client) == "001/2")
            assert written(client) != text
            site.until_said("cloud back")
            # while the cloud is there: that it goes away again may be said too
            assert sum("cloud away" in line for line in site.said) == 1


def test_a_damaged_release_on_the_shelf_is_not_served_but_fetched_anew(
    site: TinySite, cloud: FakeCloud
) -> None:
    one = release(site, 1)
    site.put_in_use(one)
    tensors = site.shelf().folder / "release-1" / "adapter_model.safetensors"
    tensors.write_bytes(flipped(tensors.name, tensors.read_bytes()))
    with site.running() as client:
        assert site.said[0].endswith("on the shelf is refused: ReleaseError")
        assert not client.status().HasField("release_number")
        follow(site, cloud, client, one)
        assert cloud.fetched == ["001/1"]


def test_a_nudge_ends_the_pause(site: TinySite) -> None:
    """Before a rise the newest release shall be there: nobody waits for the next look."""
    looks, stop = list[str](), threading.Event()

    class Away:
        """A cloud that is away, which is all that looking needs."""

        def current(self, site_id: str, *, task: str) -> None:
            looks.append(site_id)
            raise GenerationError("away", status="UNAVAILABLE")

    unhurried = replace(site.settings, edge=replace(site.settings.edge, refresh_s=3600.0))
    nothing: Any = None
    channel: Any = Away()
    watch = ReleaseWatch(
        unhurried,
        hosted_site(unhurried),
        channel=channel,
        key=nothing,
        serving=nothing,
        owner=nothing,
        say=site.said.append,
    )
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(watch.run, stop)
        try:
            site.until(lambda: len(looks) == 1)
            watch.nudge()
            site.until(lambda: len(looks) == 2)
        finally:
            stop.set()
        running.result(30)

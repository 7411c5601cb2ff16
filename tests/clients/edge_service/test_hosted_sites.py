"""One edge service that answers for other sites of its machine, each with its own adapter."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from clients.adapter_shelf import open_shelf
from clients.edge_service.hosted_sites import other_sites
from fl.errors import SettingsError
from fl.settings import load
from fl.site_list import federated_sites, site_folder
from tests.clients.edge_service.openai_at_site import KINDS
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.learning.sites import moved

SHORT = "need a table"


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    plain = tiny_site(tmp_path)
    [other] = [s.id for s in federated_sites(plain.settings) if s.id != SITE][:1]
    return replace(plain, settings=load([*plain.arguments, f"edge.hosts=[{other}]"]))


def put(site: TinySite, site_id: str, number: int, by: float) -> None:
    """A release on a site's shelf, in use."""
    release = site.release(number, shared=moved(site.shared(), by=by))
    shelf = open_shelf(site.settings, site_id, "001")
    shelf.keep_release(release)
    shelf.use(number)


def enriched(client: openai.OpenAI, model: str) -> str:
    answer: Any = client.completions.create(model=model, prompt=SHORT)
    assert answer.choices[0].text == answer.netgpt["enriched_prompt"]
    return str(answer.choices[0].text)


def test_each_site_writes_with_its_own_adapter_and_card(site: TinySite) -> None:
    other = site.settings.edge.hosts[0]
    put(site, SITE, 1, by=0.1)
    put(site, other, 2, by=0.3)
    folder = site_folder(site.settings, other)
    (folder / "place.json").write_text(json.dumps({"place": "Otherham"}))
    with site.running():
        service = site.service
        client = openai.OpenAI(base_url=service.http, api_key=service.token, max_retries=0)
        told = {model.id: getattr(model, "netgpt") for model in client.models.list()}  # noqa: B009
        assert list(told) == [
            *(f"netgpt{kind}" for kind in KINDS),
            *(f"netgpt{kind}@{other}" for kind in KINDS),
            "netgpt-cloud",
        ]
        assert told[f"netgpt@{other}"] == {"site": other, "federation": "001", "release": 2}
        own, theirs = enriched(client, "netgpt-edge"), enriched(client, f"netgpt-edge@{other}")
        assert own != theirs

        # what its own service puts on the shelf is taken up
        put(site, other, 3, by=0.1)
        site.until(lambda: _release(client, other) == 3)
        (folder / "place.json").write_text(
            (site.folder / "place.json").read_text()
            if (site.folder / "place.json").exists()
            else json.dumps({"place": federated_sites(site.settings)[0].place})
        )
        assert enriched(client, "netgpt-edge") == own
        client.close()


def test_a_damaged_shelf_is_left_as_it_is(site: TinySite) -> None:
    """Another service owns it; people go on with what was sound."""
    other = site.settings.edge.hosts[0]
    put(site, SITE, 1, by=0.1)
    put(site, other, 2, by=0.3)
    shelf = open_shelf(site.settings, other, "001")
    with site.running():
        service = site.service
        client = openai.OpenAI(base_url=service.http, api_key=service.token, max_retries=0)
        before = enriched(client, f"netgpt-edge@{other}")
        put(site, other, 3, by=0.5)
        site.until(lambda: _release(client, other) == 3)
        assert enriched(client, f"netgpt-edge@{other}") != before
        for file in (shelf.folder / "release-2").iterdir():
            file.write_bytes(b"torn")
        shelf.use(2)
        site.until_said(f"{other}: a release of federation 001 on the shelf is refused")
        assert _release(client, other) == 3
        client.close()
    assert shelf.current_number() == 2


def _release(client: openai.OpenAI, site_id: str) -> int:
    model: Any = client.models.retrieve(f"netgpt@{site_id}")
    return int(model.netgpt["release"])


@pytest.mark.parametrize("hosts", [["nowhere"], [SITE], ["twice", "twice"]])
def test_hosts_are_other_sites_each_once(tmp_path: Path, hosts: list[str]) -> None:
    site = tiny_site(tmp_path)
    wrong = replace(site.settings, edge=replace(site.settings.edge, hosts=hosts))
    with pytest.raises(SettingsError, match=r"edge\.hosts names each other site once"):
        other_sites(wrong)

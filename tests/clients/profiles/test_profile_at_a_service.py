"""Profiles at a running edge service: they shape what it writes, and nothing undisclosed leaves.

The model's text is replaced by the worst that a model could write: all of the card.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from rich.console import Console

from clients.asking.ask import Leaving
from clients.demo_asking import ask_and_show
from clients.edge_service.asking_client import AskingClient
from clients.edge_service.asking_codec import Ended
from clients.edge_service.site_part import Enrichment, SitePart
from clients.ledger.journal import entries, ledger_file
from clients.profiles.store import profiles_of
from clients.routing.calibration import Calibration, write_calibration
from fl.base_model import base_folder, fingerprint
from fl.errors import GenerationError
from fl.settings import load
from fl.site_list import hosted_site
from tests.clients.edge_service.fake_cloud import fake_cloud
from tests.clients.edge_service.openai_at_site import chat
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.edge_service.wiretap import Wiretap, wiretap
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud

PERSON, NAME, SECRET, PAST = "zed-canary", "Zanzibarine", "Peridotine", "grot"
WISH = "a lilac chair"
FACTS = {"person": NAME, "wish": WISH, "ailment": f"no {SECRET}"}
HISTORY = f'"last": "{PAST}"'
KEPT = (PERSON, NAME, SECRET, PAST)  # never leave, are never logged
CANARIES = (*KEPT, "lilac")
SHORT = f"the same table for {NAME}"  # asks for the history too
MODES = ("edge", "cloud", "split", "synergy", "auto")


@dataclass
class World:
    site: TinySite
    tap: Wiretap
    client: AskingClient

    def make(self) -> None:
        """The profile, with a history of a venue that the place's card no longer shows."""
        profiles_of(self.site.settings, SITE).set(PERSON, FACTS, afresh=True)
        file = self.site.folder / "profiles" / f"{PERSON}.json"
        file.write_text(file.read_text().replace('"last": ""', HISTORY))

    def http(self, method: str, path: str, **more: Any) -> httpx.Response:
        service = self.site.service
        shown = {"authorization": f"Bearer {service.token}"}
        return httpx.request(method, f"{service.http}{path}", headers=shown, **more)

    def held(self, *canaries: str) -> list[str]:
        """Files of the site, and of all that the test writes, that hold one of these."""
        root = self.site.settings.var_dir.parent
        return [
            f"{file}: {canary}"
            for file in root.rglob("*")
            for canary in canaries
            if canary in file.name or (file.is_file() and canary.encode() in file.read_bytes())
        ]


def says_all(self: SitePart, short: str, **told: Any) -> Enrichment:
    found = written(self, short, **told)
    text = f"For {found.card}, {short}."
    return replace(found, enriched=replace(found.enriched, text=text))


written = SitePart.enrich


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    model = make_tiny_cloud(tmp_path_factory.mktemp("cloud"))
    with (
        pytest.MonkeyPatch.context() as patch,
        running_service(model, tmp_path_factory.mktemp("var")) as (_, address),
        wiretap(address) as tap,
    ):
        patch.setattr(SitePart, "enrich", says_all)
        site = tiny_site(
            tmp_path_factory.mktemp("site"),
            f"cloud.model={model}",
            "split.layers=1",
            "asking.answer_tokens=8",
            "profile.tokens=64",
            "asking.redact=false",  # a name is masked though
            "edge.refresh_s=60",
            cloud=tap.address,
        )
        site.put_in_use(site.release())
        (site.folder / "place.json").write_text('{"place": "Elmford", "cafe": "Amber Fox"}')
        unsure = Calibration(
            slope=0.0,
            intercept=-9.0,
            requests=9,
            faithful=1.0,
            base=fingerprint(base_folder(site.settings, "edge")),
        )
        write_calibration(site.folder / "routing.json", unsure)
        with site.running() as client:
            yield World(site, tap, client)


def asked(world: World, mode: str, person: str = PERSON, short: str = SHORT) -> Leaving:
    leaving, *_, ended = world.client.ask(short, mode=mode, person=person)
    assert isinstance(leaving, Leaving)
    assert isinstance(ended, Ended)
    return leaving


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_disclosed_leaves_in_no_mode_and_stands_in_no_record(
    world: World, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.make()
    heard = len(world.tap.up)
    leaving = asked(world, mode)
    sent = bytes(world.tap.up[heard:])
    assert not [canary for canary in KEPT if canary.encode() in sent]
    if mode in ("synergy", "auto", "edge"):
        assert leaving.card == (
            f"place Elmford; cafe Amber Fox; person {NAME}; wish {WISH}; ailment no {SECRET}"
        )
    if mode in ("synergy", "auto"):  # the control: what may leave does, in the same bytes
        assert f"person [person]; wish {WISH}; ailment [person]".encode() in sent
        assert b"the same table for [person]." in sent
    if mode == "cloud":
        assert leaving.disclosed.text == "the same table for [person]"
    kept = ledger_file(world.site.settings, SITE).read_text()
    metrics = world.http("GET", "/../metrics").text
    logs = "\n".join([*world.site.said, caplog.text, metrics, kept])
    assert not [canary for canary in CANARIES if canary in logs]
    outside = world.held(*CANARIES)
    assert all(f"profiles/{PERSON}.json: " in line for line in outside)


def test_the_same_over_http_where_user_names_the_person(world: World) -> None:
    world.make()
    service, heard = world.site.service, len(world.tap.up)
    messages = [
        {"role": "user", "content": f"I am {NAME}"},
        {"role": "assistant", "content": f"Hello {NAME}."},
        {"role": "user", "content": SHORT},
    ]
    with openai.OpenAI(base_url=service.http, api_key=service.token, max_retries=0) as client:
        whole = chat(client, user=PERSON)
        edge = chat(client, "netgpt-edge", user=PERSON)
        past = chat(client, "netgpt-cloud", user=PERSON, messages=messages)
        plain = chat(client, messages=messages)
        for model in ("netgpt", "netgpt-edge", "netgpt-cloud"):
            with pytest.raises(
                openai.BadRequestError, match="no profile of that person"
            ) as unknown:
                chat(client, model, user=f"{PERSON}-2")
            assert PERSON not in str(unknown.value)
    assert WISH in whole.netgpt["disclosed_prompt"]
    assert NAME in whole.netgpt["enriched_prompt"]
    assert NAME in edge.choices[0].message.content
    assert past.netgpt["disclosed_prompt"] == "the same table for [person]"
    assert WISH not in plain.netgpt["enriched_prompt"]
    sent = bytes(world.tap.up[heard:])
    # who asks as nobody has no name that is known, so the short prompt's stands in that one
    assert sent.count(NAME.encode()) == plain.netgpt["disclosed_prompt"].count(NAME) == 1
    assert not [canary for canary in (PERSON, SECRET, PAST) if canary.encode() in sent]


def test_show_edit_export_and_erase_over_http(world: World) -> None:
    store = profiles_of(world.site.settings, SITE)
    path = "/profiles/zoe"
    assert world.http("GET", path).status_code == 404
    assert world.http("PATCH", path, json={"facts": {"wish": "x"}}).status_code == 404
    made = world.http("PUT", path, json={"facts": {"person": "Zoe", "wish": "no ice"}})
    assert made.status_code == 200
    edited = world.http("PATCH", f"{path}?site={SITE}", json={"facts": {"wish": None, "diet": "a"}})
    shown = world.http("GET", f"{path}@{SITE}").json()
    assert edited.json() == shown
    assert (shown["id"], shown["object"], shown["site"]) == ("zoe", "profile", SITE)
    assert shown["facts"] == {"person": "Zoe", "diet": "a"} == store.read("zoe").facts
    exported = world.http("GET", f"{path}/export").json()
    assert exported == {
        "person": "zoe",
        "since": shown["since"],
        "facts": {"person": "Zoe", "diet": "a"},
        "history": {"last": "", "counts": {}},
    }
    assert "zoe" in [one["id"] for one in world.http("GET", "/profiles").json()["data"]]
    gone = world.http("DELETE", path).json()
    assert (gone["deleted"], gone["object"]) == (True, "profile.deleted")
    assert world.http("DELETE", path).status_code == 404
    assert "zoe" not in store.people()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/profiles/zoe", {"facts": {"wish": "a;b"}}, 400),
        ("PUT", "/profiles/zoe", {"facts": {"wish": 3}}, 400),
        ("PUT", "/profiles/zoe", {"facts": ["wish"]}, 400),
        ("PUT", "/profiles/zoe", [1], 400),
        ("PUT", "/profiles/Zoe", {"facts": {"wish": "a"}}, 400),
        ("GET", "/profiles/..%2Fedge", None, 404),
        ("GET", "/profiles/zoe@nowhere", None, 404),
        ("GET", "/profiles?site=nowhere", None, 404),
        ("POST", "/profiles/zoe", {}, 405),
    ],
)
def test_what_is_refused_over_http(
    world: World, method: str, path: str, body: object, status: int
) -> None:
    found = world.http(method, path, **({} if body is None else {"json": body}))
    assert found.status_code == status
    error = found.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert not any(text in error["message"] for text in ("a;b", "nowhere", "Zoe"))
    assert "zoe" not in profiles_of(world.site.settings, SITE).people()


def test_profiles_want_the_key(world: World) -> None:
    url = f"{world.site.service.http}/profiles/{PERSON}"
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert httpx.request(method, url, json={}).status_code == 401


def test_an_erased_profile_leaves_no_byte_and_no_trace_in_the_next_prompt(world: World) -> None:
    world.make()
    told = asked(world, "synergy", short="same again")
    assert all(text in told.enriched.text for text in (NAME, WISH, SECRET))
    aside = world.site.folder / "profiles" / f".{PERSON}.json-k1ll3d"
    aside.write_text(f"{NAME} {SECRET}")
    assert world.http("DELETE", f"/profiles/{PERSON}").status_code == 200

    assert world.held(*CANARIES) == []
    before = len(list(entries(ledger_file(world.site.settings, SITE))))
    with pytest.raises(GenerationError, match="no profile of that person") as unknown:
        asked(world, "synergy", short="same again")
    assert unknown.value.status == "INVALID_ARGUMENT"
    assert PERSON not in str(unknown.value)
    next_one = asked(world, "synergy", person="", short="same again")
    profiles_of(world.site.settings, SITE).set(PERSON, {"diet": "no nuts"})
    anew = asked(world, "synergy", short="same again")
    profiles_of(world.site.settings, SITE).erase(PERSON)
    for leaving in (next_one, anew):
        whole = f"{leaving.card} {leaving.enriched.text} {leaving.disclosed.text}"
        assert not [canary for canary in CANARIES if canary in whole]
    assert world.held(*CANARIES) == []
    assert len(list(entries(ledger_file(world.site.settings, SITE)))) == before + 2
    assert not [c for c in CANARIES if c in "\n".join(world.site.said)]


def test_the_history_is_told_to_who_asks_for_it(world: World) -> None:
    store = profiles_of(world.site.settings, SITE)
    profile = store.set("mia", {"person": "Mia"})
    store.add_to_history(profile, "cafe")
    for short, card in (("same again", "; person Mia; last cafe"), ("a table", "; person Mia")):
        assert asked(world, "edge", person="mia", short=short).card.endswith(card)
    store.erase("mia")


def test_the_verb_asks_as_a_person_with_and_without_a_service(world: World, tmp_path: Path) -> None:
    world.make()
    settings = load([*world.site.arguments, "mode=edge"])
    site = hosted_site(settings)
    console = Console(file=StringIO(), width=400)
    ask_and_show(settings, [SHORT], [site], console, person=PERSON)
    assert f"person {NAME}; wish {WISH}" in console.file.getvalue()  # type: ignore[attr-defined]
    with fake_cloud() as cloud:
        alone = tiny_site(tmp_path, f"service.address={cloud.address}", "mode=cloud")
        alone.put_in_use(alone.release())
        profiles_of(alone.settings, SITE).set(PERSON, FACTS)
        console = Console(file=StringIO(), width=400)
        ask_and_show(alone.settings, [SHORT], [site], console, person=PERSON)
        assert list(cloud.prompts) == ["the same table for [person]"]
        with pytest.raises(GenerationError, match="no profile of that person"):
            ask_and_show(alone.settings, [SHORT], [site], console, person="nobody")

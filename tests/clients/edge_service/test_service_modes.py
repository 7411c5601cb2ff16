"""Every mode through the running edge service, against the real cloud service or a fake one."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import openai
import pytest
from rich.console import Console

from clients.asking.ask import Leaving
from clients.asking.cloud_channel import CloudChannel
from clients.demo_asking import ask_and_show
from clients.edge_service.asking_client import AskingClient
from clients.edge_service.asking_codec import Ended
from clients.ledger.entry import Entry
from clients.ledger.journal import entries, ledger_file
from clients.routing.calibration import Calibration, write_calibration
from clients.workflow.trace_file import trace_file, traces
from fl.base_model import base_folder, fingerprint
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.settings import load
from fl.site_list import hosted_site
from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.openai_at_site import asked, chat, streamed
from tests.clients.edge_service.tiny_service import SHORT, SITE, TinySite, tiny_site
from tests.clients.edge_service.wiretap import Wiretap, wiretap
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud
from tests.walks.tiny_federation import CANARY

GUEST = "Quincewood"  # on the card only


@dataclass
class World:
    site: TinySite
    tap: Wiretap
    client: AskingClient
    cloud: str  # its address, past the tap


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
            "split.layers=1",
            "asking.answer_tokens=8",
            "edge.refresh_s=60",  # what is asked about releases is not what is asked here
            cloud=tap.address,
        )
        site.put_in_use(site.release(3))
        (site.folder / "place.json").write_text(f'{{"place": "Elmford", "guest": "{GUEST}"}}')
        base = fingerprint(base_folder(site.settings, "edge"))
        sure = Calibration(slope=0.0, intercept=9.0, requests=9, faithful=1.0, base=base)
        write_calibration(site.folder / "routing.json", sure)
        with site.running() as client:
            yield World(site, tap, client, address)


@dataclass
class Played:
    leaving: Leaving
    text: str
    ended: Ended
    entry: Entry
    up: bytes  # what the cloud's machine got meanwhile


def lines(site: TinySite) -> list[Entry]:
    return list(entries(ledger_file(site.settings, SITE)))


def played(world: World, mode: str) -> Played:
    before, heard = len(lines(world.site)), len(world.tap.up)
    leaving, *pieces, ended = world.client.ask(SHORT, mode=mode)
    assert isinstance(leaving, Leaving)
    assert isinstance(ended, Ended)
    [entry] = lines(world.site)[before:]
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextPiece))
    return Played(leaving, text, ended, entry, bytes(world.tap.up[heard:]))


def cloud_says(world: World, prompt: str) -> str:
    request = GenerationRequest(
        request_id="r",
        site_id="elm",
        prompt=prompt,
        max_new_tokens=8,
        seed=world.site.settings.seed,
    )
    with CloudChannel(world.cloud, 30) as channel, channel.generate(request) as generation:
        return next(event.text for event in generation if isinstance(event, Reply))


@pytest.mark.parametrize("mode", ["edge", "cloud", "split", "synergy", "auto", ""])
def test_nothing_leaves_but_what_is_shown_and_the_ledger_says_what_happened(
    world: World, mode: str
) -> None:
    found = played(world, mode)
    answers = {"auto": "edge", "": "synergy"}.get(mode, mode)
    assert found.ended.mode == found.entry.mode == answers
    disclosed = found.leaving.disclosed.text
    if answers in ("cloud", "synergy"):
        assert disclosed.encode() in found.up
        assert found.text == cloud_says(world, disclosed)
    else:
        assert disclosed == ""
    assert (CANARY.encode() in found.up) is (CANARY in disclosed)
    assert (disclosed == SHORT) is (answers == "cloud")
    assert GUEST.encode() not in found.up
    assert (GUEST in found.leaving.card) is (answers in ("edge", "synergy"))

    entry = found.entry
    *_, trace = traces(trace_file(world.site.settings, SITE))
    assert (trace.request_id, trace.mode) == (entry.request_id, entry.mode)
    assert {span.outcome for span in trace.steps} <= {"ok", "skipped"}
    assert len(trace.steps) == 7
    assert (entry.wanted, entry.site_id) == (mode or "synergy", SITE)
    assert entry.outcome in ("stop", "length")
    assert entry.counted == "socket"
    assert entry.private_characters == len(disclosed)
    assert entry.states_bytes == found.ended.states_bytes
    assert (entry.states_bytes > 0) is (answers == "split")
    if answers == "edge":
        assert (entry.bytes_up, entry.bytes_down, found.ended.bytes_up) == (0, 0, 0)
    else:
        assert entry.bytes_up > found.ended.bytes_up > 0  # framing on top of messages
        assert entry.bytes_down > found.ended.bytes_down > 0
        assert entry.bytes_up <= len(found.up)
    used = answers in ("edge", "synergy")
    assert (entry.federation, entry.release) == (("001", 3) if used else ("", 0))
    assert entry.total_seconds == pytest.approx(found.ended.seconds)
    assert (entry.first_seconds > 0) is bool(found.text)
    assert entry.site_cpu_seconds > 0
    text = ledger_file(world.site.settings, SITE).read_text()
    text += trace_file(world.site.settings, SITE).read_text()
    assert not any(private in text for private in (CANARY, GUEST))


def test_split_answers_as_the_whole_model_would(world: World) -> None:
    assert played(world, "split").text == played(world, "cloud").text


def test_split_requests_at_the_same_time_do_not_mix(world: World) -> None:
    def split(short: str) -> str:
        with world.site.client() as client:
            events = list(client.ask(short, mode="split"))
        return "".join(event.text for event in events if isinstance(event, TextPiece))

    prompts = ["a table for two", "a taxi to the station", "food tonight"] * 2
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(split, prompts)) == [cloud_says(world, prompt) for prompt in prompts]


def test_an_unknown_mode_is_refused_and_not_repeated(world: World) -> None:
    before = len(lines(world.site))
    with pytest.raises(GenerationError, match="edge, cloud, split, synergy, auto") as refused:
        list(world.client.ask(SHORT, mode=CANARY))
    assert refused.value.status == "INVALID_ARGUMENT"
    assert CANARY not in str(refused.value)
    assert len(lines(world.site)) == before


def test_each_model_of_the_http_api_is_a_mode(world: World) -> None:
    service = world.site.service
    expected = {"-alone": "edge", "-auto": "edge", "-split": "split", "-synergy": "synergy"}
    with openai.OpenAI(base_url=service.http, api_key=service.token, max_retries=0) as client:
        for kind, mode in {**expected, "": "synergy", "-cloud": "cloud"}.items():
            before = len(lines(world.site))
            whole: Any = chat(client, f"netgpt{kind}", temperature=0)
            text, told = streamed(chat(client, f"netgpt{kind}", temperature=0, stream=True))
            one, other = lines(world.site)[before:]
            assert whole.choices[0].message.content == text
            assert told["mode"] == one.mode == other.mode == mode
            assert (told["disclosed_prompt"] == "") is (mode in ("edge", "split"))
            assert (told["states_bytes"] > 0) is (mode == "split")
            assert told["states_bytes"] == other.states_bytes
            assert ("enriched_prompt" in told) is (mode in ("edge", "synergy"))
            assert (told["bytes_up"] > 0) is (mode != "edge")
        before = len(lines(world.site))
        chat(client, "netgpt-edge")
        assert len(lines(world.site)) == before


@pytest.mark.parametrize("mode", ["edge", "split"])
def test_the_verb_asks_a_living_service_in_its_own_mode(world: World, mode: str) -> None:
    settings = load([*world.site.arguments, f"mode={mode}"])
    console = Console(file=StringIO(), width=200)
    ask_and_show(settings, ["a table"], [hosted_site(settings)], console)
    [left] = [
        line
        for line in console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        if line.startswith("    left")
    ]
    says = {"edge": "nothing; the site answered by itself", "split": "bytes of hidden states"}
    assert says[mode] in left
    assert lines(world.site)[-1].wanted == mode


def test_a_site_without_a_release_can_still_ask_the_cloud(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        with site.running() as client:
            leaving, *_, ended = client.ask(SHORT, mode="cloud")
            assert isinstance(leaving, Leaving)
            assert isinstance(ended, Ended)
            with pytest.raises(GenerationError, match="No release has reached"):
                list(client.ask(SHORT, mode="edge"))
    assert list(cloud.prompts) == [SHORT] == [leaving.disclosed.text]
    assert [(e.mode, e.outcome) for e in lines(site)] == [
        ("cloud", "stop"),
        ("edge", "FAILED_PRECONDITION"),
    ]


def test_auto_is_calibrated_on_the_books_own_marks_and_needs_no_cloud(tmp_path: Path) -> None:
    site = tiny_site(tmp_path)  # nobody is at the cloud's address
    site.put_in_use(site.release())
    with site.running() as client:
        with pytest.raises(GenerationError, match="needs held-out records with marks"):
            list(client.ask(SHORT, mode="auto"))
        book = tmp_path / f"{SITE}.jsonl"
        lines_ = [json.loads(line) for line in book.read_text().splitlines()]
        marked = [
            json.dumps(line | {"prompt": f"{number} {line['prompt']}", "marks": {"fact": ["rain"]}})
            for number in range(4)
            for line in lines_
        ]
        book.write_text("\n".join(marked) + "\n")
        *_, ended = client.ask(SHORT, mode="auto")
    assert isinstance(ended, Ended)
    assert ended.mode == "edge"
    kept = json.loads((site.folder / "routing.json").read_text())
    assert kept["requests"] == 4 * sum(line["split"] == "val" for line in lines_)
    assert CANARY not in (site.folder / "routing.json").read_text()
    assert [(e.wanted, e.mode, e.outcome) for e in lines(site)] == [
        ("auto", "edge", "FAILED_PRECONDITION"),
        ("auto", "edge", "length"),
    ]


def test_requests_that_overlap_are_counted_by_their_messages(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        with site.running(), site.client() as one, site.client() as other:
            list(one.ask("first", mode="cloud"))
            cloud.hold = lambda: both.wait(30)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda ask: list(ask(SHORT, mode="cloud")), (one.ask, other.ask)))
            cloud.hold = lambda: None
            list(one.ask("last", mode="cloud"))
    found = lines(site)
    assert [entry.counted for entry in found] == ["socket", "messages", "messages", "socket"]
    for entry, request in zip(found[1:3], cloud.requests[1:3], strict=True):
        assert entry.bytes_up == request.ByteSize()  # both are alike
    assert found[0].bytes_up > cloud.requests[0].ByteSize()
    assert found[3].bytes_up > cloud.requests[3].ByteSize()


def test_who_hangs_up_leaves_a_line_and_nothing_of_the_text(tmp_path: Path) -> None:
    go_on = threading.Event()
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        with asked(site) as client:
            cloud.hold = lambda: go_on.wait(30)
            with site.client() as asking:
                events = asking.ask(SHORT, mode="cloud")
                next(events)
                site.until(lambda: cloud.prompts)
                events.close()  # type: ignore[attr-defined]
                site.until(lambda: lines(site))
            go_on.set()
            assert chat(client, "netgpt").choices[0].message.content == "".join(PIECES)
    left, whole = lines(site)
    assert (left.outcome, left.mode, left.private_characters) == ("cancelled", "cloud", len(SHORT))
    assert left.bytes_up > 0
    assert (whole.outcome, whole.wanted) == ("stop", "synergy")
    assert CANARY not in ledger_file(site.settings, SITE).read_text()

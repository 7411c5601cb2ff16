"""The site's OpenAI-compatible API, asked by the official client over real HTTP."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from clients.asking.disclosure import disclose
from clients.edge_service.edge_file import edge_file
from fl.errors import SettingsError
from fl.network.rules import Rule, Rules
from fl.network.state_file import FILE, NetworkState, network_folder, publish_state
from tests.clients.edge_service.fake_cloud import PIECES, FakeCloud, fake_cloud
from tests.clients.edge_service.openai_at_site import KINDS, SHORT, asked, chat, streamed
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.learning.sites import moved

ANSWER = "".join(PIECES)
MODELS = [*(f"netgpt{kind}" for kind in KINDS), "netgpt-cloud"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[FakeCloud]:
    with fake_cloud() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cloud: FakeCloud) -> TinySite:
    site = tiny_site(tmp_path_factory.mktemp("http"), cloud=cloud.address)
    site.put_in_use(site.release(3))
    (site.folder / "place.json").write_text('{"place": "Elmford", "guest": "Quincewood"}')
    return site


@pytest.fixture(scope="module")
def client(site: TinySite) -> Iterator[openai.OpenAI]:
    with asked(site) as client:
        yield client


def test_netgpt_enriches_and_forwards(
    client: openai.OpenAI, cloud: FakeCloud, site: TinySite
) -> None:
    whole = chat(client, temperature=0.3, max_tokens=9, seed=4, stop=["END"])
    sent = cloud.prompts[-1]
    text, told = streamed(chat(client, stream=True, seed=4))

    assert whole.choices[0].message.content == text == ANSWER
    for found in (whole.netgpt, told):
        assert found["enriched_prompt"] != SHORT
        assert found["disclosed_prompt"] == sent
        assert disclose(found["enriched_prompt"], site.settings.asking).text == sent
        assert (found["site"], found["federation"], found["release"]) == (SITE, "001", 3)
        assert found["fell_back"] is False
        assert found["seconds"] > 0
        assert found["bytes_down"] > 0
    asked_for = cloud.requests[-2]
    assert whole.netgpt["bytes_up"] == asked_for.ByteSize()
    assert (asked_for.max_new_tokens, asked_for.seed, list(asked_for.stop)) == (9, 4, ["END"])
    assert asked_for.temperature == pytest.approx(0.3)
    assert not asked_for.history
    assert SHORT not in str(asked_for)


def test_netgpt_edge_stays_here(client: openai.OpenAI, cloud: FakeCloud) -> None:
    before = len(cloud.prompts)
    enriched = chat(client).netgpt["enriched_prompt"]
    alone = chat(client, "netgpt-edge", temperature=2)
    text, _ = streamed(chat(client, "netgpt-edge", stream=True))
    short = chat(client, "netgpt-edge", max_tokens=2)
    stop = enriched[3:6]
    cut = client.completions.create(model="netgpt-edge", prompt=SHORT, stop=stop)

    assert len(cloud.prompts) == before + 1
    assert alone.choices[0].message.content == text == enriched == alone.netgpt["enriched_prompt"]
    assert alone.netgpt["bytes_up"] == 0
    assert alone.usage.prompt_tokens > 5
    assert enriched.startswith(short.choices[0].message.content)
    assert (short.usage.completion_tokens, short.choices[0].finish_reason) == (2, "length")
    assert cut.choices[0].text == enriched[: enriched.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_netgpt_cloud_passes_through_the_disclosure_step(
    client: openai.OpenAI, cloud: FakeCloud
) -> None:
    messages = [
        {"role": "user", "content": "call me at anna@example.org"},
        {"role": "assistant", "content": "I shall."},
        {"role": "user", "content": "or 030 1234567 89, please"},
    ]
    answer = chat(client, "netgpt-cloud", messages=messages)
    request = cloud.requests[-1]

    assert answer.choices[0].message.content == ANSWER
    assert "enriched_prompt" not in answer.netgpt
    assert answer.netgpt["disclosed_prompt"] == request.prompt
    assert answer.netgpt["bytes_up"] == request.ByteSize()
    assert "example.org" not in str(request)
    assert "1234567" not in str(request)
    assert [turn.role for turn in request.history] == ["user", "assistant"]
    plain = client.completions.create(model="netgpt-cloud", prompt="go on")
    assert plain.choices[0].text == ANSWER
    assert cloud.requests[-1].plain


def test_of_a_conversation_only_the_last_message_is_enriched(
    client: openai.OpenAI, cloud: FakeCloud
) -> None:
    alone = chat(client)
    earlier = [{"role": "user", "content": "my secret"}, {"role": "assistant", "content": "ok"}]
    later = chat(client, messages=[*earlier, {"role": "user", "content": SHORT}])
    assert later.netgpt["enriched_prompt"] == alone.netgpt["enriched_prompt"]
    assert not cloud.requests[-1].history


def test_models_keys_errors_and_figures(client: openai.OpenAI, site: TinySite) -> None:
    models = client.models.list().data
    assert [model.id for model in models] == MODELS
    told = [getattr(model, "netgpt") for model in models]  # noqa: B009 - an extra field
    assert told[0] == told[1] == {"site": SITE, "federation": "001", "release": 3}

    with pytest.raises(openai.NotFoundError):
        chat(client, "netgpt@nowhere")
    with pytest.raises(openai.BadRequestError, match="1 to 4000"):
        chat(client, messages=[{"role": "user", "content": SHORT * 500}])
    for key in ("", "wrong"):
        with pytest.raises(openai.AuthenticationError):
            chat(client.with_options(api_key=key or "x"))
    url = site.service.http.removesuffix("/v1")
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/health").status_code == 200
    shown = {"authorization": f"Bearer {site.service.token}"}
    figures = httpx.get(f"{url}/metrics", headers=shown).text
    assert 'netgpt_edge_requests_total{end="stop"}' in figures
    assert 'netgpt_edge_refusals_total{reason="invalid_argument"} 1.0' in figures
    assert "netgpt_edge_in_flight 0.0" in figures
    assert "netgpt_edge_waiting 0.0" in figures
    for text in ("zanzibar", "Quincewood"):  # of the short prompt; of the card
        assert text not in figures
        assert not any(text in line for line in site.said)


def test_a_site_that_is_denied_the_cloud_has_no_way_round(
    client: openai.OpenAI, cloud: FakeCloud, site: TinySite
) -> None:
    folder, before = network_folder(site.settings), len(cloud.requests)
    deny = Rule(kind="deny", site=SITE, value=1.0)
    publish_state(folder, NetworkState(now=Rules(rules=(deny,))))
    try:
        for model in ("netgpt-cloud", "netgpt-split"):
            with pytest.raises(openai.PermissionDeniedError, match="filter"):
                chat(client, model)
        listed = [model.id for model in client.models.list().data]
        own = chat(client)
    finally:
        (folder / FILE).unlink()
    assert listed == [name for name in MODELS if name not in ("netgpt-cloud", "netgpt-split")]
    assert own.netgpt["mode"] == "edge"
    assert len(cloud.requests) == before
    assert [model.id for model in client.models.list().data] == MODELS


def test_who_leaves_gives_up_the_site_and_the_cloud(
    client: openai.OpenAI, cloud: FakeCloud
) -> None:
    held = threading.Event()
    cloud.hold, cloud.ended = lambda: held.wait(30), threading.Event()
    try:
        stream = chat(client, stream=True, timeout=httpx.Timeout(30, read=1.0))
        with pytest.raises(openai.APITimeoutError):
            streamed(stream)
        stream.close()
        assert cloud.ended.wait(20)
    finally:
        held.set()
        cloud.hold = lambda: None
    assert chat(client).choices[0].message.content == ANSWER


def test_a_newer_release_is_shown_and_used_from_the_next_call_on(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release(3))
        with asked(site) as client:

            def shown() -> int:
                model: Any = client.models.retrieve("netgpt")
                return int(model.netgpt["release"])

            assert shown() == 3
            before = chat(client)
            cloud.offer(site.release(4, shared=moved(site.shared(), by=0.3)))
            site.until(lambda: shown() == 4)
            after = chat(client)
    assert (before.netgpt["release"], after.netgpt["release"]) == (3, 4)
    assert before.netgpt["enriched_prompt"] != after.netgpt["enriched_prompt"]


def test_keys_of_a_file_and_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text("anna anna-has-a-long-key 1\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETGPT_EDGE_API_KEYS", "ben ben-has-a-long-key-too")
    site = tiny_site(tmp_path, f"edge.api_keys={file}")
    with asked(site) as client:
        assert client.models.list()
        anna = client.with_options(api_key="anna-has-a-long-key")
        assert anna.models.list()
        with pytest.raises(openai.RateLimitError) as refused:
            anna.models.list()
        assert int(refused.value.response.headers["retry-after"]) > 1
        assert client.with_options(api_key="ben-has-a-long-key-too").models.list()


def test_beyond_this_machine_it_wants_keys_and_tls(tmp_path: Path) -> None:
    """The token of edge.json, which only the service's own account can read, is not enough."""
    site = tiny_site(tmp_path, "edge.http=0.0.0.0:0")
    with pytest.raises(SettingsError, match=r"edge\.http .*API keys .*TLS"), site.running():
        pass


def test_before_the_first_release(tmp_path: Path) -> None:
    site = tiny_site(tmp_path)
    with asked(site) as client:
        with pytest.raises(openai.BadRequestError, match="No release has reached"):
            chat(client)
        [first, *_] = client.models.list().data
        assert getattr(first, "netgpt")["release"] is None  # noqa: B009
        with pytest.raises(openai.InternalServerError):
            chat(client, "netgpt-cloud")


def test_no_http_when_it_is_not_wanted(tmp_path: Path) -> None:
    site = tiny_site(tmp_path, "edge.http=none")
    with site.running():
        assert site.service.http == ""
    assert not edge_file(site.settings, SITE).exists()

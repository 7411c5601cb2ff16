"""The OpenAI-compatible API of the real service, asked by the official `openai` client."""

import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import openai
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from fl.generation import GenerationRequest, Reply
from fl.wire.codec import events_from_wire, request_to_wire
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.keys import make_cloud_keys, make_site_keys
from tests.running_service import running_service

PROMPT = "a table for two"
ANNA, BERT = "sk-anna-0123456789", "sk-bert-0123456789"


@dataclass(frozen=True)
class Running:
    """The service in a process of its own."""

    process: "subprocess.Popen[str]"
    grpc: str  # host:port
    url: str  # of HTTP, without /v1

    def client(self, key: str = "none", **more: object) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **more
        )  # type: ignore[arg-type]


def started(process: "subprocess.Popen[str]", address: str, var: Path) -> Running:
    return Running(process, address, (var / "demo-0" / "service.http").read_text())


@pytest.fixture(scope="module")
def service(tiny_cloud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    var = tmp_path_factory.mktemp("http")
    with running_service(tiny_cloud, var) as (process, address):
        yield started(process, address, var)


def over_grpc(service: Running, text: str, new_tokens: int) -> Reply:
    """The same question to the other port."""
    request = GenerationRequest(request_id="r", site_id="s", prompt=text, max_new_tokens=new_tokens)
    with grpc.insecure_channel(service.grpc) as channel:
        stub = pb_grpc.GenerationServiceStub(channel)
        events = list(events_from_wire(stub.Generate(request_to_wire(request), timeout=60)))
    assert isinstance(events[-1], Reply)
    return events[-1]


def test_both_ports_give_the_same_answer(service: Running) -> None:
    client = service.client()
    [model] = client.models.list().data
    assert client.models.retrieve(model.id) == model
    wanted = over_grpc(service, PROMPT, 12)

    messages = [{"role": "user", "content": PROMPT}]
    whole = client.chat.completions.create(
        model=model.id, messages=messages, max_tokens=12, temperature=0
    )  # type: ignore[call-overload]
    chunks = list(
        client.chat.completions.create(
            model=model.id,
            messages=messages,
            max_completion_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )  # type: ignore[call-overload]
    )
    plain = client.completions.create(
        model=model.id, prompt=f"Request: {PROMPT}\nAnswer:", max_tokens=12, temperature=0
    )

    choice = whole.choices[0]
    assert choice.message.content == wanted.text
    assert choice.finish_reason == wanted.finish_reason == "length"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (
        wanted.prompt_tokens,
        wanted.completion_tokens,
    )
    assert whole.netgpt == {"release": "base"}
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == wanted.text
    assert chunks[-1].usage == whole.usage
    assert plain.choices[0].text.lstrip() == wanted.text


def test_errors_are_what_the_client_knows(service: Running) -> None:
    client = service.client()
    user = [{"role": "user", "content": PROMPT}]
    for wrong, error in (
        ({"model": "gpt-4", "messages": user}, openai.NotFoundError),
        (
            {"model": "netgpt-cloud", "messages": user, "max_tokens": 100_000},
            openai.BadRequestError,
        ),
        ({"model": "netgpt-cloud", "messages": user, "n": 3}, openai.BadRequestError),
    ):
        with pytest.raises(error) as refused:
            client.chat.completions.create(**wrong)  # type: ignore[call-overload]
        assert PROMPT not in str(refused.value)


def test_reflection_lists_the_services(service: Running) -> None:
    with grpc.insecure_channel(service.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {
            "netgpt.v1.GenerationService",
            "netgpt.v1.ReleaseService",
            "grpc.health.v1.Health",
        } <= set(database.get_services())
        file = database.FindFileContainingSymbol("netgpt.v1.GenerationService")
        assert "GenerateRequest" in [message.name for message in file.message_type]


def test_figures_count_both_ports(tiny_cloud: Path, tmp_path: Path) -> None:
    with running_service(tiny_cloud, tmp_path) as (process, address):
        service = started(process, address, tmp_path)
        over_grpc(service, PROMPT, 5)
        service.client().completions.create(model="netgpt-cloud", prompt=PROMPT, max_tokens=7)
        with pytest.raises(openai.BadRequestError):
            service.client().completions.create(
                model="netgpt-cloud", prompt=PROMPT, max_tokens=100_000
            )
        figures = httpx.get(f"{service.url}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in figures.splitlines() if line[0] != "#")
    assert float(lines['netgpt_cloud_tokens_total{kind="completion"}']) == 12
    assert float(lines['netgpt_cloud_refusals_total{reason="invalid_argument"}']) == 1
    assert float(lines["netgpt_cloud_time_to_first_token_seconds_count"]) == 2
    for name in ("in_flight", "running", "waiting", "waiting_tokens", "cache_tokens"):
        assert float(lines[f"netgpt_cloud_{name}"]) == 0
    assert float(lines["netgpt_cloud_cache_limit_tokens"]) == 8192
    assert PROMPT not in figures


def test_keys_rates_and_a_full_queue(tiny_cloud: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"anna {ANNA}\nbert {BERT} 2\n")
    file.chmod(0o600)
    more = (f"service.api_keys={file}", "service.queue=2", "engine.batch=1")
    with running_service(tiny_cloud, tmp_path, *more) as (process, address):
        service = started(process, address, tmp_path)
        with pytest.raises(openai.AuthenticationError):
            service.client("wrong").models.list()
        bert = service.client(BERT)
        assert len([bert.models.list(), bert.models.list()]) == 2
        with pytest.raises(openai.RateLimitError, match="2 requests a minute"):
            bert.models.list()

        def ask(number: int) -> str | openai.RateLimitError:
            try:
                service.client(ANNA).completions.create(
                    model="netgpt-cloud", prompt=f"{PROMPT} {number}", max_tokens=128
                )
            except openai.RateLimitError as busy:
                return busy
            return "answered"

        with ThreadPoolExecutor(30) as pool:
            told = list(pool.map(ask, range(30)))
        busy = [one for one in told if isinstance(one, openai.RateLimitError)]
        assert "answered" in told
        assert busy
        assert "service.queue allows 2" in str(busy[0])
        assert busy[0].response.headers["retry-after"] == "1"
        assert ask(0) == "answered"  # room again

        with grpc.insecure_channel(address) as channel:  # the other port wants a key too
            generate = pb_grpc.GenerationServiceStub(channel).Generate
            message = request_to_wire(
                GenerationRequest(request_id="r", site_id="s", prompt=PROMPT, max_new_tokens=1)
            )
            with pytest.raises(grpc.RpcError) as stranger:
                list(generate(message, timeout=60))
            assert stranger.value.code() is grpc.StatusCode.UNAUTHENTICATED
            shown = (("authorization", f"Bearer {ANNA}"),)
            assert list(generate(message, timeout=60, metadata=shown))


def test_a_drain_lets_streams_end_and_refuses_the_next(tiny_cloud: Path, tmp_path: Path) -> None:
    more = ("service.drain_s=60", "engine.batch=1")  # one after the other: they last seconds
    with running_service(tiny_cloud, tmp_path, *more) as (process, address):
        service = started(process, address, tmp_path)
        client = service.client()
        streams = [
            client.completions.create(
                model="netgpt-cloud", prompt=PROMPT, max_tokens=128, stream=True
            )
            for _ in range(30)
        ]
        process.send_signal(signal.SIGTERM)
        while (tmp_path / "demo-0" / "service.http").exists():
            threading.Event().wait(0.005)
        with pytest.raises(openai.InternalServerError) as refused:
            client.completions.create(model="netgpt-cloud", prompt=PROMPT)
        assert refused.value.status_code == 503
        assert httpx.get(f"{service.url}/health").status_code == 503

        ended = [list(stream)[-1].choices[0].finish_reason for stream in streams]

        assert set(ended) <= {"length", "stop"}
        assert process.wait(20) == 0


def test_a_second_signal_ends_at_once(tiny_cloud: Path, tmp_path: Path) -> None:
    more = ("service.drain_s=600", "service.queue=600", "engine.batch=1")
    with running_service(tiny_cloud, tmp_path, *more) as (process, address):
        service = started(process, address, tmp_path)
        streams = [
            service.client().completions.create(
                model="netgpt-cloud", prompt=PROMPT, max_tokens=128, stream=True
            )
            for _ in range(60)
        ]
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        for stream in streams:
            stream.close()


def test_beyond_this_machine_tls_and_certificates(tiny_cloud: Path, tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=["127.0.0.1"])
    bundle = make_site_keys(keys, "oslo")
    key_file = tmp_path / "api"
    key_file.write_text(f"anna {ANNA}\n")
    key_file.chmod(0o600)
    more = (f"keys={keys}", f"service.api_keys={key_file}", "service.http=0.0.0.0:0")
    for mutual in ("false", "true"):
        with running_service(
            tiny_cloud, tmp_path, *more, f"service.client_certificates={mutual}"
        ) as (process, address):
            url = started(process, address, tmp_path).url.replace("0.0.0.0", "127.0.0.1")
            assert url.startswith("https://")
            service = Running(process, address, url)
            plain, known = (ssl.create_default_context(cafile=keys / "ca.crt") for _ in range(2))
            known.load_cert_chain(bundle / "site.crt", bundle / "site.key")
            with httpx.Client(verify=known) as http:
                assert service.client(ANNA, http_client=http).models.list().data
            with httpx.Client(verify=plain) as http:
                client = service.client(ANNA, http_client=http)
                if mutual == "true":
                    with pytest.raises(openai.APIConnectionError):
                        client.models.list()
                else:
                    assert client.models.list().data
                    assert http.get(f"{url}/metrics").status_code == 401
                    assert http.get(f"{url}/health").status_code == 200

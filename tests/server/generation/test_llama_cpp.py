"""The remote engine before a server that is not ours: llama.cpp's, with our LLaMA as GGUF."""

import queue
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fl.base_model import base_folder
from fl.demo_world.corpus import corpus
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.prompt_format import cloud_prompt
from fl.settings import load
from server.generation.engine import Event
from server.generation.remote import RemoteEngine, open_engine
from tests.llama_cpp_python import MISSING, llama_python

pytestmark = pytest.mark.slow

ALIAS = "netgpt-cloud"
PROMPTS, ANSWER_TOKENS = 50, 72
READY_S = 120


class LlamaServer:
    """llama-cpp-python's OpenAI-compatible server as a process on one port."""

    def __init__(self, gguf: Path, log: Path) -> None:
        self.gguf, self.log = gguf, log
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        """Start it and wait until it lists its model."""
        python = llama_python("llama_cpp.server.app")
        assert python is not None
        words = f"-I -u -m llama_cpp.server --host 127.0.0.1 --port {self.port}".split()
        words += f"--model {self.gguf} --model_alias {ALIAS} --n_ctx 256 --n_threads 2".split()
        words += "--type_k 0 --type_v 0".split()  # a cache of 32 bits, as ours is
        words += "--interrupt_requests false --verbose false".split()  # one after another
        with self.log.open("a") as log:
            self.process = subprocess.Popen([python, *words], stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/models", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        self.stop()
        pytest.fail(f"llama.cpp's server did not start: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def cloud() -> Path:
    if llama_python("llama_cpp.server.app") is None:
        pytest.skip(MISSING)
    folder = base_folder(load(), "cloud")
    if not (folder / "config.json").is_file():
        pytest.skip(f"no trained model at {folder}: ./run.sh foundation")
    return folder


@pytest.fixture(scope="module")
def llama_server(cloud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    pytest.importorskip("gguf", reason="the optional package gguf writes the model's file")
    from server.gguf_export import export_gguf

    folder = tmp_path_factory.mktemp("llama_cpp")
    export_gguf(cloud, folder / "cloud.gguf", outtype="f32")
    server = LlamaServer(folder / "cloud.gguf", folder / "server.log")
    yield server
    server.stop()


@pytest.fixture
def engine(llama_server: LlamaServer) -> Iterator[RemoteEngine]:
    settings = load()
    remote = replace(settings.engine, kind="remote", url=llama_server.url, model=ALIAS)
    service = replace(settings.service, max_new_tokens=200)
    engine = open_engine(replace(settings, engine=remote, service=service))
    yield engine
    engine.close()


def wanted(prompt: str, **fields: Any) -> GenerationRequest:
    asked: dict[str, Any] = {"max_new_tokens": ANSWER_TOKENS, **fields}
    return GenerationRequest(request_id="r", site_id="s", prompt=prompt, **asked)


def end(events: "queue.Queue[Event]") -> Any:
    """The one terminal event; the pieces before it are its text."""
    pieces = []
    while isinstance(event := events.get(timeout=120), TextPiece):
        pieces.append(event.text)
    if isinstance(event, Reply):
        assert event.text.endswith("".join(pieces))
    return event


def first_piece(events: "queue.Queue[Event]") -> None:
    assert isinstance(events.get(timeout=120), TextPiece)


def requests_of_the_corpus() -> list[str]:
    """Enriched prompts of places that no training pair is about: another seed draws them."""
    foundation = replace(load().foundation, seed=4711, cloud_records=PROMPTS)
    before, after = cloud_prompt("|").split("|")
    pairs = corpus(foundation, "cloud")
    return [prompt.removeprefix(before).removesuffix(after) for prompt, _ in pairs]


def greedy(folder: Path, prompts: list[str]) -> list[str]:
    """By transformers, in 32 bits, one after another."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(cloud_prompt(prompt))["input_ids"]])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        texts.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).lstrip())
    return texts


def test_fifty_greedy_answers_equal_ours(engine: RemoteEngine, cloud: Path) -> None:
    prompts = requests_of_the_corpus()
    inboxes: list[queue.Queue[Event]] = [queue.Queue() for _ in prompts]
    for prompt, inbox in zip(prompts, inboxes, strict=True):
        engine.submit(wanted(prompt), inbox.put)
    replies = [end(inbox) for inbox in inboxes]

    expected = greedy(cloud, prompts)
    equal = [reply.text == text for reply, text in zip(replies, expected, strict=True)]
    print(
        f"{sum(equal)} of {PROMPTS} greedy answers are equal, {len(set(expected))} different ones"
    )
    assert sum(equal) == PROMPTS == 50
    assert len(set(expected)) > 25
    assert {reply.finish_reason for reply in replies} == {"stop"}


def test_a_stop_string_ends_an_answer_there(engine: RemoteEngine, cloud: Path) -> None:
    prompt = requests_of_the_corpus()[0]
    [whole] = greedy(cloud, [prompt])
    stop = whole[len(whole) // 2 :][:6]
    engine.submit(wanted(prompt, stop=(stop,)), (inbox := queue.Queue[Event]()).put)

    reply = end(inbox)

    assert (reply.text, reply.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_who_cancels_is_seen_to_leave(engine: RemoteEngine, llama_server: LlamaServer) -> None:
    left = "Disconnected from client"
    before = llama_server.log.read_text().count(left)
    for seed in range(5):
        # so hot that an end mark is unlikely before the 200th token
        request = wanted("food", max_new_tokens=200, temperature=2.0, seed=seed)
        ticket = engine.submit(request, (inbox := queue.Queue[Event]()).put)
        first_piece(inbox)
        ticket.cancel()
        assert end(inbox).finish_reason == "cancelled"

    deadline = time.monotonic() + 60
    while llama_server.log.read_text().count(left) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert llama_server.log.read_text().count(left) > before
    engine.submit(wanted("food"), (inbox := queue.Queue[Event]()).put)
    assert end(inbox).finish_reason == "stop"


def test_a_server_that_is_killed_and_comes_back(
    engine: RemoteEngine, llama_server: LlamaServer
) -> None:
    request = wanted("food", max_new_tokens=200, temperature=2.0)
    engine.submit(request, (cut := queue.Queue[Event]()).put)
    first_piece(cut)
    llama_server.stop()
    engine.submit(wanted("food"), (refused := queue.Queue[Event]()).put)
    ends = [end(cut), end(refused)]

    assert [type(event) for event in ends] == [GenerationError] * 2
    assert [event.status for event in ends] == ["UNAVAILABLE"] * 2
    assert engine.alive

    llama_server.start()
    engine.submit(wanted("food"), (inbox := queue.Queue[Event]()).put)
    assert end(inbox).finish_reason == "stop"

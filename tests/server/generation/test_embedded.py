"""The embedded engine against its oracle, one-by-one `generate`, and against rude callers."""

import queue
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fl.errors import BaseModelError, GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.prompt_format import cloud_prompt
from fl.settings import ServiceSettings
from server.generation.embedded import EmbeddedEngine
from server.generation.engine import Event
from server.generation.loading import LanguageModel, load_language_model
from tests.tiny_models import make_tiny_cloud

SERVICE = ServiceSettings(
    address="127.0.0.1:0", batch=8, queue=32, max_prompt_tokens=120, max_new_tokens=64, drain_s=1
)
CANARY = "a prompt quoted by a library"
PROMPTS = [
    "a café",
    "something much longer, with more words than the others",
    "東京 🙂",
    "x",
    "tea?",
]


def wanted(prompt: str = "a café", new_tokens: int = 12, **fields: Any) -> GenerationRequest:
    return GenerationRequest(
        request_id="r", site_id="s", prompt=prompt, max_new_tokens=new_tokens, **fields
    )


class Inbox:
    """Collects what an engine delivers to one request."""

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()

    def end(self) -> tuple[str, Reply]:
        """Wait for the end; the pieces joined, and the reply."""
        pieces: list[str] = []
        while True:
            event = self.events.get(timeout=60)
            if isinstance(event, GenerationError):
                raise event
            if isinstance(event, Reply):
                assert self.events.empty()
                return "".join(pieces), event
            pieces.append(event.text)


class PausedModel:
    """The real model behind a gate: lets a test decide when each forward pass may happen."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.config, self.device = model.config, model.device
        self.entered = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.batch_sizes: list[int] = []
        self.fail_next = False

    def __call__(self, **inputs: Any) -> Any:
        self.batch_sizes.append(len(inputs["input_ids"]))
        self.entered.release()
        assert self.allowed.acquire(timeout=60)
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError(CANARY)
        return self._model(**inputs)


@pytest.fixture(scope="module")
def model(tiny_cloud: Path) -> LanguageModel:
    return load_language_model(tiny_cloud)


@pytest.fixture
def engine(model: LanguageModel) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(model, SERVICE)
    yield engine
    engine.close()


@pytest.fixture
def paused(model: LanguageModel) -> Iterator[tuple[EmbeddedEngine, PausedModel]]:
    gate = PausedModel(model.model)
    engine = EmbeddedEngine(replace(model, model=gate), replace(SERVICE, queue=3))
    yield engine, gate
    gate.allowed.release(10_000)
    engine.close()


def oracle(model: LanguageModel, prompt: str, new_tokens: int) -> list[int]:
    """Greedy continuation by transformers' own generate, alone, without the end mark."""
    ids = torch.tensor([model.tokens.encode(cloud_prompt(prompt))])
    output = model.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=sorted(model.end_ids),
        pad_token_id=0,
    )
    return [i for i in output[0, ids.shape[1] :].tolist() if i not in model.end_ids]


def ask_all(engine: EmbeddedEngine, requests: list[GenerationRequest]) -> list[tuple[str, Reply]]:
    inboxes = [Inbox() for _ in requests]
    for request, inbox in zip(requests, inboxes, strict=True):
        engine.submit(request, inbox.events.put)
    return [inbox.end() for inbox in inboxes]


def test_a_batch_answers_like_generate_alone(
    paused: tuple[EmbeddedEngine, PausedModel], model: LanguageModel
) -> None:
    # While the gate holds one request, two of unequal length gather into a batch.
    engine, gate = paused
    lengths = [24, 7]
    hold, inboxes = Inbox(), [Inbox() for _ in lengths]
    engine.submit(wanted("hold", 1), hold.events.put)
    assert gate.entered.acquire(timeout=60)
    for prompt, length, inbox in zip(PROMPTS, lengths, inboxes, strict=False):
        engine.submit(wanted(prompt, length), inbox.events.put)
    gate.allowed.release(10_000)

    for prompt, length, inbox in zip(PROMPTS, lengths, inboxes, strict=False):
        text, reply = inbox.end()
        ids = oracle(model, prompt, length)
        assert text == reply.text == model.tokens.decode(ids).lstrip()
        assert reply.completion_tokens == len(ids)
    # hold alone; both together for 7 tokens; then the longer one alone in the batch
    assert gate.batch_sizes == [1] + [2] * 7 + [1] * 17


def test_many_requests_greedy_equal_generate(engine: EmbeddedEngine, model: LanguageModel) -> None:
    requests = [wanted(f"{PROMPTS[i % 5]} {i}", 4 + i) for i in range(20)]

    for request, (text, reply) in zip(requests, ask_all(engine, requests), strict=True):
        ids = oracle(model, request.prompt, request.max_new_tokens)
        assert text == reply.text == model.tokens.decode(ids).lstrip()
        assert (reply.completion_tokens, reply.finish_reason) == (len(ids), "length")
        assert reply.prompt_tokens == len(model.tokens.encode(cloud_prompt(request.prompt)))
        assert min(reply.queue_seconds, reply.prefill_seconds, reply.decode_seconds) >= 0


def test_an_end_mark_stops_and_shards_load(
    tmp_path: Path, tiny_cloud: Path, model: LanguageModel
) -> None:
    ids = oracle(model, "a café", 12)
    end_id = ids[6]
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_cloud, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    network = AutoModelForCausalLM.from_pretrained(tiny_cloud)
    network.generation_config.eos_token_id = [0, end_id]  # an ordinary token, as a second mark
    network.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    engine = EmbeddedEngine(load_language_model(folder), SERVICE)

    [(text, reply)] = ask_all(engine, [wanted("a café", 12)])
    engine.close()

    before = ids[: ids.index(end_id)]
    assert text == model.tokens.decode(before).lstrip()
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", len(before))


def test_sampling_repeats_for_a_seed_and_differs_between_seeds(engine: EmbeddedEngine) -> None:
    def sampled(seed: int, top_p: float = 1.0, temperature: float = 1.5) -> str:
        request = wanted(temperature=temperature, top_p=top_p, seed=seed, new_tokens=20)
        return ask_all(engine, [request])[0][0]

    greedy = ask_all(engine, [wanted(new_tokens=20)])[0][0]
    assert sampled(1) == sampled(1) != sampled(2)
    assert sampled(1, top_p=1e-9) == greedy  # only the most probable token is left
    assert sampled(1, temperature=1e-300) == greedy  # and no inf - inf


def test_a_full_queue_refuses_at_once(paused: tuple[EmbeddedEngine, PausedModel]) -> None:
    engine, gate = paused
    inboxes = [Inbox() for _ in range(3)]
    for inbox in inboxes:
        engine.submit(wanted(new_tokens=2), inbox.events.put)

    with pytest.raises(GenerationError, match=r"service\.queue allows 3") as refused:
        engine.submit(wanted(), Inbox().events.put)

    assert refused.value.status == "RESOURCE_EXHAUSTED"
    gate.allowed.release(10_000)
    assert [inbox.end()[1].finish_reason for inbox in inboxes] == ["length"] * 3
    engine.submit(wanted(new_tokens=1), (later := Inbox()).events.put)
    assert later.end()[1].finish_reason == "length"  # room again


def test_cancellation_is_noticed_within_a_step(paused: tuple[EmbeddedEngine, PausedModel]) -> None:
    engine, gate = paused
    running, waiting = Inbox(), Inbox()
    run_ticket = engine.submit(wanted(new_tokens=60), running.events.put)
    assert gate.entered.acquire(timeout=60)
    wait_ticket = engine.submit(wanted(new_tokens=60), waiting.events.put)

    wait_ticket.cancel()
    _, waited = waiting.end()  # at once: the model stands still
    run_ticket.cancel()
    gate.allowed.release(1)  # exactly the pass it is in
    _, ran = running.end()

    assert (waited.finish_reason, waited.completion_tokens) == ("cancelled", 0)
    assert (ran.finish_reason, ran.completion_tokens) == ("cancelled", 0)
    run_ticket.cancel()  # safe to repeat


def test_a_failing_batch_ends_alone_and_quotes_nothing(
    paused: tuple[EmbeddedEngine, PausedModel], caplog: pytest.LogCaptureFixture
) -> None:
    engine, gate = paused
    gate.fail_next = True
    gate.allowed.release(10_000)
    engine.submit(wanted(), (unlucky := Inbox()).events.put)

    with pytest.raises(GenerationError) as failed:
        unlucky.end()
    engine.submit(wanted(new_tokens=3), (next_one := Inbox()).events.put)

    assert failed.value.status == "INTERNAL"
    assert CANARY not in str(failed.value) + caplog.text
    assert "RuntimeError" in caplog.text
    assert next_one.end()[1].completion_tokens == 3
    assert engine.alive


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (wanted("word " * 200), "the limit is 120"),
        (wanted(new_tokens=65), "at most 64"),
    ],
)
def test_what_is_too_long_is_refused(
    engine: EmbeddedEngine, request_: GenerationRequest, expected: str
) -> None:
    with pytest.raises(GenerationError, match=expected) as refused:
        engine.submit(request_, Inbox().events.put)
    assert refused.value.status == "INVALID_ARGUMENT"


def test_prompt_and_answer_must_fit_the_models_positions(model: LanguageModel) -> None:
    engine = EmbeddedEngine(model, replace(SERVICE, max_prompt_tokens=400, max_new_tokens=400))
    for _ in range(SERVICE.queue + 1):  # a refused request does not stay counted
        with pytest.raises(GenerationError, match="can be written after a prompt of"):
            engine.submit(wanted("a café", 250), Inbox().events.put)
    engine.close()


def test_closing_cancels_refuses_and_ends(paused: tuple[EmbeddedEngine, PausedModel]) -> None:
    engine, gate = paused
    running, waiting = Inbox(), Inbox()
    engine.submit(wanted(), running.events.put)
    assert gate.entered.acquire(timeout=60)
    engine.submit(wanted(), waiting.events.put)

    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.allowed.release(10_000)
    closing.join(timeout=60)

    assert not engine.alive
    assert running.end()[1].finish_reason == "cancelled"
    with pytest.raises(GenerationError) as refused:
        waiting.end()
    with pytest.raises(GenerationError) as late:
        engine.submit(wanted(), Inbox().events.put)
    assert refused.value.status == late.value.status == "UNAVAILABLE"


def test_pieces_arrive_while_the_answer_grows(
    paused: tuple[EmbeddedEngine, PausedModel],
) -> None:
    engine, gate = paused
    inbox = Inbox()
    engine.submit(wanted(new_tokens=30), inbox.events.put)
    gate.allowed.release(10)

    first = inbox.events.get(timeout=60)

    assert isinstance(first, TextPiece)
    gate.allowed.release(10_000)
    text, reply = inbox.end()
    assert first.text + text == reply.text


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="holds no cloud model"):
        load_language_model(tmp_path / "nothing")

    folder = make_tiny_cloud(tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match="not finite"):
        load_language_model(folder)

    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"lacks 1 .*norm"):
        load_language_model(folder)

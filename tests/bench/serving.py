"""Answering many requests: one-by-one `generate`, transformers' continuous batching, our engine,
and llama.cpp as the reference for decoding on a CPU; the same requests, the same arrivals.

Every system has two threads, room for the same number of cached tokens, and writes the same number
of tokens to every prompt. Systems take turns, `pairs` times; what counts are ratios within a turn.
"""

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation import ContinuousBatchingConfig, GenerationConfig

from fl.base_model import base_folder
from fl.generation import GenerationRequest, Reply
from fl.settings import load
from server.generation.embedded import EmbeddedEngine
from server.generation.engine import Event
from server.generation.llama import Llama
from server.generation.loading import LanguageModel, Tokens, load_transformers
from tests.bench.llama_cpp import run_llama_cpp
from tests.bench.requests import (
    BenchRequest,
    RequestTimes,
    seconds_to_first_token,
    tokens_per_second,
)

ONE_BY_ONE, CONTINUOUS, OURS = "one-by-one generate", "transformers CB", "this engine"
ROWS, CACHE_TOKENS, PAGE = 16, 8192, 16
LOADED = 10.0  # Poisson arrivals come so many times faster than one-by-one can answer
POSITIONS = 256


@dataclass(frozen=True, kw_only=True)
class ServingRow:
    """One system, one model, one pattern of arrivals; medians over the turns."""

    model: str
    arrivals: str  # all at once | Poisson
    system: str
    tokens_per_second: float
    ratio: float  # to one-by-one, of the same turn
    ratio_lowest: float
    ratio_highest: float
    first_p50_s: float  # time to first token, from arrival
    first_p99_s: float


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model under test."""

    name: str
    model: Any
    tokens: Tokens
    folder: Path
    requests: int


def measure(
    *, pairs: int, threads: int, models: Sequence[str], on_run: Callable[[str], None]
) -> list[ServingRow]:
    """Rows for every model, pattern and system. Raises BaseModelError before `foundation`."""
    torch.set_num_threads(threads)
    rows: list[ServingRow] = []
    with tempfile.TemporaryDirectory() as aside:
        for shape in _shapes(models, Path(aside)):
            systems = _systems(shape, threads)
            systems[ONE_BY_ONE](_requests(shape, [0.0] * 4))  # warm
            for arrivals in ("all at once", "Poisson"):
                turns: list[dict[str, tuple[float, list[float]]]] = []
                for turn in range(pairs):
                    on_run(f"{shape.name}, {arrivals}, turn {turn + 1} of {pairs}")
                    requests = _requests(shape, _arrivals(arrivals, shape, systems, seed=turn))
                    turns.append(_turn(systems, requests))
                rows += _rows(shape.name, arrivals, turns)
    return rows


def _turn(
    systems: dict[str, Callable[[Sequence[BenchRequest]], list[RequestTimes] | None]],
    requests: Sequence[BenchRequest],
) -> dict[str, tuple[float, list[float]]]:
    """Tokens a second and seconds to first token of each system."""
    found = {}
    for name, run in systems.items():
        times = run(requests)
        if times is not None:
            assert [t.tokens for t in times] == [r.new_tokens for r in requests], name
            found[name] = (tokens_per_second(times), seconds_to_first_token(requests, times))
    return found


def _rows(
    model: str, arrivals: str, turns: Sequence[dict[str, tuple[float, list[float]]]]
) -> list[ServingRow]:
    rows = []
    for system in turns[0]:
        ratios = [turn[system][0] / turn[ONE_BY_ONE][0] for turn in turns]
        first = sorted(s for turn in turns for s in turn[system][1])
        rows.append(
            ServingRow(
                model=model,
                arrivals=arrivals,
                system=system,
                tokens_per_second=statistics.median(turn[system][0] for turn in turns),
                ratio=statistics.median(ratios),
                ratio_lowest=min(ratios),
                ratio_highest=max(ratios),
                first_p50_s=first[len(first) // 2],
                first_p99_s=first[min(len(first) - 1, int(0.99 * len(first)))],
            )
        )
    return rows


# --- what is asked ---


def _requests(shape: Shape, arrivals: Sequence[float]) -> list[BenchRequest]:
    """Prompts of 12 to 60 tokens, answers of 8 to 32; the same for every system."""
    rng = random.Random(len(arrivals))
    most = shape.model.config.vocab_size
    return [
        BenchRequest(
            prompt_ids=[rng.randrange(5, most) for _ in range(rng.randint(12, 60))],
            new_tokens=rng.randint(8, 32),
            arrives_s=at,
        )
        for at in arrivals
    ]


def _arrivals(pattern: str, shape: Shape, systems: dict[str, Any], *, seed: int) -> list[float]:
    if pattern == "all at once":
        return [0.0] * shape.requests
    probe = _requests(shape, [0.0] * 4)
    seconds_each = max(t.done_s for t in systems[ONE_BY_ONE](probe)) / len(probe)
    rng = random.Random(seed)
    at, arrivals = 0.0, []
    for _ in range(shape.requests):
        arrivals.append(at)
        at += rng.expovariate(LOADED / seconds_each)
    return arrivals


def _shapes(names: Sequence[str], aside: Path) -> Iterator[Shape]:
    folder = base_folder(load([]), "cloud")
    model, tokenizer = load_transformers(folder)
    if "small" in names:
        yield Shape(
            name="embedded 4 x 128",
            model=model,
            tokens=Tokens(tokenizer),
            folder=folder,
            requests=64,
        )
    if "125m" in names:
        torch.manual_seed(0)
        large = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32000,
                hidden_size=768,
                intermediate_size=2048,
                num_hidden_layers=12,
                num_attention_heads=12,
                max_position_embeddings=1024,
                eos_token_id=0,
                bos_token_id=0,
            )
        ).eval()
        large.save_pretrained(aside / "125m")
        tokenizer.save_pretrained(aside / "125m")
        yield Shape(
            name="LLaMA shape 12 x 768",
            model=large,
            tokens=Tokens(tokenizer),
            folder=aside / "125m",
            requests=32,
        )


# --- who answers ---


def _systems(
    shape: Shape, threads: int
) -> dict[str, Callable[[Sequence[BenchRequest]], list[RequestTimes] | None]]:
    def ours(weights: str) -> Callable[[Sequence[BenchRequest]], list[RequestTimes]]:
        network = Llama(shape.model, weights=weights, positions=POSITIONS)
        return lambda requests: run_engine(shape, network, requests)

    def llama_cpp(kind: str) -> Callable[[Sequence[BenchRequest]], list[RequestTimes] | None]:
        return lambda requests: run_llama_cpp(shape.folder, requests, outtype=kind, threads=threads)

    return {
        ONE_BY_ONE: lambda requests: run_one_by_one(shape.model, requests),
        CONTINUOUS: lambda requests: run_continuous(shape.model, requests),
        f"{OURS}, float32": ours("float32"),
        f"{OURS}, bfloat16": ours("bfloat16"),
        f"{OURS}, int8": ours("int8"),
        "llama.cpp, f32": llama_cpp("f32"),
        "llama.cpp, q8_0": llama_cpp("q8_0"),
    }


class _Stopwatch:
    """A streamer of transformers: when the first token came."""

    def __init__(self) -> None:
        self.puts: list[float] = []

    def put(self, value: Any) -> None:
        self.puts.append(time.perf_counter())  # the prompt comes first

    def end(self) -> None:
        pass


def run_one_by_one(model: Any, requests: Sequence[BenchRequest]) -> list[RequestTimes]:
    """First come, first served, each alone."""
    started, times = time.perf_counter(), []
    for request in requests:
        time.sleep(max(0.0, request.arrives_s - (time.perf_counter() - started)))
        ids = torch.tensor([request.prompt_ids])
        watch = _Stopwatch()
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request.new_tokens,
                min_new_tokens=request.new_tokens,
                do_sample=False,
                pad_token_id=0,
                streamer=watch,
            )
        times.append(
            RequestTimes(
                first_s=watch.puts[1] - started,
                done_s=time.perf_counter() - started,
                tokens=output.shape[1] - ids.shape[1],
            )
        )
    return times


def run_continuous(model: Any, requests: Sequence[BenchRequest]) -> list[RequestTimes]:
    """transformers' own continuous batching, with a cache of the same size."""
    config = ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=CACHE_TOKENS // PAGE,
        max_batch_tokens=256 + ROWS,
        max_requests_per_batch=ROWS,
        allow_block_sharing=False,
    )
    generation = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    manager = model.init_continuous_batching(
        generation_config=generation, continuous_batching_config=config
    )
    manager.start()
    started = time.perf_counter()
    adding = threading.Thread(target=_add_all, args=(manager, requests, started))
    adding.start()
    done: dict[int, RequestTimes] = {}
    while len(done) < len(requests):
        result = manager.get_result(timeout=60)
        assert result is not None, "continuous batching ended"
        assert result.error is None, result.error
        done[int(result.request_id)] = RequestTimes(
            first_s=result.timestamps[0] - started,
            done_s=result.timestamps[-1] - started,
            tokens=len(result.generated_tokens),
        )
    adding.join()
    manager.stop(block=True)
    model.destroy_cached_continuous_batching_manager()
    return [done[number] for number in range(len(requests))]


def _add_all(manager: Any, requests: Sequence[BenchRequest], started: float) -> None:
    for number, request in enumerate(requests):
        time.sleep(max(0.0, request.arrives_s - (time.perf_counter() - started)))
        manager.add_request(
            request.prompt_ids,
            request_id=str(number),
            max_new_tokens=request.new_tokens,
            record_timestamps=True,
        )


class _GivenIds(Tokens):
    """The tokenizer, but for prompts, which come as ids."""

    def __init__(self, tokens: Tokens, ids: dict[str, list[int]]) -> None:
        self._tokens, self._ids = tokens, ids

    def prompt_ids(self, request: GenerationRequest) -> list[int]:
        return self._ids[request.request_id]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokens.decode(ids)


def run_engine(
    shape: Shape, network: Llama, requests: Sequence[BenchRequest]
) -> list[RequestTimes]:
    """Our engine, text and all, as the service uses it."""
    settings = load([])
    model = LanguageModel(
        name="bench",
        network=network,
        tokens=_GivenIds(shape.tokens, {str(i): r.prompt_ids for i, r in enumerate(requests)}),
        end_ids=frozenset(),
        positions=POSITIONS,
        vocabulary=shape.model.config.vocab_size,
        fingerprint="",
        release="base",
    )
    engine = EmbeddedEngine(
        model,
        replace(settings.engine, batch=ROWS, cache_tokens=CACHE_TOKENS),
        replace(settings.service, queue=len(requests)),
    )
    ended, times = threading.Semaphore(0), {}
    started = time.perf_counter()

    def watched(number: int) -> Callable[[Event], None]:
        submitted = time.perf_counter() - started

        def deliver(event: Event) -> None:
            if isinstance(event, Reply):
                times[number] = RequestTimes(
                    first_s=submitted + event.queue_seconds + event.prefill_seconds,
                    done_s=time.perf_counter() - started,
                    tokens=event.completion_tokens,
                )
                ended.release()

        return deliver

    for number, request in enumerate(requests):
        time.sleep(max(0.0, request.arrives_s - (time.perf_counter() - started)))
        asked = GenerationRequest(
            request_id=str(number), site_id="bench", prompt="", max_new_tokens=request.new_tokens
        )
        engine.submit(asked, watched(number))
    for _ in requests:
        ended.acquire()
    engine.close()
    return [times[number] for number in range(len(requests))]

"""What the tests of the embedded engine share: requests, an inbox, a gate, the oracle."""

import queue
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply
from fl.prompt_format import cloud_prompt
from fl.settings import EngineSettings, ServiceSettings, load
from server.generation.attention import Cache, Stretch
from server.generation.embedded import EmbeddedEngine
from server.generation.engine import Event
from server.generation.llama import Llama
from server.generation.loading import LanguageModel, load_transformers

SETTINGS = load(
    [
        "service.queue=32",
        "service.max_prompt_tokens=120",
        "service.max_new_tokens=64",
        "asking.answer_tokens=64",
        "engine.batch=8",
        "engine.cache_tokens=1600",
        "engine.step_tokens=24",
    ]
)
PROMPTS = [
    "a caf\u00e9",
    "something much longer, with more words than the others",
    "\u6771\u4eac \U0001f642",
    "x",
    "tea?",
]


def new_engine(
    model: LanguageModel,
    *,
    engine: EngineSettings = SETTINGS.engine,
    service: ServiceSettings = SETTINGS.service,
) -> EmbeddedEngine:
    """An engine with the settings of these tests; close it."""
    return EmbeddedEngine(model, engine, service)


def wanted(prompt: str = "a caf\u00e9", new_tokens: int = 12, **fields: Any) -> GenerationRequest:
    """A request."""
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


def ask_all(
    engine: EmbeddedEngine, requests: Sequence[GenerationRequest]
) -> list[tuple[str, Reply]]:
    """Ask all at once and wait for all."""
    inboxes = [Inbox() for _ in requests]
    for request, inbox in zip(requests, inboxes, strict=True):
        engine.submit(request, inbox.events.put)
    return [inbox.end() for inbox in inboxes]


class GatedLlama:
    """The real network behind a gate: lets a test decide when each step may happen."""

    def __init__(self, network: Llama) -> None:
        self._network = network
        self.entered = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.steps: list[tuple[int, int]] = []  # sequences written, prompt tokens read
        self.error: Exception | None = None  # of the next step

    def new_cache(self, rows: int, columns: int) -> Cache:
        return self._network.new_cache(rows, columns)

    def forward(
        self,
        cache: Cache,
        last_D: Sequence[int],
        lengths_D: Sequence[int],
        stretches: Sequence[Stretch],
        *,
        predict: Sequence[int],
    ) -> Tensor:
        self.steps.append((len(last_D), sum(len(stretch.ids) for stretch in stretches)))
        self.entered.release()
        assert self.allowed.acquire(timeout=60)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self._network.forward(cache, last_D, lengths_D, stretches, predict=predict)


@cache
def _transformers(folder: Path) -> Any:
    return load_transformers(folder)[0]


def oracle(folder: Path, model: LanguageModel, prompt: str, new_tokens: int) -> list[int]:
    """Greedy continuation by transformers' own generate, alone, without the end mark."""
    ids = torch.tensor([model.tokens.encode(cloud_prompt(prompt))])
    output = _transformers(folder).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=sorted(model.end_ids),
        pad_token_id=0,
    )
    return [i for i in output[0, ids.shape[1] :].tolist() if i not in model.end_ids]

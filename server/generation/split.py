"""The cloud's part of a split model: hidden states in, the next token out.

Each request has keys and values of its own for the layers that run here. Its steps run on the
caller's thread, beside the engine's own; weights are shared and only read.
"""

from collections.abc import Mapping
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from server.generation.loading import LanguageModel
from server.generation.sampling import Sampler, next_tokens

NUMBERS: Mapping[str, "np.dtype[Any]"] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}


class Split:
    """One request whose first layers run at a site."""

    def __init__(
        self, model: LanguageModel, request: GenerationRequest, *, first: int, numbers: str
    ) -> None:
        """`first` layers run at the site. Raises GenerationError (INVALID_ARGUMENT)."""
        layers = model.network.layers
        if not 1 <= first <= layers:
            raise _refused(f"{first} layers at the site, the model has {layers}")
        if numbers not in NUMBERS:
            raise _refused(f"numbers are {' or '.join(NUMBERS)}, found {numbers!r}")
        self._model, self._first, self._dtype = model, first, NUMBERS[numbers]
        self.positions = model.positions  # tokens of prompt and answer together
        self._most_new = request.max_new_tokens or model.positions
        self._cache = model.network.new_cache(1, model.positions, first=first)
        self._sampler = Sampler(request)
        self._held = 0  # tokens in the cache
        self._written = False  # whether the prompt has been read to its end
        self.prompt_tokens = self.completion_tokens = 0
        self.prefill_seconds = self.decode_seconds = 0.0
        self.cpu_seconds = 0.0  # of the process, so beside others too much
        self.finish_reason = ""  # stop | length, once it has ended

    def advance(self, data: bytes, *, more: bool = False) -> int | None:
        """The token after the prompt's states, or after one token's; None once it has ended.

        With `more` the prompt's states go on in the next call, and nothing comes of this one.
        Raises GenerationError (INVALID_ARGUMENT) for bytes that are no such states.
        """
        started, began = perf_counter(), process_time()
        states_Nh = self._read(data)
        network = self._model.network
        with torch.inference_mode():
            logits_V = network.forward_from(
                self._first, self._cache, torch.from_numpy(states_Nh), start=self._held
            )
        self._held += len(states_Nh)
        self.cpu_seconds += process_time() - began
        if self._written:
            self.decode_seconds += perf_counter() - started
        else:
            self.prompt_tokens = self._held
            self.prefill_seconds += perf_counter() - started
            if more:
                return None
            self._written = True
        (token,) = next_tokens(logits_V[None], [self._sampler])
        if token in self._model.end_ids:
            self.finish_reason = "stop"
            return None
        self.completion_tokens += 1
        if self.completion_tokens == self._most_new or self._held == self._model.positions:
            self.finish_reason = "length"
        return token

    def _read(self, data: bytes) -> npt.NDArray[np.float32]:
        """(N, h) float32; one row once the prompt has been read."""
        width = self._model.network.width
        rows, rest = divmod(len(data), width * self._dtype.itemsize)
        if rest or not rows or (self._written and rows != 1):
            raise _refused(f"{len(data)} bytes are no hidden states of width {width}")
        if self._held + rows > self._model.positions:
            raise _refused(
                f"prompt and answer may have {self._model.positions} tokens together, found "
                f"{self._held + rows}"
            )
        states = np.frombuffer(data, self._dtype).reshape(rows, width).astype(np.float32)
        if not np.isfinite(states).all():
            raise _refused("the hidden states hold NaN or infinity")
        return states


def _refused(why: str) -> GenerationError:
    return GenerationError(f"Refused: {why}.", status="INVALID_ARGUMENT")

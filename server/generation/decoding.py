"""Decoding several sequences together, and choosing each one's next token.

Dimensions: B sequences of the batch that still run, T columns so far, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from fl.generation import GenerationRequest


class PaddedBatch:
    """Left-padded sequences with one key/value cache; `logits_BV` predict the next tokens.

    Padding is masked and positions count real tokens only, so that a sequence's logits do not
    depend on its neighbours (up to rounding).
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        width = max(len(prompt) for prompt in prompts)
        ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._mask_BT = torch.tensor(mask, device=model.device)
        positions_BT = (self._mask_BT.cumsum(dim=1) - 1).clamp(min=0)
        self.logits_BV = self._forward(torch.tensor(ids, device=model.device), positions_BT)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append one token to each sequence."""
        ids_B1 = torch.tensor(token_ids, device=self._mask_BT.device).unsqueeze(1)
        positions_B1 = self._mask_BT.sum(dim=1, keepdim=True)
        self._mask_BT = torch.cat([self._mask_BT, torch.ones_like(ids_B1)], dim=1)
        self.logits_BV = self._forward(ids_B1, positions_B1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these sequences only, in this order."""
        chosen = torch.tensor(rows, device=self._mask_BT.device)
        self._mask_BT = self._mask_BT[chosen]
        self.logits_BV = self.logits_BV[chosen]
        self._cache.batch_select_indices(chosen)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask_BT,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: Tensor = output.logits[:, -1, :].float()
        return logits_BV


class Sampler:
    """Chooses the next token of one request, reproducibly from its seed."""

    def __init__(self, request: GenerationRequest) -> None:
        self.greedy = request.temperature == 0
        self._temperature = request.temperature
        self._top_p = request.top_p
        self._generator = torch.Generator().manual_seed(request.seed)

    def draw(self, logits_V: Tensor) -> int:
        """Draw from the most probable tokens that together hold `top_p` of the probability."""
        scores_V = logits_V.double().cpu()
        # Subtracting the maximum first keeps the smallest temperature from making inf - inf.
        probabilities_V = ((scores_V - scores_V.max()) / self._temperature).softmax(dim=0)
        sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
        before_V = sorted_V.cumsum(dim=0) - sorted_V
        sorted_V[before_V >= self._top_p] = 0.0  # the first token always stays: 0 < top_p
        drawn = torch.multinomial(sorted_V, num_samples=1, generator=self._generator)
        return int(order_V[drawn])


def next_tokens(logits_BV: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each sequence, by its own sampler."""
    chosen: list[int] = logits_BV.argmax(dim=-1).tolist()
    for row, sampler in enumerate(samplers):
        if not sampler.greedy:
            chosen[row] = sampler.draw(logits_BV[row])
    return chosen

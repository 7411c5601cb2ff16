"""Choosing the next token of each sequence.

Letters: B sequences, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fl.generation import GenerationRequest


class Sampler:
    """Chooses the next token of one request, reproducibly from its seed."""

    def __init__(self, request: GenerationRequest) -> None:
        self.greedy = request.temperature == 0
        self._temperature = request.temperature
        self._top_p = request.top_p
        self._generator = torch.Generator().manual_seed(request.seed)
        self._drawn_before = len(request.written)

    def draw(self, logits_V: Tensor) -> int:
        """Draw from the most probable tokens that together hold `top_p` of the probability."""
        scores_V = logits_V.double().cpu()
        # Subtracting the maximum first keeps the smallest temperature from making inf - inf.
        probabilities_V = ((scores_V - scores_V.max()) / self._temperature).softmax(dim=0)
        sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
        before_V = sorted_V.cumsum(dim=0) - sorted_V
        sorted_V[before_V >= self._top_p] = 0.0  # the first token always stays: 0 < top_p
        # An answer that is continued goes on where the seed's draws were: each takes the same
        # number of them, whatever the probabilities.
        for _ in range(self._drawn_before):
            torch.multinomial(torch.ones_like(sorted_V), num_samples=1, generator=self._generator)
        self._drawn_before = 0
        drawn = torch.multinomial(sorted_V, num_samples=1, generator=self._generator)
        return int(order_V[drawn])


def next_tokens(logits_BV: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each sequence, by its own sampler."""
    chosen: list[int] = logits_BV.argmax(dim=-1).tolist()
    for row, sampler in enumerate(samplers):
        if not sampler.greedy:
            chosen[row] = sampler.draw(logits_BV[row])
    return chosen

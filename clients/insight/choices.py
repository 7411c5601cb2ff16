"""Texts that a model chooses from, as a trie of its tokens.

Constrained to a trie, a model's probabilities are those of the children of each node alone: over
all texts they sum to one, and no other text can come out.
"""

from collections.abc import Callable, Mapping, Sequence

from fl.prompt_format import completion

Prefix = tuple[int, ...]  # token ids from the root to a node


class Options:
    """The texts, each with the model's end mark behind it."""

    def __init__(
        self, texts: Sequence[str], *, model_ids: Callable[[str], Sequence[int]], end_id: int
    ) -> None:
        """Raises ValueError where two texts are the same to the model, or there is none."""
        self._ends: dict[Prefix, int] = {}
        self._children: dict[Prefix, list[int]] = {}
        for index, text in enumerate(texts):
            ids = (*model_ids(completion(text)), end_id)
            if ids in self._ends:
                raise ValueError(f"options {self._ends[ids]} and {index} are the same tokens")
            self._ends[ids] = index
            for depth in range(len(ids)):
                children = self._children.setdefault(ids[:depth], [])
                if ids[depth] not in children:
                    children.append(ids[depth])
        if not texts:
            raise ValueError("there is nothing to choose from")

    @property
    def children(self) -> Mapping[Prefix, Sequence[int]]:
        """The tokens that may follow a prefix; none behind an end mark."""
        return self._children

    @property
    def longest(self) -> int:
        """Tokens of the longest text, its end mark included."""
        return max(map(len, self._ends))

    def index_of(self, prefix: Prefix) -> int | None:
        """Which text a whole sequence of tokens is; None for a part of one."""
        return self._ends.get(prefix)

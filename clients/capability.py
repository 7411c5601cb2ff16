"""How large an adapter this site can train: said in its settings, or worked out from its memory."""

from collections.abc import Mapping

from fl.errors import SettingsError
from fl.settings import Settings
from fl.site import Site

# float32: the parameter, its gradient, and AdamW's two moments
BYTES_A_PARAMETER = 16
# kept for the backward pass of a layer and token: what goes in, in and out of the low rank, out
BYTES_A_NUMBER = 4

Layers = Mapping[str, tuple[int, int]]  # adapted module -> (d_out, d_in)


def site_rank(settings: Settings, site: Site, layers: Layers) -> int:
    """The rank this site trains, at most learning.rank. Raises SettingsError."""
    largest = site.rank or settings.learning.rank
    if not site.memory_mb:
        return largest
    tokens, beside = settings.learning.batch_tokens, directions_beside(settings)
    for rank in range(largest, 0, -1):
        if learning_bytes(rank + beside, layers, tokens=tokens) <= site.memory_mb * 1_000_000:
            return rank
    needed = learning_bytes(1 + beside, layers, tokens=tokens) / 1_000_000
    raise SettingsError(
        f"Site {site.id}: memory_mb is {site.memory_mb}, but learning at rank 1 takes "
        f"{needed:.0f} MB beyond the model with batches of {tokens} tokens. Raise memory_mb, or "
        "lower learning.batch_tokens."
    )


def directions_beside(settings: Settings) -> int:
    """The most directions that are in the model beside those the site trains for the cloud.

    They are in the same tensors, so gradients and moments are held for them as well.
    """
    learning = settings.learning
    frozen = {"flora": learning.rank_limit, "fedex": learning.rank_limit - learning.rank}
    own = learning.personal_rank if settings.personal == "dual" and not learning.ditto_lambda else 0
    return own + frozen.get(settings.method, 0)


def learning_bytes(rank: int, layers: Layers, *, tokens: int) -> int:
    """Bytes that learning with `rank` directions in all takes, for batches of `tokens` tokens.

    Beside the weights: adapter, gradient, moments, and what adapted layers keep for the backward.
    Attention scores and the head's blocks are not counted: they do not depend on the adapter.
    """
    widths = sum(d_out + d_in for d_out, d_in in layers.values())
    kept = tokens * (widths + rank * len(layers)) * BYTES_A_NUMBER
    return rank * widths * BYTES_A_PARAMETER + kept

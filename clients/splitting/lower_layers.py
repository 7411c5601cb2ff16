"""The first k layers of the cloud's LLaMA, run at a site: token ids in, hidden states out.

Letters: N positions of a call, h hidden width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from clients.base_network import load_tokenizer
from clients.splitting.turn import Turn
from fl.base_model import fingerprint
from fl.errors import BaseModelError, SettingsError

States = npt.NDArray[np.float32]  # (N, h)


class LowerLayers:
    """Embedding and first layers.

    They keep the keys and values of one request, which must have taken `turn` from its beginning to
    its end.
    """

    def __init__(self, folder: Path, layers: int) -> None:
        """Load `layers` layers of a model folder. Raises BaseModelError or SettingsError."""
        from transformers import AutoModel

        config = _config(folder)
        self.all_layers = int(config.num_hidden_layers)
        if not 1 <= layers <= self.all_layers:
            raise SettingsError(
                f"A split after layer {layers}: the model has {self.all_layers}, choose 1 to that."
            )
        config.num_hidden_layers = layers
        # Weights of the layers that are left out are never read from the file.
        with _quietly():
            body = AutoModel.from_pretrained(
                folder, config=config, local_files_only=True, dtype=torch.float32
            )
        body.norm = nn.Identity()  # the last norm belongs to the head, in the cloud
        self._body: Any = body.requires_grad_(False).eval()
        self._tokenizer = load_tokenizer(folder)
        self.layers, self.width = layers, int(config.hidden_size)
        self.fingerprint = fingerprint(folder)
        self.bytes = sum(p.numel() * p.element_size() for p in body.parameters())
        self._past: Any = None
        self.turn = Turn()

    def begin(self) -> None:
        """Forget what was read: the next states are those of a new request."""
        from transformers import DynamicCache

        self._past = DynamicCache()

    def states(self, ids: list[int]) -> States:
        """(N, h) after the last layer here, for N tokens that follow those of earlier calls."""
        with torch.inference_mode():
            out = self._body(
                input_ids=torch.tensor([ids]), past_key_values=self._past, use_cache=True
            )
        found: States = out.last_hidden_state[0].float().numpy()
        return found

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a prompt, with whatever start mark the tokenizer was made with."""
        return list(self._tokenizer(text)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, without marks and with every blank as it was written."""
        found: str = self._tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=True)
        return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a bar of its own, and without a report of the layers that are left out."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def bytes_of_layers(folder: Path, layers: int) -> int:
    """Bytes in float32 of the embedding and the first layers, without loading them.

    Raises BaseModelError.
    """
    from transformers import AutoModel

    config = _config(folder)
    config.num_hidden_layers = layers
    with torch.device("meta"):
        body = AutoModel.from_config(config)
    head_norm = sum(p.numel() for p in body.norm.parameters())
    numbers: int = sum(p.numel() for p in body.parameters()) - head_norm
    return 4 * numbers


def layers_that_fit(folder: Path, memory_mb: int) -> int:
    """The most layers whose weights fit into a budget.

    Raises SettingsError where not one does, BaseModelError where the folder is no model.
    """
    every = int(_config(folder).num_hidden_layers)
    one = bytes_of_layers(folder, 1)
    each = bytes_of_layers(folder, 2) - one if every > 1 else one
    fit = min(every, 1 + int((memory_mb * 1_000_000 - one) // each))
    if fit < 1:
        raise SettingsError(
            f"split.memory_mb is {memory_mb}, but the embedding and one layer of {folder.name} "
            f"take {one / 1e6:.0f} MB. Raise it, or use another mode."
        )
    return fit


def _config(folder: Path) -> Any:
    """The model's configuration. Raises BaseModelError."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{folder} is no model folder: {error}") from error

"""The tokenizer of a model folder in llama.cpp's terms."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import AutoTokenizer

from fl.errors import BaseModelError

# What llama.cpp calls a way of cutting text into words: (pre_tokenizer of tokenizer.json without
# its offsets, whole words of the vocabulary are taken before any merge) -> tokenizer.ggml.pre
_BYTES: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLIT = {
    "type": "Split",
    "pattern": {"Regex": _LLAMA_3},
    "behavior": "Isolated",
    "invert": False,
}
_DIGITS = {"type": "Digits", "individual_digits": True}
_WAYS: list[tuple[list[dict[str, Any]], bool, str]] = [
    ([_BYTES], False, "gpt-2"),  # what ./run.sh foundation makes
    ([_DIGITS, _BYTES], False, "smollm"),
    ([_SPLIT, {**_BYTES, "use_regex": False}], True, "llama-bpe"),  # LLaMA 3
]
_MOST_ENDS = 3  # of a text, of a turn, of a message


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens in the order of their ids, merges in the order of their rank."""

    tokens: list[str]
    types: list[int]  # of each token: gguf.TokenType
    merges: list[str]
    way: str  # tokenizer.ggml.pre
    start_id: int | None
    starts_with_it: bool  # every text
    end_ids: list[int]
    chat_template: str | None


def read_vocabulary(folder: Path, *, rows: int, end_ids: Sequence[int]) -> Vocabulary:
    """Read a byte-level BPE tokenizer for a model with `rows` token embeddings.

    `end_ids` are the marks the model ends with, beside the tokenizer's own. Raises BaseModelError
    for a tokenizer that llama.cpp would not cut text with in the same way.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise BaseModelError(f"{folder} holds no fast tokenizer: {error}") from error
    model, marks = backend["model"], tokenizer.added_tokens_decoder  # id -> a mark of its own
    words = {token_id: word for word, token_id in tokenizer.get_vocab().items()}
    if max(words) >= rows:
        raise BaseModelError(
            f"{folder} has {rows} token embeddings, but its tokenizer has ids up to {max(words)}."
        )
    tokens, types = [], []
    for token_id in range(rows):
        mark = marks.get(token_id)
        kind = TokenType.NORMAL if mark is None else TokenType.USER_DEFINED
        if mark is not None and mark.special:
            kind = TokenType.CONTROL
        if token_id not in words:  # rows that only pad the matrix
            kind = TokenType.UNUSED
        tokens.append(words.get(token_id, f"[PAD{token_id}]"))
        types.append(int(kind))
    ends = dict.fromkeys(i for i in [tokenizer.eos_token_id, *end_ids] if i is not None)
    if len(ends) > _MOST_ENDS:
        raise BaseModelError(f"{folder} has {len(ends)} end marks, llama.cpp knows {_MOST_ENDS}.")
    template = tokenizer.chat_template
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=[pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        way=_way(backend, folder),
        start_id=tokenizer.bos_token_id,
        starts_with_it=_starts_with_mark(tokenizer, folder),
        end_ids=list(ends),
        chat_template=template if isinstance(template, str) else None,
    )


def write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Put a vocabulary into the metadata of a file that is being written."""
    writer.add_tokenizer_model("gpt2")  # byte-level BPE, whatever the words
    writer.add_tokenizer_pre(vocabulary.way)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(vocabulary.starts_with_it)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if vocabulary.start_id is not None:
        writer.add_bos_token_id(vocabulary.start_id)
    adders = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, token_id in zip(adders, vocabulary.end_ids, strict=False):
        add(token_id)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _way(backend: dict[str, Any], folder: Path) -> str:
    """tokenizer.ggml.pre of a tokenizer.json."""
    model, given = backend["model"], backend.get("pre_tokenizer") or {}
    steps = given["pretokenizers"] if given.get("type") == "Sequence" else [given]
    steps = [{k: v for k, v in step.items() if k != "trim_offsets"} for step in steps]
    plain = model["type"] == "BPE" and backend.get("normalizer") is None
    if plain and not model.get("continuing_subword_prefix") and not model.get("end_of_word_suffix"):
        for known, whole_words_first, name in _WAYS:
            if steps == known and bool(model.get("ignore_merges")) == whole_words_first:
                return name
    known_names = ", ".join(name for _, _, name in _WAYS)
    raise BaseModelError(
        f"{folder}/tokenizer.json cuts text in a way that this export does not know in llama.cpp "
        f"(it knows {known_names}): the same text could become other tokens there. Convert it with "
        "llama.cpp's own converter."
    )


def _starts_with_mark(tokenizer: Any, folder: Path) -> bool:
    """Whether the tokenizer puts its start mark before a text, as the embedded engine reads it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    marked = tokenizer("a")["input_ids"]
    if marked not in (bare, [tokenizer.bos_token_id, *bare]):
        raise BaseModelError(
            f"{folder}: the tokenizer puts other marks around a text than one at its start, which "
            "llama.cpp cannot be told."
        )
    return bool(marked != bare)

"""The cloud's own corpus: pairs it is tuned on, and pairs that are only measured on.

Of the demo world both are drawn anew, from streams of their own: no held-out prompt is one that the
tuning, or the making of the embedded model, has seen. A file (foundation.corpus=FILE, a JSONL of
prompt and completion) is split: where it says `split`, all but `train` is held out; else a draw.
"""

import json
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from fl.demo_world.corpus import corpus
from fl.errors import SettingsError
from fl.prompt_format import cloud_prompt, completion
from fl.settings import FoundationSettings, Settings, resolve

Pair = tuple[str, str]  # prompt and completion, as the cloud reads and writes them

# Added to foundation.seed: streams that the embedded models are not drawn from.
_HELDOUT_STREAM = 1_000_000_000
_TRAIN_STREAM = 2_000_000_000
_MOST_HELD_OUT = 0.2  # of a file's prompts


@dataclass(frozen=True, kw_only=True)
class TuningCorpus:
    """Pairs of prompt and completion; no prompt stands on both sides."""

    train: tuple[Pair, ...] = field(repr=False)
    heldout: tuple[Pair, ...] = field(repr=False)


def tuning_corpus(settings: Settings) -> TuningCorpus:
    """Up to tuning.records pairs to learn from and tuning.heldout to measure on.

    The same for the same settings; the held-out ones do not depend on `seed`. Raises SettingsError
    where the file cannot be read or holds too little.
    """
    if settings.foundation.corpus != "demo":
        return _split(settings)
    heldout = heldout_pairs(settings)
    train = _drawn(
        settings.foundation,
        _TRAIN_STREAM + settings.seed,
        count=settings.tuning.records,
        without={prompt for prompt, _ in heldout},
    )
    return TuningCorpus(train=train, heldout=heldout)


def heldout_pairs(settings: Settings) -> tuple[Pair, ...]:
    """The held-out pairs alone. Raises SettingsError."""
    if settings.foundation.corpus != "demo":
        return _split(settings).heldout
    seen: set[str] = set()
    if settings.cloud.model == "embedded":
        seen = {prompt for prompt, _ in corpus(settings.foundation, "cloud")}
    return _drawn(settings.foundation, _HELDOUT_STREAM, count=settings.tuning.heldout, without=seen)


def _drawn(
    foundation: FoundationSettings, stream: int, *, count: int, without: Collection[str]
) -> tuple[Pair, ...]:
    """`count` fresh pairs of the demo world, of other prompts than `without`."""
    source = replace(foundation, seed=foundation.seed + stream, cloud_records=10 * count)
    found: list[Pair] = []
    for prompt, text in corpus(source, "cloud"):
        if prompt not in without:
            found.append((prompt, text))
        if len(found) == count:
            break
    return tuple(found)


def _split(settings: Settings) -> TuningCorpus:
    """A file's pairs. The same prompt is on one side, however often it stands there."""
    tuning = settings.tuning
    records = list(_file_records(settings.foundation.corpus))
    heldout_prompts = {pair[0] for pair, split in records if split != "train"}
    if not heldout_prompts:
        prompts = sorted({pair[0] for pair, _ in records})
        random.Random(settings.foundation.seed).shuffle(prompts)
        heldout_prompts = set(prompts[: min(tuning.heldout, int(_MOST_HELD_OUT * len(prompts)))])
    train = [pair for pair, _ in records if pair[0] not in heldout_prompts]
    heldout = [pair for pair, _ in records if pair[0] in heldout_prompts]
    if not train or not heldout:
        raise SettingsError(
            f"foundation.corpus={settings.foundation.corpus} has {len(train)} pairs to tune on and "
            f"{len(heldout)} to measure on; both are needed, from at least five prompts."
        )
    random.Random(settings.seed).shuffle(train)
    random.Random(settings.foundation.seed).shuffle(heldout)
    return TuningCorpus(
        train=tuple(train[: tuning.records]), heldout=tuple(heldout[: tuning.heldout])
    )


def _file_records(path: str) -> Iterator[tuple[Pair, str]]:
    """Each record's pair and its split. The text of a faulty line is not quoted: it is a prompt."""
    file = resolve(path)
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SettingsError(
            f"foundation.corpus names {file}, which cannot be read ({error.strerror})."
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if record.get("kind", "confirm") != "confirm":  # as in a site's book
                continue
            prompt, text = cloud_prompt(_clean(record["prompt"])), _clean(record["completion"])
            yield (prompt, completion(text)), str(record.get("split", "train"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(
                f"{file}, line {number}: expected JSON with prompt and completion "
                f"({type(error).__name__})."
            ) from None


def _clean(text: object) -> str:
    """A text that every tokenizer takes: JSON may hold half a surrogate pair."""
    if not isinstance(text, str):
        raise TypeError
    return text.encode("utf-8", "replace").decode()

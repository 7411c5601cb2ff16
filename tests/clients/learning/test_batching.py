"""Batches: what is a target, what a long record loses, how little is padding."""

import random
from itertools import islice
from pathlib import Path

import pytest

from clients.edge_model import EdgeModel, edge_model
from clients.learning.batching import (
    EncodedRecord,
    encode,
    length_groups,
    pad,
    thinned,
    token_batches,
)
from clients.prompts.record import PromptRecord
from fl.prompt_format import edge_prompt
from tests.clients.learning.sites import tiny_settings

CARD = "place Elmford; weather rain; open the mill, the quay, the station, the old mill, the inn"
RECORD = PromptRecord(short="food tonight", enriched="A table near the quay in Elmford.", card=CARD)


@pytest.fixture(scope="module")
def model(edge_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return edge_model(tiny_settings(edge_folder, tmp_path_factory.mktemp("var")))


def text(model: EdgeModel, ids: tuple[int, ...]) -> str:
    decoded: str = model.tokenizer.decode(ids)
    return decoded


def test_a_record_is_prompt_completion_end_mark(model: EdgeModel) -> None:
    encoded = encode(model, RECORD, max_tokens=250)
    start = encoded.completion_start
    assert text(model, encoded.ids[:start]) == edge_prompt(CARD, "food tonight")
    assert text(model, encoded.ids[start:]) == " A table near the quay in Elmford.<|endoftext|>"


def test_a_long_record_loses_the_end_of_its_card_first(model: EdgeModel) -> None:
    whole = encode(model, RECORD, max_tokens=250)
    encoded = encode(model, RECORD, max_tokens=len(whole.ids) - 10)
    prompt = text(model, encoded.ids[: encoded.completion_start])
    assert encoded.ids[encoded.completion_start :] == whole.ids[whole.completion_start :]
    assert prompt.endswith("\nRequest: food tonight\nEnriched:")
    kept = prompt.removeprefix("Card: ").split("\n")[0]
    assert CARD.startswith(kept)
    assert len(CARD) > len(kept) > 20
    assert len(whole.ids) - 14 <= len(encoded.ids) <= len(whole.ids) - 10


def test_then_the_end_of_its_completion_with_the_end_mark(model: EdgeModel) -> None:
    bare = model.token_ids(edge_prompt("", RECORD.short))
    encoded = encode(model, RECORD, max_tokens=len(bare) + 3)
    assert list(encoded.ids[: encoded.completion_start]) == bare
    assert len(encoded.ids) == len(bare) + 3
    assert model.end_id not in encoded.ids


def test_a_short_prompt_longer_than_everything_still_leaves_targets(model: EdgeModel) -> None:
    record = PromptRecord(short="rain " * 300, enriched="A taxi.", card=CARD)
    encoded = encode(model, record, max_tokens=40)
    assert len(encoded.ids) <= 40
    assert text(model, encoded.ids[: encoded.completion_start]).endswith("\nEnriched:")
    assert text(model, encoded.ids[encoded.completion_start :]).startswith(" A taxi.")


def test_half_a_surrogate_pair_does_not_stop_a_site(model: EdgeModel) -> None:
    record = PromptRecord(short="food \ud83d", enriched="A table.", card=CARD)
    assert encode(model, record, max_tokens=200).completion_start > 0


def test_sources_stand_one_before_their_targets() -> None:
    batch = pad(
        [
            EncodedRecord(ids=(7, 8, 9), completion_start=2),
            EncodedRecord(ids=(1, 2, 3, 4, 5), completion_start=3),
        ]
    )
    assert batch.ids.tolist() == [[7, 8, 9, 0, 0], [1, 2, 3, 4, 5]]
    assert batch.sources.tolist() == [1, 5 + 2, 5 + 3]
    assert batch.targets.tolist() == [9, 4, 5]
    assert batch.tokens == 8


@pytest.mark.parametrize("count", [40, 300])
@pytest.mark.parametrize("batch_tokens", [512, 2048])
def test_padding_stays_under_a_tenth(count: int, batch_tokens: int) -> None:
    """Lengths as in requests: a card of 20 to 90 tokens and a completion of 15 to 60."""
    rng = random.Random(count)
    records = [
        EncodedRecord(
            ids=(1,) * (rng.randrange(20, 91) + rng.randrange(15, 61)), completion_start=1
        )
        for _ in range(count)
    ]
    batches = list(islice(token_batches(records, batch_tokens=batch_tokens, seed=1), 60))
    computed = sum(batch.ids.numel() for batch in batches)
    assert 1 - sum(batch.tokens for batch in batches) / computed < 0.10
    assert max(batch.ids.numel() for batch in batches) <= batch_tokens


def test_an_epoch_holds_every_record_once_and_epochs_differ() -> None:
    lengths = [10 + i % 37 for i in range(101)]
    rng = random.Random(3)
    epochs = [length_groups(lengths, batch_tokens=300, rng=rng) for _ in range(2)]
    for groups in epochs:
        assert sorted(i for group in groups for i in group) == list(range(101))
        sizes = [len(group) * max(lengths[i] for i in group) for group in groups]
        assert min(sizes) > 0.5 * max(sizes)  # no small last batch
    assert epochs[0] != epochs[1]


def test_the_same_seed_gives_the_same_batches() -> None:
    records = [EncodedRecord(ids=tuple(range(1, 8 + i % 9)), completion_start=2) for i in range(50)]
    one, same, other = (
        [
            batch.ids.tolist()
            for batch in islice(token_batches(records, batch_tokens=64, seed=s), 20)
        ]
        for s in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_a_thinned_prompt_keeps_what_is_copied_and_its_last_token() -> None:
    record = EncodedRecord(ids=(*range(50), 7, 8), completion_start=50)
    rng = random.Random(0)
    for _ in range(50):
        thin = thinned(record, 0.5, rng)
        prompt = thin.ids[: thin.completion_start]
        assert thin.ids[thin.completion_start :] == (7, 8)
        assert {7, 8, 49} <= set(prompt)
        assert list(prompt) == sorted(prompt)
        assert 10 <= len(prompt) < 45

"""What the model is trained on are the ids that the engine reads and would have to write."""

from itertools import islice
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from fl.errors import BaseModelError
from fl.generation import GenerationRequest
from fl.prompt_format import cloud_prompt, completion
from server.foundation.token_batch import side_by_side
from server.foundation.tokenizer import TokenPair
from server.generation.loading import Tokens
from server.tuning.token_batches import encode, endless_batches

REQUEST, ANSWER = "a table near the quay", "Your table waits. ☕"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_prompts_have_the_ids_that_the_engine_gives_them(
    template: str | None, tiny_cloud: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_cloud)
    tokenizer.chat_template = template
    [pair] = encode(tokenizer, [(cloud_prompt(REQUEST), completion(ANSWER))], longest=200)
    asked = GenerationRequest(request_id="r", site_id="s", prompt=REQUEST)
    assert pair.prompt == Tokens(tokenizer).prompt_ids(asked)
    assert pair.completion[-1] == tokenizer.eos_token_id
    written = tokenizer.decode(pair.completion[:-1])
    assert written == (ANSWER if template else completion(ANSWER))


def test_what_is_too_long_is_left_out(tiny_cloud: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_cloud)
    pairs = [(cloud_prompt("tea"), " yes"), (cloud_prompt("tea " * 90), " yes")]
    assert len(encode(tokenizer, pairs, longest=60)) == 1
    with pytest.raises(BaseModelError, match="None of 2 pairs"):
        encode(tokenizer, pairs, longest=3)


def test_a_batch_by_hand() -> None:
    batch = side_by_side(
        [
            TokenPair(prompt=[7, 8], completion=[9, 0]),
            TokenPair(prompt=[5], completion=[6, 4, 0, 1]),
        ]
    )
    assert batch.ids_BT.tolist() == [[7, 8, 9, 0, 0], [5, 6, 4, 0, 1]]
    assert batch.where_N.tolist() == [1, 2, 5, 6, 7, 8]  # each predicts the token after it
    assert batch.targets_N.tolist() == [9, 0, 6, 4, 0, 1]


def test_batches_keep_to_their_budget_and_leave_nothing_out() -> None:
    pairs = [TokenPair(prompt=[1] * n, completion=[n, 0]) for n in range(1, 21)]
    batches = list(islice(endless_batches(pairs, batch_tokens=50, seed=3), 60))
    assert max(batch.ids_BT.numel() for batch in batches) <= 50
    seen = [int(target) for batch in batches for target in batch.targets_N if target]
    for epoch in range(3):
        assert sorted(seen[20 * epoch : 20 * (epoch + 1)]) == list(range(1, 21))
    again = islice(endless_batches(pairs, batch_tokens=50, seed=3), 60)
    assert all(
        (a.ids_BT.tolist() == b.ids_BT.tolist()) for a, b in zip(batches, again, strict=True)
    )

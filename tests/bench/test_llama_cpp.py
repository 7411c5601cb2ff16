"""The reference decodes what transformers decodes, however its sequences join and leave."""

import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.bench.llama_cpp import decode, run_llama_cpp
from tests.bench.requests import BenchRequest, seconds_to_first_token, tokens_per_second
from tests.llama_cpp_python import MISSING, llama_python
from tests.tiny_models import make_tiny_cloud

pytestmark = pytest.mark.slow


def test_more_requests_than_slots_and_prompts_than_a_step(tmp_path: Path) -> None:
    if llama_python() is None:
        pytest.skip(MISSING)
    pytest.importorskip("gguf")
    folder, rng = make_tiny_cloud(tmp_path), random.Random(0)
    requests = [
        BenchRequest(
            prompt_ids=[rng.randrange(1, 300) for _ in range(rng.randint(1, 90))],
            new_tokens=rng.randint(1, 30),
            arrives_s=0.002 * max(0, i - 12),
        )
        for i in range(40)
    ]
    # the decoder has 16 slots and steps of 512 tokens
    assert sum(len(r.prompt_ids) for r in requests[:16]) > 512

    answers = decode(folder, requests, outtype="f32", threads=1, exact=True)
    times = run_llama_cpp(folder, requests, outtype="q8_0", threads=1)

    model = LlamaForCausalLM.from_pretrained(folder).eval()
    assert answers is not None
    for request, answer in zip(requests, answers, strict=True):
        ids = torch.tensor([request.prompt_ids])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.new_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert answer["ids"] == expected[0, ids.shape[1] :].tolist()
    assert times is not None
    assert [t.tokens for t in times] == [r.new_tokens for r in requests]
    assert min(seconds_to_first_token(requests, times)) > 0
    assert tokens_per_second(times) > 0

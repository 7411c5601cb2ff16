"""What an answer is: where it ends, how it is drawn, and in which words it was asked for."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from fl.generation import Turn
from fl.prompt_format import conversation
from server.generation.embedded import EmbeddedEngine
from server.generation.loading import LanguageModel, load_language_model
from tests.server.generation.engine_cases import ask_all, new_engine, oracle, wanted


@pytest.fixture(scope="module")
def model(tiny_cloud: Path) -> LanguageModel:
    return load_language_model(tiny_cloud)


@pytest.fixture(scope="module")
def engine(model: LanguageModel) -> Iterator[EmbeddedEngine]:
    engine = new_engine(model)
    yield engine
    engine.close()


def test_an_end_mark_stops_and_shards_load(
    tmp_path: Path, tiny_cloud: Path, model: LanguageModel
) -> None:
    ids = oracle(tiny_cloud, model, "a caf\u00e9", 12)
    end_id = ids[6]
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_cloud, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    network = AutoModelForCausalLM.from_pretrained(tiny_cloud)
    network.generation_config.eos_token_id = [0, end_id]  # an ordinary token, as a second mark
    network.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    engine = new_engine(load_language_model(folder))

    [(text, reply)] = ask_all(engine, [wanted("a caf\u00e9", 12)])
    engine.close()

    before = ids[: ids.index(end_id)]
    assert text == model.tokens.decode(before).lstrip()
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", len(before))


def test_a_stop_string_ends_the_answer_before_it(
    engine: EmbeddedEngine, model: LanguageModel, tiny_cloud: Path
) -> None:
    whole = model.tokens.decode(oracle(tiny_cloud, model, "tea?", 40)).lstrip()
    stop = whole[20:26]  # across tokens
    first = whole.index(stop)

    [(text, reply)] = ask_all(engine, [wanted("tea?", 40, stop=("never there", stop))])

    assert text == reply.text == whole[:first]
    assert reply.finish_reason == "stop"


def test_sampling_repeats_for_a_seed_and_differs_between_seeds(engine: EmbeddedEngine) -> None:
    def sampled(seed: int, top_p: float = 1.0, temperature: float = 1.5) -> str:
        request = wanted(temperature=temperature, top_p=top_p, seed=seed, new_tokens=20)
        return ask_all(engine, [request])[0][0]

    greedy = ask_all(engine, [wanted(new_tokens=20)])[0][0]
    assert sampled(1) == sampled(1) != sampled(2)
    assert sampled(1, top_p=1e-9) == greedy  # only the most probable token is left
    assert sampled(1, temperature=1e-300) == greedy  # and no inf - inf


def test_a_conversation_and_a_plain_prompt(model: LanguageModel) -> None:
    history = (
        Turn(role="system", content="Be brief."),
        Turn(role="user", content="tea?"),
        Turn(role="assistant", content="At the quay."),
    )
    asked = "Be brief.\nRequest: tea?\nAnswer: At the quay.\nRequest: and cake\nAnswer:"
    assert conversation(history, "and cake") == asked

    ids = [
        model.tokens.prompt_ids(request)
        for request in (
            wanted("and cake", history=history),
            wanted(asked, plain=True),
            wanted("and cake"),
        )
    ]
    assert ids[0] == ids[1] == model.tokens.encode(asked)
    assert ids[2] == model.tokens.encode("Request: and cake\nAnswer:")


def test_a_model_with_a_chat_template_is_asked_by_it(tmp_path: Path, tiny_cloud: Path) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(tiny_cloud, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    model = load_language_model(folder)

    ids = model.tokens.prompt_ids(
        wanted("tea?", history=(Turn(role="system", content="Be brief."),))
    )

    assert ids == tokenizer("[system] Be brief.\n[user] tea?\n[assistant]")["input_ids"]


def test_a_plain_answer_keeps_its_first_blank(
    engine: EmbeddedEngine, model: LanguageModel, tiny_cloud: Path
) -> None:
    prompt = "Request: tea?\nAnswer:"
    whole = model.tokens.decode(oracle(tiny_cloud, model, "tea?", 12))

    told = ask_all(engine, [wanted(prompt, plain=True), replace(wanted("tea?"))])

    assert [text for text, _ in told] == [whole, whole.lstrip()]

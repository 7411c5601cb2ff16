"""A split LLaMA is the whole one: the same logits for every cut, with caches on both sides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.splitting.lower_layers import LowerLayers, bytes_of_layers, layers_that_fit
from fl.errors import BaseModelError, GenerationError, SettingsError
from fl.generation import GenerationRequest
from server.generation.loading import LanguageModel, load_language_model
from server.generation.split import Split
from server.generation.split_places import SplitPlaces
from tests.tiny_models import make_tiny_cloud


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cloud(tmp_path_factory.mktemp("cloud"))


@pytest.fixture(scope="module")
def whole(folder: Path) -> LanguageModel:
    return load_language_model(folder)


@pytest.fixture(scope="module")
def parts(folder: Path, whole: LanguageModel) -> list[LowerLayers]:
    return [LowerLayers(folder, k) for k in range(1, whole.network.layers + 1)]


def asked(most: int = 8) -> GenerationRequest:
    return GenerationRequest(request_id="r", site_id="oslo", prompt="x", max_new_tokens=most)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ids=st.lists(st.integers(0, 250), min_size=2, max_size=24), read=st.integers(1, 23))
def test_logits_equal_those_of_the_whole_model(
    whole: LanguageModel, parts: list[LowerLayers], ids: list[int], read: int
) -> None:
    """The prompt in one go, then token by token, for every number of layers at the site."""
    read = min(read, len(ids) - 1)
    network = whole.network
    with torch.inference_mode():
        expected = network.logits(ids, first=read - 1)
        for lower in parts:
            lower.begin()
            cache = network.new_cache(1, len(ids), first=lower.layers)
            pieces = [ids[:read], *([token] for token in ids[read:])]
            held = 0
            for place, piece in enumerate(pieces):
                states = torch.from_numpy(lower.states(piece))
                found = network.forward_from(lower.layers, cache, states, start=held)
                held += len(piece)
                np.testing.assert_allclose(found, expected[place], atol=1e-4, rtol=1e-4)


def test_a_split_answer_is_the_greedy_one(whole: LanguageModel, parts: list[LowerLayers]) -> None:
    prompt = [5, 9, 40, 7]
    with torch.inference_mode():
        wanted: list[int] = []
        while len(wanted) < 6:
            logits = whole.network.logits([*prompt, *wanted], first=len(prompt) + len(wanted) - 1)
            wanted.append(int(logits[-1].argmax()))
    for lower in parts:
        lower.begin()
        split = Split(whole, asked(6), first=lower.layers, numbers="float32")
        found: list[int] = []
        token = split.advance(lower.states(prompt).tobytes())
        while token is not None:
            found.append(token)
            if split.finish_reason:
                break
            token = split.advance(lower.states([token]).tobytes())
        until = next((n for n, t in enumerate(wanted) if t in whole.end_ids), len(wanted))
        assert found == wanted[:until]
        assert split.prompt_tokens == 4
        assert split.completion_tokens == len(found)


def test_states_that_are_none_are_refused(whole: LanguageModel, parts: list[LowerLayers]) -> None:
    lower = parts[0]
    lower.begin()
    good = lower.states([1, 2, 3])
    nan = np.full_like(good, np.nan)
    for data, says in (
        (b"", "0 bytes"),
        (good.tobytes()[:-1], "no hidden states"),
        (nan.tobytes(), "NaN"),
        (np.zeros((whole.positions + 1, lower.width), np.float32).tobytes(), "tokens together"),
    ):
        with pytest.raises(GenerationError, match=says):
            Split(whole, asked(), first=1, numbers="float32").advance(data)
    begun = Split(whole, asked(), first=1, numbers="float32")
    begun.advance(good.tobytes())
    with pytest.raises(GenerationError, match="no hidden states"):
        begun.advance(good.tobytes())  # one token at a time, from now on
    for first, numbers in ((0, "float32"), (99, "float32"), (1, "int8")):
        with pytest.raises(GenerationError):
            Split(whole, asked(), first=first, numbers=numbers)


def test_places_are_taken_and_given_back() -> None:
    places = SplitPlaces(1)
    places.take()
    with pytest.raises(GenerationError, match="1 split requests"):
        places.take()
    places.leave()
    places.take()


def test_memory_decides_the_cut(folder: Path, parts: list[LowerLayers]) -> None:
    for lower in parts:
        assert bytes_of_layers(folder, lower.layers) == lower.bytes
    one, two = parts[0].bytes, parts[1].bytes
    scale = 1_000_000
    assert layers_that_fit(folder, two // scale + 1) >= 2
    with pytest.raises(SettingsError, match="take"):
        layers_that_fit(folder, 0)
    assert layers_that_fit(folder, 10_000) == len(parts)
    assert two > one
    with pytest.raises(SettingsError, match="choose 1 to"):
        LowerLayers(folder, len(parts) + 1)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    for use in (lambda: LowerLayers(tmp_path, 1), lambda: layers_that_fit(tmp_path, 100)):
        with pytest.raises(BaseModelError, match="no model folder"):
            use()

"""Making base models: ordinary folders, cached by digest, and nothing half-made."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fl.base_model import base_folder, read_base
from fl.settings import Settings, load
from server.foundation.build import ASIDE, build, make
from server.foundation.models import new_gpt2

TINY = [
    "foundation.records=200",
    "foundation.cloud_records=200",
    *(
        f"foundation.{side}.{shape}"
        for side in ("edge", "cloud")
        for shape in ("layers=2", "hidden=32", "vocabulary=400", "steps=2", "batch_tokens=512")
    ),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([*TINY, f"var={tmp_path}"])


def test_both_models_are_ordinary_folders_and_made_once(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    build(settings)
    for side in ("edge", "cloud"):
        folder = base_folder(settings, side)
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert model.config.vocab_size == len(tokenizer) == 400
        text = "Grüße \U0001f600 at the cafe"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert read_base(base_folder(settings, "edge"), ["c_attn"]).layers[
        "transformer.h.0.attn.c_attn"
    ] == (96, 32)
    stamp = (base_folder(settings, "edge") / "model.safetensors").stat().st_mtime_ns
    build(settings)
    assert "made before" in capsys.readouterr().out
    assert (base_folder(settings, "edge") / "model.safetensors").stat().st_mtime_ns == stamp


def test_other_settings_make_another_folder(settings: Settings) -> None:
    foundation = dataclasses.replace(settings.foundation, seed=1)
    other = dataclasses.replace(settings, foundation=foundation)
    assert base_folder(settings, "edge") != base_folder(other, "edge")


def test_a_killed_run_leaves_no_half_made_model(settings: Settings) -> None:
    folder = base_folder(settings, "edge")
    left = folder.with_name(folder.name + ASIDE + "999")
    left.mkdir(parents=True)
    (left / "config.json").write_text("{}")

    class Killed(Exception):
        pass

    def killed(step: int, loss: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        make(settings, "edge", folder, killed)
    assert not folder.exists()
    make(settings, "edge", folder, lambda step, loss: None)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_first_weights_already_copy() -> None:
    """Two heads are laid out so that after "x y ... x" the model looks at y (an induction head)."""
    torch.manual_seed(0)
    shape = dataclasses.replace(load([]).foundation.edge, vocabulary=1024)
    model = new_gpt2(shape)
    model.set_attn_implementation("eager")
    ids = torch.randint(300, 1024, (4, 40))
    ids[:, 24:36] = ids[:, 4:16]  # a passage that comes back
    with torch.inference_mode():
        weights = model(ids, output_attentions=True).attentions
    here = torch.arange(25, 36)
    first = weights[0][:, 0, here, here - 1].mean()  # layer 0 looks one back
    second = weights[1][:, 0, here, here - 19].mean()  # layer 1 at what followed last time
    assert first > 5 / 40
    assert second > 2 / 40

"""Resources by formula, against numbers worked out by hand from the layers' shapes."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from clients.compare.model_shape import gpt2_base, llama_7b, lora_widths, shape_of
from clients.compare.resources import Amount, Footprint, lora_rows, markdown, own_rows, paper_rows
from fl.errors import BaseModelError
from fl.settings import Settings, load

# 2 layers of 32, 400 tokens, 256 positions
EDGE = 400 * 32 + 256 * 32 + 2 * (64 + 3168 + 1056 + 64 + 4224 + 4128) + 64  # 46,464
# the same, a head of its own, key and value 16 wide, feed-forward 64: no biases, no positions
CLOUD = 2 * 400 * 32 + 2 * (1024 + 512 + 512 + 1024 + 3 * 2048 + 64) + 32  # 44,192


@pytest.fixture(scope="module")
def paper() -> dict[str, Footprint]:
    return {mine.name: mine for mine, _ in paper_rows()}


def size(amount: Amount | None) -> int:
    assert amount is not None
    return amount.bytes


def own(edge: Path, cloud: Path | str) -> Settings:
    return load(
        [
            f"edge.model={edge}",
            f"cloud.model={cloud}",
            "learning.rank=4",
            "learning.personal_rank=3",
            "learning.target_modules=[c_attn,c_proj,c_fc]",
            "tuning.rank=2",
            "tuning.target_modules=[q_proj,v_proj]",
        ]
    )


def test_the_papers_figures_come_out_of_the_configs(paper: dict[str, Footprint]) -> None:
    edge, cloud = paper["GPT-2-base"], paper["LLaMA-7B"]
    assert (edge.parameters, cloud.parameters) == (124_439_808, 6_738_415_616)
    masked = paper["GPT-2-base with its causal masks (fits the paper's)"]
    rounded = paper["LLaMA-7B counted as 7e9 (fits the paper's)"]
    assert f"{size(edge.storage) / 2**20:.2f}" == "474.70"
    assert f"{size(masked.storage) / 2**20:.2f}" == "486.70"
    assert f"{size(cloud.storage) / 2**30:.2f}" == "12.55"
    assert size(rounded.tuning) == 112_000_000_000
    assert size(cloud.tuning) == 107_814_649_856
    # keys and values: 12 x 2 x 768 and 32 x 2 x 4096 a position, of 1,024 and 2,048
    assert size(edge.inference) == 497_759_232 + 12 * 2 * 768 * 1024 * 4
    assert size(cloud.inference) == 13_476_831_232 + 2**30


def test_lora_of_the_papers_models() -> None:
    found = {
        mine.name: (mine.parameters, size(mine.tuning), size(mine.update))
        for mine, _ in lora_rows()
    }
    assert found == {
        "GPT-2-base frozen in float32, LoRA r=8 on c_attn": (
            294_912,
            497_759_232 + 16 * 294_912,
            1_179_648,
        ),
        "LLaMA-7B frozen in float16, LoRA r=8 on q_proj, v_proj": (
            4_194_304,
            13_476_831_232 + 16 * 4_194_304,
            16_777_216,
        ),
        "LLaMA-7B frozen in float32, LoRA r=8 on q_proj, v_proj": (
            4_194_304,
            26_953_662_464 + 16 * 4_194_304,
            16_777_216,
        ),
    }


def test_own_models_from_their_configs_alone(
    edge_folder: Path, llama_folder: Path, tmp_path: Path
) -> None:
    folders = []
    for folder in (edge_folder, llama_folder):
        bare = tmp_path / folder.name
        bare.mkdir()
        shutil.copy(folder / "config.json", bare)
        folders.append(bare)
    edge, edge_lora, cloud, cloud_lora = (mine for mine, _ in own_rows(own(*folders)))
    assert (edge.parameters, cloud.parameters) == (EDGE, CLOUD)
    assert size(edge.storage) == 4 * EDGE
    assert size(edge.inference) == 4 * (EDGE + 2 * 2 * 32 * 256)
    assert size(cloud.inference) == 4 * (CLOUD + 2 * 2 * 16 * 256)  # two of four heads have keys
    # d_in + d_out: c_attn 32 + 96, both c_proj 64 and 160, c_fc 160
    widths = 2 * (128 + 64 + 160 + 160)
    assert edge_lora.parameters == 4 * widths
    assert size(edge_lora.update) == 4 * 4 * widths  # the personal part never travels
    assert size(edge_lora.storage) == 4 * EDGE + 4 * (4 + 3) * widths
    assert size(edge_lora.tuning) == 4 * EDGE + 16 * (4 + 3) * widths
    # q 32 + 32, v 32 + 16
    assert cloud_lora.parameters == 2 * 2 * (64 + 48)
    assert size(cloud_lora.tuning) == 4 * CLOUD + 16 * cloud_lora.parameters
    assert cloud_lora.update is None


def test_no_parameter_is_allocated(monkeypatch: pytest.MonkeyPatch, edge_folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    networks: list[Any] = []
    real = AutoModelForCausalLM.from_config

    def kept(config: Any) -> Any:
        networks.append(real(config))
        return networks[-1]

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", kept)
    gpt2_base(), llama_7b(), shape_of(edge_folder, name="own")
    assert len(networks) == 3
    for network in networks:
        assert all(p.is_meta for p in [*network.parameters(), *network.buffers()])


def test_what_cannot_be_counted_says_so(edge_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        shape_of(tmp_path, name="own edge model")
    with pytest.raises(BaseModelError, match="'q_proj'"):
        lora_widths(shape_of(edge_folder, name="own"), ["c_attn", "q_proj"])


def test_the_table_tells_computed_from_quoted(edge_folder: Path) -> None:
    text = markdown(own(edge_folder, "none"))
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    rows = {line[0]: line[1:] for line in lines}
    assert lines[0][3] == "the paper's number (second-hand, 2nd)"
    masked = rows["GPT-2-base with its causal masks (fits the paper's): storage"]
    assert masked[:3] == ["124,439,808", "486.70 MiB", "486.8 MB, read as MiB"]
    assert masked[-1] == "1.000"
    exact = rows["LLaMA-7B: tuning memory"]
    assert exact[1:3] + exact[-1:] == ["107.81 GB", "112 GB", "0.963"]
    unquoted = rows["LLaMA-7B: inference memory"]
    assert (unquoted[2], unquoted[-1]) == ("-", "-")
    mine = [row for name, row in rows.items() if name.startswith("own ")]
    assert mine
    assert all((row[2], row[-1]) == ("-", "-") for row in mine)
    assert not any(name.startswith("own cloud") for name in rows)
    assert "none is measured" in text

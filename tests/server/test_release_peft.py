"""A published release is an ordinary PEFT adapter: anybody loads it, without this project."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.edge_model import EdgeModel
from fl.adapter import Adapter, AdapterSpec
from fl.base_model import read_base
from server.releases import Releases
from tests.fl.releases import KEY
from tests.tiny_models import make_tiny_edge

TARGETS = ("c_attn", "c_fc", "c_proj")
PLAIN = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2]).eval()
with torch.no_grad():
    print(model(torch.arange(12).reshape(1, 12)).logits[0].tolist())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    base = read_base(make_tiny_edge(tmp_path_factory.mktemp("edge")), TARGETS)
    spec = AdapterSpec(
        base_model_fingerprint=base.fingerprint, rank=3, alpha=6.0, target_modules=TARGETS
    )
    return EdgeModel(base, spec)


def test_a_plain_script_computes_what_we_compute(model: EdgeModel, tmp_path: Path) -> None:
    releases = Releases(tmp_path, federation="001", key=KEY)
    plain, ours = [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        tensors = {
            name: rng.normal(0, 0.3, tensor.shape).astype(np.float32)
            for name, tensor in model.adapter().tensors.items()
        }
        made = releases.publish(
            Adapter(spec=model.spec, tensors=tensors),
            round_number=seed,
            method="fedavg",
            parent_digest="",
            metrics={},
        )
        folder = tmp_path / str(made.number)
        ran = subprocess.run(
            [sys.executable, "-c", PLAIN, str(model.base.folder), str(folder)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            check=True,
        )
        plain.append(np.array(json.loads(ran.stdout)))

        model.set_adapter(releases.load(made.number).shared)
        weight, bias = model.head()
        with torch.no_grad():
            hidden = model.hidden(torch.arange(12).reshape(1, 12))
            ours.append(torch.nn.functional.linear(hidden, weight, bias)[0].numpy())
    for theirs, our in zip(plain, ours, strict=True):
        np.testing.assert_allclose(theirs, our, rtol=1e-4, atol=1e-4)
    assert np.abs(ours[0] - ours[1]).max() > 0.1  # the adapter matters

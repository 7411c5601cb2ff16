"""Small sites for tests: a tiny edge model, a few records, settings that fit both."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.prompts.book import Book
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter, AdapterSpec, initial_adapter
from fl.base_model import read_base
from fl.release import AdapterRelease
from fl.release_file import sign_release
from fl.rounds import RoundPlan
from fl.settings import Settings, load
from fl.site import Site
from fl.tasks import COMPLETE
from tests.fl.plans import fedavg_plan
from tests.fl.releases import KEY

TARGETS = ["c_attn", "c_fc", "c_proj"]
RANK, PERSONAL_RANK = 4, 2
PLACES = ("Elmford", "Quayside", "Millbrook", "Station Hill")
WANTS = ("food", "a taxi", "a table for two", "something quiet near the old mill to eat tonight")


def tiny_settings(
    edge: Path, var: Path, *, personal: str = "dual", bfloat16: str = "off"
) -> Settings:
    """Settings whose edge model is the folder `edge` and that write under `var`."""
    settings = load(
        [f"var={var}", f"keys={var}/pki", "threads=1", f"personal={personal}"],
        config="configs/base.yaml",
    )
    learning = replace(
        settings.learning,
        rank=RANK,
        personal_rank=PERSONAL_RANK,
        alpha=8.0,
        target_modules=TARGETS,
        batch_tokens=512,
        max_tokens=96,
        bfloat16=bfloat16,
    )
    return replace(settings, edge=replace(settings.edge, model=str(edge)), learning=learning)


def drawn_records(count: int, *, seed: int) -> tuple[PromptRecord, ...]:
    """Records of unequal length, as real ones are."""
    rng = random.Random(seed)
    records = []
    for _ in range(count):
        place, want = rng.choice(PLACES), rng.choice(WANTS)
        extra = "; open the quay" * rng.randrange(4)
        records.append(
            PromptRecord(
                short=want,
                enriched=f"I would like {want} in {place}{' in the rain' * rng.randrange(3)}.",
                card=f"place {place}; weather rain{extra}",
            )
        )
    return tuple(records)


def drawn_book(name: str, *, seed: int) -> Book:
    return Book(
        site=Site(id=name, place=name),
        train=drawn_records(30, seed=seed),
        heldout=drawn_records(8, seed=seed + 1000),
    )


def first_adapter(settings: Settings) -> Adapter:
    """The shared part that a federation starts with."""
    learning = settings.learning
    base = read_base(Path(settings.edge.model), learning.target_modules)
    spec = AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=learning.rank,
        alpha=learning.alpha,
        target_modules=tuple(sorted(learning.target_modules)),
        fan_in_fan_out=base.fan_in_fan_out,
    )
    return initial_adapter(spec, base.layers, seed=settings.seed)


def moved(adapter: Adapter, *, by: float, seed: int = 0) -> Adapter:
    """Every number a little elsewhere, so that the model writes and scores otherwise."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: tensor + by * rng.standard_normal(tensor.shape).astype(np.float32)
        for name, tensor in adapter.tensors.items()
    }
    return Adapter(spec=adapter.spec, tensors=tensors)


def signed(
    shared: Adapter,
    *,
    number: int = 0,
    federation: str = "001",
    key: Ed25519PrivateKey = KEY,
    task: str = COMPLETE,
) -> AdapterRelease:
    """A release of this adapter."""
    return sign_release(
        shared,
        federation=federation,
        number=number,
        parent_digest="",
        method="fedavg",
        round_number=number,
        metrics={},
        key=key,
        task=task,
    )


def first_release(settings: Settings) -> AdapterRelease:
    """Release 0, as the cloud makes it."""
    return signed(first_adapter(settings))


def tiny_plan(
    *,
    steps: int = 3,
    round_number: int = 1,
    release_number: int | None = None,
    current_release: int | None = None,
    rank: int = RANK,
) -> RoundPlan:
    """By default the round starts from the release of the round before, which is current."""
    starts_from = round_number - 1 if release_number is None else release_number
    return fedavg_plan(
        round_number=round_number,
        release_number=starts_from,
        current_release=starts_from if current_release is None else current_release,
        rank=rank,
        learning_rate=0.01,
        local_steps=steps,
        seed=5,
    )

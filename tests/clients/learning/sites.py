"""Small sites for tests: a tiny edge model, a few records, settings that fit both."""

import random
from dataclasses import replace
from pathlib import Path

from clients.prompts.book import Book
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter, AdapterSpec, initial_adapter
from fl.base_model import read_base
from fl.rounds import RoundPlan
from fl.settings import EdgeSettings, Settings, load
from fl.site import Site

TARGETS = ["c_attn", "c_fc", "c_proj"]
RANK, PERSONAL_RANK = 4, 2
PLACES = ("Elmford", "Quayside", "Millbrook", "Station Hill")
WANTS = ("food", "a taxi", "a table for two", "something quiet near the old mill to eat tonight")


def tiny_settings(
    edge: Path, var: Path, *, personal: str = "dual", bfloat16: str = "off"
) -> Settings:
    """Settings whose edge model is the folder `edge` and that write under `var`."""
    settings = load([f"var={var}", "threads=1", f"personal={personal}"], config="configs/base.yaml")
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
    return replace(settings, edge=EdgeSettings(model=str(edge)), learning=learning)


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


def first_release(settings: Settings) -> Adapter:
    """Release 0, as the cloud makes it."""
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


def tiny_plan(*, steps: int = 3, round_number: int = 1) -> RoundPlan:
    return RoundPlan(
        federation="001",
        round_number=round_number,
        release_number=round_number - 1,
        learning_rate=0.01,
        local_steps=steps,
        batch_tokens=512,
        clip_norm=1.0,
        seed=5,
        deadline_s=60.0,
    )

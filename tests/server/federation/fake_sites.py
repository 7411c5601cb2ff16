"""A federation without learning: a base model that is shapes only, and sites that answer at once.

Honest where it counts: the fake sites are a real ClientApp that reads plans and writes updates with
the project's own records. Their "learning" adds numbers drawn from site and round: the right sum
is known, and a repeated round gives the same update.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from safetensors.numpy import save_file

from fl.adapter import Adapter
from fl.flower_records import (
    delivery_records,
    read_plan,
    roll_call_records,
    update_records,
)
from fl.release import Delivery
from fl.rounds import RoundPlan
from fl.settings import Settings, load
from fl.update import AdapterUpdate

PLACES = ("oslo", "rome", "bonn", "kyiv")


def fake_settings(folder: Path, *overrides: str, sites: Sequence[str] = PLACES) -> Settings:
    """Settings of a small federation under `folder`, its base model and books included."""
    base = folder / "base"
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file(
        {"transformer.h.0.attn.c_attn.weight": np.zeros((4, 12), np.float32)},
        base / "model.safetensors",
    )
    book = folder / "book.jsonl"
    book.write_text("{}\n")
    listed = ",".join(f"{{id: {site}, place: {site}, book: {book}}}" for site in sites)
    return load(
        [
            f"var={folder / 'var'}",
            f"edge.model={base}",
            f"sites=[{listed}]",
            "learning.target_modules=[c_attn]",
            "learning.rank=2",
            "federation.deadline_s=2",
            *overrides,
        ]
    )


def fake_delta(plan: RoundPlan, release: Adapter, site: str) -> Adapter:
    """What a fake site learned in a round."""
    rng = np.random.default_rng([plan.round_number, zlib.crc32(site.encode())])
    return Adapter(
        spec=release.spec,
        tensors={
            name: rng.standard_normal(tensor.shape).astype(np.float32) / 10
            for name, tensor in release.tensors.items()
        },
    )


def fake_client_app(sites: Sequence[str] = PLACES) -> ClientApp:
    """Partition p of n hosts sites[p::n]; a node config may name its site."""
    app = ClientApp()

    def hosted(context: Context) -> list[str]:
        config = context.node_config
        if "site" in config:
            return [str(config["site"])]
        return list(sites[int(config["partition-id"]) :: int(config["num-partitions"])])

    @app.query()
    def roll_call(message: Message, context: Context) -> Message:
        return Message(roll_call_records(hosted(context)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        site, plan, release = read_plan(message.content)
        assert site in hosted(context)
        update = AdapterUpdate(
            site_id=site,
            round_number=plan.round_number,
            based_on_release=plan.release_number,
            delta=fake_delta(plan, release, site),
            num_examples=10 * (1 + sites.index(site)),
            train_loss=1.0,
            heldout_loss=2.0 + sites.index(site),
            seconds=0.5,
        )
        return Message(update_records(update), reply_to=message)

    @app.evaluate()
    def settle(message: Message, context: Context) -> Message:
        site, plan, _ = read_plan(message.content)
        delivery = Delivery(
            site_id=site,
            release_number=plan.release_number,
            shared_heldout_loss=2.0,
            settled_heldout_loss=1.5,
            seconds=0.1,
        )
        return Message(delivery_records(delivery), reply_to=message)

    return app

"""A federation without learning: a base model that is shapes only, and sites that answer at once.

Honest where it counts: the fake sites are a real ClientApp that reads plans and writes updates with
the project's own records. A site's "loss" is the distance to numbers that only it knows, and its
"learning" goes a part of the way there, so that judging is honest, the right sum is known, and a
repeated round gives the same update.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from safetensors.numpy import save_file

from fl.adapter import Adapter, add
from fl.flower_records import (
    delivery_records,
    judgement_records,
    read_plan,
    roll_call_records,
    update_records,
)
from fl.release import Delivery, Judgement
from fl.rounds import RoundPlan
from fl.settings import Settings, load
from fl.signing import signing_key
from fl.update import AdapterUpdate
from server.federation.strategy import federate
from server.releases import Releases
from tests.direct_grid import DirectGrid, Tamper, simulated_nodes

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
            f"keys={folder / 'pki'}",
            f"edge.model={base}",
            f"sites=[{listed}]",
            "learning.target_modules=[c_attn]",
            "learning.rank=2",
            "federation.deadline_s=2",
            *overrides,
        ]
    )


def fake_loss(adapter: Adapter, site: str) -> float:
    """Mean squared distance to the site's own numbers: those of all sites, a little off."""
    common = np.random.default_rng(7)
    own = np.random.default_rng(zlib.crc32(site.encode()))
    squares = []
    for tensor in adapter.tensors.values():
        wanted = common.standard_normal(tensor.shape) + 0.1 * own.standard_normal(tensor.shape)
        squares.append(np.square(tensor - wanted).mean())
    return float(np.mean(squares))


def fake_delta(plan: RoundPlan, release: Adapter, site: str) -> Adapter:
    """A third of the way to the site's own numbers, and some noise of this round."""
    common = np.random.default_rng(7)
    own = np.random.default_rng(zlib.crc32(site.encode()))
    noise = np.random.default_rng([plan.round_number, zlib.crc32(site.encode())])
    tensors = {}
    for name, tensor in release.tensors.items():
        wanted = common.standard_normal(tensor.shape) + 0.1 * own.standard_normal(tensor.shape)
        step = (wanted - tensor) / 3 + 0.02 * noise.standard_normal(tensor.shape)
        tensors[name] = step.astype(np.float32)
    return Adapter(spec=release.spec, tensors=tensors)


def fake_update(plan: RoundPlan, release: Adapter, site: str, *, place: int) -> AdapterUpdate:
    """A site's honest update, without a judgement; 10 records more than the site before."""
    delta = fake_delta(plan, release, site)
    return AdapterUpdate(
        site_id=site,
        round_number=plan.round_number,
        based_on_release=plan.release_number,
        delta=delta,
        num_examples=10 * (1 + place),
        train_loss=1.0,
        heldout_loss=fake_loss(add(release, delta), site),
        seconds=0.5,
    )


class FakeSites:
    """All sites of a federation, with what they keep on their disks; `app` is their ClientApp.

    Partition p of n hosts sites[p::n]; a node config may name its site.
    """

    def __init__(self, sites: Sequence[str] = PLACES) -> None:
        self.sites = tuple(sites)
        self.shelves: dict[str, dict[int, Adapter]] = {site: {} for site in sites}
        self.settled: dict[str, int] = {}  # site -> the release it was delivered
        self.app = self._client_app()

    def judge(self, plan: RoundPlan, release: Adapter, site: str) -> Judgement | None:
        """Compare a candidate with the current release, where the site has it."""
        current = self.shelves[site].get(plan.current_release)
        if plan.release_number == plan.current_release or current is None:
            return None
        return Judgement(
            release_number=plan.release_number,
            loss=fake_loss(release, site),
            current_number=plan.current_release,
            current_loss=fake_loss(current, site),
        )

    def _client_app(self) -> ClientApp:
        app = ClientApp()

        @app.query()
        def roll_call(message: Message, context: Context) -> Message:
            return Message(roll_call_records(self._hosted(context)), reply_to=message)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            site, plan, release = self._open(message, context)
            update = fake_update(plan, release, site, place=self.sites.index(site))
            judged = vars(update) | {"judgement": self.judge(plan, release, site)}
            return Message(update_records(AdapterUpdate(**judged)), reply_to=message)

        @app.evaluate("judge")
        def judge(message: Message, context: Context) -> Message:
            site, plan, release = self._open(message, context)
            judgement = self.judge(plan, release, site)
            assert judgement is not None
            return Message(judgement_records(site, judgement), reply_to=message)

        @app.evaluate("settle")
        def settle(message: Message, context: Context) -> Message:
            site, plan, release = self._open(message, context)
            self.settled[site] = plan.release_number
            delivery = Delivery(
                site_id=site,
                release_number=plan.release_number,
                shared_heldout_loss=fake_loss(release, site),
                settled_heldout_loss=fake_loss(release, site) / 2,
                seconds=0.1,
            )
            return Message(delivery_records(delivery), reply_to=message)

        return app

    def _hosted(self, context: Context) -> list[str]:
        config = context.node_config
        if "site" in config:
            return [str(config["site"])]
        return list(self.sites[int(config["partition-id"]) :: int(config["num-partitions"])])

    def _open(self, message: Message, context: Context) -> tuple[str, RoundPlan, Adapter]:
        site, plan, sent = read_plan(message.content)
        assert site in self._hosted(context)
        self.shelves[site][plan.release_number] = sent.shared
        return site, plan, sent.shared


def fake_client_app(sites: Sequence[str] = PLACES) -> ClientApp:
    """The ClientApp of new fake sites."""
    return FakeSites(sites).app


def grid(nodes: int = 4, *, tamper: Tamper = lambda request, reply: reply) -> DirectGrid:
    """Simulated nodes that host new fake sites."""
    return DirectGrid(fake_client_app(), simulated_nodes(nodes, {}), tamper=tamper)


def run(settings: Settings, flower: DirectGrid, name: str = "001") -> Path:
    """Federate and return the folder."""
    folder = settings.run_dir / "federations" / name
    federate(flower, settings, folder=folder, run_id="7")
    return folder


def releases_of(settings: Settings, folder: Path) -> Releases:
    """The releases of a federation, to be read and moved."""
    return Releases(folder / "releases", federation=folder.name, key=signing_key(settings))


def asked(message: Message) -> tuple[str, RoundPlan]:
    """The site and the plan of a request that is no roll call."""
    site, plan, _ = read_plan(message.content)
    return site, plan


def is_of(request: Message, kind: str, sites: Iterable[str] = PLACES) -> bool:
    """Is this a request of this kind to one of these sites?"""
    return request.metadata.message_type == kind and asked(request)[0] in sites


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All bytes of a federation's release folders, aliases and verdicts."""
    files = [*(folder / "releases").rglob("*"), folder / "verdicts.jsonl"]
    others = (".lock", ".aliases.lock", "history.jsonl")  # hold times and process ids
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in files
        if file.is_file() and file.name not in others
    }

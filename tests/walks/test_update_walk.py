"""The learning walk end to end: books -> ClientApp -> updates -> ServerApp -> release -> shelves.

Real apps, real records, real training on a tiny GPT-2; only the transport is a direct call.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from clients.adapter_shelf import newest_shelf
from clients.learning.flower_app import app as client_app
from fl import adapter_file
from fl.adapter import digest
from fl.flower_records import CONTRIBUTE, JUDGE, SETTLE
from fl.settings import Settings, load
from fl.signing import cloud_key
from fl.site_list import site_folder
from server.federation.flower_app import app as server_app
from server.federation.round_log import RoundLog, read_status
from server.releases import Releases
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation


def federate(
    arguments: list[str], *overrides: str, nodes: int = 2, federation: str = ""
) -> tuple[Settings, DirectGrid]:
    """Run a whole federation and return its settings and what was sent."""
    (config,) = arguments
    run_config: dict[str, bool | float | int | str] = {
        "config": config.removeprefix("config="),
        "overrides": " ".join(overrides),
        "federation": federation,
    }
    grid = DirectGrid(
        client_app, simulated_nodes(nodes, {k: str(v) for k, v in run_config.items()})
    )
    context = Context(
        run_id=3, node_id=0, node_config={}, state=RecordDict(), run_config=run_config
    )
    server_app(grid, context)
    return load([*arguments, *overrides]), grid


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tiny_federation(tmp_path_factory.mktemp("tiny"))


def test_two_rounds_and_a_delivery(arguments: list[str]) -> None:
    settings, _ = federate(arguments, "rounds=2", "name=walk")

    folder = settings.run_dir / "federations" / "001"
    reports, releases = RoundLog(folder).reports(), releases_of(settings)
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.message) == ("completed", "")
    assert [report.release_number for report in reports] == [1, 2]
    for report in reports:
        assert [(o.site_id, o.admitted, o.reason) for o in report.outcomes] == [
            (site, True, "") for site in SITES
        ]
        assert all(o.num_examples == 9 and o.update_norm > 0 for o in report.outcomes)
    # the release learned something, and is what every shelf holds
    last = releases.current()
    assert last.number == 2
    changed = {digest(releases.load(n).shared) for n in range(3)}
    assert len(changed) == 3
    for site in SITES:
        shelf = newest_shelf(settings, site)
        assert shelf is not None
        held = shelf.current()
        assert held is not None
        assert (held.number, held.manifest) == (2, last.manifest)
        assert shelf.personal() is not None
    deliveries = json.loads((folder / "deliveries.json").read_text())
    assert [d["site_id"] for d in deliveries] == list(SITES)
    assert all(np.isfinite(d["settled_heldout_loss"]) for d in deliveries)
    assert adapter_file.read(folder / "releases" / "2").spec.rank == settings.learning.rank


def test_nothing_private_leaves_a_site(arguments: list[str]) -> None:
    """The canary stands in all prompts; the cloud's files and all messages must not hold it."""
    settings, grid = federate(arguments, "rounds=1", "name=private")
    for file in (settings.run_dir / "federations").rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file
    replies = list(_messages_of(grid))
    assert len(replies) == 3 * len(SITES)  # update, judgement, delivery
    personal = newest_shelf(settings, "elm")
    assert personal is not None
    kept = personal.personal()
    assert kept is not None
    for message in replies:
        arrays = message.content.array_records.get("adapter", {})
        for name, array in arrays.items():
            # only the shared directions travel, and none of them is the personal part
            assert min(array.numpy().shape) == settings.learning.rank
            assert not np.array_equal(array.numpy(), kept.tensors[name])
        for record in message.content.config_records.values():
            assert CANARY not in str(record)
    # a site's own folder holds the shelf, nothing else of it is written elsewhere
    assert (site_folder(settings, "elm") / "shelf").is_dir()


def _messages_of(grid: DirectGrid) -> list[Message]:
    return [m for m in grid.answered if m.metadata.message_type in (CONTRIBUTE, JUDGE, SETTLE)]


def releases_of(settings: Settings) -> Releases:
    folder = settings.run_dir / "federations" / "001" / "releases"
    return Releases(folder, federation="001", cloud_key=cloud_key(settings))


def test_the_same_seed_gives_the_same_release_however_many_nodes(arguments: list[str]) -> None:
    releases = []
    for name, nodes in (("once", 2), ("again", 1)):
        settings, _ = federate(arguments, "rounds=2", f"name={name}", nodes=nodes)
        releases.append(digest(releases_of(settings).current().shared))
    assert releases[0] == releases[1]


def test_the_base_model_is_loaded_once(arguments: list[str]) -> None:
    from clients.edge_model import base_loads

    federate(arguments, "rounds=1", "name=before")
    before = base_loads()
    federate(arguments, "rounds=2", "name=after")
    assert base_loads() == before


def test_without_a_personal_part(arguments: list[str]) -> None:
    settings, _ = federate(arguments, "rounds=1", "name=shared", "personal=none")
    status = read_status(settings.run_dir / "federations" / "001")
    assert status is not None
    assert status.state == "completed"
    shelf = newest_shelf(settings, "ash")
    assert shelf is not None
    assert shelf.personal() is None


def test_a_bad_book_costs_its_site_the_round_and_nobody_else(
    tmp_path: Path, arguments: list[str]
) -> None:
    own = make_tiny_federation(tmp_path)
    (tmp_path / "elm.jsonl").write_text(f'{{"prompt": "{CANARY}"}}\n')
    settings, _ = federate(own, "rounds=1")
    (report,) = RoundLog(settings.run_dir / "federations" / "001").reports()
    reasons = {o.site_id: o.reason for o in report.outcomes}
    assert reasons == {"elm": "the site failed: BookError", "ash": ""}
    details = (site_folder(settings, "elm") / "failure.txt").read_text()
    assert "elm.jsonl" in details
    assert CANARY not in details

"""The comparison end to end on a tiny federation, with the real cloud service and real links."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clients.asking.modes import MODES
from clients.compare.verb import compare
from clients.ledger.journal import ledger_file
from fl.errors import FederationError, SettingsError
from fl.settings import Settings, load
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud
from tests.walks.test_update_walk import federate
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation


def marked(folder: Path) -> None:
    """Give every record of the books its place as a mark, so that answers can be judged."""
    for site, place in SITES.items():
        book = folder / f"{site}.jsonl"
        lines = [json.loads(line) for line in book.read_text().splitlines()]
        more = {"marks": {"fact": [place]}, "answer_marks": ["quay"]}
        book.write_text("".join(json.dumps(line | more) + "\n" for line in lines))


@pytest.fixture
def federated(tmp_path: Path) -> Iterator[Settings]:
    arguments = make_tiny_federation(tmp_path, records=72)
    marked(tmp_path)
    cloud = make_tiny_cloud(tmp_path / "cloud")
    settings, _ = federate(arguments, "rounds=1")
    settings = replace(
        settings,
        seeds=1,
        cloud=replace(settings.cloud, model=str(cloud)),
        asking=replace(settings.asking, answer_tokens=14, enriched_tokens=6),
        compare=replace(
            settings.compare,
            sites=2,
            timed_sites=2,
            profiles=["fibre", "5g-good"],
            requests=1,
            split_requests=1,
        ),
        split=replace(settings.split, layers=1),
    )
    with running_service(cloud, tmp_path) as (_, address):
        yield replace(settings, service=replace(settings.service, address=address))


def test_every_mode_over_every_link(federated: Settings, tmp_path: Path) -> None:
    shown = tmp_path / "shown.txt"
    with open(shown, "w") as stream:
        compare(federated, Console(file=stream, width=200))

    out = federated.run_dir / "compare"
    lines = json.loads((out / "compare.json").read_text())
    judged = [line["judged"] for line in lines if "judged" in line]
    timed = [line["timed"] for line in lines if "timed" in line]
    assert len(judged) == 2 * 9  # half of the 18 that each site holds out
    for link in ("fibre", "5g-good"):
        asked = [t["entry"]["wanted"] for t in timed if t["profile"] == link]
        assert {mode: asked.count(mode) for mode in MODES} == {
            "edge": 2,
            "cloud": 2,
            "split": 1,
            "synergy": 2,
            "auto": 2,
        }
    for entry in (t["entry"] for t in timed):
        assert entry["counted"] == "socket"
        assert (entry["bytes_up"] > 60) == (entry["mode"] != "edge")
        assert (entry["private_characters"] > 0) == (entry["mode"] in ("cloud", "synergy"))
        assert (entry["states_bytes"] > 0) == (entry["mode"] == "split")
    assert all(t["as_judged"] is True for t in timed if t["entry"]["wanted"] == "split")

    text = (out / "compare.md").read_text()
    assert "124,439,808" in text  # the resource table
    assert "1 of 1" in text  # the split's bytes are those of the formula
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    # what is timed here is no request of anybody's, and no text is in what is written
    assert not ledger_file(federated, "elm").exists()
    for file in (out / "compare.md", out / "compare.json", shown):
        assert CANARY not in file.read_text()


def test_what_is_missing_is_said_before_anything_is_measured() -> None:
    with pytest.raises(SettingsError, match="did you mean 'lte'"):
        compare(replace(load(), compare=replace(load().compare, profiles=["ltee"])), Console())
    with pytest.raises(FederationError, match="simulate first"):
        compare(replace(load(), seed=987654), Console())

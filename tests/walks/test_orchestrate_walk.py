"""Traces against real processes of a tiny federation, one killed in each, and their model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clients.ledger.journal import ledger_file
from clients.orchestrate.results import ADMISSIONS
from clients.orchestrate.verb import orchestrate
from fl.errors import BookError, SettingsError
from fl.settings import load
from tests.tiny_models import make_tiny_cloud
from tests.walks.test_update_walk import federate
from tests.walks.tiny_federation import CANARY, make_tiny_federation


@pytest.mark.slow
def test_every_admission_for_real_and_as_a_model(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    cloud = make_tiny_cloud(tmp_path / "cloud")
    settings, _ = federate(
        [*arguments, f"cloud.model={cloud}"],
        "rounds=1",
        "asking.enriched_tokens=6",
        "asking.answer_tokens=14",
        "orchestrate.sites=2",
        "orchestrate.cells=1",
        "orchestrate.seconds=8",
        "orchestrate.seeds=1",
        "orchestrate.burst.quiet_per_s=1",
        "orchestrate.modelled.sites=20",
        "orchestrate.modelled.cells=4",
        "orchestrate.modelled.seconds=60",
    )
    shown = tmp_path / "shown.txt"
    with open(shown, "w") as stream:
        orchestrate(settings, Console(file=stream, width=200))

    out = settings.run_dir / "orchestrate"
    found = json.loads((out / "orchestrate.json").read_text())
    assert [trial["admission"] for trial in found["real"]] == list(ADMISSIONS)
    for real, modelled in zip(found["real"], found["modelled"], strict=True):
        assert real["requests"] == modelled["requests"] > 0
        assert real["lost"] == []  # a worker was killed
        assert real["missed"] < real["requests"]
    assert all(one["back_s"] > 0 for one in found["calibrations"].values())
    assert "## Real processes" in (out / "orchestrate.md").read_text()
    assert (out / "orchestrate.png").read_bytes().startswith(b"\x89PNG")
    # it is nobody's request, and no text is in what is written
    assert not ledger_file(settings, "elm").exists()
    for file in (out / "orchestrate.md", out / "orchestrate.json", shown):
        assert CANARY not in file.read_text()


def test_what_is_missing_is_said_before_anything_starts() -> None:
    settings = load()
    more = replace(settings, orchestrate=replace(settings.orchestrate, sites=99))
    with pytest.raises(SettingsError, match="only 8 sites are federated"):
        orchestrate(more, Console())
    with pytest.raises(BookError, match=r"run \./run\.sh books"):
        orchestrate(replace(settings, seed=987654), Console())

"""The ServerApp itself, called as Flower calls it."""

from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from fl.errors import BaseModelError, FederationError
from fl.settings import Settings, as_file
from server.federation.flower_app import app, federation_folder
from server.federation.readiness import require_ready
from server.federation.round_log import read_status
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.server.federation.fake_sites import fake_client_app, fake_settings


def start(config: Path, *, federation: str = "") -> None:
    """Run the ServerApp with a config file."""
    run_config: dict[str, bool | float | int | str] = {
        "config": str(config),
        "overrides": "rounds=1",
        "federation": federation,
    }
    context = Context(
        run_id=7, node_id=0, node_config={}, state=RecordDict(), run_config=run_config
    )
    app(DirectGrid(fake_client_app(), simulated_nodes(4, {})), context)


def written(settings: Settings, file: Path) -> Path:
    """A config file that makes these settings."""

    file.write_bytes(as_file(settings))
    return file


def test_every_run_makes_the_next_federation_unless_one_is_named(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path)
    config = written(settings, tmp_path / "config.yaml")
    start(config)
    start(config)
    start(config, federation="002")
    federations = settings.run_dir / "federations"
    assert sorted(entry.name for entry in federations.iterdir()) == ["001", "002"]
    for entry in federations.iterdir():
        status = read_status(entry)
        assert status is not None
        assert (status.state, status.run_id) == ("completed", "7")
    with pytest.raises(FederationError, match="no federation '009'"):
        federation_folder(settings, "009")


def test_what_is_missing_is_said_with_the_verb_to_run(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path)
    require_ready(settings)
    (tmp_path / "book.jsonl").unlink()
    with pytest.raises(FederationError, match=r"Site oslo has no prompt book .*run\.sh books"):
        require_ready(settings)
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"run\.sh foundation"):
        require_ready(settings)

"""The ServerApp: Flower starts it in a simulation and in a deployment alike.

`flwr run .` and `./run.sh simulate` both end here. The run config names a YAML and overrides, and
may name a federation to go on with; without one, every run makes the next: 001, 002, ...
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl.errors import FederationError
from fl.run_config import run_settings
from fl.settings import Settings
from server.federation.readiness import require_model
from server.federation.strategy import federate

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Check that the cloud has what it needs, then carry out the federation."""
    settings = run_settings(context.run_config)
    require_model(settings)
    folder = federation_folder(settings, str(context.run_config.get("federation", "")))
    federate(grid, settings, folder=folder, run_id=str(context.run_id))


def federation_folder(settings: Settings, name: str = "") -> Path:
    """The folder of an unfinished federation by its name, or a new one with the next number."""
    federations = settings.federations_dir
    if name:
        if not (federations / name).is_dir():
            raise FederationError(f"There is no federation {name!r} in {federations}.")
        return federations / name
    federations.mkdir(parents=True, exist_ok=True)
    taken = [int(entry.name) for entry in federations.iterdir() if entry.name.isdecimal()]
    number = max(taken, default=0) + 1
    while True:
        folder = federations / f"{number:03}"
        try:
            folder.mkdir()  # the one who makes it has the number, also with two runs at once
            return folder
        except FileExistsError:
            number += 1

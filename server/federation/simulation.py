"""The `simulate` verb: a whole federation on this machine, watched and ended truthfully.

It starts a SuperLink, submits this project as a Flower app, follows what the ServerApp writes, and
asks Flower how the run really ended: `flwr run` says success once a run is submitted, whatever
becomes of it.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl.errors import FederationError
from fl.flower_records import join_overrides
from fl.settings import Settings, home
from fl.site_list import federated_sites
from server.federation.follower import Follower
from server.federation.readiness import require_ready
from server.federation.superlink import SuperLink

_COMPLETED = "finished:completed"
_POLL_S = 0.1
_FINISH_POLL_S = 0.5  # every question starts a `flwr` process, on the cores that are to finish
_ASK_FLOWER_S = 15.0  # how often Flower is asked while the ServerApp has not said that it ended
_FINISH_S = 60.0  # for Flower to stop Ray and note the end, after the ServerApp ended


def simulate(
    settings: Settings,
    *,
    config: str,
    overrides: Sequence[str],
    console: Console,
    federation: str = "",
) -> Path:
    """Carry out a federation and return its folder.

    `settings` are what `config` and `overrides` make; the run's processes read them once more.
    `federation` names an unfinished one to go on with. Raises FederationError when the run did not
    complete. However this ends, nothing it started is left running.
    """
    # 1. Is everything there? It takes no Flower to find out.
    require_ready(settings)
    sites = len(federated_sites(settings))
    log_file = settings.var_dir / "logs" / f"simulate-{time.strftime('%Y%m%d-%H%M%S')}.log"
    follower = Follower(
        settings.run_dir / "federations", rounds=settings.rounds, sites=sites, console=console
    )
    try:
        with follower, SuperLink(folder=settings.var_dir / "flwr", log_file=log_file) as superlink:
            # 2. Submit. The run config travels as a file, in which any character may stand.
            run_config = superlink.home / "run.toml"
            texts = {
                "config": config,
                "overrides": join_overrides(overrides),
                "federation": federation,
            }
            run_config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in texts.items()))
            workers = min(settings.workers, sites)
            shape = (
                f"num-supernodes={sites} client-resources-num-cpus=1 init-args-num-cpus={workers}"
            )
            submitted = superlink.flwr(
                "run", str(home()), "--run-config", str(run_config), "--federation-config", shape
            )
            run_id = str(submitted["run-id"])
            # 3. Follow until the ServerApp has ended, or Flower says that it is gone.
            follower.follow(run_id)
            asked = time.monotonic()
            while not follower.ended():
                time.sleep(_POLL_S)
                if time.monotonic() - asked > _ASK_FLOWER_S:
                    if _state(superlink, run_id).startswith("finished"):
                        follower.ended()
                        break
                    asked = time.monotonic()
            # 4. How did it end? Both must say so.
            state = _final_state(superlink, run_id)
            if state != _COMPLETED:
                superlink.keep_log(run_id)
    finally:
        follower.close("it was stopped before its end")
    status = follower.status
    if status is None or status.state != "completed" or state != _COMPLETED:
        why = status.message if status and status.message else f"Flower's state of it is {state}"
        raise FederationError(f"The simulation did not complete: {why} Log: {log_file}")
    if status.message:
        console.print(f"  [yellow]{status.message}[/]")
    assert follower.folder is not None
    return follower.folder


def _state(superlink: SuperLink, run_id: str) -> str:
    """`running`, `finished:completed`, `finished:failed`, ... as Flower says."""
    runs = superlink.flwr("list", "--run-id", run_id)["runs"]
    return str(runs[0]["status"])


def _final_state(superlink: SuperLink, run_id: str) -> str:
    until = time.monotonic() + _FINISH_S
    while True:
        state = _state(superlink, run_id)
        if state.startswith("finished") or time.monotonic() > until:
            return state
        time.sleep(_FINISH_POLL_S)

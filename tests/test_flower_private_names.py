"""Names of Flower that are not documented but that we rely on: gone means a pin was moved."""

import logging
from importlib.metadata import entry_points, version

import pytest


def test_the_pinned_versions_are_installed() -> None:
    assert version("flwr") == "1.41.0"
    assert version("ray") == "2.55.1"


def test_private_names_are_there() -> None:
    from flwr.cli.build import build_fab_from_disk
    from flwr.common.constant import ErrorCode
    from flwr.supercore.constant import DEFAULT_SIMULATION_CONFIG
    from flwr.supercore.task_identity import TaskIdentity

    assert callable(build_fab_from_disk)
    assert ErrorCode.NODE_UNAVAILABLE != ErrorCode.CLIENT_APP_CRASHED  # lost messages are resent
    assert {"_task_id", "_run_id", "_node_id"} <= vars(TaskIdentity).keys()
    assert DEFAULT_SIMULATION_CONFIG.num_supernodes == 2  # what `flwr run .` uses


def test_a_message_id_is_set_where_the_grids_set_it() -> None:
    from flwr.app import Message, RecordDict

    message = Message(RecordDict(), dst_node_id=1, message_type="query")
    message.metadata.__dict__["_message_id"] = "abc"
    assert message.metadata.message_id == "abc"


@pytest.mark.parametrize("command", ["flwr", "flower-superlink", "flower-superexec"])
def test_commands_are_installed(command: str) -> None:
    assert entry_points(group="console_scripts", name=command)


def test_flower_logs_through_a_logger_whose_children_it_shows() -> None:
    import flwr.supercore  # noqa: F401 - it sets the logger up

    assert logging.getLogger("flwr").handlers


def test_the_switches_we_set_are_still_read() -> None:
    from flwr.common.constant import FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION
    from flwr.supercore.superexec.run_superexec import _TASK_POLL_INTERVAL_ENV
    from ray._private.ray_constants import ENABLE_RAY_CLUSTERS_ENV_VAR

    from fl.flower_command import QUIET

    assert ENABLE_RAY_CLUSTERS_ENV_VAR in QUIET

    assert FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION in QUIET
    assert _TASK_POLL_INTERVAL_ENV in QUIET

"""What every test needs: an identity for Flower's messages, and a project home of its own tree."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.supercore.task_identity import TaskIdentity

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def flower_identity() -> Iterator[None]:
    """Message(...) asks which task makes it and raises outside of Flower's runtime."""
    names = ("_task_id", "_run_id", "_node_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    yield
    for name, value in before.items():
        setattr(TaskIdentity, name, value)


def pytest_configure(config: pytest.Config) -> None:
    """./run.sh test leaves the slow tests out; ./run.sh test slow=true runs them as well."""
    if config.getoption("markexpr") == "" and not config.getoption("--slow"):
        config.option.markexpr = "not slow"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--slow runs everything."""
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes")

"""One tiny cloud model for all tests of the server."""

from pathlib import Path

import pytest

from tests.tiny_models import make_tiny_cloud


@pytest.fixture(scope="session")
def tiny_cloud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cloud(tmp_path_factory.mktemp("cloud"))

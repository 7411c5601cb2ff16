"""Tiny base models, made once for all tests of a run."""

from pathlib import Path

import pytest

from tests.tiny_models import make_tiny_cloud, make_tiny_edge


@pytest.fixture(scope="session")
def edge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_edge(tmp_path_factory.mktemp("edge"))


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cloud(tmp_path_factory.mktemp("llama"))

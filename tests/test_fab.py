"""What `flwr run` packs and sends to every site: code and settings, nothing that was written."""

import io
import shutil
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from flwr.cli.build import build_fab_from_disk

PROJECT = Path(__file__).parents[1]
ALLOWED = (
    "fl/*.py",
    "clients/*.py",
    "server/*.py",
    "configs/*.yaml",
    "pyproject.toml",
    "LICENSE",
    "README.md",
    ".info/*",
)
MOST_BYTES = 2_500_000  # Flower's own limit is 10 MB


def packed(folder: Path) -> dict[str, int]:
    """File names of the FAB of a project folder, with their sizes."""
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(folder))) as fab:
        return {info.filename: info.file_size for info in fab.infolist()}


def test_the_app_holds_only_code_and_settings() -> None:
    files = packed(PROJECT)
    odd = [name for name in files if not any(fnmatch(name, allowed) for allowed in ALLOWED)]
    assert not odd
    assert "server/federation/flower_app.py" in files
    assert "clients/learning/flower_app.py" in files
    assert "configs/base.yaml" in files
    assert sum(files.values()) < MOST_BYTES


def test_books_and_state_inside_the_project_folder_stay_here(tmp_path: Path) -> None:
    for part in ("fl", "clients", "server", "configs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / part, tmp_path / part, ignore=ignore)
    for file in ("pyproject.toml", "LICENSE", "README.md", ".gitignore"):
        shutil.copy(PROJECT / file, tmp_path / file)
    secret = '{"prompt": "the usual", "completion": "take me to the clinic"}\n'
    for name in (
        "book.jsonl",
        "book.json",
        "var/demo-0/sites/oslo/book.jsonl",
        "var/flwr/state.json",
        "clients/prompts/book.jsonl",
        "configs/sites/oslo.jsonl",
        "mine/notes.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(secret)
    assert not [name for name in packed(tmp_path) if name.endswith((".jsonl", ".json"))]
    assert not [name for name in packed(tmp_path) if name.startswith(("var/", "mine/", "book"))]

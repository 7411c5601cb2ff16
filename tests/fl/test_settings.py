"""Configuration: every shipped file loads, every key is explained, every mistake is named."""

from pathlib import Path

import pytest
import yaml

from fl.errors import SettingsError
from fl.settings import home, load
from fl.site_list import federated_sites

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(  # workflows and schemas of intents are no settings; their own tests load them
    str(file.relative_to(FOLDER))
    for file in FOLDER.rglob("*.yaml")
    if not file.name.startswith("workflow") and file.parent.name != "intents"
)
EXAMPLES = {
    "cloud.yaml": 2,
    "sites/oslo.yaml": 1,
    "insight_tasks.yaml": 4,
}  # others have the 8 sites of their world


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_file_loads(name: str) -> None:
    settings = load([], config=f"configs/{name}")
    assert len(federated_sites(settings)) == EXAMPLES.get(name, 8)


def test_every_key_of_base_yaml_is_commented() -> None:
    for line in (home() / "configs" / "base.yaml").read_text().splitlines():
        if ":" in line and not line.lstrip().startswith("#"):
            assert "#" in line or line.rstrip().endswith(":"), line


def test_overrides_come_last(tmp_path: Path) -> None:
    chosen = tmp_path / "mine.yaml"
    chosen.write_text(yaml.safe_dump({"rounds": 7, "learning": {"rank": 3}}))
    settings = load([f"config={chosen}", "learning.rank=5"])
    assert (settings.rounds, settings.learning.rank) == (7, 5)


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("round=3", "rounds"),
        ("learning.rnk=3", "learning.rank"),
        ("local_steps=3", "learning.local_steps"),
    ],
)
def test_a_mistyped_key_is_refused_with_the_nearest(typed: str, right: str) -> None:
    with pytest.raises(SettingsError, match=rf"Did you mean {right}\?"):
        load([typed])


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(SettingsError) as error:
        load(["rounds=0", "federation.quorum=2"])
    assert "rounds" in str(error.value)
    assert "quorum" in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "rounds",
        "rounds=many",
        "seed=[1",
        "name=../up",
        "foundation.edge.heads=0",
        "learning.max_tokens=9999",
        "config=nowhere.yaml",
        "engine.workers=0",
        "engine.workers=two",
        "engine.workers=[127.0.0.1:1, 127.0.0.1:1]",
    ],
)
def test_what_cannot_be_used_is_refused(given: str) -> None:
    with pytest.raises(SettingsError):
        load([given])


def test_listed_sites_need_names_that_make_a_folder() -> None:
    with pytest.raises(SettingsError, match="site's id"):
        federated_sites(load(["sites=[{id: ../up, place: A, book: x}]"]))
    with pytest.raises(SettingsError, match="twice"):
        federated_sites(load(["sites=[{id: a, place: A, book: x},{id: a, place: B, book: y}]"]))
    with pytest.raises(SettingsError, match="1 to 8"):
        federated_sites(load(["sites=9"]))

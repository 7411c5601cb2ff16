"""A Flower run's config: the settings it was started with, as two strings that Flower carries."""

import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache

from fl.settings import DEFAULT_CONFIG, Settings, load


def run_settings(run_config: Mapping[str, object]) -> Settings:
    """The settings a Flower run was started with: a YAML file and key=value overrides.

    Raises SettingsError. Cached, because a simulation worker asks for them at every message.
    """
    return _load(str(run_config.get("config", "")), str(run_config.get("overrides", "")))


def join_overrides(arguments: Sequence[str]) -> str:
    """key=value arguments as the one string of the run config; quoted as in a shell."""
    return shlex.join(arguments)


@lru_cache(maxsize=4)
def _load(config: str, overrides: str) -> Settings:
    return load(shlex.split(overrides), config=config or DEFAULT_CONFIG)

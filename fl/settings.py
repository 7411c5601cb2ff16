"""All configuration: one YAML and key=value overrides become one frozen, validated `Settings`.

base.yaml holds every key with its unit and effect; a chosen file (config=PATH) holds what differs;
overrides come last. An unknown key is refused with the nearest right one, and all mistakes are
reported together, before anything runs.
"""

import difflib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import unquote, urlparse

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fl.errors import SettingsError
from fl.settings_acting import ActingSettings as ActingSettings
from fl.settings_acting import CacheSettings as CacheSettings
from fl.settings_acting import PrewarmSettings as PrewarmSettings
from fl.settings_checks import mistakes
from fl.settings_intent import IntentSettings as IntentSettings
from fl.settings_sections import (
    AskingSettings as AskingSettings,
)
from fl.settings_sections import (
    CloudSettings as CloudSettings,
)
from fl.settings_sections import (
    CompareSettings as CompareSettings,
)
from fl.settings_sections import (
    EdgeSettings as EdgeSettings,
)
from fl.settings_sections import (
    EngineSettings as EngineSettings,
)
from fl.settings_sections import (
    FederationSettings as FederationSettings,
)
from fl.settings_sections import (
    FoundationSettings as FoundationSettings,
)
from fl.settings_sections import (
    InsightSettings as InsightSettings,
)
from fl.settings_sections import (
    LearningSettings as LearningSettings,
)
from fl.settings_sections import (
    LinkSettings as LinkSettings,
)
from fl.settings_sections import (
    OrchestrateSettings as OrchestrateSettings,
)
from fl.settings_sections import (
    OrchestrationSettings as OrchestrationSettings,
)
from fl.settings_sections import (
    ProfileSettings as ProfileSettings,
)
from fl.settings_sections import (
    RoutingSettings as RoutingSettings,
)
from fl.settings_sections import (
    ServiceSettings as ServiceSettings,
)
from fl.settings_sections import (
    ShapeSettings as ShapeSettings,
)
from fl.settings_sections import (
    SiteSettings as SiteSettings,
)
from fl.settings_sections import (
    SplitSettings as SplitSettings,
)
from fl.settings_sections import (
    StudySettings as StudySettings,
)
from fl.settings_sections import (
    TuningSettings as TuningSettings,
)
from fl.settings_trend import TrendSettings as TrendSettings
from fl.tasks import BY_PRODUCTS, COMPLETE

DEFAULT_CONFIG = "configs/embedded.yaml"
_NONE = DictConfig({})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration; base.yaml says what each key means."""

    name: str
    var: str
    keys: str
    seed: int
    seeds: int
    threads: int
    workers: int
    sites: Any  # int, or a list of {id, place, book, rank?, memory_mb?}
    site: SiteSettings
    rounds: int
    method: str
    personal: str
    mode: str
    task: str
    workflow: str
    edge: EdgeSettings
    cloud: CloudSettings
    foundation: FoundationSettings
    learning: LearningSettings
    federation: FederationSettings
    asking: AskingSettings
    profile: ProfileSettings
    link: LinkSettings
    routing: RoutingSettings
    orchestration: OrchestrationSettings
    orchestrate: OrchestrateSettings
    split: SplitSettings
    service: ServiceSettings
    engine: EngineSettings
    tuning: TuningSettings
    study: StudySettings
    compare: CompareSettings
    insight: InsightSettings
    intent: IntentSettings
    trend: TrendSettings
    acting: ActingSettings
    cache: CacheSettings
    prewarm: PrewarmSettings

    @property
    def var_dir(self) -> Path:
        """Folder for everything that is written."""
        return resolve(self.var)

    @property
    def keys_dir(self) -> Path:
        """Folder of the cloud's keys and certificates."""
        return resolve(self.keys) if self.keys else self.var_dir / "pki"

    @property
    def run_dir(self) -> Path:
        """Folder of this name and seed: sites, federations, study."""
        return self.var_dir / f"{self.name}-{self.seed}"

    @property
    def federations_dir(self) -> Path:
        """Folder of this task's federations; the by-products' are inside a folder of their own."""
        return (self.run_dir if self.task == COMPLETE else self.run_dir / self.task) / "federations"

    @property
    def service_dir(self) -> Path:
        """Folder where a running cloud service notes its addresses."""
        return resolve(self.service.folder) if self.service.folder else self.run_dir


def home() -> Path:
    """The project folder: $NETGPT_HOME, else where the package is installed from, else here.

    Flower runs an app from a copy of it, so `__file__` does not tell.
    """
    if named := os.environ.get("NETGPT_HOME"):
        return Path(named)
    try:
        origin = metadata.distribution("netgpt").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        origin = None
    if origin and (url := json.loads(origin)).get("dir_info", {}).get("editable"):
        return Path(unquote(urlparse(url["url"]).path))
    return Path.cwd()


def resolve(path: str) -> Path:
    """An absolute path; a relative one is taken from the project folder."""
    return (home() / Path(path).expanduser()).resolve()


def load(arguments: Sequence[str] = (), *, config: str = DEFAULT_CONFIG) -> Settings:
    """Merge base.yaml, the chosen file and `key=value` arguments; validate; freeze.

    `config=PATH` among the arguments chooses another file. Raises SettingsError.
    """
    overrides = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign or not key:
            raise SettingsError(f"Expected key=value, found {argument!r}.")
        if key == "config":
            config = value
        else:
            overrides.append(argument)
    base = _read(home() / "configs" / "base.yaml")
    chosen = _read(resolve(config))
    known = set(_dotted(Settings))
    unknown = [_unknown(key, known, config) for key in _keys(chosen) if key not in known]
    for override in overrides:
        key = override.partition("=")[0]
        if key not in known:
            unknown.append(_unknown(key, known, "the command line"))
    if unknown:
        raise SettingsError("\n".join(unknown))
    try:
        told = OmegaConf.from_dotlist(overrides)
        task = OmegaConf.select(OmegaConf.merge(base, chosen, told), "task")
        merged = OmegaConf.merge(OmegaConf.structured(Settings), base, _of_task(task), chosen, told)
        settings = OmegaConf.to_object(merged)
    except YAMLError:
        raise SettingsError(
            "A value on the command line is not valid YAML; put it in quotes: key='[a, b]'."
        ) from None
    except OmegaConfBaseException as error:
        first_line = str(error).splitlines()[0]
        raise SettingsError(f"{error.full_key or 'settings'}: {first_line}") from None
    assert isinstance(settings, Settings)
    if problems := mistakes(settings):
        raise SettingsError("Settings that cannot work:\n- " + "\n- ".join(problems))
    return settings


def with_task(settings: Settings, task: str) -> Settings:
    """These settings for another task: what configs/tasks says of it replaces what they say."""
    merged = OmegaConf.merge(OmegaConf.structured(settings), _of_task(task), {"task": task})
    changed = OmegaConf.to_object(merged)
    assert isinstance(changed, Settings)
    return changed


def _of_task(task: object) -> DictConfig:
    """What base.yaml's values are replaced with for a by-product; nothing for `complete`."""
    return _read(home() / "configs" / "tasks" / f"{task}.yaml") if task in BY_PRODUCTS else _NONE


def _read(path: Path) -> DictConfig:
    if not path.is_file():
        raise SettingsError(f"No configuration file at {path}. Give config=PATH of a YAML file.")
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(loaded, DictConfig):
        raise SettingsError(f"{path} must hold key: value pairs.")
    return loaded


def _dotted(kind: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = prefix + field.name
        yield name
        if is_dataclass(inner := hints[field.name]) and isinstance(inner, type):
            yield from _dotted(inner, name + ".")


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        name = prefix + str(key)
        yield name
        if isinstance(node[key], DictConfig):
            yield from _keys(node[key], name + ".")


def _unknown(key: str, known: set[str], where: str) -> str:
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in sorted(known)}
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    if not near:
        last = difflib.get_close_matches(key.rsplit(".", 1)[-1], by_last_part, n=1, cutoff=0.5)
        near = [by_last_part[name] for name in last]
    hint = f" Did you mean {near[0]}?" if near else " configs/base.yaml lists every setting."
    return f"Unknown setting {key!r} in {where}.{hint}"

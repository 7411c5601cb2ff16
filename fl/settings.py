"""All configuration: one YAML and key=value overrides become one frozen, validated `Settings`.

base.yaml holds every key with its unit and effect; a chosen file (config=PATH) holds what differs;
overrides come last. An unknown key is refused with the nearest right one, and all mistakes are
reported together, before anything runs.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
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
from fl.settings_keys import unknown_keys
from fl.settings_of_task import dotted, turned
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
from fl.tasks import COMPLETE

DEFAULT_CONFIG = "configs/embedded.yaml"


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
    told: list[str] = field(default_factory=list)  # dotted keys that base.yaml does not decide

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
    """Merge base.yaml, what the task changes, the chosen file and `key=value`; validate; freeze.

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
    base, chosen = _read_config("base.yaml"), _read(resolve(config))
    if unknown := unknown_keys(Settings, chosen, overrides, config):
        raise SettingsError("\n".join(unknown))
    try:
        said = OmegaConf.merge(chosen, OmegaConf.from_dotlist(overrides))
        assert isinstance(said, DictConfig)
        told = sorted(dotted(said))
        whole = OmegaConf.merge(OmegaConf.structured(Settings), base, said, {"told": told})
        assert isinstance(whole, DictConfig)
        task = str(whole.task)
        settings = _frozen(turned(whole, before=COMPLETE, after=task, told=told, read=_read_config))
    except YAMLError:
        raise SettingsError(
            "A value on the command line is not valid YAML; put it in quotes: key='[a, b]'."
        ) from None
    except OmegaConfBaseException as error:
        first_line = str(error).splitlines()[0]
        raise SettingsError(f"{error.full_key or 'settings'}: {first_line}") from None
    if problems := mistakes(settings):
        raise SettingsError("Settings that cannot work:\n- " + "\n- ".join(problems))
    return settings


def with_task(settings: Settings, task: str) -> Settings:
    """These settings as they are for another task, whatever task they are of now.

    What was said in the chosen file or on the command line holds for every task.
    """
    if task == settings.task:
        return settings
    node = OmegaConf.structured(settings)
    return _frozen(
        turned(node, before=settings.task, after=task, told=settings.told, read=_read_config)
    )


def as_file(settings: Settings) -> bytes:
    """A configuration file that loads as these settings, for a process that is started with it."""
    every = asdict(settings)
    del every["told"]  # there, all is
    return (json.dumps(every, indent=1) + "\n").encode()


def _frozen(node: DictConfig) -> Settings:
    settings = OmegaConf.to_object(node)
    assert isinstance(settings, Settings)
    return settings


def _read_config(name: str) -> DictConfig:
    return _read(home() / "configs" / name)


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

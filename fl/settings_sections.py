"""The sections of the settings as frozen values; configs/base.yaml says what each key means."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    model: str
    address: str
    http: str
    hosts: list[str]
    insecure: bool
    api_keys: str
    requests_per_minute: int
    certificates: str
    refresh_s: float
    least_step_ms: float


@dataclass(frozen=True, kw_only=True)
class CloudSettings:
    model: str
    fleet: str


@dataclass(frozen=True, kw_only=True)
class ShapeSettings:
    """Shape and training of one small base model."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    positions: int
    steps: int
    batch_tokens: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class FoundationSettings:
    corpus: str
    records: int
    cloud_records: int
    seed: int
    edge: ShapeSettings
    cloud: ShapeSettings


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    rank: int
    personal_rank: int
    alpha: float
    target_modules: list[str]
    learning_rate: float
    final_rate: float
    optimizer: str
    prompt_dropout: float
    local_steps: int
    settle_steps: int
    batch_tokens: int
    clip_norm: float
    bfloat16: str
    max_tokens: int
    proximal_mu: float
    ranks: list[int]
    rank_limit: int
    personal_weight: float
    ditto_lambda: float


@dataclass(frozen=True, kw_only=True)
class FederationSettings:
    quorum: float
    deadline_s: float
    attempts: int
    late: str
    gate_tolerance: float
    server_optimizer: str
    server_learning_rate: float
    robust: str
    robust_bad: int
    robust_norm: float
    uplink: str
    feedback_rounds: int
    max_update_norm: float
    max_examples: int
    measure_error: bool
    telemetry_sites: int
    tensorboard: str


@dataclass(frozen=True, kw_only=True)
class AskingSettings:
    card_tokens: int
    enriched_tokens: int
    answer_tokens: int
    disclose_max_characters: int
    redact: bool
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """People's profiles at a site."""

    tokens: int
    history: bool
    again: list[str]
    disclose: list[str]


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """The way between a site and the cloud."""

    profile: str


@dataclass(frozen=True, kw_only=True)
class RoutingSettings:
    """mode=auto: what an answer is worth, and how often the link is measured."""

    price: float
    cloud_quality: float
    measure_s: float


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """The verb `compare`."""

    sites: int
    timed_sites: int
    profiles: list[str]
    requests: int
    split_requests: int


@dataclass(frozen=True, kw_only=True)
class InsightSettings:
    """The verb `insight tasks`."""

    gpt2_shape: bool
    rounds: int


@dataclass(frozen=True, kw_only=True)
class OrchestrationSettings:
    """Who may come to the cloud when."""

    deadline_s: float
    admission: str
    slack: float
    advert_s: float
    cell: str
    step_ms: float
    row_ms: float
    forecast_share: float


@dataclass(frozen=True, kw_only=True)
class BurstSettings:
    """Requests of a site: quiet and crowded by turns; a crowd is its cell's."""

    quiet_per_s: float
    crowd_per_s: float
    quiet_s: float
    crowd_s: float


@dataclass(frozen=True, kw_only=True)
class ModelledSettings:
    """The scene that is only modelled."""

    sites: int
    cells: int
    workers: int
    seconds: float
    round_s: float
    round_bytes: int
    burst: BurstSettings


@dataclass(frozen=True, kw_only=True)
class OrchestrateSettings:
    """The verb `orchestrate`."""

    sites: int
    cells: int
    workers: int
    rows: int
    seconds: float
    seeds: int
    deadline_s: float
    burst: BurstSettings
    links: list[str]
    link_s: float
    edge_step_ms: float
    worker_step_ms: float
    worker_row_ms: float
    modelled: ModelledSettings


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """mode=split: the first layers of the cloud's model at the site."""

    layers: int
    memory_mb: int
    numbers: str
    requests: int


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    address: str
    http: str
    insecure: bool
    api_keys: str
    requests_per_minute: int
    client_certificates: bool
    folder: str
    queue: int
    queue_tokens: int
    max_prompt_tokens: int
    max_new_tokens: int
    drain_s: float


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What generates the cloud's answers."""

    kind: str
    weights: str
    weights_tolerance: float
    batch: int
    cache_tokens: int
    step_tokens: int
    least_step_ms: float
    least_row_ms: float
    url: str
    model: str
    api: str
    timeout_s: float
    workers: Any  # int, or a list of host:port
    silence_s: float


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """LoRA of the cloud's own model: the verb `tune-cloud`."""

    rank: int
    alpha: float
    target_modules: list[str]
    learning_rate: float
    steps: int
    batch_tokens: int
    records: int
    heldout: int


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    heldout_per_site: int
    late_joiner_prompts: int
    central_steps: int
    answers: bool
    small_book: int
    arms: list[str]
    drifts: list[str]
    learning_rates: list[float]
    low_rounds: int
    low_steps: int
    high_rounds: int
    high_steps: int
    high_ranks: list[int]


@dataclass(frozen=True, kw_only=True)
class SiteSettings:
    """One site on its own host: the verb `site`."""

    id: str
    rank: int
    memory_mb: int
    fleet: str
    cloud: str
    keys: str

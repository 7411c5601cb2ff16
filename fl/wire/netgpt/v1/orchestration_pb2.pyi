from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Place(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACE_UNSPECIFIED: _ClassVar[Place]
    PLACE_CLOUD: _ClassVar[Place]
    PLACE_EDGE: _ClassVar[Place]
    PLACE_SHED: _ClassVar[Place]
PLACE_UNSPECIFIED: Place
PLACE_CLOUD: Place
PLACE_EDGE: Place
PLACE_SHED: Place

class Link(_message.Message):
    __slots__ = ("rtt_s", "up_bytes_s", "down_bytes_s")
    RTT_S_FIELD_NUMBER: _ClassVar[int]
    UP_BYTES_S_FIELD_NUMBER: _ClassVar[int]
    DOWN_BYTES_S_FIELD_NUMBER: _ClassVar[int]
    rtt_s: float
    up_bytes_s: float
    down_bytes_s: float
    def __init__(self, rtt_s: _Optional[float] = ..., up_bytes_s: _Optional[float] = ..., down_bytes_s: _Optional[float] = ...) -> None: ...

class SiteAdvert(_message.Message):
    __slots__ = ("site_id", "cell", "cores", "memory_mb", "waiting", "step_s", "row_s", "link", "federation", "release_number", "forecast_per_s")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    STEP_S_FIELD_NUMBER: _ClassVar[int]
    ROW_S_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FORECAST_PER_S_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    cell: str
    cores: int
    memory_mb: int
    waiting: int
    step_s: float
    row_s: float
    link: Link
    federation: str
    release_number: int
    forecast_per_s: float
    def __init__(self, site_id: _Optional[str] = ..., cell: _Optional[str] = ..., cores: _Optional[int] = ..., memory_mb: _Optional[int] = ..., waiting: _Optional[int] = ..., step_s: _Optional[float] = ..., row_s: _Optional[float] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., federation: _Optional[str] = ..., release_number: _Optional[int] = ..., forecast_per_s: _Optional[float] = ...) -> None: ...

class AdvertTaken(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[SiteRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[SiteRule, _Mapping]]] = ...) -> None: ...

class SiteRule(_message.Message):
    __slots__ = ("kind", "value", "word")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    WORD_FIELD_NUMBER: _ClassVar[int]
    kind: str
    value: float
    word: str
    def __init__(self, kind: _Optional[str] = ..., value: _Optional[float] = ..., word: _Optional[str] = ...) -> None: ...

class AdmitRequest(_message.Message):
    __slots__ = ("request_id", "site_id", "cell", "deadline_s", "bytes_up", "bytes_down", "ready_s", "own_s", "rtt_s")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_UP_FIELD_NUMBER: _ClassVar[int]
    BYTES_DOWN_FIELD_NUMBER: _ClassVar[int]
    READY_S_FIELD_NUMBER: _ClassVar[int]
    OWN_S_FIELD_NUMBER: _ClassVar[int]
    RTT_S_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    site_id: str
    cell: str
    deadline_s: float
    bytes_up: float
    bytes_down: float
    ready_s: float
    own_s: float
    rtt_s: float
    def __init__(self, request_id: _Optional[str] = ..., site_id: _Optional[str] = ..., cell: _Optional[str] = ..., deadline_s: _Optional[float] = ..., bytes_up: _Optional[float] = ..., bytes_down: _Optional[float] = ..., ready_s: _Optional[float] = ..., own_s: _Optional[float] = ..., rtt_s: _Optional[float] = ...) -> None: ...

class AdmitResponse(_message.Message):
    __slots__ = ("place", "worker", "expected_s", "short_of")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_S_FIELD_NUMBER: _ClassVar[int]
    SHORT_OF_FIELD_NUMBER: _ClassVar[int]
    place: Place
    worker: str
    expected_s: float
    short_of: str
    def __init__(self, place: _Optional[_Union[Place, str]] = ..., worker: _Optional[str] = ..., expected_s: _Optional[float] = ..., short_of: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("request_id", "site_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    site_id: str
    def __init__(self, request_id: _Optional[str] = ..., site_id: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowRequest(_message.Message):
    __slots__ = ("site_id",)
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    def __init__(self, site_id: _Optional[str] = ...) -> None: ...

class ShowResponse(_message.Message):
    __slots__ = ("sites", "workers", "admission", "to_cloud", "to_edge", "shed", "model", "cloud_release")
    SITES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    TO_CLOUD_FIELD_NUMBER: _ClassVar[int]
    TO_EDGE_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CLOUD_RELEASE_FIELD_NUMBER: _ClassVar[int]
    sites: _containers.RepeatedCompositeFieldContainer[SiteShown]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerShown]
    admission: str
    to_cloud: int
    to_edge: int
    shed: int
    model: str
    cloud_release: str
    def __init__(self, sites: _Optional[_Iterable[_Union[SiteShown, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[WorkerShown, _Mapping]]] = ..., admission: _Optional[str] = ..., to_cloud: _Optional[int] = ..., to_edge: _Optional[int] = ..., shed: _Optional[int] = ..., model: _Optional[str] = ..., cloud_release: _Optional[str] = ...) -> None: ...

class SiteShown(_message.Message):
    __slots__ = ("advert", "age_s")
    ADVERT_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    advert: SiteAdvert
    age_s: float
    def __init__(self, advert: _Optional[_Union[SiteAdvert, _Mapping]] = ..., age_s: _Optional[float] = ...) -> None: ...

class WorkerShown(_message.Message):
    __slots__ = ("name", "alive", "running", "waiting", "promised", "step_s", "row_s", "restarts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    STEP_S_FIELD_NUMBER: _ClassVar[int]
    ROW_S_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    alive: bool
    running: int
    waiting: int
    promised: int
    step_s: float
    row_s: float
    restarts: int
    def __init__(self, name: _Optional[str] = ..., alive: _Optional[bool] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., promised: _Optional[int] = ..., step_s: _Optional[float] = ..., row_s: _Optional[float] = ..., restarts: _Optional[int] = ...) -> None: ...

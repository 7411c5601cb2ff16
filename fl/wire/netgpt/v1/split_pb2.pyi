from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunRequest(_message.Message):
    __slots__ = ("begin", "states")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    begin: Begin
    states: States
    def __init__(self, begin: _Optional[_Union[Begin, _Mapping]] = ..., states: _Optional[_Union[States, _Mapping]] = ...) -> None: ...

class Begin(_message.Message):
    __slots__ = ("request_id", "site_id", "max_new_tokens", "temperature", "top_p", "seed", "layers", "model_fingerprint", "numbers")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    site_id: str
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    layers: int
    model_fingerprint: str
    numbers: str
    def __init__(self, request_id: _Optional[str] = ..., site_id: _Optional[str] = ..., max_new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., layers: _Optional[int] = ..., model_fingerprint: _Optional[str] = ..., numbers: _Optional[str] = ...) -> None: ...

class States(_message.Message):
    __slots__ = ("data", "more")
    DATA_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    more: bool
    def __init__(self, data: _Optional[bytes] = ..., more: _Optional[bool] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("started", "token", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: SplitStarted
    token: NextToken
    finished: SplitFinished
    def __init__(self, started: _Optional[_Union[SplitStarted, _Mapping]] = ..., token: _Optional[_Union[NextToken, _Mapping]] = ..., finished: _Optional[_Union[SplitFinished, _Mapping]] = ...) -> None: ...

class SplitStarted(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: int
    def __init__(self, positions: _Optional[int] = ...) -> None: ...

class NextToken(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class SplitFinished(_message.Message):
    __slots__ = ("finish_reason", "prompt_tokens", "completion_tokens", "prefill_seconds", "decode_seconds", "cpu_seconds")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    prefill_seconds: float
    decode_seconds: float
    cpu_seconds: float
    def __init__(self, finish_reason: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., prefill_seconds: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., cpu_seconds: _Optional[float] = ...) -> None: ...

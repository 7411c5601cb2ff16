from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkRequest(_message.Message):
    __slots__ = ("kind", "json", "arrays", "run")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    json: str
    arrays: _containers.ScalarMap[str, bytes]
    run: str
    def __init__(self, kind: _Optional[str] = ..., json: _Optional[str] = ..., arrays: _Optional[_Mapping[str, bytes]] = ..., run: _Optional[str] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("json", "arrays", "failure")
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    JSON_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    json: str
    arrays: _containers.ScalarMap[str, bytes]
    failure: str
    def __init__(self, json: _Optional[str] = ..., arrays: _Optional[_Mapping[str, bytes]] = ..., failure: _Optional[str] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("short", "mode", "person", "deadline_s")
    SHORT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    short: str
    mode: str
    person: str
    deadline_s: float
    def __init__(self, short: _Optional[str] = ..., mode: _Optional[str] = ..., person: _Optional[str] = ..., deadline_s: _Optional[float] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("enriched", "piece", "finished", "failed")
    ENRICHED_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    enriched: EnrichedPrompt
    piece: AnswerPiece
    finished: AnswerFinished
    failed: AnswerFailed
    def __init__(self, enriched: _Optional[_Union[EnrichedPrompt, _Mapping]] = ..., piece: _Optional[_Union[AnswerPiece, _Mapping]] = ..., finished: _Optional[_Union[AnswerFinished, _Mapping]] = ..., failed: _Optional[_Union[AnswerFailed, _Mapping]] = ...) -> None: ...

class EnrichedPrompt(_message.Message):
    __slots__ = ("text", "disclosed", "redactions", "release_number", "federation", "fell_back", "new_tokens", "seconds", "card")
    class RedactionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DISCLOSED_FIELD_NUMBER: _ClassVar[int]
    REDACTIONS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    FELL_BACK_FIELD_NUMBER: _ClassVar[int]
    NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    text: str
    disclosed: str
    redactions: _containers.ScalarMap[str, int]
    release_number: int
    federation: str
    fell_back: bool
    new_tokens: int
    seconds: float
    card: str
    def __init__(self, text: _Optional[str] = ..., disclosed: _Optional[str] = ..., redactions: _Optional[_Mapping[str, int]] = ..., release_number: _Optional[int] = ..., federation: _Optional[str] = ..., fell_back: _Optional[bool] = ..., new_tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., card: _Optional[str] = ...) -> None: ...

class AnswerPiece(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class AnswerFinished(_message.Message):
    __slots__ = ("finish_reason", "prompt_tokens", "completion_tokens", "bytes_up", "bytes_down", "seconds", "mode", "states_bytes")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BYTES_UP_FIELD_NUMBER: _ClassVar[int]
    BYTES_DOWN_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    STATES_BYTES_FIELD_NUMBER: _ClassVar[int]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    bytes_up: int
    bytes_down: int
    seconds: float
    mode: str
    states_bytes: int
    def __init__(self, finish_reason: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., bytes_up: _Optional[int] = ..., bytes_down: _Optional[int] = ..., seconds: _Optional[float] = ..., mode: _Optional[str] = ..., states_bytes: _Optional[int] = ...) -> None: ...

class AnswerFailed(_message.Message):
    __slots__ = ("status", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: str
    message: str
    def __init__(self, status: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("site_id", "federation", "release_number", "learning", "train_prompts", "heldout_prompts", "waiting")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    TRAIN_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    HELDOUT_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    federation: str
    release_number: int
    learning: Learning
    train_prompts: int
    heldout_prompts: int
    waiting: int
    def __init__(self, site_id: _Optional[str] = ..., federation: _Optional[str] = ..., release_number: _Optional[int] = ..., learning: _Optional[_Union[Learning, _Mapping]] = ..., train_prompts: _Optional[int] = ..., heldout_prompts: _Optional[int] = ..., waiting: _Optional[int] = ...) -> None: ...

class Learning(_message.Message):
    __slots__ = ("kind", "round_number", "step", "steps")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUND_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    round_number: int
    step: int
    steps: int
    def __init__(self, kind: _Optional[str] = ..., round_number: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ...) -> None: ...

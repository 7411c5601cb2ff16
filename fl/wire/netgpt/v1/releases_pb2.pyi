from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetReleaseRequest(_message.Message):
    __slots__ = ("site_id", "federation", "task")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    federation: str
    task: str
    def __init__(self, site_id: _Optional[str] = ..., federation: _Optional[str] = ..., task: _Optional[str] = ...) -> None: ...

class GetReleaseResponse(_message.Message):
    __slots__ = ("federation", "number", "manifest", "signature")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    manifest: bytes
    signature: bytes
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ..., manifest: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class FetchReleaseRequest(_message.Message):
    __slots__ = ("site_id", "federation", "number", "task")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    federation: str
    number: int
    task: str
    def __init__(self, site_id: _Optional[str] = ..., federation: _Optional[str] = ..., number: _Optional[int] = ..., task: _Optional[str] = ...) -> None: ...

class FetchReleaseResponse(_message.Message):
    __slots__ = ("file", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: str
    data: bytes
    def __init__(self, file: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

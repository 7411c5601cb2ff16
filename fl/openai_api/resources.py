"""Further JSON resources of a service, behind the same key check and the same error bodies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ResourceCall:
    """A call whose key is good."""

    method: str  # GET, PUT, PATCH, DELETE
    path: Mapping[str, str] = field(repr=False)  # what stands in the path's braces
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)  # JSON where the method has a body, else b""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A path and what answers it."""

    path: str  # in Starlette's form: /v1/things/{name}
    methods: tuple[str, ...]
    # On a thread; gives the JSON object. Raises GenerationError or ApiError.
    answer: Callable[[ResourceCall], Mapping[str, object]]


WITH_BODY = ("PUT", "PATCH", "POST")

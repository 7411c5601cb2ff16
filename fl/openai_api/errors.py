"""What goes wrong with a call over HTTP: the status, and the body that OpenAI's clients understand.

A GenerationError's gRPC status decides the HTTP status (google.rpc's own mapping).
"""

from collections.abc import Mapping
from typing import Any

from fl.errors import GenerationError, NetGPTError
from fl.openai_api.api_keys import KeyUsedTooOften

RETRY_AFTER_S = 1  # where nothing better is known

_BY_STATUS = {
    "INVALID_ARGUMENT": (400, "invalid_request_error"),
    "FAILED_PRECONDITION": (400, "invalid_request_error"),
    "UNAUTHENTICATED": (401, "authentication_error"),
    "PERMISSION_DENIED": (403, "permission_error"),
    "NOT_FOUND": (404, "invalid_request_error"),
    "RESOURCE_EXHAUSTED": (429, "rate_limit_error"),
    "CANCELLED": (499, "server_error"),
    "UNIMPLEMENTED": (501, "server_error"),
    "UNAVAILABLE": (503, "server_error"),
    "DEADLINE_EXCEEDED": (504, "server_error"),
}
_WORTH_A_RETRY = (429, 503)
_REASONS = {404: "NOT_FOUND", 499: "CANCELLED"}  # of errors that came without a gRPC status


class ApiError(NetGPTError):
    """A call that is answered with an error body."""

    def __init__(
        self,
        message: str,
        *,
        http_status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int = RETRY_AFTER_S,
    ) -> None:
        """`retry_after_s` is told where trying again may help."""
        super().__init__(message)
        self.http_status, self.kind, self.code, self.param = http_status, kind, code, param
        self.retry_after_s = retry_after_s
        self.reason = _REASONS.get(http_status, "INVALID_ARGUMENT")  # that figures count it under

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer: when to try again, where that may help."""
        retry = {"Retry-After": str(self.retry_after_s)}
        return retry if self.http_status in _WORTH_A_RETRY else {}

    def body(self, extension: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The JSON body; `extension` is what is known of the call so far."""
        error = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error, **({"netgpt": dict(extension)} if extension else {})}


def api_error(error: GenerationError) -> ApiError:
    """The same failure as HTTP tells it; its gRPC status becomes the code."""
    status, kind = _BY_STATUS.get(error.status, (500, "server_error"))
    wait = error.retry_after_s if isinstance(error, KeyUsedTooOften) else RETRY_AFTER_S
    return ApiError(
        str(error),
        http_status=status,
        kind=kind,
        code=error.status.lower(),
        retry_after_s=wait,
    )

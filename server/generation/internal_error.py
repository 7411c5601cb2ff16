"""A mistake of ours, as it is logged and as the one who asked hears of it."""

import logging
import traceback
import uuid

from fl.errors import GenerationError


def internal_error(error: BaseException, log: logging.Logger) -> GenerationError:
    """The log gets no message of the error: it might quote a prompt."""
    error_id = uuid.uuid4().hex[:12]
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("error %s: a request failed with %s\n%s", error_id, type(error).__name__, frames)
    return GenerationError(f"The cloud failed; error {error_id}.", status="INTERNAL")

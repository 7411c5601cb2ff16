"""What a site keeps of its last failure; what leaves it is the name of an exception's type."""

import contextlib
import traceback
from pathlib import Path

from fl.errors import NetGPTError

FAILURE_FILE = "failure.txt"  # in the site's folder: where the last failure happened


def keep_failure(folder: Path, error: BaseException) -> None:
    """Write where it happened; the text only of our own errors, which quote no prompt."""
    text = str(error) if isinstance(error, NetGPTError) else "(text left out)"
    frames = "".join(traceback.format_tb(error.__traceback__))
    with contextlib.suppress(OSError):  # a full disk is often the failure itself
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE_FILE).write_text(f"{frames}{type(error).__name__}: {text}\n")

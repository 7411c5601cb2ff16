"""Reading a file with a JSON object a line, whoever wrote it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fl.errors import BookError

LONGEST_LINE = 256 * 1024  # bytes; a longer line is no prompt


def json_lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number of the line from 1, its object); blank lines are skipped.

    Raises BookError, which names the line and quotes nothing of it.
    """
    try:
        with open(file, "rb") as lines:
            # readline with a limit: a line of gigabytes is refused without reading it all
            numbered = enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), b""), start=1)
            for number, raw in numbered:
                if len(raw) > LONGEST_LINE or raw.strip():
                    yield number, _object(raw, f"{file}, line {number}")
    except OSError as error:
        raise BookError(
            f"{file} cannot be read ({error.strerror}). Name a JSONL file that you may read."
        ) from None


def _object(raw: bytes, where: str) -> Mapping[str, Any]:
    if len(raw) > LONGEST_LINE:
        raise BookError(
            f"{where}: longer than {LONGEST_LINE // 1024} KiB, which is no prompt. "
            "Is a line break missing?"
        )
    try:
        entry = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BookError(
            f"{where}: not valid UTF-8 at byte {error.start}. Save the file as UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise BookError(
            f"{where}: not JSON ({error.msg}, column {error.colno}). "
            "Each line must be one JSON object."
        ) from None
    except (ValueError, RecursionError):
        raise BookError(
            f"{where}: a number or a nesting too large for a prompt. "
            "Each line must be one JSON object."
        ) from None
    if not isinstance(entry, dict):
        raise BookError(f"{where}: expected a JSON object, found {type(entry).__name__}.")
    return entry

"""API keys: who calls, and how often each may.

A file or an environment variable holds one key a line, `NAME KEY [requests a minute]`; `#` begins a
comment. What is shown is compared with every key in constant time, by digests, so that neither a
key's length nor its beginning can be found out by waiting.
"""

import hashlib
import hmac
import math
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from fl.errors import GenerationError, SettingsError

SHORTEST_KEY = 16  # characters


class KeyUsedTooOften(GenerationError):
    """A key has no request left; it earns the next in `retry_after_s` seconds."""

    def __init__(self, per_minute: int, retry_after_s: int) -> None:
        super().__init__(
            f"This key may make {per_minute} requests a minute. Try again in {retry_after_s} s.",
            status="RESOURCE_EXHAUSTED",
        )
        self.retry_after_s = retry_after_s


@dataclass(kw_only=True)
class _Key:
    name: str
    digest: bytes = field(repr=False)
    per_minute: int  # 0: no bound
    left: float = 0.0  # requests it may make at once
    since: float = 0.0  # monotonic seconds `left` was counted at


class ApiKeys:
    """The keys of one service."""

    def __init__(self, keys: Mapping[str, tuple[str, int]]) -> None:
        """Name -> key and requests a minute, 0 for no bound."""
        self._lock = threading.Lock()
        self._keys = [
            _Key(name=name, digest=_digest(key), per_minute=per_minute, left=float(per_minute))
            for name, (key, per_minute) in keys.items()
        ]

    @property
    def required(self) -> bool:
        """Whether a caller needs a key."""
        return bool(self._keys)

    def check(self, authorization: str | None, *, counted: bool = True) -> str:
        """The name of the key in `Bearer KEY`, with one request less left; "" where none is needed.

        What is not `counted` takes no request: it only goes before one, or measures the way.
        Raises GenerationError (UNAUTHENTICATED), or KeyUsedTooOften (RESOURCE_EXHAUSTED).
        """
        if not self._keys:
            return ""
        scheme, _, shown = (authorization or "").partition(" ")
        digest = _digest(shown.strip())
        found: _Key | None = None
        for key in self._keys:  # all of them, whichever it is
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None or scheme.lower() != "bearer":
            raise GenerationError(
                "This service wants an API key that it knows: authorization: Bearer KEY.",
                status="UNAUTHENTICATED",
            )
        if counted:
            self._take(found)
        return found.name

    def _take(self, key: _Key) -> None:
        if key.per_minute == 0:
            return
        with self._lock:
            now = monotonic()
            earned = (now - key.since) * key.per_minute / 60 if key.since else 0.0
            key.left, key.since = min(float(key.per_minute), key.left + earned), now
            if key.left < 1:
                wait_s = math.ceil((1 - key.left) * 60 / key.per_minute)
                raise KeyUsedTooOften(key.per_minute, max(1, wait_s))
            key.left -= 1


def load_keys(
    file: str | Path,
    *,
    variable: str,
    per_minute: int,
    setting: str,
    also: Mapping[str, str] | None = None,
) -> ApiKeys:
    """Keys of a file ("" for none), of an environment variable, and `also`, name -> key.

    `per_minute` holds for keys that say no number. Raises SettingsError for a file that cannot be
    read or that others can read, and for a bad line.
    """
    lines = [(variable, line) for line in os.environ.get(variable, "").splitlines()]
    if file:
        lines += [(str(file), line) for line in _read(Path(file), setting)]
    keys = {name: (key, 0) for name, key in (also or {}).items()}
    for where, line in lines:
        words = line.partition("#")[0].split()
        if not words:
            continue
        number = words[2] if len(words) == 3 else str(per_minute)
        if len(words) not in (2, 3) or len(words[1]) < SHORTEST_KEY or not number.isdecimal():
            raise SettingsError(  # the line is not quoted: it may hold a key
                f"{where}: expected `NAME KEY [requests a minute]` on each line, a key having "
                f"at least {SHORTEST_KEY} characters."
            )
        if words[0] in keys:
            raise SettingsError(f"{where} names {words[0]!r} twice; each key needs its own name.")
        keys[words[0]] = (words[1], int(number))
    return ApiKeys(keys)


def _read(file: Path, setting: str) -> list[str]:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise SettingsError(f"{file} can be read by others than its owner: chmod 600 {file}")
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{setting} names {file}, which cannot be read ({type(error).__name__})."
        ) from None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

"""The site's line to the cloud's releases: which one is current, and its files.

Nothing that arrives is believed here: what is written has a known name and a bounded size, and
whoever reads it checks the signature (fl/release_file.py).
"""

import contextlib
import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import grpc

from fl.adapter_file import CONFIG_FILE, TENSOR_FILE
from fl.errors import GenerationError, ReleaseError
from fl.release_file import MANIFEST, SIGNATURE
from fl.tasks import COMPLETE
from fl.wire.channel import open_channel, why_unavailable
from fl.wire.netgpt.v1 import releases_pb2 as pb
from fl.wire.netgpt.v1 import releases_pb2_grpc as pb_grpc

LARGEST = {  # bytes of each file of a release
    CONFIG_FILE: 2**20,
    TENSOR_FILE: 2**29,
    MANIFEST: 2**20,
    SIGNATURE: 64,
}

_SETTING = "site.cloud"
_MEANING = {
    "UNAVAILABLE": "No cloud service answers at {address}: it is not running or shutting down, or "
    "does not accept this site's certificate.",
    "DEADLINE_EXCEEDED": "The cloud at {address} did not answer within {timeout_s:g} s.",
    "PERMISSION_DENIED": "The cloud at {address} says that the certificate in site.keys is not "
    "this site's; site.id and site.keys must belong together.",
    "NOT_FOUND": "The cloud at {address} does not have that release.",
    "DATA_LOSS": "The release is damaged on the cloud's disk; "
    "`./run.sh releases verify` there says more.",
    "UNIMPLEMENTED": "What listens at {address} has no releases.",
}


class CurrentRelease(NamedTuple):
    """Which release the cloud has made current; not verified yet."""

    federation: str
    number: int
    manifest: bytes
    signature: bytes


class ReleaseChannel:
    """A connection to the cloud's releases; safe to share between threads. Close it, or use with.

    `keys` is the site's bundle, needed where the cloud is not on this machine.
    """

    def __init__(self, address: str, *, keys: Path | None, timeout_s: float) -> None:
        """`timeout_s` bounds one call, a whole fetch included. Raises SettingsError."""
        self._address, self._keys, self._timeout_s = address, keys, timeout_s
        self._grpc = open_channel(address, keys, setting=_SETTING)
        self._stub = pb_grpc.ReleaseServiceStub(self._grpc)

    def current(self, site_id: str, *, task: str = COMPLETE) -> CurrentRelease | None:
        """The current release of a task's newest federation; None while there is none.

        Raises GenerationError where the cloud does not answer.
        """
        request = pb.GetReleaseRequest(site_id=site_id, task=task)
        try:
            answer = self._stub.GetRelease(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise self._typed(error) from None
        return CurrentRelease(answer.federation, answer.number, answer.manifest, answer.signature)

    def fetch(
        self, site_id: str, federation: str, number: int, into: Path, *, task: str = COMPLETE
    ) -> None:
        """Write a release's files into a folder, made if need be; read_release verifies them.

        Raises GenerationError where the cloud does not answer, ReleaseError where it sends what is
        no release, OSError where the disk refuses; nothing is left of it then.
        """
        request = pb.FetchReleaseRequest(
            site_id=site_id, federation=federation, number=number, task=task
        )
        into.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        call = self._stub.FetchRelease(request, timeout=self._timeout_s)
        try:
            _write_files(call, into, written)
        except BaseException as error:
            call.cancel()
            with contextlib.suppress(OSError):
                for file in written:
                    file.unlink(missing_ok=True)
            if isinstance(error, grpc.RpcError):
                raise self._typed(error) from None
            raise

    def close(self) -> None:
        """Close the connection."""
        self._grpc.close()

    def __enter__(self) -> "ReleaseChannel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.close()

    def _typed(self, error: grpc.RpcError) -> GenerationError:
        status: str = error.code().name
        text = _MEANING.get(status, f"The cloud at {{address}} failed with {status}.")
        text = text.format(address=self._address, timeout_s=self._timeout_s)
        if status == "UNAVAILABLE":
            text = why_unavailable(self._address, self._keys, setting=_SETTING) or text
        return GenerationError(text, status=status)


def _write_files(parts: Iterable[pb.FetchReleaseResponse], into: Path, written: list[Path]) -> None:
    """Write every file of a release once, each from the parts that follow one another.

    Adds to `written` what it makes. Raises ReleaseError for any other stream of parts.
    """
    for name, of_one_file in groupby(parts, key=lambda part: part.file):
        file = into / name if name in LARGEST else None
        if file is None or file in written:
            raise ReleaseError(
                f"The cloud sent a file {name[:40]!r} where a release has "
                f"{', '.join(LARGEST)}, each once."
            )
        with open(file, "xb") as stream:
            written.append(file)
            for part in of_one_file:
                if stream.tell() + len(part.data) > LARGEST[name]:
                    raise ReleaseError(f"The cloud sent more than {LARGEST[name]} bytes of {name}.")
                stream.write(part.data)
            stream.flush()
            os.fsync(stream.fileno())
    if missing := LARGEST.keys() - {file.name for file in written}:
        raise ReleaseError(f"The cloud sent a release without {', '.join(sorted(missing))}.")

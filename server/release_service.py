"""The cloud's releases over gRPC: which one is current, and the files of any that verifies.

A release's folder never changes, so it is verified once and again only when its files' stamps have
changed; the alias is read anew for every call, so a promotion or a rollback shows at once.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fl.adapter_file import CONFIG_FILE, TENSOR_FILE
from fl.errors import GenerationError, ReleaseError
from fl.release_file import MANIFEST, SIGNATURE
from fl.settings import Settings, with_task
from fl.signing import SIGNING_PUB, read_cloud_key
from fl.site import SITE_NAME
from fl.tasks import COMPLETE, TASKS
from fl.wire.netgpt.v1 import releases_pb2 as pb
from fl.wire.netgpt.v1 import releases_pb2_grpc as pb_grpc
from server.releases import Releases

log = logging.getLogger(__name__)

FILES = (CONFIG_FILE, TENSOR_FILE, MANIFEST, SIGNATURE)  # as they are sent
PIECE_BYTES = 2**20
_REMEMBERED = 16  # verified releases
_FEDERATION = re.compile(r"[0-9]{1,9}")

GetContext = grpc.aio.ServicerContext[pb.GetReleaseRequest, pb.GetReleaseResponse]
FetchContext = grpc.aio.ServicerContext[pb.FetchReleaseRequest, pb.FetchReleaseResponse]

_Stamp = tuple[tuple[int, int, int], ...]  # inode, size and time of change of each file


@dataclass(frozen=True, kw_only=True)
class VerifiedRelease:
    """A release folder whose signature and files were right."""

    federation: str
    number: int
    folder: Path
    manifest: bytes
    signature: bytes


class ReleaseBooks:
    """The releases of all federations of a task in a run folder. Safe to use from many threads."""

    def __init__(self, settings: Settings, task: str) -> None:
        its = with_task(settings, task)
        self._federations, self._keys_dir, self._task = its.federations_dir, its.keys_dir, task
        self._verified: dict[tuple[str, int], tuple[_Stamp, VerifiedRelease]] = {}
        self._one_at_a_time = threading.Lock()

    def current(self, federation: str | None) -> VerifiedRelease:
        """The current release of this, or of the newest federation that has one.

        Raises GenerationError: NOT_FOUND, DATA_LOSS, INVALID_ARGUMENT.
        """
        names = self._newest_first() if federation is None else [_checked(federation)]
        for name in names:
            number = self._releases(name).aliases.read_if_good("current")
            if number is not None:
                return self.verified(name, number)
        raise GenerationError("There is no current release yet.", status="NOT_FOUND")

    def verified(self, federation: str, number: int) -> VerifiedRelease:
        """A release by its number, verified. Raises GenerationError as `current`."""
        folder = self._releases(_checked(federation)).folder / str(number)
        if number < 0 or not folder.is_dir():
            raise GenerationError(
                f"Federation {federation} has no release {number}.", status="NOT_FOUND"
            )
        try:
            with self._one_at_a_time:
                return self._verify(federation, number, folder)
        except (ReleaseError, OSError) as error:
            # The text names folders of this host, so it stays here.
            log.error("release %d of federation %s: %s", number, federation, error)
            raise GenerationError(
                f"Release {number} of federation {federation} is damaged on the cloud's disk.",
                status="DATA_LOSS",
            ) from None

    def _verify(self, federation: str, number: int, folder: Path) -> VerifiedRelease:
        stamp = _stamp(folder)
        known = self._verified.get((federation, number))
        if known is not None and known[0] == stamp:
            return known[1]
        key = read_cloud_key(self._keys_dir / SIGNING_PUB)
        release = self._releases(federation, key).load(number)
        verified = VerifiedRelease(
            federation=federation,
            number=number,
            folder=folder,
            manifest=release.manifest,
            signature=release.signature,
        )
        self._verified[federation, number] = (stamp, verified)
        if len(self._verified) > _REMEMBERED:
            del self._verified[next(iter(self._verified))]  # the oldest
        return verified

    def _releases(self, federation: str, key: Ed25519PublicKey | None = None) -> Releases:
        folder = self._federations / federation / "releases"
        return Releases(folder, federation=federation, cloud_key=key, task=self._task)

    def _newest_first(self) -> list[str]:
        if not self._federations.is_dir():
            return []
        names = [entry.name for entry in self._federations.iterdir()]
        return sorted(filter(_FEDERATION.fullmatch, names), key=int, reverse=True)


class ReleaseService(pb_grpc.ReleaseServiceServicer):
    """Message in, release out; the disk is read on threads."""

    def __init__(self, settings: Settings) -> None:
        self._books = {task: ReleaseBooks(settings, task) for task in TASKS}

    async def GetRelease(
        self, request: pb.GetReleaseRequest, context: GetContext
    ) -> pb.GetReleaseResponse:
        _check_site(request.site_id)
        federation = request.federation if request.HasField("federation") else None
        books = self._of(request.task)
        release = await asyncio.to_thread(books.current, federation)
        return pb.GetReleaseResponse(
            federation=release.federation,
            number=release.number,
            manifest=release.manifest,
            signature=release.signature,
        )

    async def FetchRelease(
        self, request: pb.FetchReleaseRequest, context: FetchContext
    ) -> AsyncIterator[pb.FetchReleaseResponse]:
        _check_site(request.site_id)
        books = self._of(request.task)
        release = await asyncio.to_thread(books.verified, request.federation, request.number)
        pieces = _pieces(release.folder)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def _of(self, task: str) -> ReleaseBooks:
        books = self._books.get(task or COMPLETE)
        if books is None:
            raise GenerationError(
                f"task must be one of {', '.join(self._books)}.", status="INVALID_ARGUMENT"
            )
        return books


def _pieces(folder: Path) -> Iterator[pb.FetchReleaseResponse]:
    for name in FILES:
        with open(folder / name, "rb") as stream:
            while data := stream.read(PIECE_BYTES):
                yield pb.FetchReleaseResponse(file=name, data=data)


def _stamp(folder: Path) -> _Stamp:
    stats = [(folder / name).lstat() for name in FILES]
    return tuple((found.st_ino, found.st_size, found.st_ctime_ns) for found in stats)


def _checked(federation: str) -> str:
    if _FEDERATION.fullmatch(federation) is None:
        raise GenerationError(
            "federation must be 1 to 9 digits, for instance 001.", status="INVALID_ARGUMENT"
        )
    return federation


def _check_site(site_id: str) -> None:
    if SITE_NAME.fullmatch(site_id) is None:
        raise GenerationError(
            "site_id must be 1 to 64 of a-z, 0-9, '_' and '-', not starting with a sign.",
            status="INVALID_ARGUMENT",
        )

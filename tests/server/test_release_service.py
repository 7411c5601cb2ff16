"""What the release service says and sends, over real gRPC, and what it refuses to send."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from clients.release_channel import ReleaseChannel
from fl.openai_api.api_keys import ApiKeys
from fl.release_file import read_release
from fl.settings import Settings, load
from fl.signing import cloud_key, signing_key
from fl.wire.netgpt.v1 import releases_pb2 as pb
from fl.wire.netgpt.v1 import releases_pb2_grpc as pb_grpc
from server import release_service
from server.release_service import ReleaseService
from server.releases import Releases
from server.service_errors import StatusInterceptor
from tests.fl.adapters import drawn

T = TypeVar("T")
FILES = {"adapter_config.json", "adapter_model.safetensors", "manifest.json", "manifest.sig"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([f"var={tmp_path}", f"keys={tmp_path}/pki", "cloud.model=none"])


def releases(settings: Settings, federation: str = "001") -> Releases:
    folder = settings.run_dir / "federations" / federation / "releases"
    return Releases(folder, federation=federation, key=signing_key(settings))


def publish(books: Releases, seed: int) -> int:
    made = books.publish(
        drawn(seed), round_number=seed, method="fedavg", parent_digest="", metrics={}
    )
    return made.number


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[StatusInterceptor(ApiKeys({}))])
    pb_grpc.add_ReleaseServiceServicer_to_server(ReleaseService(settings), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def asked(settings: Settings, ask: Callable[[pb_grpc.ReleaseServiceStub], Awaitable[T]]) -> T:
    """What `ask` finds out from a service that runs meanwhile."""

    async def call() -> T:
        async with listening(settings) as channel:
            return await ask(pb_grpc.ReleaseServiceStub(channel))

    return asyncio.run(call())


async def current(stub: pb_grpc.ReleaseServiceStub, **more: str) -> str:
    """FEDERATION/NUMBER, or the status."""
    try:
        answer = await stub.GetRelease(pb.GetReleaseRequest(site_id="oslo", **more), timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return f"{answer.federation}/{answer.number}"


async def fetched(stub: pb_grpc.ReleaseServiceStub, federation: str, number: int) -> str | int:
    """How many pieces came, or the status and its text."""
    request = pb.FetchReleaseRequest(site_id="oslo", federation=federation, number=number)
    try:
        return len([part async for part in stub.FetchRelease(request, timeout=30)])
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"


def test_what_is_current_is_told_anew_at_every_call(settings: Settings) -> None:
    async def ask(stub: pb_grpc.ReleaseServiceStub) -> None:
        assert await current(stub) == "NOT_FOUND"

        books = releases(settings)
        assert publish(books, 0) == 0
        assert await current(stub) == "001/0"
        assert publish(books, 1) == 1
        assert await current(stub) == "001/0"  # 1 is a candidate
        books.promote(1, why="it is better")
        assert await current(stub) == "001/1"
        books.rollback(None, why="it was not")
        assert await current(stub) == "001/0"

        # The newest federation counts from when it has a release, by its number, not by its text.
        (settings.run_dir / "federations" / "1000").mkdir()
        assert await current(stub) == "001/0"
        publish(releases(settings, "1000"), 2)
        publish(releases(settings, "002"), 3)
        assert await current(stub) == "1000/0"
        assert await current(stub, federation="001") == "001/0"
        assert await current(stub, federation="003") == "NOT_FOUND"

    asked(settings, ask)


def test_a_release_is_verified_once_and_its_answer_is_what_was_signed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(releases(settings), 0)
    loaded: list[int] = []
    load_before = Releases.load
    monkeypatch.setattr(
        Releases, "load", lambda self, number: (loaded.append(number), load_before(self, number))[1]
    )

    async def ask(stub: pb_grpc.ReleaseServiceStub) -> None:
        request = pb.GetReleaseRequest(site_id="oslo")
        answers = [await stub.GetRelease(request, timeout=30) for _ in range(5)]
        folder = settings.run_dir / "federations/001/releases/0"
        assert answers[4].manifest == (folder / "manifest.json").read_bytes()
        assert answers[4].signature == (folder / "manifest.sig").read_bytes()
        monkeypatch.setattr(release_service, "PIECE_BYTES", 100)
        pieces = sum(-(-file.stat().st_size // 100) for file in folder.iterdir())
        assert await fetched(stub, "001", 0) == pieces > 4

    asked(settings, ask)
    assert loaded == [0]


def test_a_site_fetches_what_the_cloud_released_from_a_service_without_torch(
    settings: Settings, tmp_path: Path
) -> None:
    publish(releases(settings), 7)
    with (
        Serving(settings) as address,
        ReleaseChannel(address, keys=None, timeout_s=30) as channel,
    ):
        found = channel.current("oslo")
        assert found is not None
        assert (found.federation, found.number) == ("001", 0)
        channel.fetch("oslo", found.federation, found.number, tmp_path / "fetched")

    release = read_release(tmp_path / "fetched", cloud_key(settings))
    assert release.manifest == found.manifest
    assert {file.name for file in (tmp_path / "fetched").iterdir()} == FILES


@pytest.mark.parametrize("file", sorted(FILES))
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "exchange"])
def test_a_damaged_release_is_data_loss_even_after_it_was_fine(
    settings: Settings, file: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    books = releases(settings)
    publish(books, 0)
    publish(books, 1)
    books.promote(1, why="better")
    path = books.folder / "1" / file

    async def ask(stub: pb_grpc.ReleaseServiceStub) -> None:
        assert await current(stub) == "001/1"
        data = path.read_bytes()
        if harm == "flip":
            path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        elif harm == "truncate":
            os.truncate(path, len(data) // 2)
        elif harm == "remove":
            path.unlink()
        else:
            path.write_bytes((books.folder / "0" / file).read_bytes())

        exchanged_equal = harm == "exchange" and file == "adapter_config.json"
        if exchanged_equal:  # the same configuration in every release
            assert await current(stub) == "001/1"
            return
        assert await current(stub) == "DATA_LOSS"
        said = await fetched(stub, "001", 1)
        assert said == "DATA_LOSS: Release 1 of federation 001 is damaged on the cloud's disk."
        assert await fetched(stub, "001", 0) == 4  # others unharmed

    with caplog.at_level(logging.ERROR):
        asked(settings, ask)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (pb.FetchReleaseRequest(site_id="oslo", federation="..", number=0), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="001/../001"), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(site_id="oslo", federation=""), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="\u0661"), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(site_id="Oslo", federation="001"), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(federation="001"), "INVALID_ARGUMENT"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="001", number=-1), "NOT_FOUND"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="001", number=1), "NOT_FOUND"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="001", number=2**62), "NOT_FOUND"),
        (pb.FetchReleaseRequest(site_id="oslo", federation="1", number=0), "NOT_FOUND"),
    ],
)
def test_what_is_not_there_or_no_name(
    settings: Settings, request_: pb.FetchReleaseRequest, status: str
) -> None:
    publish(releases(settings), 0)

    async def ask(stub: pb_grpc.ReleaseServiceStub) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            [part async for part in stub.FetchRelease(request_, timeout=30)]
        return failed.value.code().name

    assert asked(settings, ask) == status


def test_one_answer_calls_have_the_same_border_as_streams(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "the orchard" + " behind the chapel"  # two, for the log shows lines of code

    def fail(self: object, federation: str | None) -> None:
        raise KeyError(secret)

    monkeypatch.setattr(release_service.ReleaseBooks, "current", fail)

    async def call() -> list[grpc.aio.AioRpcError]:
        failures = []
        async with listening(settings) as channel:
            for data in (b"\xff garbage", b"\x0a\x04oslo"):
                method = channel.unary_unary("/netgpt.v1.ReleaseService/GetRelease")  # type: ignore[call-arg]
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await method(data, timeout=30)
                failures.append(failed.value)
        return failures

    garbage, unforeseen = asyncio.run(call())
    assert garbage.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert unforeseen.code() is grpc.StatusCode.INTERNAL
    details = unforeseen.details() or ""
    assert details.startswith("The cloud failed; error ")
    assert "KeyError" in caplog.text
    assert secret not in details + caplog.text


class Serving:
    """`server serve` in a process where torch and what needs it cannot be imported."""

    def __init__(self, settings: Settings) -> None:
        program = "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft')))"
        program += "; from server.__main__ import main; main()"
        command = [sys.executable, "-c", program, "serve", "cloud.model=none"]
        command += [
            "service.address=127.0.0.1:0",
            "service.http=none",
            f"var={settings.var}",
            f"keys={settings.keys}",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        prefix, _, address = self._process.stdout.readline().strip().partition(" on ")
        assert prefix == "netgpt.v1"
        return address

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        code = self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert code == 0

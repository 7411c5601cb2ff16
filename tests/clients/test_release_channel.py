"""The site's side of fetching a release: what it writes, and what it never writes."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from clients import release_channel
from clients.release_channel import LARGEST, CurrentRelease, ReleaseChannel
from fl.errors import GenerationError, ReleaseError, SettingsError
from fl.wire.netgpt.v1 import releases_pb2 as pb
from fl.wire.netgpt.v1 import releases_pb2_grpc as pb_grpc

Part = tuple[str, bytes]
CONFIG, TENSORS, MANIFEST, SIGNATURE = LARGEST
WHOLE: list[Part] = [(CONFIG, b"{"), (CONFIG, b"}"), (TENSORS, b"t"), (MANIFEST, b"m")]
WHOLE += [(SIGNATURE, b"s" * 64)]
Behaviour = Callable[[grpc.ServicerContext], Iterable[Part]]


class FakeCloud(pb_grpc.ReleaseServiceServicer):
    """Sends the parts it is told; whether they make sense is what the tests are about."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.requests: list[pb.FetchReleaseRequest] = []

    def GetRelease(
        self, request: pb.GetReleaseRequest, context: grpc.ServicerContext
    ) -> pb.GetReleaseResponse:
        list(self._behave(context))
        return pb.GetReleaseResponse(federation="001", number=3, manifest=b"m", signature=b"s")

    def FetchRelease(
        self, request: pb.FetchReleaseRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.FetchReleaseResponse]:
        self.requests.append(request)
        for file, data in self._behave(context):
            yield pb.FetchReleaseResponse(file=file, data=data)


@contextmanager
def cloud(
    behave: Behaviour, *, timeout_s: float = 30
) -> Iterator[tuple[ReleaseChannel, FakeCloud]]:
    server = grpc.server(ThreadPoolExecutor(2))
    fake = FakeCloud(behave)
    pb_grpc.add_ReleaseServiceServicer_to_server(fake, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with ReleaseChannel(address, keys=None, timeout_s=timeout_s) as channel:
            yield channel, fake
    finally:
        server.stop(None).wait()


def test_files_are_put_together_from_their_pieces(tmp_path: Path) -> None:
    with cloud(lambda _: WHOLE) as (channel, fake):
        assert channel.current("oslo") == CurrentRelease("001", 3, b"m", b"s")
        channel.fetch("oslo", "001", 3, tmp_path / "new")

    [request] = fake.requests
    assert (request.site_id, request.federation, request.number) == ("oslo", "001", 3)
    found = {file.name: file.read_bytes() for file in (tmp_path / "new").iterdir()}
    assert found == {CONFIG: b"{}", TENSORS: b"t", MANIFEST: b"m", SIGNATURE: b"s" * 64}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([("../evil", b"x")], "'../evil'"),
        ([("/etc/passwd", b"x")], "'/etc/passwd'"),
        ([("", b"x")], "''"),
        ([("README.md", b"x")], "'README.md'"),
        ([*WHOLE, ("adapter_model.bin", b"x")], "'adapter_model.bin'"),
        ([*WHOLE, (CONFIG, b"again")], "each once"),
        ([*WHOLE[:-1], (SIGNATURE, b"s" * 65)], "more than 64 bytes"),
        ([*WHOLE[:-1], (SIGNATURE, b"s" * 64), (SIGNATURE, b"s")], "more than 64 bytes"),
        (WHOLE[:-1], "without manifest.sig"),
        ([], "without adapter_config.json, adapter_model.safetensors"),
    ],
)
def test_what_is_no_release_leaves_nothing(tmp_path: Path, parts: list[Part], says: str) -> None:
    with (
        cloud(lambda _: parts) as (channel, _),
        pytest.raises(ReleaseError, match=says),
    ):
        channel.fetch("oslo", "001", 3, tmp_path / "new")
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == []


def test_an_endless_file_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(release_channel.LARGEST, TENSORS, 1000)
    ended = threading.Event()

    def endless(context: grpc.ServicerContext) -> Iterator[Part]:
        context.add_callback(ended.set)
        while context.is_active():
            yield TENSORS, b"x" * 300

    with (
        cloud(endless) as (channel, _),
        pytest.raises(ReleaseError, match="more than 1000 bytes"),
    ):
        channel.fetch("oslo", "001", 3, tmp_path)
    assert ended.wait(30)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_already_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / TENSORS).write_bytes(b"mine")
    with cloud(lambda _: WHOLE) as (channel, _), pytest.raises(FileExistsError):
        channel.fetch("oslo", "001", 3, tmp_path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(TENSORS, b"mine")]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("DATA_LOSS", "damaged on the cloud's disk"),
        ("NOT_FOUND", "does not have"),
        ("PERMISSION_DENIED", "belong together"),
        ("UNAVAILABLE", "No cloud service answers"),
        ("INTERNAL", "failed with INTERNAL"),
    ],
)
def test_failures_have_a_type_and_leave_nothing(tmp_path: Path, status: str, says: str) -> None:
    def fail_late(context: grpc.ServicerContext) -> Iterator[Part]:
        yield from WHOLE[:3]
        context.abort(grpc.StatusCode[status], "said over there")

    with cloud(fail_late) as (channel, _):
        with pytest.raises(GenerationError, match=says) as failed:
            channel.fetch("oslo", "001", 3, tmp_path)
        assert failed.value.status == status
        assert "said over there" not in str(failed.value)
        assert list(tmp_path.iterdir()) == []
        if status == "NOT_FOUND":
            assert channel.current("oslo") is None
        else:
            with pytest.raises(GenerationError, match=says):
                channel.current("oslo")


def test_nobody_there_and_a_cloud_that_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        ReleaseChannel(address, keys=None, timeout_s=30) as channel,
        pytest.raises(GenerationError, match="No cloud service answers"),
    ):
        channel.current("oslo")

    release = threading.Event()

    def silent(_: grpc.ServicerContext) -> Iterator[Part]:
        yield WHOLE[0]
        release.wait(30)

    with cloud(silent, timeout_s=0.3) as (channel, _):
        with pytest.raises(GenerationError, match=r"within 0\.3 s"):
            channel.fetch("oslo", "001", 3, tmp_path)
        release.set()
    assert list(tmp_path.iterdir()) == []


def test_another_machine_is_dialled_with_keys_only(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"site\.keys"):
        ReleaseChannel("198.51.100.7:50071", keys=None, timeout_s=1)
    with pytest.raises(SettingsError, match=r"ca\.crt.*run\.sh keys"):
        ReleaseChannel("198.51.100.7:50071", keys=tmp_path, timeout_s=1)

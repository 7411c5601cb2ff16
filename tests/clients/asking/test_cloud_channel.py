import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from clients.asking import cloud_channel
from clients.asking.cloud_channel import CloudChannel, service_address
from fl.errors import GenerationError, SettingsError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.link.profiles import profile
from fl.link.relay import Relay
from fl.settings import load
from fl.wire.codec import started_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from server.keys import make_cloud_keys, make_site_keys
from tests.clients.asking.cloud_fake import FINGERPRINT, Script, answer, fake_cloud

PROMPT = "the orchard behind the chapel"
REQUEST = GenerationRequest(request_id="r", site_id="s", prompt=PROMPT)


def test_an_answer_streams_and_its_bytes_are_counted() -> None:
    with (
        fake_cloud(lambda *_: answer("a ", "table")) as cloud,
        CloudChannel(cloud.address, 30) as channel,
    ):
        generation = channel.generate(REQUEST)
        events = list(generation)

    assert events[:2] == [TextPiece(text="a "), TextPiece(text="table")]
    assert isinstance(reply := events[2], Reply)
    assert (reply.text, reply.model_fingerprint) == ("a table", FINGERPRINT)
    assert generation.bytes_up == len(cloud.received[0]) > len(PROMPT)
    assert generation.bytes_down == cloud.sent_bytes > 0


def failing(status: grpc.StatusCode, details: str, *, begun: bool) -> Script:
    def script(
        _: pb.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerateResponse]:
        if begun:
            yield from answer("a ", "table")[:2]
        context.abort(status, details)

    return script


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("UNAVAILABLE", "serve"),
        ("RESOURCE_EXHAUSTED", "busy"),
        ("INVALID_ARGUMENT", "max_prompt_tokens"),
        ("INTERNAL", "0123456789ab"),
        ("UNKNOWN", "UNKNOWN"),
    ],
)
def test_failures_have_a_type_and_never_repeat_the_far_end(
    status: str, says: str, begun: bool
) -> None:
    details = f"{PROMPT}; error 0123456789ab."
    script = failing(grpc.StatusCode[status], details, begun=begun)
    with fake_cloud(script) as cloud, CloudChannel(cloud.address, 30) as channel:
        with pytest.raises(GenerationError, match=says) as failed:
            list(channel.generate(REQUEST))
        assert failed.value.status == status
        assert PROMPT not in str(failed.value)
        assert failed.value.__suppress_context__


def test_a_cloud_that_is_silent_is_given_up_after_the_deadline() -> None:
    release = threading.Event()

    def silent(*_: object) -> Iterator[pb.GenerateResponse]:
        yield started_to_wire(FINGERPRINT, "base")
        release.wait(30)

    with fake_cloud(silent) as cloud, CloudChannel(cloud.address, 0.3) as channel:
        with pytest.raises(GenerationError, match=r"within 0\.3 s") as failed:
            list(channel.generate(REQUEST))
        release.set()
    assert failed.value.status == "DEADLINE_EXCEEDED"


def test_nobody_there_and_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with CloudChannel(address, 30) as channel:
        with pytest.raises(GenerationError) as failed:
            list(channel.generate(REQUEST))
        assert failed.value.status == "UNAVAILABLE"
        with pytest.raises(GenerationError, match=r"not ready within 0\.2 s") as late:
            channel.wait_ready(0.2)
        assert late.value.status == "UNAVAILABLE"


def test_something_else_that_listens_is_named() -> None:
    with (
        fake_cloud(lambda *_: []) as cloud,
        CloudChannel(cloud.address, 30) as channel,
        pytest.raises(GenerationError, match="no netgpt"),
    ):
        channel.wait_ready(30)  # the fake has no health service


def test_a_cloud_without_a_model_is_named() -> None:
    server = grpc.server(ThreadPoolExecutor(1))  # healthy, but knows no GenerationService
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with CloudChannel(address, 30) as channel:
        for call in (lambda: channel.wait_ready(30), lambda: list(channel.generate(REQUEST))):
            with pytest.raises(GenerationError, match=r"cloud\.model=none") as failed:
                call()
            assert failed.value.status == "UNIMPLEMENTED"
    server.stop(None).wait()


def test_cancelling_and_leaving_early_end_the_call() -> None:
    ended = threading.Semaphore(0)

    def endless(
        _: pb.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerateResponse]:
        context.add_callback(ended.release)
        yield from answer("a ")[:2]
        while context.is_active():
            threading.Event().wait(0.01)

    with fake_cloud(endless) as cloud, CloudChannel(cloud.address, 30) as channel:
        generation = channel.generate(REQUEST)
        assert next(generation) == TextPiece(text="a ")
        generation.cancel()
        with pytest.raises(GenerationError) as cancelled:
            next(generation)
        assert cancelled.value.status == "CANCELLED"
        assert ended.acquire(timeout=30)

        with channel.generate(REQUEST) as left:
            next(left)
        assert ended.acquire(timeout=30)


def test_another_machine_is_dialled_with_keys_only(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not on this machine"):
        CloudChannel("198.51.100.7:50071", 1)
    with pytest.raises(SettingsError, match=r"ca\.crt cannot be read"):
        CloudChannel("198.51.100.7:50071", 1, keys=tmp_path)
    make_cloud_keys(tmp_path / "pki")
    CloudChannel("198.51.100.7:50071", 1, keys=make_site_keys(tmp_path / "pki", "oslo")).close()


def test_an_api_key_of_the_environment_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETGPT_API_KEY", " a-key-of-the-cloud\n")
    with (
        fake_cloud(lambda *_: answer("a ", "table")) as cloud,
        CloudChannel(cloud.address, 30) as channel,
    ):
        list(channel.generate(REQUEST))
    assert "authorization=Bearer a-key-of-the-cloud" in cloud.metadata
    monkeypatch.setenv("NETGPT_API_KEY", "two\nkeys")
    with pytest.raises(SettingsError, match="NETGPT_API_KEY must hold one key") as refused:
        CloudChannel(cloud.address, 30)
    assert "two" not in str(refused.value)


def test_without_the_key_that_the_cloud_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETGPT_API_KEY", raising=False)
    script = failing(grpc.StatusCode.UNAUTHENTICATED, "no", begun=False)
    with fake_cloud(script) as cloud, CloudChannel(cloud.address, 30) as channel:
        with pytest.raises(GenerationError, match="set NETGPT_API_KEY") as failed:
            list(channel.generate(REQUEST))
        assert failed.value.status == "UNAUTHENTICATED"
        assert not any(shown.startswith("authorization") for shown in cloud.metadata)


def test_nobody_waits_for_a_reason_that_is_long_in_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    known = threading.Event()

    def slow(*_: object, **__: object) -> str:
        known.wait(30)
        return "the reason"

    monkeypatch.setattr(cloud_channel, "why_unavailable", slow)
    monkeypatch.setattr(cloud_channel, "BLAME_S", 0.01)
    script = failing(grpc.StatusCode.UNAVAILABLE, "", begun=False)
    with fake_cloud(script) as cloud, CloudChannel(cloud.address, 30) as channel:
        with pytest.raises(GenerationError, match="No cloud service answers"):
            list(channel.generate(REQUEST))
        known.set()
        monkeypatch.setattr(cloud_channel, "BLAME_S", 30)
        with pytest.raises(GenerationError, match="the reason"):
            list(channel.generate(REQUEST))


class Away(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return ""


def test_only_a_cloud_of_this_machine_is_started_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cloud_keys(tmp_path / "pki")
    monkeypatch.setattr(cloud_channel, "why_unavailable", lambda *_, **__: None)
    with CloudChannel("127.0.0.1:1", 1) as here:
        assert "./run.sh serve" in str(here.typed(Away()))
    keys = make_site_keys(tmp_path / "pki", "oslo")
    with CloudChannel("198.51.100.7:50071", 1, keys=keys) as elsewhere:
        assert "./run.sh serve" not in str(elsewhere.typed(Away()))


def test_the_service_is_found_where_it_wrote_itself_down(tmp_path: Path) -> None:
    settings = load(["service.address=127.0.0.1:0", f"var={tmp_path}"])
    assert service_address(settings) == "127.0.0.1:0"
    settings.run_dir.mkdir()
    (settings.run_dir / "service.address").write_text("127.0.0.1:4242")
    assert service_address(settings) == "127.0.0.1:4242"


def test_a_relay_is_no_way_around_the_rule_for_addresses_elsewhere() -> None:
    """Plain text never leaves the machine, whatever stands in between; errors name the cloud."""
    with (
        fake_cloud(lambda *_: answer("a ", "table")) as cloud,
        Relay(cloud.address, profile("none")) as relay,
    ):
        with pytest.raises(SettingsError, match="not on this machine"):
            CloudChannel("192.0.2.1:50071", 5, via=relay.address)
        with CloudChannel(cloud.address, 30, via=relay.address) as channel:
            assert [type(event) for event in channel.generate(REQUEST)][-1] is Reply
        assert relay.crossed.up > len(PROMPT)
    with (
        Relay("127.0.0.1:1", profile("none")) as relay,
        CloudChannel("127.0.0.1:1", 5, via=relay.address) as channel,
        pytest.raises(GenerationError, match=r"at 127\.0\.0\.1:1:") as failed,
    ):
        list(channel.generate(REQUEST))
    assert failed.value.status == "UNAVAILABLE"

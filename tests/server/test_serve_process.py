"""The service as a user runs it: a process that answers and ends well on SIGTERM."""

import signal
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fl.base_model import fingerprint
from fl.generation import GenerationRequest, Reply
from fl.wire.codec import events_from_wire, request_to_wire
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from tests.running_service import running_service

SERVING = health_pb2.HealthCheckResponse.SERVING
CANARY = "the orchard behind the chapel"
SETTINGS = ("service.max_prompt_tokens=120", "service.drain_s=60")


def request(new_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        request_id="r", site_id="s", prompt=CANARY, max_new_tokens=new_tokens, temperature=0.8
    )


def test_serve_answers_and_drains_on_sigterm(tiny_cloud: Path, tmp_path: Path) -> None:
    with running_service(tiny_cloud, tmp_path, *SETTINGS) as (process, address):
        # 1. It says where it is, and that it is healthy and what it offers.
        assert (tmp_path / "demo-0" / "service.address").read_text() == address
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "netgpt.v1.GenerationService"):
                answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
                assert answer.status == SERVING
            ask_list = reflection_pb2.ServerReflectionRequest(list_services="")
            [listed] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([ask_list]), timeout=30
            )
            names = {service.name for service in listed.list_services_response.service}
            assert "netgpt.v1.GenerationService" in names

            # 2. It answers with the model it was given.
            stub = pb_grpc.GenerationServiceStub(channel)
            *pieces, reply = events_from_wire(
                stub.Generate(request_to_wire(request(20)), timeout=60)
            )
            assert isinstance(reply, Reply)
            assert reply.text == "".join(piece.text for piece in pieces)
            assert 1 <= reply.completion_tokens <= 20
            assert reply.model_fingerprint == fingerprint(tiny_cloud)

            # 3. SIGTERM while an answer runs: the answer is finished, new calls are refused.
            running = stub.Generate(request_to_wire(request(128)), timeout=60)
            started = next(running)
            process.send_signal(signal.SIGTERM)
            ended: list[Reply] = []
            reader = threading.Thread(
                target=lambda: ended.append(list(events_from_wire([started, *running]))[-1])  # type: ignore[arg-type]
            )
            reader.start()
            reader.join(timeout=60)
            assert ended[0].finish_reason in ("length", "stop")
            assert process.wait(timeout=60) == 0
            with pytest.raises(grpc.RpcError) as refused:
                list(stub.Generate(request_to_wire(request(1)), timeout=30))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    assert not (tmp_path / "demo-0" / "service.address").exists()
    assert CANARY not in (tmp_path / "service.log").read_text()


def test_a_second_sigterm_does_not_wait(tiny_cloud: Path, tmp_path: Path) -> None:
    with (
        running_service(tiny_cloud, tmp_path, *SETTINGS) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        # A watcher never leaves by itself, so that the drain would last service.drain_s.
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == SERVING
        process.send_signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=50) == 0


def test_a_folder_without_a_model_ends_with_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with (
        pytest.raises(AssertionError, match="holds no cloud model"),
        running_service(empty, tmp_path),
    ):
        pass

"""The service with workers as a user runs it: one is killed under a dozen streams, none is lost."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import psutil
import pytest

from fl.generation import GenerationRequest, Reply, TextPiece
from fl.settings import load
from fl.wire.codec import events_from_wire, request_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.generation.embedded import EmbeddedEngine
from server.generation.loading import load_language_model
from server.tuning.store import cloud_releases
from tests.running_service import running_service
from tests.server.generation.engine_cases import ask_all
from tests.server.test_hostile_requests import eventually, figures
from tests.server.test_http import Running, started
from tests.server.tuning.small import settings_for, tuned_and_published

REQUESTS, TOKENS = 12, 200
LIMITS = (f"service.max_new_tokens={TOKENS}", "service.max_prompt_tokens=40", "engine.batch=2")
WORKERS = ("engine.kind=workers", "engine.workers=2", "threads=2", "service.drain_s=60")


def request(number: int) -> GenerationRequest:
    """Half of them greedy; they seldom end before their length."""
    return GenerationRequest(
        request_id=f"{number}",
        site_id="s",
        prompt=f"{number} the mill",
        max_new_tokens=TOKENS - number,
        temperature=0.9 * (number % 2),
        seed=number,
    )


def undisturbed(model: Path) -> list[str]:
    """What one engine answers, one request after the other."""
    settings = load([*LIMITS])
    positions = settings.service.max_prompt_tokens + TOKENS
    loaded = load_language_model(model, positions=positions)
    engine = EmbeddedEngine(loaded, settings.engine, settings.service)
    try:
        return [ask_all(engine, [request(number)])[0][1].text for number in range(REQUESTS)]
    finally:
        engine.close()


class Reader(threading.Thread):
    """Reads one stream; `ended` is its reply, `text` what came in pieces."""

    def __init__(
        self, stub: pb_grpc.GenerationServiceStub, number: int, came: Callable[[], None]
    ) -> None:
        super().__init__()
        self.text, self.ended = "", None
        self._stream = stub.Generate(request_to_wire(request(number)), timeout=120)
        self._came = came
        self.start()

    text: str
    ended: Reply | None

    def run(self) -> None:
        for event in events_from_wire(self._stream):
            if isinstance(event, TextPiece):
                self.text += event.text
                self._came()
            else:
                self.ended = event


def events_of(stub: pb_grpc.GenerationServiceStub, number: int) -> list[TextPiece | Reply]:
    return list(events_from_wire(stub.Generate(request_to_wire(request(number)), timeout=120)))


def workers_of(front: int) -> list[psutil.Process]:
    """In the order of their names."""
    found = [p for p in psutil.Process(front).children() if "--tethered" in p.cmdline()]
    return sorted(found, key=lambda process: process.cmdline()[-1])


def worker_figure(service: Running, name: str) -> list[float]:
    """Of each worker, in order."""
    return [
        float(value)
        for value in re.findall(rf"^netgpt_cloud_worker_{name}{{.*}} (.+)$", figures(service), re.M)
    ]


def gone(processes: Sequence[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=30)[1]


def test_a_worker_that_is_killed_loses_no_request(tiny_cloud: Path, tmp_path: Path) -> None:
    wanted = undisturbed(tiny_cloud)
    with (
        running_service(tiny_cloud, tmp_path, *LIMITS, *WORKERS) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        service, stub = started(process, address, tmp_path), pb_grpc.GenerationServiceStub(channel)
        first, *_ = workers_of(process.pid)
        # 1. The front has no model of its own.
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        assert "libtorch" in Path(f"/proc/{first.pid}/maps").read_text()

        # 2. A dozen streams; the first worker is killed when some of its own have begun.
        begun = threading.Semaphore(0)
        readers = [Reader(stub, number, begun.release) for number in range(REQUESTS)]
        assert begun.acquire(timeout=60)
        eventually(lambda: worker_figure(service, "running")[0] > 0)
        first.send_signal(signal.SIGKILL)
        for reader in readers:
            reader.join(timeout=120)

        # 3. Each has the text that one engine alone gives, every character once.
        assert [reader.text for reader in readers] == wanted
        replies = [reader.ended for reader in readers]
        assert all(reply is not None and reply.finish_reason != "cancelled" for reply in replies)
        assert worker_figure(service, "requests_taken_over")[0] > 0

        # 4. SIGTERM while an answer runs: it is finished, then all processes end.
        both = workers_of(process.pid)
        last = Reader(stub, 0, begun.release)
        while begun.acquire(blocking=False):
            pass
        assert begun.acquire(timeout=60)
        process.send_signal(signal.SIGTERM)
        last.join(timeout=60)
        assert (process.wait(timeout=60), last.text) == (0, wanted[0])
        assert gone([first, *both])
    assert not list((tmp_path / "demo-0" / "workers").iterdir())


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_both_follow_the_release(
    tiny_cloud: Path, tmp_path: Path
) -> None:
    var = tmp_path / "var"
    var.mkdir()
    settings = settings_for(tiny_cloud, var)
    assert tuned_and_published(settings)[0]
    releases = cloud_releases(settings)
    releases.rollback(0, why="by hand")
    keys = f"keys={settings.keys}"
    with (
        running_service(tiny_cloud, var, *LIMITS, *WORKERS, keys) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        service, stub = started(process, address, var), pb_grpc.GenerationServiceStub(channel)

        def probed() -> pb.ProbeResponse:
            return stub.Probe(pb.ProbeRequest(site_id="s", about=True), timeout=30)

        def answered_with() -> str:
            return events_of(stub, 0)[-1].release  # type: ignore[union-attr]

        # 1. One is killed and started again; the sum is of both.
        assert probed().about.release == answered_with() == "cloud/0"
        workers_of(process.pid)[0].send_signal(signal.SIGKILL)
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3)]  # blocks until it is back
        assert said[1:] == [
            "worker-1 was killed (SIGKILL); it is started again",
            "worker-1 answers again",
        ]
        assert worker_figure(service, "up") == [1.0, 1.0]
        assert worker_figure(service, "restarts") == [1.0, 0.0]
        assert probed().about.cache_limit == 2 * load([]).engine.cache_tokens

        # 2. Another release: the workers take it up by themselves, and the front says so.
        releases.rollback(1, why="by hand")
        eventually(lambda: probed().about.release == "cloud/1")
        eventually(lambda: answered_with() == "cloud/1")

        # 3. The front is killed: no worker is left.
        both = workers_of(process.pid)
        process.kill()
        assert gone(both)


def test_a_worker_that_cannot_start_is_told_in_one_sentence(tmp_path: Path) -> None:
    model = tmp_path / "empty"
    model.mkdir()
    command = [sys.executable, "-m", "server", "serve", "service.address=127.0.0.1:0"]
    command += ["service.http=none", f"cloud.model={model}", f"var={tmp_path}"]
    command += ["engine.kind=workers", "engine.workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.match(r"worker-\d ended with exit code 1: .* holds no cloud model", line)
    assert not list((tmp_path / "demo-0" / "workers").iterdir())


def test_a_tethered_service_ends_with_its_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server", "serve", "--tethered", "cloud.model=none"]
    command += ["service.address=127.0.0.1:0", "service.http=none", f"var={tmp_path}"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().startswith("netgpt.v1 on ")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()

"""A release of tune-cloud put into use by a running service: streams finish on their version."""

import time
from pathlib import Path

from server.tuning.store import cloud_releases
from tests.running_service import running_service
from tests.server.test_hostile_requests import figures
from tests.server.test_http import Running, started
from tests.server.tuning.small import settings_for, tuned_and_published

PROMPT = "a table at the mill in Dale"


def test_another_release_is_put_into_use_without_dropping_a_stream(
    tiny_cloud: Path, tmp_path: Path
) -> None:
    var = tmp_path / "var"
    var.mkdir()
    settings = settings_for(tiny_cloud, var)
    assert tuned_and_published(settings)[0]
    releases = cloud_releases(settings)
    releases.rollback(0, why="by hand")
    more = (f"keys={settings.keys}", "engine.batch=1")  # one after the other: they last seconds
    with running_service(tiny_cloud, var, *more) as (process, address):
        service = started(process, address, var)
        client = service.client()
        before = _ask(service)
        streams = [
            client.completions.create(
                model="netgpt-cloud", prompt=PROMPT, max_tokens=128, stream=True, temperature=0
            )
            for _ in range(120)
        ]

        releases.rollback(1, why="by hand")
        _until(service, "cloud/1")

        still_running = "netgpt_cloud_in_flight 0.0\n" not in figures(service)
        told = [list(stream) for stream in streams]
        after = _ask(service)

    assert still_running
    texts = {"".join(chunk.choices[0].text for chunk in chunks) for chunks in told}
    assert texts == {before}  # every one on the model it began with, to its end
    assert {chunks[0].netgpt["release"] for chunks in told} == {"cloud/0"}  # type: ignore[attr-defined]
    assert {chunks[-1].choices[0].finish_reason for chunks in told} <= {"length", "stop"}
    assert after != before


def _ask(service: Running) -> str:
    answer = service.client().completions.create(
        model="netgpt-cloud", prompt=PROMPT, max_tokens=128, temperature=0
    )
    return answer.choices[0].text


def _until(service: Running, release: str) -> None:
    until = time.monotonic() + 60
    while service.client().models.list().data[0].netgpt["release"] != release:  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.05)

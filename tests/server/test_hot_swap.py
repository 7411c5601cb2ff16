"""tune-cloud beside a running service: streams finish on their version, new ones get the next."""

import time
from pathlib import Path

from server.tuning.store import cloud_releases
from tests.running_service import running_service
from tests.server.test_http import Running, started
from tests.server.tuning.small import settings_for, tuned_and_published

PROMPT = "a table at the mill in Dale"


def test_a_tuned_release_is_put_into_use_without_dropping_a_stream(
    tiny_cloud: Path, tmp_path: Path
) -> None:
    var = tmp_path / "var"
    var.mkdir()
    settings = settings_for(tiny_cloud, var)
    more = (f"keys={settings.keys}", "engine.batch=2")
    with running_service(tiny_cloud, var, *more) as (process, address):
        service = started(process, address, var)
        client = service.client()
        streams = [  # two at a time: most of them wait while the model is exchanged
            client.completions.create(
                model="netgpt-cloud", prompt=PROMPT, max_tokens=128, stream=True, temperature=0
            )
            for _ in range(40)
        ]
        assert tuned_and_published(settings)[0]
        _until(service, "cloud/1")
        later = _ask(service)
        told = [list(stream) for stream in streams]
        cloud_releases(settings).rollback(0, why="by hand")
        _until(service, "cloud/0")
        back = _ask(service)

    texts = {"".join(chunk.choices[0].text for chunk in chunks) for chunks in told}
    releases = {chunks[0].netgpt["release"] for chunks in told}  # type: ignore[attr-defined]
    assert len(texts) == 1  # every one of them on the model it began with
    assert releases == {"base"}
    assert {chunks[-1].choices[0].finish_reason for chunks in told} <= {"length", "stop"}
    assert later != texts.pop()
    assert back != later


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

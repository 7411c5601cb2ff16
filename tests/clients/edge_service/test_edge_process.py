"""The verb `edge` for real: killed in the middle of a round, ended during one, asked."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clients.learning.courier import EdgeServiceAway
from fl.adapter import digest
from fl.flower_records import read_update
from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_plan, tiny_site
from tests.walks.tiny_federation import CANARY

STEPS = 200  # enough to be killed in


@contextmanager
def edge_process(site: TinySite, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the verb, wait until it is ready, kill what is left."""
    before = site.file.read_bytes() if site.file.exists() else None
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "clients", "edge", *site.arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            # two threads that wait for each other on busy cores take minutes
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return site.file.exists() and site.file.read_bytes() != before

        site.until(ready, seconds=120)
        assert site.service.pid == process.pid
        yield process
    finally:
        process.kill()
        process.wait()


def test_killed_in_a_round_and_started_again_it_gives_the_same_update(tmp_path: Path) -> None:
    """The courier calls once; meanwhile the service dies and another one takes its place."""
    plan, log = tiny_plan(steps=STEPS), tmp_path / "log"
    for name in ("left alone", "killed"):
        (tmp_path / name).mkdir()

    # 1. Left alone; then asked to end in its second round, which is given up.
    site = tiny_site(tmp_path / "left alone")
    release = site.release()
    with edge_process(site, log) as process, ThreadPoolExecutor(1) as courier:
        expected = read_update(site.carry(plan, release))
        endless = tiny_plan(steps=1_000_000, round_number=2, release_number=0)
        waiting = courier.submit(site.carry, endless, release, patience_s=5)
        with site.client() as client:
            site.until(lambda: client.status().learning.round_number == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert not site.file.exists()
        assert isinstance(waiting.exception(timeout=30), EdgeServiceAway)
    assert {p.name for p in site.shelf().folder.iterdir()} == {"personal-1", "release-0"}

    # 2. Killed in the same first round.
    site = tiny_site(tmp_path / "killed")
    release = site.release()
    with ThreadPoolExecutor(1) as courier:
        with edge_process(site, log) as process, site.client() as client:
            carried = courier.submit(site.carry, plan, release)
            site.until(lambda: client.status().learning.step > STEPS // 10)
            process.kill()
            process.wait()
        assert site.file.exists()  # it could not say that it ended
        with edge_process(site, log):
            update = read_update(carried.result())
    assert digest(update.delta) == digest(expected.delta)
    assert replace(update, delta=expected.delta, seconds=expected.seconds) == expected

    said = [re.split(" after |, ", line)[0] for line in log.read_text().splitlines()]
    assert said.count("train of round 1 begun") == 3
    assert said.count("train of round 1 ended") == 2
    assert said.count("train of round 2 given up") == 1
    assert CANARY not in log.read_text()


def test_a_person_asks_the_running_service(tmp_path: Path) -> None:
    """`ask` loads no model itself; without the service it does the site's part on its own."""
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        asking = [sys.executable, "-X", "importtime", "-m", "clients", "ask", "food tonight"]
        arguments = [*site.arguments, f"service.address={cloud.address}", f"--site={SITE}"]
        shown = []
        with edge_process(site, tmp_path / "log"):
            shown.append(run([*asking, *arguments]))
        site.file.write_text('{"address": "127.0.0.1:1", "token": "old", "pid": 1}')
        answer = run([*asking, *arguments, f"edge.model={tmp_path / 'gone'}"])
        assert answer.returncode == 1
        assert "gone" in answer.stderr.splitlines()[-1]
    (through,) = shown
    assert through.returncode == 0, through.stderr
    assert "at Elmford" in through.stdout
    assert "card       place Elmford" in through.stdout
    assert "".join(PIECES) in through.stdout
    assert "characters of the enriched prompt; not the card" in through.stdout
    imported = {line.split("|")[-1].strip() for line in through.stderr.splitlines()}
    assert "grpc" in imported
    assert not {"torch", "transformers", "peft"} & imported


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

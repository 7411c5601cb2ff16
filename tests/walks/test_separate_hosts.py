"""Cloud and sites on hosts of their own: network namespaces on one bridge, with real processes.

What crosses between them is what crosses between machines: the fleet gate and the cloud service,
both over TLS. It needs root and iproute2, and is skipped where there are none.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from clients.adapter_shelf import newest_shelf
from fl.process_group import end_orphans
from fl.settings import load
from server.federation.round_log import RoundLog, read_status
from server.keys import make_cloud_keys, make_site_keys
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation

CLOUD, NET = "10.213.77.1", "10.213.77"
FLEET, SERVICE = f"{CLOUD}:9092", f"{CLOUD}:50071"


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


def can_make_hosts() -> str:
    """ "" or why not."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    probe = subprocess.run(["ip", "netns", "add", "netgpt-probe"], capture_output=True, check=False)
    ip("netns", "del", "netgpt-probe", check=False)
    return "" if probe.returncode == 0 else "this machine lets nobody make network namespaces"


WHY_NOT = can_make_hosts()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "can")]


@pytest.fixture
def hosts() -> Iterator[dict[str, str]]:
    """Namespace by host name, all on one bridge. The cloud is .1, the sites .2, .3, ..."""
    names = {name: f"netgpt-{name}" for name in ("cloud", *SITES)}
    try:
        ip("link", "add", "netgpt-br", "type", "bridge")
        ip("link", "set", "netgpt-br", "up")
        for number, (name, space) in enumerate(names.items(), start=1):
            ip("netns", "add", space)
            ip("link", "add", f"ng-{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"ng-{name}", "master", "netgpt-br", "up")
            ip("-n", space, "addr", "add", f"{NET}.{number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield names
    finally:
        for name, space in names.items():
            ip("netns", "del", space, check=False)
            ip("link", "del", f"ng-{name}", check=False)
        ip("link", "del", "netgpt-br", check=False)


@contextmanager
def started(space: str, log: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A verb of ours on one of the hosts; SIGTERM at the end."""
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-m", *command],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(
    condition: Callable[[], object],
    *,
    process: "subprocess.Popen[bytes]",
    log: Path,
    seconds: float,
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def reach(space: str, url: str, ca: Path) -> int:
    """The HTTP status that a host gets; 0 where nothing answers."""
    code = (
        "import ssl, sys, urllib.request, urllib.error\n"
        "c = ssl.create_default_context(cafile=sys.argv[2])\n"
        "try: print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=b'', "
        "method='POST'), timeout=5, context=c).status)\n"
        "except urllib.error.HTTPError as e: print(e.code)\n"
        "except OSError: print(0)\n"
    )
    done = subprocess.run(
        ["ip", "netns", "exec", space, sys.executable, "-c", code, url, str(ca)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_sites_on_hosts_of_their_own(tmp_path: Path, hosts: dict[str, str]) -> None:
    """Rounds over the network, one link cut for 30 s and back, the Control API out of reach."""
    (config,) = make_tiny_federation(tmp_path)
    # 1. Keys: made at the cloud, each bundle carried to its site and to nobody else.
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=[CLOUD])
    bundles = {}
    for site in SITES:
        bundles[site] = tmp_path / f"host-{site}" / "keys"
        shutil.copytree(make_site_keys(keys, site), bundles[site])

    cloud_log = tmp_path / "cloud.log"
    cloud_settings = [
        config,
        *("rounds=4", f"keys={keys}", f"var={tmp_path / 'host-cloud'}", "cloud.model=none"),
        *(f"cloud.fleet={FLEET}", f"service.address={SERVICE}", "learning.local_steps=40"),
    ]
    settings = load(cloud_settings)
    folder = settings.run_dir / "federations" / "001"

    def rounds_done() -> int:
        status = read_status(folder)
        return status.rounds_done if status else 0

    with ExitStack() as running:
        cloud = running.enter_context(
            started(hosts["cloud"], cloud_log, "server", "cloud", *cloud_settings)
        )
        site_settings = {}
        for site in SITES:
            var = tmp_path / f"host-{site}"
            site_settings[site] = [
                *(config, f"var={var}", f"site.id={site}", f"site.fleet={FLEET}"),
                *(f"site.cloud={SERVICE}", f"site.keys={bundles[site]}", "threads=1"),
            ]
            command = ("clients", "site", *site_settings[site])
            running.enter_context(started(hosts[site], tmp_path / f"{site}.log", *command))

        # 2. A round over the network.
        until(lambda: rounds_done() >= 1, process=cloud, log=cloud_log, seconds=240)

        # 3. Only the Fleet API can be reached from a site, not Control, not Runtime.
        ca = bundles["elm"] / "ca.crt"
        assert reach(hosts["elm"], f"https://{FLEET}/v1/control/list-runs", ca) == 404
        assert reach(hosts["elm"], f"https://{FLEET}/v1/runtime/acquire-task", ca) == 404
        assert reach(hosts["elm"], f"https://{FLEET}/v1/fleet/pull-messages", ca) not in (0, 404)

        # 4. One site's link is cut for 30 s and comes back; all rounds are made.
        ip("link", "set", "ng-ash", "down")
        time.sleep(30)
        ip("link", "set", "ng-ash", "up")
        done = lambda: (s := read_status(folder)) is not None and s.state == "completed"  # noqa: E731
        until(done, process=cloud, log=cloud_log, seconds=400)

        # 5. Every site uses the current release, the one that was away too.
        current = int((folder / "releases" / "current").read_text())
        for site in SITES:

            def uses_current(site: str = site) -> bool:
                shelf = newest_shelf(load(site_settings[site]), site)
                return shelf is not None and shelf.current_number() == current

            until(uses_current, process=cloud, log=tmp_path / f"{site}.log", seconds=60)

    reports = RoundLog(folder).reports()
    assert [report.round_number for report in reports] == [1, 2, 3, 4]
    assert all(any(o.site_id == "elm" and o.admitted for o in r.outcomes) for r in reports)
    # 6. No prompt is on the cloud's host, and no site has anything of another.
    for place in (tmp_path / "host-cloud", tmp_path / "pki", cloud_log):
        for file in [place] if place.is_file() else place.rglob("*"):
            if file.is_file():
                assert CANARY.encode() not in file.read_bytes(), file
    for site in SITES:
        end_orphans(load(site_settings[site]).run_dir / "sites" / site / "processes")

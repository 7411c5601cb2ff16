"""What the meter says of an emulated link, through the real cloud service."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from clients.asking.cloud_channel import CloudChannel
from clients.routing.link_meter import PROBE_BYTES, LinkMeter, measure_link
from clients.routing.threshold import LinkState
from fl.errors import GenerationError
from fl.link.profiles import Profile
from fl.link.relay import Relay
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = make_tiny_cloud(tmp_path_factory.mktemp("cloud"))
    with running_service(model, tmp_path_factory.mktemp("var")) as (_, found):
        yield found


def test_round_trip_and_bandwidth_are_those_of_the_link(address: str) -> None:
    narrow = Profile(name="narrow", up_mbit_s=0.5, down_mbit_s=1.0, rtt_ms=60)
    with Relay(address, narrow) as relay, CloudChannel(relay.address, 30) as channel:
        found = measure_link(channel, "elm")
        crossed = relay.crossed
    # what the machine takes comes on top, so a link never looks better than it is
    assert found.rtt_s >= 0.060
    assert 8 * found.up_bytes_s <= 0.5e6 * 1.1
    assert 8 * found.down_bytes_s <= 1.0e6 * 1.1
    assert found.up_bytes_s < found.down_bytes_s
    assert (found.running, found.waiting) == (0, 0)
    assert PROBE_BYTES < crossed.up < PROBE_BYTES + 4000
    assert PROBE_BYTES < crossed.down < PROBE_BYTES + 4000


def test_probes_are_bounded_and_a_cloud_that_is_away_is_said(address: str) -> None:
    with CloudChannel(address, 30) as channel:
        with pytest.raises(GenerationError) as refused:
            channel.probe("elm", wanted=70_000)
        assert refused.value.status == "INVALID_ARGUMENT"
    with CloudChannel("127.0.0.1:9", 30) as channel:
        with pytest.raises(GenerationError) as away:
            measure_link(channel, "elm")
        assert away.value.status == "UNAVAILABLE"


def test_a_round_trip_that_somebody_saw_counts_until_it_is_old() -> None:
    now = 100.0
    state = LinkState(rtt_s=0.01, up_bytes_s=1e6, down_bytes_s=1e6, running=0, waiting=0)
    meter = LinkMeter(lambda: state, fresh_s=2.0, clock=lambda: now)
    meter.saw(0.5)
    assert meter.recent_rtt_s is None  # nothing has been measured yet
    meter.look()
    assert meter.state(wait_s=10.0) == state
    assert meter.recent_rtt_s == 0.01
    now = 103.0
    assert meter.recent_rtt_s is None
    meter.saw(0.5)
    assert meter.recent_rtt_s == 0.5
    assert meter.state(wait_s=0.0) == replace(state, rtt_s=0.5)

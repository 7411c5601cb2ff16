"""When chunks arrive, by hand and for random traffic. No clock is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.errors import SettingsError
from fl.link.line import Line
from fl.link.profiles import PROFILES, profile
from fl.settings import load


def test_by_hand() -> None:
    """1,000 bytes/s and 0.5 s: sending takes 1 s, and the next chunk waits for the line."""
    line = Line(bytes_per_s=1000, delay_s=0.5)
    assert line.arrival(0.0, 1000) == 1.5
    assert line.arrival(0.0, 500) == 2.0  # 1.0 waiting, 0.5 sending
    assert line.arrival(10.0, 100) == pytest.approx(10.6)
    unbounded = Line(bytes_per_s=0, delay_s=0.25)
    assert unbounded.arrival(3.0, 10**9) == 3.25


chunks = st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20_000)), min_size=1, max_size=50)


@given(chunks, st.floats(1, 1e6), st.floats(0, 1), st.floats(0, 0.5))
def test_order_is_kept_and_nothing_is_faster_than_the_line(
    chunks: list[tuple[float, int]], rate: float, delay: float, jitter: float
) -> None:
    line, now, sent, before = Line(bytes_per_s=rate, delay_s=delay, jitter_s=jitter), 0.0, 0, 0.0
    first = None
    for pause, size in chunks:
        now += pause
        first = now if first is None else first
        arrived = line.arrival(now, size)
        assert arrived >= before
        sent, before = sent + size, arrived
        assert arrived >= first + sent / rate - 1e-6 * max(1.0, sent / rate)
        if jitter == 0:
            assert arrived >= now + size / rate + delay - 1e-6


def test_a_profile_is_found_by_its_name() -> None:
    assert profile("lte").rtt_ms == 50
    assert all(profile(name).name == name for name in PROFILES)
    with pytest.raises(SettingsError, match="did you mean 'satellite'"):
        profile("satelite")


def test_settings_with_an_unknown_link_are_refused_before_any_work() -> None:
    with pytest.raises(SettingsError, match=r"link.profile is one of .* did you mean 'lte'"):
        load(["link.profile=lta"])
    with pytest.raises(SettingsError, match=r"compare.profiles is one of .*, found 'foo'"):
        load(["compare.profiles=[lte,foo]"])


def test_a_line_that_changes_keeps_what_is_on_its_way() -> None:
    line = Line(bytes_per_s=100, delay_s=0.5)
    assert line.expect(0.0, 100) == pytest.approx(1.5)
    assert line.arrival(0.0, 100) == pytest.approx(1.5)  # expecting put nothing on it
    line.change(bytes_per_s=1000, delay_s=0.1)
    # It begins behind what is being sent, and does not overtake it.
    assert line.expect(0.0, 100) == pytest.approx(1.0 + 0.1 + 0.1)
    assert line.arrival(0.0, 100) == pytest.approx(1.5)
    assert line.arrival(2.0, 100) == pytest.approx(2.2)

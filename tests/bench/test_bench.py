"""The bench's own parts: its command line, and one aggregation in a process of its own."""

import pytest

from fl.errors import SettingsError
from tests.bench.__main__ import BenchSettings, parse
from tests.bench.aggregation import growth_mb, measure


def test_without_arguments_everything_runs_in_its_short_form() -> None:
    assert parse([]) == (["training", "aggregation"], BenchSettings())


def test_slow_sets_what_is_not_given() -> None:
    suites, settings = parse(["training", "slow=true", "pairs=7"])
    assert suites == ["training"]
    assert (settings.pairs, settings.tokens) == (7, 12_000)


@pytest.mark.parametrize("argument", ["trainning", "pair=3", "pairs=many", "slow=yes"])
def test_a_wrong_argument_is_named(argument: str) -> None:
    with pytest.raises(SettingsError, match=argument.partition("=")[0]):
        parse([argument])


def test_memory_does_not_grow_with_the_number_of_sites() -> None:
    runs = [measure(sites, measure_error=False) for sites in (2, 40)]  # 38 updates are 45 MB
    assert growth_mb(runs) < 15
    assert all(run.seconds > 0 for run in runs)

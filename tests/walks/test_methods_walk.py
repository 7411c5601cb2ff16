"""Every method through the real apps: books -> updates -> releases -> shelves, and what is told."""

import math
from pathlib import Path

import pytest

from clients.adapter_shelf import newest_shelf
from clients.asking.site_in_process import load_site_adapter
from clients.edge_model import edge_model
from fl.aggregation import METHODS
from fl.errors import FederationError, SettingsError
from fl.site_list import federated_sites
from server.federation.round_log import RoundLog, read_status
from tests.walks.test_update_walk import federate, releases_of
from tests.walks.tiny_federation import SITES, make_tiny_federation


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tiny_federation(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("method", METHODS)
def test_two_rounds_of_every_method(arguments: list[str], method: str) -> None:
    personal = "local_b" if method == "fedsa" else "dual"
    settings, _ = federate(
        arguments, "rounds=2", f"name=walk-{method}", f"method={method}", f"personal={personal}"
    )
    folder = settings.run_dir / "federations" / "001"
    status, reports = read_status(folder), RoundLog(folder).reports()
    assert status is not None
    assert (status.state, status.message) == ("completed", "")
    for report in reports:
        assert all(o.admitted and o.rank == 2 and o.bytes_up > 0 for o in report.outcomes)
        assert report.exact == METHODS[method].exact
        assert report.telemetry is not None
        assert report.telemetry.sites == tuple(sorted(SITES))
        assert (
            report.shared_rank == releases_of(settings).load(report.release_number).shared.spec.rank
        )
        exact = METHODS[method].exact.startswith("exact")
        assert math.isnan(report.aggregation_error) == (method == "fedsa")
        if exact and method != "fedsa":
            assert report.aggregation_error == 0
    model = edge_model(settings)
    for site in federated_sites(settings):
        load_site_adapter(model, settings, site)  # what people would be served with
        shelf = newest_shelf(settings, site.id)
        assert shelf is not None
        assert shelf.personal() is not None


def test_mixed_ranks_an_optimizer_a_rule_and_a_small_uplink(arguments: list[str]) -> None:
    settings, _ = federate(
        arguments, "rounds=2", "name=mixed", "method=flora", "learning.ranks=[1,2]", "personal=none"
    )
    (_, last) = RoundLog(settings.run_dir / "federations" / "001").reports()
    assert {o.site_id: o.rank for o in last.outcomes} == dict(zip(SITES, (1, 2), strict=True))

    plain, _ = federate(arguments, "rounds=1", "name=plain", "method=ffa")
    small, _ = federate(
        arguments,
        *("rounds=2", "name=small", "method=ffa", "federation.uplink=int8"),
        *("federation.server_optimizer=adam", "federation.robust=norm_bound"),
    )
    sent = [
        RoundLog(s.run_dir / "federations" / "001").reports()[0].outcomes[0].bytes_up
        for s in (plain, small)
    ]
    assert sent[1] < sent[0]
    (_, last) = RoundLog(small.run_dir / "federations" / "001").reports()
    assert sum(bool(o.dropped) for o in last.outcomes) == 1  # the median of two is between them
    shelf = newest_shelf(small, "elm")
    assert shelf is not None
    assert shelf.feedback_before(3, since=1) is not None


def test_what_does_not_go_together_is_refused_before_a_round(
    arguments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="flora and flexlora take mixed ranks"):
        federate(arguments, "name=never", "learning.ranks=[1,2]")


def test_a_federation_goes_on_with_its_method_or_not_at_all(arguments: list[str]) -> None:
    """flora's releases grow: no other method could start from one."""
    federate(arguments, "rounds=1", "name=change", "method=flora", "personal=none")
    with pytest.raises(FederationError, match="by method=flora"):
        federate(
            arguments, "rounds=2", "name=change", "method=fedavg", "personal=none", federation="001"
        )

"""What settings choose, said before anything runs."""

import pytest

from fl.choices import load_fitting
from fl.errors import SettingsError


def test_a_robust_rule_says_at_once_how_many_sites_it_needs() -> None:
    """8 demo sites, a quorum of half: multi_krum needs 2 f + 3 updates, trimmed_mean 2 f + 1."""
    for arguments in (["robust_bad=3"], ["robust_bad=1", "quorum=0.3"]):
        told: list[str] = []
        keys = [f"federation.{argument}" for argument in arguments]
        load_fitting(["federation.robust=trimmed_mean", *keys], warn=told.append)
        needed = "7" if arguments == ["robust_bad=3"] else "3"
        assert len(told) == (1 if needed == "7" else 0)
        assert all(f"updates of {needed} sites" in text for text in told)
    with pytest.raises(SettingsError, match="needs the updates of 9 sites, there are 8"):
        load_fitting(["federation.robust=multi_krum", "federation.robust_bad=3"])
    load_fitting(["federation.robust_bad=50"])
    load_fitting(["federation.robust=norm_bound", "sites=1", "federation.robust_bad=9"])

"""What settings choose, said before anything runs."""

import pytest

from fl.choices import load_fitting
from fl.errors import SettingsError


def test_a_robust_rule_says_at_once_how_many_sites_it_needs() -> None:
    """8 demo sites: multi_krum needs 2 f + 3 updates, trimmed_mean 2 f + 1."""
    load_fitting(["federation.robust=multi_krum", "federation.robust_bad=2"])
    load_fitting(["federation.robust=trimmed_mean", "federation.robust_bad=3"])
    for rule, bad, needed in (("multi_krum", 3, 9), ("trimmed_mean", 4, 9)):
        with pytest.raises(SettingsError, match=f"needs the updates of {needed} sites, there are"):
            load_fitting([f"federation.robust={rule}", f"federation.robust_bad={bad}"])
    load_fitting(["federation.robust_bad=50"])
    load_fitting(["federation.robust=norm_bound", "sites=1", "federation.robust_bad=9"])

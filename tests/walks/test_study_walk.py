"""The study end to end on a tiny federation: every arm at every site, measured by real workers."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clients.asking.site_in_process import load_site_adapter
from clients.edge_model import edge_model
from clients.study.measure import measure
from clients.study.report import markdown
from clients.study.results import (
    BASE,
    CENTRAL,
    LOCAL,
    OTHER_ADAPTER,
    PERSONAL,
    SHARED,
    TEMPLATE,
)
from fl.errors import FederationError
from fl.site import Site
from tests.walks.test_update_walk import federate
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation


def test_every_arm_is_measured(tmp_path: Path) -> None:
    settings, _ = federate(make_tiny_federation(tmp_path), "rounds=1")
    short = replace(settings.study, central_steps=2, answers=False, heldout_per_site=2)
    console = Console(file=open(tmp_path / "shown.txt", "w"))  # noqa: SIM115 - the console's
    study = measure(replace(settings, study=short), channel=None, console=console)

    assert [site.site_id for site in study.sites] == list(SITES)
    for site in study.sites:
        assert set(site.arms) == {BASE, LOCAL, SHARED, PERSONAL, CENTRAL, TEMPLATE}
        base, alone = site.arms[BASE].own_nll, site.arms[LOCAL].own_nll
        assert base is not None
        assert alone is not None
        assert alone < base  # a few steps on so regular a book must help
        assert site.arms[TEMPLATE].own_nll is None
        assert OTHER_ADAPTER in site.counterfactual
        # one tiny c_attn layer pair of rank 2 travels up; the first release is drawn at the site
        assert site.bytes_up > site.bytes_down > 0
    assert study.late is None  # listed sites: nobody joins late
    text = markdown([study])
    assert CANARY not in text
    assert CANARY not in (tmp_path / "shown.txt").read_text()


def test_a_site_without_a_release_says_what_to_run(tmp_path: Path) -> None:
    settings, _ = federate(make_tiny_federation(tmp_path), "rounds=1")
    model = edge_model(settings)
    elm = Site(id="elm", place="Elmford")
    load_site_adapter(model, settings, elm)
    before = model.adapter()
    load_site_adapter(model, settings, replace(elm, id="ash"))
    name = next(iter(before.tensors))
    assert before.tensors[name].shape == model.adapter().tensors[name].shape
    with pytest.raises(FederationError, match="simulate first"):
        load_site_adapter(model, replace(settings, seed=9), elm)

"""A round at a site: only the shared part's delta leaves, the personal part stays on the shelf."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.adapter_shelf import AdapterShelf, newest_shelf
from clients.edge_model import base_loads, edge_model
from clients.learning.contribution import EdgeSite, contribute, open_edge_site, settle
from clients.learning.evaluation import heldout_nll
from fl.adapter import Adapter, add, digest, norm
from fl.errors import AdapterError, BookError
from fl.settings import Settings
from fl.sharing import join
from fl.site import Site
from tests.clients.learning.sites import (
    PERSONAL_RANK,
    RANK,
    drawn_book,
    first_release,
    tiny_plan,
    tiny_settings,
)


@pytest.fixture
def settings(edge_folder: Path, tmp_path: Path) -> Settings:
    return tiny_settings(edge_folder, tmp_path)


def site(settings: Settings, name: str = "oslo", *, seed: int = 0) -> EdgeSite:
    return EdgeSite(
        site=Site(id=name, place=name),
        book=drawn_book(name, seed=seed),
        model=edge_model(settings),
        shelf=AdapterShelf(settings.run_dir / "sites" / name / "shelf" / "001"),
        settings=settings,
    )


def test_an_update_is_the_shared_delta_and_the_losses_are_of_shared_plus_personal(
    settings: Settings,
) -> None:
    edge_site, release = site(settings), first_release(settings)
    update = contribute(tiny_plan(), release, edge_site)
    assert update.delta.spec == release.spec
    assert update.delta.tensors.keys() == release.tensors.keys()
    assert (update.site_id, update.round_number, update.based_on_release) == ("oslo", 1, 0)
    assert update.num_examples == 30
    assert norm(update.delta) > 0

    personal = edge_site.shelf.personal()
    assert personal is not None
    assert personal.spec.rank == PERSONAL_RANK
    edge_site.model.set_adapter(join(add(release, update.delta), personal))
    again = heldout_nll(edge_site.model, edge_site.book.heldout, settings.learning)
    assert again.per_token == pytest.approx(update.heldout_loss, rel=1e-4)


def test_the_personal_part_comes_from_the_shelf_and_goes_back(settings: Settings) -> None:
    edge_site, release = site(settings), first_release(settings)
    contribute(tiny_plan(), release, edge_site)
    first = edge_site.shelf.personal()
    contribute(tiny_plan(round_number=2), release, edge_site)
    second = edge_site.shelf.personal()
    assert first is not None
    assert second is not None
    assert digest(first) != digest(second)

    edge_site.shelf.keep_personal(first)  # the same start gives the same end
    contribute(tiny_plan(round_number=2), release, edge_site)
    repeated = edge_site.shelf.personal()
    assert repeated is not None
    assert digest(repeated) == digest(second)


def test_sites_share_one_base_and_nothing_else(settings: Settings) -> None:
    """Interleaved sites end where they end alone: no tensor of one leaks into another."""
    edge_model(settings)
    loads = base_loads()
    release = first_release(settings)
    alone = contribute(tiny_plan(), release, site(settings, "alone", seed=7))
    for number in range(4):
        contribute(tiny_plan(), release, site(settings, f"site-{number}", seed=number))
    same_name_elsewhere = replace(
        site(settings, "alone", seed=7), shelf=AdapterShelf(settings.var_dir / "fresh")
    )
    after_others = contribute(tiny_plan(), release, same_name_elsewhere)
    assert digest(after_others.delta) == digest(alone.delta)
    assert base_loads() == loads


def test_without_a_personal_part_all_that_is_learned_travels(
    edge_folder: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(edge_folder, tmp_path, personal="none")
    edge_site, release = site(settings), first_release(settings)
    update = contribute(tiny_plan(), release, edge_site)
    moved, whole = edge_site.model.adapter(), add(release, update.delta)
    assert moved.spec.rank == RANK
    for name, tensor in moved.tensors.items():
        assert np.allclose(tensor, whole.tensors[name], atol=1e-6)
    assert edge_site.shelf.personal() is None

    result = settle(tiny_plan(round_number=2), release, edge_site)
    assert result.shared_heldout_loss == result.settled_heldout_loss


def test_settling_keeps_the_release_and_trains_the_personal_part_alone(settings: Settings) -> None:
    edge_site, release = site(settings), first_release(settings)
    contribute(tiny_plan(), release, edge_site)
    result = settle(tiny_plan(steps=20, round_number=5), release, edge_site)
    assert (result.site_id, result.num_heldout) == ("oslo", 8)
    assert result.settled_heldout_loss < result.shared_heldout_loss

    shelf = newest_shelf(settings, "oslo")
    assert shelf is not None
    kept = shelf.release()
    assert kept is not None
    assert kept[0] == 4
    assert digest(kept[1]) == digest(release)
    personal = shelf.personal()
    assert personal is not None
    edge_site.model.set_adapter(join(kept[1], personal))
    served = heldout_nll(edge_site.model, edge_site.book.heldout, settings.learning)
    assert served.per_token == pytest.approx(result.settled_heldout_loss, rel=1e-6)


def test_a_llama_is_an_edge_model_too(llama_folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings(llama_folder, tmp_path, bfloat16="on")
    learning = replace(settings.learning, target_modules=["q_proj", "v_proj", "down_proj"])
    settings = replace(settings, learning=learning)
    edge_site, release = site(settings), first_release(settings)
    assert not release.spec.fan_in_fan_out
    update = contribute(tiny_plan(steps=12), release, edge_site)
    assert "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight" in update.delta.tensors
    result = settle(tiny_plan(round_number=2), add(release, update.delta), edge_site)
    assert result.settled_heldout_loss < 6.0  # ln 400 for a model that knows nothing


def test_a_release_for_another_base_is_refused(settings: Settings) -> None:
    release = first_release(settings)
    other = Adapter(
        spec=replace(release.spec, base_model_fingerprint="0" * 64), tensors=release.tensors
    )
    with pytest.raises(AdapterError):
        contribute(tiny_plan(), other, site(settings))


def test_a_missing_book_is_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "no-model", tmp_path)
    with pytest.raises(BookError, match="oslo"):
        open_edge_site(settings, Site(id="oslo", place="Oslo"), "001")

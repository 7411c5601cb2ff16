"""A round at a site: only the shared part's delta leaves, the personal part stays on the shelf."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.adapter_shelf import AdapterShelf, newest_shelf
from clients.edge_model import base_loads, edge_model
from clients.learning.contribution import contribute
from clients.learning.edge_site import EdgeSite, open_edge_site
from clients.learning.evaluation import heldout_nll
from clients.learning.judging import WORST_LOSS, judge
from clients.learning.settling import settle
from fl import adapter_file
from fl.adapter import Adapter, add, digest, norm
from fl.errors import AdapterError, BookError, FederationError
from fl.release import Judgement
from fl.settings import Settings
from fl.sharing import join
from fl.signing import SIGNING_PUB
from fl.site import Site
from tests.clients.learning.sites import (
    PERSONAL_RANK,
    RANK,
    drawn_book,
    first_adapter,
    first_release,
    moved,
    signed,
    tiny_plan,
    tiny_settings,
)
from tests.fl.releases import CLOUD_KEY


@pytest.fixture
def settings(edge_folder: Path, tmp_path: Path) -> Settings:
    return tiny_settings(edge_folder, tmp_path)


def site(settings: Settings, name: str = "oslo", *, seed: int = 0) -> EdgeSite:
    return EdgeSite(
        site=Site(id=name, place=name),
        book=drawn_book(name, seed=seed),
        model=edge_model(settings),
        shelf=AdapterShelf(settings.run_dir / "sites" / name / "shelf" / "001", CLOUD_KEY),
        settings=settings,
    )


def test_an_update_is_the_shared_delta_and_the_losses_are_of_shared_plus_personal(
    settings: Settings,
) -> None:
    edge_site, release = site(settings), first_release(settings)
    update = contribute(tiny_plan(), release, edge_site)
    assert update.delta.spec == release.shared.spec
    assert update.delta.tensors.keys() == release.shared.tensors.keys()
    assert (update.site_id, update.round_number, update.based_on_release) == ("oslo", 1, 0)
    assert update.num_examples == 30
    assert update.judgement is None
    assert norm(update.delta) > 0

    personal = edge_site.shelf.personal()
    assert personal is not None
    assert personal.spec.rank == PERSONAL_RANK
    edge_site.model.set_adapter(join(add(release.shared, update.delta), personal))
    again = heldout_nll(edge_site.model, edge_site.book.heldout, settings.learning)
    assert again.per_token == pytest.approx(update.heldout_loss, rel=1e-4)


def parts_on(shelf: AdapterShelf) -> dict[str, str]:
    """Digests; the files' headers hold their metadata in any order."""
    return {
        folder.name: digest(adapter_file.read(folder)) for folder in shelf.folder.glob("personal-*")
    }


def test_a_round_done_again_gives_the_same_bytes(settings: Settings) -> None:
    """However often, and also when the rounds after it have been done already."""
    edge_site, release = site(settings), first_release(settings)
    first = contribute(tiny_plan(), release, edge_site)
    plan = tiny_plan(round_number=2, release_number=0)
    second = contribute(plan, release, edge_site)
    settled = settle(tiny_plan(round_number=2, release_number=0), release, edge_site)
    after = parts_on(edge_site.shelf)
    assert digest(first.delta) != digest(second.delta)
    assert after.keys() == {"personal-1", "personal-2", "personal-2-settled"}

    assert digest(contribute(tiny_plan(), release, edge_site).delta) == digest(first.delta)
    again = contribute(plan, release, edge_site)
    settled_again = settle(tiny_plan(round_number=2, release_number=0), release, edge_site)
    assert digest(again.delta) == digest(second.delta)
    assert replace(again, delta=second.delta, seconds=second.seconds) == second
    assert replace(settled_again, seconds=settled.seconds) == settled
    assert parts_on(edge_site.shelf) == after


@pytest.mark.parametrize("steps", [1, 8])
def test_a_training_that_diverges_leaves_the_site_as_it_was(settings: Settings, steps: int) -> None:
    """After one step the loss was still a number; after more of them it is none."""
    edge_site, release = site(settings), first_release(settings)
    contribute(tiny_plan(), release, edge_site)
    before = parts_on(edge_site.shelf)
    wild = replace(tiny_plan(round_number=2, release_number=0, steps=steps), learning_rate=1e39)
    for training in (contribute, settle):
        with pytest.raises(FederationError, match="Training diverged in step"):
            training(wild, release, edge_site)
        assert parts_on(edge_site.shelf) == before
    contribute(tiny_plan(round_number=2, release_number=0), release, edge_site)


def test_a_candidate_is_judged_beside_the_current_release(settings: Settings) -> None:
    """Both with the personal part of the round before, on the same records, before training."""
    edge_site, current = site(settings), first_release(settings)
    contribute(tiny_plan(), current, edge_site)
    personal = edge_site.shelf.personal()
    assert personal is not None
    candidate = signed(moved(current.shared, by=0.05), number=1)
    expected = []
    for shared in (candidate.shared, current.shared):
        edge_site.model.set_adapter(join(shared, personal))
        nll = heldout_nll(edge_site.model, edge_site.book.heldout, settings.learning)
        expected.append(nll.per_token)
    assert expected[0] != pytest.approx(expected[1], abs=0.01)

    plan = tiny_plan(round_number=2, release_number=1, current_release=0)
    update = contribute(plan, candidate, edge_site)
    judgement = Judgement(
        release_number=1, loss=expected[0], current_number=0, current_loss=expected[1]
    )
    assert update.judgement == judgement
    # The message of its own comes after the round that made the candidate.
    fresh = site(settings)
    assert judge(replace(plan, round_number=1), candidate, fresh) == judgement
    assert judge(tiny_plan(round_number=2, release_number=1), candidate, fresh) is None


def test_without_a_sound_copy_of_the_current_release_nothing_is_judged(
    settings: Settings,
) -> None:
    edge_site, candidate = site(settings), signed(first_adapter(settings), number=3)
    plan = tiny_plan(round_number=4, release_number=3, current_release=1)
    assert contribute(plan, candidate, edge_site).judgement is None
    edge_site.shelf.keep_release(signed(first_adapter(settings), number=1), beside=1)
    assert judge(plan, candidate, edge_site) is not None
    manifest = edge_site.shelf.folder / "release-1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert judge(plan, candidate, edge_site) is None


def test_a_candidate_that_scores_no_number_is_as_bad_as_can_be(settings: Settings) -> None:
    edge_site, current = site(settings), first_release(settings)
    edge_site.shelf.keep_release(current)
    broken = signed(moved(current.shared, by=1e30), number=1)
    plan = tiny_plan(round_number=1, release_number=1, current_release=0)
    judgement = judge(plan, broken, edge_site)
    assert judgement is not None
    assert judgement.loss == WORST_LOSS
    assert judgement.current_loss < 10


def test_pauses_come_between_all_steps_and_change_nothing(settings: Settings) -> None:
    """Whoever has the model meanwhile sets another adapter and writes; the bytes stay the same."""
    release = first_release(settings)
    undisturbed = contribute(tiny_plan(steps=4), release, site(settings, "one", seed=3))
    steps_seen: list[int] = []
    model = edge_model(settings)
    other = moved(model.adapter(), by=0.1)

    def disturb(steps: int) -> None:
        steps_seen.append(steps)
        learners = model.adapter()
        model.set_adapter(other)
        model.generate(["Request: food\nEnriched:", "Request: a taxi"], max_new_tokens=9)
        model.set_adapter(learners)

    shelf = AdapterShelf(settings.var_dir / "another shelf", CLOUD_KEY)
    edge_site = replace(site(settings, "one", seed=3), shelf=shelf, pause=disturb)
    disturbed = contribute(tiny_plan(steps=4), release, edge_site)
    assert digest(disturbed.delta) == digest(undisturbed.delta)
    assert disturbed.heldout_loss == undisturbed.heldout_loss
    assert disturbed.train_loss == undisturbed.train_loss
    assert steps_seen[:4] == [1, 2, 3, 4]
    assert set(steps_seen[4:]) == {4}  # held-out batches


def test_sites_share_one_base_and_nothing_else(settings: Settings) -> None:
    """Interleaved sites end where they end alone: no tensor of one leaks into another."""
    edge_model(settings)
    loads = base_loads()
    release = first_release(settings)
    alone = contribute(tiny_plan(), release, site(settings, "alone", seed=7))
    for number in range(4):
        contribute(tiny_plan(), release, site(settings, f"site-{number}", seed=number))
    shelf = AdapterShelf(settings.var_dir / "fresh", CLOUD_KEY)
    same_name_elsewhere = replace(site(settings, "alone", seed=7), shelf=shelf)
    after_others = contribute(tiny_plan(), release, same_name_elsewhere)
    assert digest(after_others.delta) == digest(alone.delta)
    assert base_loads() == loads


def test_without_a_personal_part_all_that_is_learned_travels(
    edge_folder: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(edge_folder, tmp_path, personal="none")
    edge_site, release = site(settings), first_release(settings)
    update = contribute(tiny_plan(), release, edge_site)
    trained, whole = edge_site.model.adapter(), add(release.shared, update.delta)
    assert trained.spec.rank == RANK
    for name, tensor in trained.tensors.items():
        assert np.allclose(tensor, whole.tensors[name], atol=1e-6)
    assert edge_site.shelf.personal() is None

    result = settle(tiny_plan(round_number=2, release_number=0), release, edge_site)
    assert result.shared_heldout_loss == result.settled_heldout_loss


def test_settling_keeps_the_release_and_trains_the_personal_part_alone(settings: Settings) -> None:
    make_signing_key_of_the_tests(settings)
    edge_site, release = site(settings), first_release(settings)
    contribute(tiny_plan(), release, edge_site)
    plan = tiny_plan(steps=20, round_number=4, release_number=0)
    delivery = settle(plan, release, edge_site)
    assert (delivery.site_id, delivery.release_number) == ("oslo", 0)
    assert delivery.settled_heldout_loss < delivery.shared_heldout_loss

    shelf = newest_shelf(settings, "oslo")  # in use now
    assert shelf is not None
    kept, personal = shelf.current(), shelf.personal()
    assert kept is not None
    assert personal is not None
    assert (kept.number, kept.manifest) == (0, release.manifest)
    edge_site.model.set_adapter(join(kept.shared, personal))
    served = heldout_nll(edge_site.model, edge_site.book.heldout, settings.learning)
    assert served.per_token == pytest.approx(delivery.settled_heldout_loss, rel=1e-6)


def test_settling_can_leave_to_others_what_is_in_use(settings: Settings) -> None:
    edge_site, release = site(settings), first_release(settings)
    settle(tiny_plan(), release, edge_site, use=False)
    assert edge_site.shelf.current() is None
    assert edge_site.shelf.release(0) is not None


def make_signing_key_of_the_tests(settings: Settings) -> None:
    settings.keys_dir.mkdir(parents=True)
    pem = CLOUD_KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (settings.keys_dir / SIGNING_PUB).write_bytes(pem)


def test_a_llama_is_an_edge_model_too(llama_folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings(llama_folder, tmp_path, bfloat16="on")
    learning = replace(settings.learning, target_modules=["q_proj", "v_proj", "down_proj"])
    settings = replace(settings, learning=learning)
    edge_site, release = site(settings), first_release(settings)
    assert not release.shared.spec.fan_in_fan_out
    update = contribute(tiny_plan(steps=12), release, edge_site)
    assert "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight" in update.delta.tensors
    after = signed(add(release.shared, update.delta), number=1)
    result = settle(tiny_plan(round_number=2), after, edge_site)
    assert result.settled_heldout_loss < 6.0  # ln 400 for a model that knows nothing


def test_a_release_for_another_base_is_refused(settings: Settings) -> None:
    shared = first_adapter(settings)
    spec = replace(shared.spec, base_model_fingerprint="0" * 64)
    other = signed(Adapter(spec=spec, tensors=shared.tensors))
    with pytest.raises(AdapterError):
        contribute(tiny_plan(), other, site(settings))


def test_a_missing_book_is_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path / "no-model", tmp_path)
    with pytest.raises(BookError, match="oslo"):
        open_edge_site(settings, Site(id="oslo", place="Oslo"), "001")

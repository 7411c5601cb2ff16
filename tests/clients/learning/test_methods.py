"""Every method at real sites: one site is plain training, personal parts stay, ranks may differ."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.capability import learning_bytes, site_rank
from clients.edge_model import EdgeModel, edge_model
from clients.learning.contribution import contribute
from clients.learning.edge_site import EdgeSite
from clients.learning.local_training import Still, train
from clients.learning.settling import settle
from clients.personal_part import part_in_use, seed_of
from clients.study.methods.laboratory import Lab
from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, add, digest, initial_adapter, norm, subtract
from fl.aggregation import METHODS, turn
from fl.errors import AdapterError, FederationError, SettingsError
from fl.round_plan import round_plan
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.sharing import join, part_spec, split
from fl.site import Site
from tests.clients.learning.sites import PERSONAL_RANK, RANK, drawn_book, signed, tiny_settings

PERSONAL = {"fedsa": "local_b", "dual": "dual"}
ROUNDS, STEPS = 3, 3


@pytest.fixture
def settings(edge_folder: Path, tmp_path: Path) -> Settings:
    found = tiny_settings(edge_folder, tmp_path)
    learning = replace(found.learning, local_steps=STEPS, settle_steps=2, learning_rate=0.01)
    return replace(found, rounds=ROUNDS, learning=learning)


def with_method(settings: Settings, method: str, personal: str | None = None) -> Settings:
    return replace(settings, method=method, personal=personal or PERSONAL.get(method, "none"))


def lab(settings: Settings, folder: Path, *, ranks: tuple[int, ...] = (RANK,)) -> Lab:
    """Sites with books of their own over one model."""
    sites = [Site(id=f"site-{k}", place="Elm", rank=rank) for k, rank in enumerate(ranks)]
    books = [drawn_book(site.id, seed=k) for k, site in enumerate(sites)]
    return Lab(settings, sites, books, edge_model(settings), folder)


def plainly_trained(settings: Settings, model: EdgeModel, edge_site: EdgeSite) -> Adapter:
    """Plain training in ROUNDS pieces, each with a new optimiser, as the one site does it.

    After a piece the shared directions are what was received plus a float32 difference: that is
    what can travel, and the only thing that tells a federation of one from no federation.
    """
    shared = initial_adapter(model.spec, model.base.layers, seed=settings.seed)
    dual = settings.personal == "dual"
    personal: Adapter | None = None
    for number in range(1, ROUNDS + 1):
        plan = a_plan(settings, edge_site, number)
        way, every = turn(settings.method, number), slice(0, RANK)
        if dual and personal is None:
            spec = part_spec(model.spec, PERSONAL_RANK)
            seed = seed_of(settings.seed, edge_site.site.id, "personal")
            personal = initial_adapter(spec, model.base.layers, seed=seed)
        model.set_adapter(join(shared, personal) if personal is not None else shared)
        train(
            model,
            edge_site.book.train,
            learning_rate=plan.learning_rate,
            steps=plan.local_steps,
            batch_tokens=plan.batch_tokens,
            clip_norm=plan.clip_norm,
            seed=seed_of(plan.seed, edge_site.site.id, number),
            max_tokens=settings.learning.max_tokens,
            bfloat16="off",
            still=Still(
                a=() if "A" in way.trains else (every,), b=() if "B" in way.trains else (every,)
            ),
        )
        trained = model.adapter()
        if dual:
            trained, personal = split(trained, shared_rank=RANK)
        moved = add(shared, subtract(replace(trained, spec=shared.spec), shared))
        tensors = {
            # fedsa: B stays at the site, so it is never made a difference
            name: trained.tensors[name] if way.sends == "A" and name.endswith(B_SUFFIX) else tensor
            for name, tensor in moved.tensors.items()
        }
        shared = Adapter(spec=shared.spec, tensors=tensors)
    return join(shared, personal) if personal is not None else shared


def a_plan(settings: Settings, edge_site: EdgeSite, number: int) -> RoundPlan:
    release = initial_adapter(edge_site.model.spec, edge_site.model.base.layers, seed=settings.seed)
    return round_plan(
        settings, signed(release), current_release=0, round_number=number, steps=STEPS
    )


@pytest.mark.parametrize("method", ["fedavg", "ffa", "rolora", "fedex", "fedsa", "dual"])
def test_a_federation_of_one_site_is_plain_training_bit_for_bit(
    settings: Settings, tmp_path: Path, method: str
) -> None:
    settings = with_method(settings, method)
    one = lab(settings, tmp_path / "lab")
    (edge_site,) = one.edge_sites
    one.play(lambda lab: {}, deliver=False)
    assert digest(one.served(edge_site)) == digest(
        plainly_trained(settings, edge_site.model, edge_site)
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_travels_is_what_the_turn_says_and_nothing_personal(
    settings: Settings, tmp_path: Path, method: str
) -> None:
    personal = "local_b" if method == "fedsa" else "dual"
    settings = with_method(settings, method, personal)
    two = lab(settings, tmp_path / "lab", ranks=(RANK, RANK))
    for number in (1, 2):
        way = turn(method, number)
        plan = round_plan(
            settings, two.release, current_release=two.release.number, round_number=number, steps=2
        )
        update = contribute(plan, two.release, two.edge_sites[0])
        factors = {"A" if name.endswith(A_SUFFIX) else "B" for name in update.delta.tensors}
        assert factors == set(way.sends)
        part = two.edge_sites[0].shelf.personal()
        assert part is not None
        sent = {tensor.tobytes() for tensor in update.delta.tensors.values()}
        assert not sent & {tensor.tobytes() for tensor in part.tensors.values()}
        assert norm(update.delta) > 0
        two.play_round(number)


@pytest.mark.parametrize(
    ("personal", "option"),
    [("dual", ""), ("dual", "ditto"), ("dual", "weight"), ("finetune", ""), ("local_b", "")],
)
def test_a_personal_part_helps_its_site_and_survives_a_restart(
    settings: Settings, tmp_path: Path, personal: str, option: str
) -> None:
    """Served after settling, each site does better than with the release alone."""
    learning = replace(
        settings.learning,
        settle_steps=12,
        ditto_lambda=0.1 if option == "ditto" else 0.0,
        personal_weight=0.5 if option == "weight" else 0.0,
    )
    method = "fedsa" if personal == "local_b" else "fedavg"
    settings = replace(with_method(settings, method, personal), learning=learning)
    two = lab(settings, tmp_path / "lab", ranks=(RANK, RANK))
    two.play(lambda lab: {})
    for edge_site in two.edge_sites:
        plan = round_plan(
            settings, two.release, current_release=two.release.number, round_number=ROUNDS, steps=12
        )
        told = settle(plan, two.release, edge_site)
        assert told.settled_heldout_loss < told.shared_heldout_loss
        part = part_in_use(edge_site.shelf, two.release, settings)
        assert part is not None
        # what a new process reads from the same folder
        again = replace(
            edge_site.shelf.__class__(edge_site.shelf.folder, edge_site.shelf.key).personal()
        )
        assert digest(again) == digest(part)


def test_a_fine_tuned_copy_is_served_beside_its_own_release_only(
    settings: Settings, tmp_path: Path
) -> None:
    settings = with_method(settings, "fedavg", "finetune")
    two = lab(settings, tmp_path / "lab", ranks=(RANK, RANK))
    two.play(lambda lab: {})
    site = two.edge_sites[0]
    assert digest(two.served(site)) != digest(two.release.shared)
    two.play_round(ROUNDS + 1)
    assert digest(two.served(site)) == digest(two.release.shared)


@pytest.mark.parametrize("method", ["flora", "flexlora"])
def test_sites_of_different_rank_learn_together(
    settings: Settings, tmp_path: Path, method: str
) -> None:
    settings = with_method(settings, method)
    mixed = lab(settings, tmp_path / "lab", ranks=(1, 2, RANK))
    for edge_site, rank in zip(mixed.edge_sites, (1, 2, RANK), strict=True):
        plan = round_plan(settings, mixed.release, current_release=0, round_number=1, steps=2)
        assert contribute(plan, mixed.release, edge_site).delta.spec.rank == rank
    before = mixed.release
    mixed.play(lambda lab: {}, deliver=False)
    assert norm(mixed.release.shared) != norm(before.shared)
    served = mixed.served(mixed.edge_sites[0])
    assert served.spec.rank == (1 if method == "flexlora" else mixed.release.shared.spec.rank)


def test_a_rank_that_the_method_does_not_take_is_refused_with_those_that_do(
    settings: Settings, tmp_path: Path
) -> None:
    small = lab(with_method(settings, "fedavg"), tmp_path / "lab", ranks=(2,))
    plan = round_plan(
        small.edge_sites[0].settings, small.release, current_release=0, round_number=1, steps=2
    )
    with pytest.raises(FederationError, match=r"trains rank 2.*flora or flexlora"):
        contribute(plan, small.release, small.edge_sites[0])


@pytest.mark.parametrize(
    ("method", "personal"), [("fedavg", "local_b"), ("fedsa", "dual"), ("dual", "none")]
)
def test_a_personal_part_that_the_clouds_method_cannot_have_stays_home(
    settings: Settings, tmp_path: Path, method: str, personal: str
) -> None:
    """With fedavg a site's own B would be in the delta; nothing is trained or sent."""
    one = lab(replace(settings, method="fedsa", personal=personal), tmp_path / "lab")
    cloud = with_method(settings, method)
    plan = round_plan(cloud, one.release, current_release=0, round_number=1, steps=2)
    for work in (contribute, settle):
        with pytest.raises(FederationError, match=f"method={method}.*personal={personal}"):
            work(plan, one.release, one.edge_sites[0])
    assert one.edge_sites[0].shelf.personal() is None


def test_a_strong_pull_leaves_a_sites_own_b_alone(settings: Settings, tmp_path: Path) -> None:
    """fedsa: B was never received, so there is nothing to pull it to."""
    sizes = []
    for mu in (0.0, 50.0):
        learning = replace(settings.learning, proximal_mu=mu)
        own = replace(with_method(settings, "fedsa"), learning=learning)
        one = lab(own, tmp_path / f"{mu}")
        plan = round_plan(own, one.release, current_release=0, round_number=1, steps=8)
        contribute(plan, one.release, one.edge_sites[0])
        part = one.edge_sites[0].shelf.personal()
        assert part is not None
        sizes.append(norm(part))
    assert sizes[1] > 0.5 * sizes[0]


def test_without_steps_to_settle_the_part_is_that_of_the_last_round(
    settings: Settings, tmp_path: Path
) -> None:
    settings = with_method(settings, "dual")
    one = lab(settings, tmp_path / "lab")
    (edge_site,) = one.edge_sites
    one.play_round(1)
    before = edge_site.shelf.personal()
    plan = round_plan(settings, one.release, current_release=1, round_number=1, steps=0)
    delivery = settle(plan, one.release, edge_site)
    after = edge_site.shelf.personal()
    assert before is not None
    assert after is not None
    assert digest(before) == digest(after)
    assert delivery.settled_heldout_loss < delivery.shared_heldout_loss


def test_the_proximal_term_adds_its_gradient_and_zero_adds_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    """A strong pull keeps a site near what it received; mu = 0 changes no bit."""
    norms, digests = [], []
    for mu in (0.0, 0.0, 50.0):
        learning = replace(settings.learning, proximal_mu=mu)
        own = replace(with_method(settings, "fedavg"), learning=learning)
        one = lab(own, tmp_path / f"{len(norms)}")
        plan = round_plan(own, one.release, current_release=0, round_number=1, steps=8)
        update = contribute(plan, one.release, one.edge_sites[0])
        norms.append(norm(update.delta))
        digests.append(digest(update.delta))
    assert digests[0] == digests[1]
    assert norms[2] < 0.7 * norms[0]


@pytest.mark.parametrize("uplink", ["float16", "int8"])
def test_rounding_is_fed_back_and_kept_on_the_shelf(
    settings: Settings, tmp_path: Path, uplink: str
) -> None:
    """What the cloud has seen in all plus what is kept is what was learned in all."""
    federation = replace(settings.federation, uplink=uplink)
    settings = replace(with_method(settings, "fedavg"), federation=federation)
    one = lab(settings, tmp_path / "lab")
    (edge_site,) = one.edge_sites
    learned, seen = {}, {}
    for number in (1, 2, 3):
        plan = round_plan(settings, one.release, current_release=0, round_number=number, steps=2)
        update = contribute(plan, one.release, edge_site)
        trained = edge_site.model.adapter()
        for name, tensor in trained.tensors.items():
            step = tensor.astype(np.float64) - one.release.shared.tensors[name]
            learned[name] = learned.get(name, 0.0) + step
            seen[name] = seen.get(name, 0.0) + update.delta.tensors[name].astype(np.float64)
    rest = edge_site.shelf.feedback_before(4, since=0)
    assert rest is not None
    for name, total in learned.items():
        np.testing.assert_allclose(seen[name] + rest.tensors[name], total, atol=2e-6)
        assert np.abs(rest.tensors[name]).max() > 0
    assert edge_site.shelf.feedback_before(4, since=4) is None  # rounds were missed
    # a round that is done again starts from what was kept before it
    plan = round_plan(settings, one.release, current_release=0, round_number=2, steps=2)
    once = contribute(plan, one.release, edge_site)
    assert digest(once.delta) == digest(contribute(plan, one.release, edge_site).delta)


def test_a_part_of_other_settings_is_refused(settings: Settings, tmp_path: Path) -> None:
    settings = with_method(settings, "fedsa")
    one = lab(settings, tmp_path / "lab")
    one.play(lambda lab: {}, deliver=False)
    (edge_site,) = one.edge_sites
    wrong = initial_adapter(part_spec(edge_site.model.spec, 2), edge_site.model.base.layers, seed=0)
    edge_site.shelf.keep_personal(wrong, round_number=9)
    with pytest.raises(AdapterError, match="own B is of"):
        one.served(edge_site)


def test_memory_decides_the_rank_where_it_is_said(settings: Settings) -> None:
    """By hand: one layer of 100 x 60, 1,000 tokens a batch.

    Rank r takes 16 r (100 + 60) bytes for parameters, gradients and moments, and keeps
    4 * 1,000 (160 + r) bytes of activations: 640,000 + 6,560 r.
    """
    layers = {"h.0.c_attn": (100, 60)}
    assert learning_bytes(3, layers, tokens=1000) == 640_000 + 3 * 6_560
    learning = replace(settings.learning, rank=60, batch_tokens=1000)
    settings = replace(settings, learning=learning)
    settings = replace(settings, method="fedavg", personal="none")
    site = Site(id="oslo", place="Oslo", memory_mb=1)
    assert site_rank(settings, site, layers) == (1_000_000 - 640_000) // 6_560  # 54
    assert site_rank(settings, replace(site, rank=8), layers) == 8
    # the optimiser also holds the personal part, and flora's release of up to 20 directions
    dual = replace(settings, personal="dual", learning=replace(learning, personal_rank=4))
    assert site_rank(dual, site, layers) == 50
    flora = replace(dual, method="flora", learning=replace(dual.learning, rank_limit=20))
    assert site_rank(flora, site, layers) == 30
    assert site_rank(settings, replace(site, memory_mb=0), layers) == 60
    wide = {"h.0.c_attn": (1000, 600)}
    with pytest.raises(SettingsError, match="takes 6 MB beyond the model"):
        site_rank(settings, site, wide)

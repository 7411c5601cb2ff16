"""The start of a run: whatever the last one left on the disk becomes a state to go on from."""

from fl.adapter import initial_adapter
from fl.base_model import base_folder, read_base
from fl.errors import FederationError
from fl.round_plan import shared_spec
from fl.sharing import same_but_rank
from server.federation.federation import Federation
from server.federation.plan import LEARNING_RANK


def start(federation: Federation) -> None:
    """Repair, finish what was begun, make release 0 where there is none.

    Raises FederationError when the settings ask for another adapter than the releases have, and
    ReleaseError when no release is sound.
    """
    settings, releases = federation.settings, federation.releases
    # 1. What does not verify is set aside; an alias that named it names a sound release.
    if said := releases.set_aside_damaged():
        federation.progress.say(" ".join(said))
    # 2. A verdict that was reached is carried out.
    if (candidate := releases.candidate()) is not None:
        federation.gate.finish(candidate.number)
    # 3. A federation starts with an adapter that changes nothing.
    base = read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    spec = shared_spec(settings, base)
    newest = releases.newest()
    if newest is None:
        first = initial_adapter(spec, base.layers, seed=settings.seed)
        newest = releases.publish(
            first, round_number=0, method="initial", parent_digest="", metrics={}
        )
    rank = newest.metrics.get(LEARNING_RANK, newest.shared.spec.rank)
    grown = newest.shared.spec.rank != rank and newest.method != settings.method
    if not same_but_rank(newest.shared.spec, spec) or rank != spec.rank or grown:
        raise FederationError(
            f"Federation {newest.federation} cannot go on: release {newest.number} was made with "
            f"{newest.shared.spec} by method={newest.method}, these settings ask for {spec} by "
            f"method={settings.method}."
        )
    # 4. The line of a round whose release was just published.
    federation.log.catch_up(newest.number)
    federation.progress.finished_rounds(newest.round_number)
    federation.show_releases()

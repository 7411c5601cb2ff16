"""The verb `orchestrate`: traces against real processes, then the same and larger ones as a model.

for every admission: deploy -> ask alone -> play every trace, a worker killed in each -> calibrate
then the model: the same traces; 1,000 sites for hours; loads and deadlines where joint may lose
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from clients.orchestrate.calibrating import measured, requests_of
from clients.orchestrate.deployment import deployed
from clients.orchestrate.modelling import Task, all_modelled
from clients.orchestrate.replay import quiet_requests, replay
from clients.orchestrate.results import (
    ADMISSIONS,
    Losing,
    Orchestrated,
    Trial,
    as_json,
    trial,
)
from clients.orchestrate.staging import Calibration, cells_of, guess, large_scene, small_scene
from clients.prompts.book import read_book
from fl import durable
from fl.errors import SettingsError
from fl.orchestration.outcomes import Played
from fl.orchestration.scene import Scene
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path, federated_sites

FOLDER, PICTURE = "orchestrate", "orchestrate.png"
WARM_UP, QUIET = 2, 3  # requests a site: in each mode, not counted; alone, to calibrate on
LOADS, DEADLINES = (0.25, 1.0, 2.0), (0.5, 0.75, 1.0, 2.0)  # times those of the settings
LOSING_SECONDS, LOSING_SEEDS = 600.0, 3  # of each of these, shorter than the large ones


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What came of one: its traces in the order of their seeds, and what they calibrate."""

    played: list[Played]
    calibration: Calibration


def orchestrate(settings: Settings, console: Console) -> None:
    """Play, model, and write orchestrate.md, orchestrate.json and orchestrate.png.

    Raises FederationError where the sites have no releases or a process does not become ready,
    SettingsError for fewer sites than are to be played.
    """
    sites = _sites(settings)
    seeds = range(settings.orchestrate.seeds)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        traces = progress.add_task("traces against real processes", total=_traces(settings))
        real = {}
        for name in ADMISSIONS:
            progress.update(traces, description=f"{name}: traces against real processes")
            real[name] = _really(settings, sites, name, partial(progress.advance, traces))
        progress.update(traces, description="traces against real processes")
        models = progress.add_task("the model: the same, larger, and losing ones", total=None)
        found = _all_found(
            settings,
            real,
            list(seeds),
            lambda done, total: progress.update(models, completed=done, total=total),
        )
    _publish(settings, found, console)


def _really(
    settings: Settings, sites: Sequence[Site], admission: str, on_played: Callable[[], object]
) -> Deployment:
    """Every trace against real processes under one admission."""
    its, begins = settings.orchestrate, guess(settings)
    shorts = [_shorts(settings, site) for site in sites]
    played = []
    with deployed(settings, sites, cells_of(its.sites, its.cells), admission=admission) as here:
        for mode in ("edge", "synergy"):
            quiet_requests(here, shorts, WARM_UP, mode=mode)
        before = {one.request_id for one in requests_of(here)}
        quiet_requests(here, shorts, QUIET)
        quiet = [one for one in requests_of(here) if one.request_id not in before]
        for seed in range(its.seeds):
            here.wait_until_all_work()
            played.append(replay(here, small_scene(settings, begins, seed), shorts))
            on_played()
        here.wait_until_all_work()
        calibration = measured(here, quiet, [one.samples for one in played])
    return Deployment(played=played, calibration=calibration)


def _all_found(
    settings: Settings,
    real: dict[str, Deployment],
    seeds: Sequence[int],
    on_progress: Callable[[int, int], object],
) -> Orchestrated:
    """The model of the same traces, of the large ones, and of loads and deadlines."""
    its = settings.orchestrate
    common = real["joint"].calibration
    grid = [(load, share) for load in LOADS for share in DEADLINES]

    def task(name: str, scene: Scene, sample_s: float = 1.0) -> Task:
        return Task(
            admission=name, slack=settings.orchestration.slack, scene=scene, sample_s=sample_s
        )

    keys = [(name, seed) for name in ADMISSIONS for seed in seeds]
    # All by what was measured under joint admission: of the others it is a prediction.
    small = [task(n, small_scene(settings, common, seed)) for n, seed in keys]
    large = [task(n, large_scene(settings, common, seed), 10.0) for n, seed in keys]
    cells = [(at, name, seed) for at in grid for name in ADMISSIONS for seed in range(LOSING_SEEDS)]
    losing = [task(name, large_scene(_at(settings, *at), common, seed)) for at, name, seed in cells]
    done, tasks = 0, [*small, *large, *losing]

    def one_done() -> None:
        nonlocal done
        done += 1
        on_progress(done, len(tasks))

    played = all_modelled(tasks, one_done)
    small_played, rest = played[: len(small)], played[len(small) :]
    large_played, losing_played = rest[: len(large)], rest[len(large) :]
    by_cell = dict(zip(cells, losing_played, strict=True))
    first = {name: keys.index((name, seeds[0])) for name in ADMISSIONS}
    return Orchestrated(
        real=tuple(trial(name, seed, real[name].played[seed]) for name, seed in keys),
        modelled=_trials(keys, small_played),
        large=_trials(keys, large_played),
        losing=tuple(
            Losing(
                load=at[0],
                deadline_s=at[1] * its.deadline_s,
                missed={
                    name: tuple(
                        trial(name, seed, by_cell[at, name, seed]).miss_rate
                        for seed in range(LOSING_SEEDS)
                    )
                    for name in ADMISSIONS
                },
            )
            for at in grid
        ),
        calibrations={name: real[name].calibration for name in ADMISSIONS},
        deadline_s=its.deadline_s,
        sites=its.sites,
        large_sites=its.modelled.sites,
        large_hours=its.modelled.seconds / 3600,
        real_samples={name: tuple(real[name].played[0].samples) for name in ADMISSIONS},
        real_outcomes={name: tuple(real[name].played[0].outcomes) for name in ADMISSIONS},
        large_samples={n: tuple(large_played[at].samples) for n, at in first.items()},
        large_outcomes={n: tuple(large_played[at].outcomes) for n, at in first.items()},
    )


def _at(settings: Settings, load: float, share: float) -> Settings:
    """A shorter modelled scene with another load and deadline."""
    its, large = settings.orchestrate, settings.orchestrate.modelled
    burst = replace(
        large.burst,
        quiet_per_s=load * large.burst.quiet_per_s,
        crowd_per_s=load * large.burst.crowd_per_s,
    )
    shorter = replace(
        large,
        seconds=min(large.seconds, LOSING_SECONDS),
        round_s=min(large.round_s, LOSING_SECONDS / 3),
        burst=burst,
    )
    return replace(
        settings,
        orchestrate=replace(its, deadline_s=share * its.deadline_s, modelled=shorter),
    )


def _trials(keys: Sequence[tuple[str, int]], played: Sequence[Played]) -> tuple[Trial, ...]:
    return tuple(trial(*key, one) for key, one in zip(keys, played, strict=True))


def _publish(settings: Settings, found: Orchestrated, console: Console) -> None:
    from clients.orchestrate.figures import picture  # matplotlib takes a second
    from clients.orchestrate.markdown import markdown

    out, text = settings.run_dir / FOLDER, markdown(found)
    durable.publish(out / PICTURE, picture(found))
    durable.publish(out / "orchestrate.json", as_json(found).encode())
    durable.publish(out / "orchestrate.md", f"{text}\n![Over time]({PICTURE})\n".encode())
    console.print(Text(text), soft_wrap=True)
    for name in ("orchestrate.md", PICTURE):
        console.print(f"  {out / name}", soft_wrap=True, highlight=False)


def _sites(settings: Settings) -> list[Site]:
    its = settings.orchestrate
    sites = federated_sites(settings)[: its.sites]
    if len(sites) < its.sites:
        raise SettingsError(
            f"orchestrate.sites={its.sites}: only {len(sites)} sites are federated (sites)."
        )
    return list(sites)


def _shorts(settings: Settings, site: Site) -> list[str]:
    return [record.short for record in read_book(book_path(settings, site), site=site).heldout]


def _traces(settings: Settings) -> int:
    return len(ADMISSIONS) * settings.orchestrate.seeds

"""The study of methods: tables by hand, and a tiny study by its real workers that goes on."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clients.study.methods.arms import ARMS, BASE, CENTRAL, LOCAL, settings_of, wanted_arms
from clients.study.methods.chosen import chosen_arms, megabytes, nll_within, per_character
from clients.study.methods.figures import picture
from clients.study.methods.grid import best_rate, beyond_edge, measure_methods, runs_folder
from clients.study.methods.results import Job, RoundPoint, Run, SiteScore, as_json, from_json
from clients.study.methods.tables import markdown
from fl.errors import FederationError, SettingsError
from fl.settings import load
from tests.walks.tiny_federation import CANARY, make_tiny_federation


def run(arm: str, nll: float, *, rate: float = 0.003, seed: int = 0, drift: str = "low") -> Run:
    """Two sites: `nll` and `nll` + 1 nats per token, 10 tokens of 4 characters each."""
    rounds = tuple(
        RoundPoint(
            number=k,
            bytes_up=2_000_000,
            bytes_down=4_000_000,
            error=0.1,
            nll={"a": nll + 2 - k, "b": nll + 3 - k},
        )
        for k in (1, 2)
    )
    return Run(
        job=Job(arm=arm, drift=drift, learning_rate=rate, seed=seed),
        rounds=() if arm in (BASE, LOCAL, CENTRAL) else rounds,
        sites={
            "a": SiteScore(nats=10 * nll, tokens=10, characters=40, recall={"site": (1, 4)}),
            "b": SiteScore(nats=10 * nll + 10, tokens=10, characters=40, recall={"site": (2, 2)}),
        },
        train_prompts={"a": 30, "b": 60},
        seconds=5.0,
        rank=8,
    )


def test_the_numbers_by_hand() -> None:
    one = run("fedavg", 2.0)
    assert one.mean_nll == 2.5
    assert per_character(one) == 50 / 80
    assert megabytes(one) == 6.0  # 12 MB over 2 rounds and 2 sites
    # 3 MB a site and round: with 3 only the first round, whose NLL is 3 and 4
    assert (nll_within(one, 3.0), nll_within(one, 2.9)) == (3.5, None)
    assert from_json(as_json(one)) == one


def test_the_first_seed_chooses_the_rate_and_an_edge_is_told() -> None:
    rates = (0.0015, 0.003, 0.006)
    runs = [run("fedavg", 2 + rate, rate=rate) for rate in rates]
    runs += [run("fedavg", 1.0, rate=0.006, seed=1), run("fedavg", 3.0, rate=0.0015, seed=1)]
    (chosen,) = chosen_arms(runs, "low")
    assert (chosen.learning_rate, chosen.at_edge, len(chosen.runs)) == (0.0015, True, 2)
    assert chosen.mean(lambda r: r.mean_nll) == pytest.approx((2.5015 + 3.5) / 2)
    settings = load()
    best = best_rate(runs, "fedavg", "low")
    assert best.learning_rate == 0.0015
    assert beyond_edge(best, settings) == replace(best, learning_rate=0.00075)
    assert beyond_edge(replace(best, learning_rate=0.003), settings) is None
    text = markdown(runs, settings.study)
    row = next(line for line in text.splitlines() if line.startswith("| fedavg"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[0] == "fedavg"
    assert cells[1] == "3.001 ± 0.706"
    assert "0.0015*" in cells
    assert "0.50" in cells[4]  # site recall: 3 of 6


def test_mixed_ranks_only_where_the_method_takes_them() -> None:
    settings = load()
    for one in ARMS:
        for drift in ("low", "high"):
            own = settings_of(settings, one, drift, learning_rate=0.01, seed=3)
            mixed = drift == "high" and one.method in ("flora", "flexlora")
            assert own.learning.ranks == (settings.study.high_ranks if mixed else [])
            assert own.learning.rank == (16 if mixed else 8)
            # the scale is the same everywhere
            assert own.learning.alpha / own.learning.rank == 2.0


def test_arms_and_drifts_are_chosen_by_name() -> None:
    settings = load(["study.arms=[dual,local-only]", "study.drifts=[high]"])
    assert [one.name for one in wanted_arms(settings)] == ["local-only", "dual"]
    assert wanted_arms(load()) == list(ARMS)
    for wrong, says in (
        ("study.arms=[fedav]", "Did you mean 'fedavg'"),
        ("study.drifts=[hihg]", "Did you mean 'high'"),
    ):
        with pytest.raises(SettingsError, match=says):
            wanted_arms(load([wrong]))
    runs = [run("dual", 2.0, drift="high")]
    assert "## NLL by site, high drift" in markdown(runs, settings.study)


def test_baselines_alone_and_high_drift_alone_are_shown() -> None:
    settings = load()
    alone = [run(BASE, 3.0), run(LOCAL, 2.0)]
    assert "| local-only" in markdown(alone, settings.study)
    assert picture(alone).startswith(b"\x89PNG")
    text = markdown([*alone, run("dual", 2.0, drift="high")], settings.study)
    assert "| dual" in text.split("## NLL by site, high drift")[1]


def test_a_rate_comes_back_from_the_disk_as_it_was() -> None:
    one = run("dual", 2.0, rate=0.00316228)
    assert from_json(as_json(one)).job == one.job


def test_a_run_that_diverges_is_left_out_and_said(tmp_path: Path) -> None:
    (config,) = make_tiny_federation(tmp_path)
    quick = ["seeds=1", "workers=1", "study.low_rounds=1", "study.low_steps=2"]
    only = ["study.arms=[local-only,fedavg]", "study.drifts=[low]", "asking.enriched_tokens=2"]
    said = io.StringIO()
    settings = load([config, *quick, *only, "study.learning_rates=[0.01,1e29]"])
    runs = measure_methods(settings, runs_folder(settings), Console(file=said, width=120))
    assert {r.job.learning_rate for r in runs} == {0.01, 0.005}
    assert said.getvalue().count("is left out: Training diverged") == 2
    hopeless = load([config, *quick, *only, "study.learning_rates=[1e29]"])
    with pytest.raises(FederationError, match="No learning rate of local-only"):
        measure_methods(hopeless, runs_folder(hopeless), Console(file=said))
    other = load([config, *quick, *only, "federation.uplink=int8"])
    assert runs_folder(other) != runs_folder(load([config, *quick, *only]))


def test_a_tiny_study_measures_every_arm_and_goes_on_where_it_was(tmp_path: Path) -> None:
    (config,) = make_tiny_federation(tmp_path)
    settings = load(
        [
            *(config, "seeds=1", "workers=1", "study.learning_rates=[0.01]"),
            *("study.low_rounds=1", "study.low_steps=1", "study.high_rounds=1"),
            *("study.high_steps=1", "study.high_ranks=[1,2]", "asking.enriched_tokens=2"),
        ]
    )
    console = Console(file=io.StringIO(), width=120)
    runs = measure_methods(settings, runs_folder(settings), console)
    files = sorted(runs_folder(settings).iterdir())
    federated = [one for one in ARMS if one.federated]
    assert len(runs) == len(files) == len(ARMS) - len(federated) + 2 * len(federated)
    stamps = [file.stat().st_mtime_ns for file in files]
    again = measure_methods(settings, runs_folder(settings), console)
    assert [as_json(r) for r in again] == [as_json(r) for r in runs]
    assert [file.stat().st_mtime_ns for file in files] == stamps
    text = markdown(runs, settings.study)
    assert all(f"| {one.name} " in text for one in ARMS)
    assert picture(runs).startswith(b"\x89PNG")
    assert CANARY not in text
    assert not any(CANARY in file.read_text() for file in files)

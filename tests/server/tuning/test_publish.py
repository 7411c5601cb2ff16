"""`tune-cloud` on a tiny LLaMA: what it learns, what it publishes, what it leaves untouched."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from fl.adapter import digest
from fl.base_model import fingerprint
from fl.errors import AdapterError, BaseModelError, NetGPTError
from fl.settings import Settings
from fl.signing import make_signing_key
from server.federation.verdicts import Verdicts
from server.generation.adapter_merge import merge
from server.releases import Releases
from server.tuning import publish
from server.tuning.store import cloud_releases, releases_folder
from server.tuning.tune import Tuned
from tests.server.published import named
from tests.server.test_release_peft import PLAIN
from tests.server.tuning.small import settings_for, tuned_and_published
from tests.tiny_models import make_tiny_cloud


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


@pytest.fixture(scope="module")
def tuning(tiny_cloud: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """Settings after a first tuning, and what was said. Tests that change it work on a copy."""
    settings = settings_for(tiny_cloud, tmp_path_factory.mktemp("tuning") / "var")
    before = contents(tiny_cloud)
    passed, said = tuned_and_published(settings)
    assert passed
    assert contents(tiny_cloud) == before
    return settings, said


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def published(settings: Settings) -> Releases:
    return cloud_releases(settings)


def copied(tuning: tuple[Settings, str], var: Path, *more: str) -> Settings:
    """The settings of a copy of that tuning's folder, with the same keys."""
    first = tuning[0]
    shutil.copytree(first.var, var)
    return settings_for(Path(first.cloud.model), var, f"keys={first.keys}", *more)


def test_it_learns_what_it_was_not_shown(tuning: tuple[Settings, str]) -> None:
    settings, said = tuning
    first, made = published(settings).load(0), published(settings).load(1)
    assert made.metrics["base_heldout_loss"] == first.metrics["mean_heldout_loss"]
    assert made.metrics["mean_heldout_loss"] < first.metrics["mean_heldout_loss"] - 2
    assert made.metrics["merged_difference"] <= 1e-4
    assert (made.method, made.parent_digest) == ("lora", digest(first.shared))
    assert named(published(settings)) == (1, 0, None)
    [verdict] = Verdicts(releases_folder(settings).parent).all()
    assert (verdict.release_number, verdict.current_number, verdict.passed) == (1, 0, True)
    assert "the base is untouched: sha256" in said
    assert "release 1 is current:" in said


def test_release_0_is_the_base(tuning: tuple[Settings, str], tiny_cloud: Path) -> None:
    base, same = (AutoModelForCausalLM.from_pretrained(tiny_cloud) for _ in range(2))
    release = published(tuning[0]).load(0)
    merge(same, release.shared, fingerprint=fingerprint(tiny_cloud))
    for name, weight in base.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name


def test_a_plain_script_computes_what_is_served(
    tuning: tuple[Settings, str], tiny_cloud: Path, tmp_path: Path
) -> None:
    release = published(tuning[0]).current()
    folder = releases_folder(tuning[0]) / "1"
    ran = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tiny_cloud), str(folder)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    )
    unmerged = np.array(json.loads(ran.stdout))  # PEFT's own forward pass, W x + scale B A x
    network = AutoModelForCausalLM.from_pretrained(tiny_cloud)
    ids = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        base = network(ids).logits[0].numpy()
        merge(network, release.shared, fingerprint=fingerprint(tiny_cloud))
        merged = network(ids).logits[0].numpy()
    assert np.abs(merged - unmerged).max() <= 1e-4
    assert np.abs(merged - base).max() > 0.1  # the adapter matters


def test_the_same_seed_makes_the_same_release(tuning: tuple[Settings, str], tmp_path: Path) -> None:
    first = tuning[0]
    words = (f"keys={first.keys}", f"foundation.corpus={first.foundation.corpus}")
    again = settings_for(Path(first.cloud.model), tmp_path / "var", *words)
    tuned_and_published(again)
    for number in ("0", "1"):
        one, other = releases_folder(first) / number, releases_folder(again) / number
        assert contents(one) == contents(other)
    tuned_and_published(again)  # a second one starts from the base again, and is as good
    assert named(published(again)) == (2, 1, None)
    assert digest(published(again).load(2).shared) == digest(published(again).load(1).shared)


def test_a_worse_one_is_kept_beside(tuning: tuple[Settings, str], tmp_path: Path) -> None:
    settings = copied(tuning, tmp_path / "var", "tuning.learning_rate=1e-6")
    passed, said = tuned_and_published(settings)
    assert not passed
    assert "release 2 is kept beside, release 1 stays current: " in said
    assert named(published(settings)) == (1, 0, None)
    worse, now = published(settings).load(2), published(settings).load(1)
    assert worse.metrics["mean_heldout_loss"] > now.metrics["mean_heldout_loss"]
    assert Verdicts(releases_folder(settings).parent).refused(2)


def test_what_diverged_is_not_published(tiny_cloud: Path, tmp_path: Path) -> None:
    settings = settings_for(tiny_cloud, tmp_path / "var", "tuning.learning_rate=1e30")
    with pytest.raises(AdapterError, match=r"Lower tuning\.learning_rate"):
        tuned_and_published(settings)
    assert cloud_releases(settings).numbers() == []


def test_another_base_begins_anew(tuning: tuple[Settings, str], tmp_path: Path) -> None:
    settings = copied(tuning, tmp_path / "var", "tuning.steps=5")
    other = make_tiny_cloud(tmp_path / "other", seed=5)
    settings = settings_for(other, tmp_path / "var", f"keys={settings.keys}", "tuning.steps=5")
    passed, said = tuned_and_published(settings)
    assert passed
    assert "Release 1 of the cloud's adapter was made for the base model" in said
    assert "compared with the base alone" in said
    assert named(published(settings)) == (2, 1, None)


# --- faults, with a training that was done before -------------------------------------------------


@pytest.fixture
def done_before(tuning: tuple[Settings, str], monkeypatch: pytest.MonkeyPatch) -> Tuned:
    """Lets a tuning return at once what the first one found."""
    release = published(tuning[0]).load(1)
    tuned = Tuned(
        adapter=release.shared,
        base_loss=release.metrics["base_heldout_loss"],
        loss=release.metrics["mean_heldout_loss"],
        train_loss=1.0,
        merged_difference=1e-6,
    )
    monkeypatch.setattr(publish, "tune", lambda *arguments, on_step: tuned)
    return tuned


def test_killed_at_any_step(
    tiny_cloud: Path, tmp_path: Path, done_before: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_signing_key(tmp_path / "pki")
    for nth in count(1):
        settings = settings_for(tiny_cloud, tmp_path / "var", f"name=run{nth}")
        steps = count(1)

        def killing(step: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **named: Any) -> Any:
                if next(steps) == nth:  # noqa: B023 - called within this round of the loop
                    raise Killed
                return step(*arguments, **named)

            return run

        finished = False
        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(os, "fsync", killing(os.fsync))
            for name in ("rename", "replace", "unlink"):
                patched.setattr(Path, name, killing(getattr(Path, name)))
            tuned_and_published(settings)
            finished = True
        left = published(settings)
        if left.current_number() is not None:
            assert left.current().number in (0, 1)
        passed, _ = tuned_and_published(settings)
        assert passed
        assert left.current().number == left.numbers()[-1]
        assert left.candidate() is None
        assert not list(left.folder.glob("*.partial"))
        if finished:
            assert nth > 20, "nothing was killed"
            return


def test_a_base_that_changed_meanwhile_publishes_nothing(
    tiny_cloud: Path, tmp_path: Path, done_before: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_cloud, base)

    def meddling(*arguments: Any, on_step: Any) -> Tuned:
        with open(base / "generation_config.json", "a") as stream:
            stream.write(" ")
        return done_before

    monkeypatch.setattr(publish, "tune", meddling)
    settings = settings_for(base, tmp_path / "var")
    with pytest.raises(BaseModelError, match="changed meanwhile"):
        tuned_and_published(settings)
    assert published(settings).numbers() == []


def test_what_merges_badly_is_not_published(
    tiny_cloud: Path, tmp_path: Path, done_before: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MOST_APART", 1e-7)
    settings = settings_for(tiny_cloud, tmp_path / "var")
    with pytest.raises(NetGPTError, match=r"differ by 1\.0e-06, more than 1e-07"):
        tuned_and_published(settings)
    assert published(settings).numbers() == []

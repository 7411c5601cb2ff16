"""A service that was started for no task in particular learns, follows and serves all of them.

Here nobody says a rank, so that the tasks have ranks of their own: 8, 8 and 32.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from clients.adapter_shelf import open_shelf
from fl.flower_records import SETTLE
from fl.settings import load, with_task
from fl.tasks import BY_PRODUCTS, COMPLETE, INTENT, TASKS, TREND
from tests.clients.edge_service.fake_cloud import fake_cloud
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_plan, tiny_site
from tests.clients.learning.sites import first_adapter


def free_ranks(folder: Path, *overrides: str, cloud: str = "127.0.0.1:1") -> TinySite:
    """The tiny site, with the tasks' own ranks."""
    site = tiny_site(folder, *overrides, cloud=cloud)
    config = folder / "tiny.yaml"
    config.write_text(re.sub(r"rank: 2, personal_rank: 2, alpha: 4.0, ", "", config.read_text()))
    return replace(site, settings=load(site.arguments))


def held(site: TinySite, task: str) -> int | None:
    """The number of the task's release that people are served with."""
    return open_shelf(with_task(site.settings, task), SITE, "001").current_number()


def holds(site: TinySite, task: str, number: int) -> bool:
    return held(site, task) == number


@pytest.mark.parametrize("task", BY_PRODUCTS)
def test_a_plan_of_another_task_is_learned_at_the_rank_of_that_task(
    tmp_path: Path, task: str
) -> None:
    site = free_ranks(tmp_path)
    own = with_task(site.settings, task)
    release = site.release(shared=first_adapter(own), task=task)
    plan = replace(tiny_plan(), task=task, rank=own.learning.rank)
    with site.running():
        site.carry(plan, release)
        site.carry(replace(plan, local_steps=1), release, kind=SETTLE)
    assert held(site, task) == 0
    assert held(site, COMPLETE) is None
    kept = open_shelf(own, SITE, "001").personal()
    assert (kept is None) == (own.personal == "none")


def test_a_release_of_another_task_than_the_plans_is_refused(tmp_path: Path) -> None:
    site = free_ranks(tmp_path)
    release = site.release(shared=first_adapter(with_task(site.settings, INTENT)), task=INTENT)
    with site.running(), pytest.raises(Exception, match="ReleaseError"):
        site.carry(replace(tiny_plan(), rank=8), release)
    assert held(site, COMPLETE) is None


def test_releases_of_each_task_are_followed_apart(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = free_ranks(tmp_path, cloud=cloud.address)
        with site.running():
            for number, task in enumerate((TREND, COMPLETE, INTENT), start=1):
                adapter = first_adapter(with_task(site.settings, task))
                cloud.offer(site.release(number, shared=adapter, task=task))
                site.until(partial(holds, site, task, number))
        assert [held(site, task) for task in TASKS] == [2, 3, 1]


def test_a_service_started_for_a_task_keeps_the_completions_release(tmp_path: Path) -> None:
    """The task's own settings are not the completions'."""
    site = free_ranks(tmp_path, "task=trend")
    completions = with_task(site.settings, COMPLETE)
    shelf = open_shelf(completions, SITE, "001")
    shelf.keep_release(site.release(3, shared=first_adapter(completions)))
    shelf.use(3)
    with site.running():
        pass
    assert shelf.current_number() == 3
    assert not any("refused" in line for line in site.said)


def test_a_release_that_does_not_fit_these_settings_stays_on_the_shelf(tmp_path: Path) -> None:
    site = free_ranks(tmp_path, "learning.alpha=16")
    site.put_in_use(site.release(3))
    other = replace(site, settings=load([*site.arguments, "learning.alpha=99"]), said=[])
    with other.running():
        pass
    assert any("AdapterError" in line for line in other.said)
    assert site.shelf().current_number() == 3

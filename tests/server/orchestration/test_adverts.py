"""Adverts, by a clock of the test's."""

import pytest

from fl.errors import GenerationError
from server.orchestration import adverts as adverts_module
from server.orchestration.adverts import Advert, Adverts


def advert(site_id: str) -> Advert:
    return Advert(
        site_id=site_id,
        cell=site_id,
        cores=2,
        memory_mb=100,
        waiting=0,
        step_s=0.01,
        row_s=0.01,
        link=None,
        federation="",
        release=0,
    )


def test_who_says_nothing_any_more_is_forgotten() -> None:
    adverts = Adverts()
    adverts.put(0.0, advert("elm"))
    adverts.put(1.0, advert("oak"))
    adverts.put(500.0, advert("elm"))
    assert [(age, one.site_id) for age, one in adverts.all(601.0)] == [(101.0, "elm"), (600, "oak")]
    assert [one.site_id for _, one in adverts.all(602.0)] == ["elm"]
    assert adverts.all(1101.0) == []


def test_there_are_not_ever_more_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adverts_module, "MOST_SITES", 2)
    adverts = Adverts()
    for site_id in ("elm", "oak", "elm"):
        adverts.put(0.0, advert(site_id))
    with pytest.raises(GenerationError, match="2 sites") as refused:
        adverts.put(1.0, advert("ash"))
    assert refused.value.status == "RESOURCE_EXHAUSTED"
    adverts.put(700.0, advert("ash"))  # the others have gone
    assert len(adverts.all(700.0)) == 1

"""An adapter that is put away: loaded when somebody asks, the same as before, and never missed."""

from pathlib import Path
from typing import Any

from clients.edge_service.serving import InUse, Serving
from fl.base_model import base_folder, read_base
from fl.site_list import hosted_site
from tests.clients.edge_service.tiny_service import TinySite, tiny_site
from tests.clients.learning.sites import moved


class Overtaken(Serving):
    """Somebody puts the adapter away just as it is read, once."""

    overtaking = False

    @property
    def _now(self) -> InUse | None:
        if self.overtaking:
            self.overtaking = False
            self.put_away()
        return self.__dict__.get("kept")

    @_now.setter
    def _now(self, value: InUse | None) -> None:
        self.__dict__["kept"] = value


def serving(site: TinySite, made: Any = Serving) -> Any:
    settings = site.settings
    base = read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    return made(
        settings,
        hosted_site(settings),
        spec=site.shared().spec,
        layers=base.layers,
        say=site.said.append,
    )


def test_it_is_put_away_and_loaded_again_as_the_same(tmp_path: Path) -> None:
    site = tiny_site(tmp_path)
    site.put_in_use(site.release(1))
    its = serving(site)
    its.load()
    before = its.now()
    its.put_away()
    assert (its.warm, its.last) == (False, ("001", 1))
    again = its.now()
    assert its.warm
    assert again is not before
    assert again.digest == before.digest
    other = site.release(2, shared=moved(site.shared(), by=0.1))
    site.shelf().keep_release(other)
    its.swap(site.shelf(), other)
    assert its.now().digest != before.digest


def test_who_is_overtaken_by_putting_away_is_served(tmp_path: Path) -> None:
    site = tiny_site(tmp_path)
    site.put_in_use(site.release(1))
    its = serving(site, Overtaken)
    its.load()
    its.overtaking = True
    assert its.now() is not None


def test_what_was_never_there_is_not_looked_for_at_every_request(tmp_path: Path) -> None:
    its = serving(tiny_site(tmp_path))
    its.put_away()
    assert its.now() is None
    assert its.last == ("", 0)

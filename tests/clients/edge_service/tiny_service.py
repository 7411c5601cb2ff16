"""The real edge service of a tiny site in this process, with all that a test wants to look at."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from flwr.app import RecordDict

from clients.adapter_shelf import AdapterShelf, open_shelf
from clients.asking.ask import Leaving
from clients.edge_service.asking_client import AskingClient
from clients.edge_service.edge_file import EdgeFile, edge_file, read_edge_file
from clients.edge_service.service import edge_service
from clients.learning.courier import carry
from fl.adapter import Adapter
from fl.base_model import base_folder, read_base
from fl.errors import GenerationError
from fl.flower_records import CONTRIBUTE, plan_records, records_from_parts, records_to_parts
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.settings import Settings, load
from fl.signing import make_signing_key
from fl.site_list import site_folder
from fl.tasks import COMPLETE
from tests.clients.learning import sites
from tests.clients.learning.sites import first_adapter, signed
from tests.walks.tiny_federation import CANARY, make_tiny_federation

SITE = "elm"
NOBODY = "127.0.0.1:1"
SHORT = f"{CANARY} a table for two"

tiny_plan = partial(sites.tiny_plan, rank=2)  # learning.rank of the tiny federation


@dataclass
class TinySite:
    """A site of the tiny federation, and the cloud's key with which the test signs."""

    settings: Settings
    arguments: list[str]  # that the settings were loaded from
    said: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return site_folder(self.settings, SITE)

    @property
    def file(self) -> Path:
        return edge_file(self.settings, SITE)

    @property
    def service(self) -> EdgeFile:
        found = read_edge_file(self.file)
        assert found is not None
        return found

    def shelf(self, federation: str = "001") -> AdapterShelf:
        return open_shelf(self.settings, SITE, federation)

    def shared(self) -> Adapter:
        return first_adapter(self.settings)

    def release(
        self,
        number: int = 0,
        *,
        shared: Adapter | None = None,
        federation: str = "001",
        task: str = COMPLETE,
    ) -> AdapterRelease:
        key = make_signing_key(self.settings.keys_dir)
        return signed(
            shared or self.shared(), number=number, federation=federation, key=key, task=task
        )

    def put_in_use(self, release: AdapterRelease) -> None:
        shelf = self.shelf(release.federation)
        shelf.keep_release(release)
        shelf.use(release.number)

    def carry(
        self,
        plan: RoundPlan,
        release: AdapterRelease,
        *,
        kind: str = CONTRIBUTE,
        site: str = SITE,
        patience_s: float = 240,
    ) -> RecordDict:
        """As the courier does."""
        sent = records_to_parts(plan_records(plan, release, site_id=site))
        return records_from_parts(*carry(self.file, kind, *sent, run="1", patience_s=patience_s))

    @contextmanager
    def running(self) -> Iterator[AskingClient]:
        """The service in this process."""
        with (
            edge_service(self.settings, self.said.append, stop=threading.Event()),
            self.client() as client,
        ):
            yield client

    def client(self) -> AskingClient:
        return AskingClient(self.service, timeout_s=60)

    def until(self, condition: Callable[[], object], *, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def until_said(self, words: str) -> None:
        self.until(lambda: any(words in line for line in self.said))


def tiny_site(folder: Path, *overrides: str, cloud: str = NOBODY) -> TinySite:
    """Write model and books below `folder`, and make the cloud's key."""
    arguments = [
        *make_tiny_federation(folder),
        f"site.id={SITE}",
        f"site.cloud={cloud}",
        "edge.refresh_s=0.05",
        "threads=1",
        "asking.enriched_tokens=8",
        *overrides,
    ]
    settings = load(arguments)
    make_signing_key(settings.keys_dir)
    read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    return TinySite(settings, arguments)


def told(client: AskingClient) -> str:
    """The enriched prompt of SHORT, where the cloud is away."""
    events = client.ask(SHORT)
    leaving = next(events)
    assert isinstance(leaving, Leaving)
    with pytest.raises(GenerationError) as failed:
        next(events)
    assert failed.value.status == "UNAVAILABLE"
    return leaving.enriched.text

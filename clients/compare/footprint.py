"""What a mode takes at the site: memory of a process that asks once, and bytes in files."""

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from clients.asking.ask import Wish
from clients.asking.cloud_link import open_link
from clients.asking.modes import MODES, Asked, Here, answer_by
from clients.workflow.workflow_file import workflow_of
from fl.settings import Settings
from fl.site import Site
from fl.site_list import site_folder

EDGE_MODES = ("edge", "synergy", "auto")  # those that need the edge model


@dataclass(frozen=True, kw_only=True)
class SiteCost:
    """Bytes at the site."""

    mode: str
    rss: int  # the largest, of a process that loads what the mode needs and asks once
    storage: int  # model and adapters in files; the split's layers as float32


def site_costs(settings: Settings, site: Site) -> list[SiteCost]:
    """Every mode in a fresh process of its own. Raises what asking raises."""
    found = []
    for mode in MODES:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            rss = pool.submit(_peak_of_one, settings, site, mode).result()
        found.append(SiteCost(mode=mode, rss=rss, storage=_storage(settings, site, mode)))
    return found


def _peak_of_one(settings: Settings, site: Site, mode: str) -> int:
    """In the process: answer one prompt, and say how large it has become."""
    settings = replace(settings, mode=mode)
    with ExitStack() as closing:
        link = open_link(settings, site.id, closing)
        if mode in EDGE_MODES:
            from clients.asking.site_in_process import SiteInProcess
            from clients.edge_model import edge_model

            here = SiteInProcess(settings, edge_model(settings), link, keep=lambda entry: None)
            for _ in here.at(site).ask("need a coffee"):
                pass
        else:
            asked = Asked(
                short="need a coffee",
                mode=mode,
                workflow=workflow_of(settings),
                here=_without_edge_model(settings),
                channel=link.channel,
                settings=settings,
                site_id=site.id,
                started=perf_counter(),
                wish=Wish(max_new_tokens=4),
            )
            for _ in answer_by(asked):
                pass
    return peak_bytes()


def _without_edge_model(settings: Settings) -> Here:
    from clients.asking.alone import lower_layers

    def never(*_: object) -> NoReturn:
        raise AssertionError("cloud and split need no edge model")

    return Here(
        card=never,
        enrich=never,
        answer=never,
        lower=lambda: lower_layers(settings),
        fingerprint="",
    )


def peak_bytes() -> int:
    """The most memory this process has had. getrusage would count the parent's before exec."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _storage(settings: Settings, site: Site, mode: str) -> int:
    from fl.base_model import base_folder

    if mode in EDGE_MODES:
        shelf = site_folder(settings, site.id)
        adapters = [f for f in shelf.rglob("*.safetensors") if f.is_file()]
        base = [f for f in base_folder(settings, "edge").iterdir() if f.is_file()]
        return sum(file.stat().st_size for file in [*base, *adapters])
    if mode == "split":
        from clients.asking.alone import lower_layers

        tokenizer = base_folder(settings, "cloud") / "tokenizer.json"
        layers: int = lower_layers(settings).bytes
        return layers + (tokenizer.stat().st_size if tokenizer.is_file() else 0)
    return 0

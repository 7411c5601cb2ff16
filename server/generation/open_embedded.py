"""The embedded engine with the model, the weights and the release that the settings ask for."""

import os
from collections.abc import Callable

import torch

from fl.base_model import base_folder
from fl.generation import BASE
from fl.release import AdapterRelease
from fl.settings import Settings
from server.generation.embedded import EmbeddedEngine
from server.generation.engine import Engine
from server.generation.loading import LanguageModel, load_language_model
from server.generation.release_watch import CloudReleaseWatch, current_release
from server.generation.weights_check import check_weights

Say = Callable[[str], None]


def open_embedded(settings: Settings, say: Say) -> Engine:
    """The configured LLaMA with the current release of the cloud's own adapter, if there is one."""
    if settings.threads and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(settings.threads)
    release = current_release(settings)
    engine = EmbeddedEngine(load_model(settings, release, say), settings.engine, settings.service)

    def swap(release: AdapterRelease | None) -> None:
        engine.swap(load_model(settings, release, say))
        say(f"release swapped to {engine.release}")

    watch = CloudReleaseWatch(settings, swap, say, running=release)
    engine.on_close(watch.close)
    watch.start()
    return engine


def load_model(settings: Settings, release: AdapterRelease | None, say: Say) -> LanguageModel:
    """The model with this release merged into it, its weights checked."""
    service, weights = settings.service, settings.engine.weights

    def load(kind: str) -> LanguageModel:
        return load_language_model(
            base_folder(settings, "cloud"),
            weights=kind,
            positions=service.max_prompt_tokens + service.max_new_tokens,
            adapter=release.shared if release else None,
            release=f"{release.federation}/{release.number}" if release else BASE,
        )

    model = load(weights)
    if weights != "float32":
        say(check_weights(settings, exact=load("float32"), rounded=model, kind=weights))
    return model

"""Make the engine that the settings ask for, ready to answer. Takes seconds."""

from collections.abc import Callable

from fl.settings import Settings
from server.generation.engine import Engine
from server.generation.workers.placing import Place, least_wait

Say = Callable[[str], None]


def open_engine(settings: Settings, say: Say, place: Place = least_wait) -> Engine:
    """The engine of engine.kind; `say` gets a line for the operator, now and at each new release.

    `place` chooses among several workers, where there are several.

    Raises BaseModelError where there is no sound model, ReleaseError for a damaged release,
    GenerationError where a remote engine or a worker does not answer.
    """
    if settings.engine.kind == "remote":
        from server.generation.remote import open_engine as open_remote

        return open_remote(settings)
    if settings.engine.kind == "workers":
        from server.generation.workers.opening import open_workers

        return open_workers(settings, say, place=place)
    from server.generation.open_embedded import open_embedded  # imports torch

    return open_embedded(settings, say)

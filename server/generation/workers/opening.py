"""The pool of workers that the settings ask for, ready to answer."""

from collections.abc import Callable

from fl.errors import SettingsError
from fl.settings import Settings
from fl.wire.address import is_loopback, split_address
from server.generation.workers.grpc_line import GrpcLine
from server.generation.workers.placing import Place, least_wait
from server.generation.workers.pool import WorkerPool
from server.generation.workers.processes import WorkerProcesses
from server.generation.workers.watch import Watch
from server.generation.workers.whereabouts import Elsewhere, Whereabouts

Say = Callable[[str], None]


def open_workers(settings: Settings, say: Say, *, place: Place = least_wait) -> WorkerPool:
    """Start or find the workers and wait for them.

    Raises SettingsError for an address beyond this machine, GenerationError where a worker ends
    instead of serving, or none answers.
    """
    engine = settings.engine
    starts = isinstance(engine.workers, int)
    whereabouts: Whereabouts
    if starts:
        whereabouts = WorkerProcesses(settings)
    else:
        for address in engine.workers:
            _require_this_machine(address)
        whereabouts = Elsewhere(engine.workers)
    watch = Watch(
        whereabouts,
        lambda address: GrpcLine(address, patience_s=engine.silence_s),
        say,
        silence_s=engine.silence_s,
    )
    try:
        watch.find(all_of_them=starts, within_s=None if starts else engine.silence_s)
    except BaseException:
        watch.close()
        raise
    return WorkerPool(watch, engine, settings.service, place=place)


def _require_this_machine(address: str) -> None:
    if not is_loopback(split_address(address, setting="engine.workers")[0]):
        raise SettingsError(
            f"engine.workers {address!r} is not on this machine; expected a loopback host:port. "
            "Bring a worker of another host here by a tunnel, for instance with ssh -L."
        )

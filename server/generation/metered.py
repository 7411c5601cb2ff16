"""An engine that counts what it is asked: the same figures for gRPC and HTTP."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.service_metrics import FiguresBy, ServiceMetrics
from server.generation.engine import Deliver, Engine, Event, Load, Ticket
from server.generation.workers.pool import WorkerPool

if TYPE_CHECKING:
    from server.generation.loading import LanguageModel


@dataclass(frozen=True)
class Metered:
    """The engine, and where it is counted."""

    engine: Engine
    metrics: ServiceMetrics

    @property
    def model_name(self) -> str:
        return self.engine.model_name

    @property
    def model_fingerprint(self) -> str:
        return self.engine.model_fingerprint

    @property
    def release(self) -> str:
        return self.engine.release

    @property
    def alive(self) -> bool:
        return self.engine.alive

    @property
    def load(self) -> Load:
        return self.engine.load

    def submit(self, request: GenerationRequest, deliver: Deliver) -> Ticket:
        """As the engine does, counted."""
        meter = self.metrics.begin()

        def counted(event: Event) -> None:
            if isinstance(event, TextPiece):
                meter.piece()
            elif isinstance(event, Reply):
                meter.end(
                    event.finish_reason,
                    prompt_tokens=event.prompt_tokens,
                    completion_tokens=event.completion_tokens,
                )
            else:
                meter.end(event.status)
            deliver(event)

        try:
            return self.engine.submit(request, counted)
        except GenerationError as error:
            meter.refused(error.status)
            raise

    def language_model(self) -> "LanguageModel":
        return self.engine.language_model()

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


def metered(engine: Engine, metrics: ServiceMetrics) -> Metered:
    """Count an engine's requests, and show how busy it is."""
    metrics.gauges(
        {
            "running": lambda: engine.load.running,
            "waiting": lambda: engine.load.waiting,
            "waiting_tokens": lambda: engine.load.waiting_tokens,
            "cache_tokens": lambda: engine.load.cache_tokens,
            "cache_limit_tokens": lambda: engine.load.cache_limit,
        }
    )
    if isinstance(engine, WorkerPool):
        metrics.gauges_by("worker", lambda: _by_worker(engine))
    return Metered(engine, metrics)


def _by_worker(pool: WorkerPool) -> FiguresBy:
    workers = pool.workers
    return {
        "worker_up": {w.name: w.up for w in workers},
        "worker_running": {w.name: w.running for w in workers},
        "worker_waiting": {w.name: w.waiting for w in workers},
        "worker_outstanding_tokens": {w.name: w.outstanding_tokens for w in workers},
        "worker_tokens_per_second": {w.name: w.tokens_per_second for w in workers},
        "worker_restarts": {w.name: w.restarts for w in workers},
        "worker_requests_taken_over": {w.name: w.lost for w in workers},
    }

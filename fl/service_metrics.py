"""What a service counts, as Prometheus reads it. Names and numbers only, never a text."""

from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

# By the last part of its name: the figure of each.
FiguresBy = Mapping[str, Mapping[str, float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class ServiceMetrics:
    """The figures of one service, in a registry of their own."""

    def __init__(self, service: str) -> None:
        """`service` is cloud or edge: the first part of every name."""
        self._registry = registry = CollectorRegistry()
        self._prefix = f"netgpt_{service}"
        name = self._prefix
        self._requests = Counter(
            f"{name}_requests", "Requests that ended, by how", ["end"], registry=registry
        )
        self._refusals = Counter(
            f"{name}_refusals", "Requests refused at once, by reason", ["reason"], registry=registry
        )
        self._in_flight = Gauge(f"{name}_in_flight", "Requests being answered", registry=registry)
        self._tokens = Counter(
            f"{name}_tokens", "Tokens read and written", ["kind"], registry=registry
        )
        self._first = Histogram(
            f"{name}_time_to_first_token_seconds",
            "From a request to the first text of its answer",
            buckets=_FIRST_S,
            registry=registry,
        )
        self._each = Histogram(
            f"{name}_time_per_token_seconds",
            "From the first text of an answer to its end, a token",
            buckets=_TOKEN_S,
            registry=registry,
        )

    def gauges(self, values: Mapping[str, Callable[[], float]]) -> None:
        """Figures that are looked up when they are read, by the last part of their name."""
        for name, value in values.items():
            gauge = Gauge(
                f"{self._prefix}_{name}",
                name.replace("_", " ").capitalize(),
                registry=self._registry,
            )
            gauge.set_function(value)

    def gauges_by(self, label: str, values: Callable[[], FiguresBy]) -> None:
        """Figures of several of a kind, which `label` tells apart; all are looked up together."""
        self._registry.register(_Labelled(self._prefix, label, values))

    def refused(self, reason: str) -> None:
        """A request was refused; `reason` is a gRPC status name."""
        self._refusals.labels(reason=reason.lower()).inc()

    def begin(self) -> "Meter":
        """A request was accepted; tell the meter what becomes of it."""
        self._in_flight.inc()
        return Meter(self)

    def render(self) -> bytes:
        """All figures as text."""
        return generate_latest(self._registry)

    def _end(self, how: str, *, first_s: float, rest_s: float, read: int, written: int) -> None:
        self._in_flight.dec()
        self._requests.labels(end=how.lower()).inc()
        self._tokens.labels(kind="prompt").inc(read)
        self._tokens.labels(kind="completion").inc(written)
        if first_s >= 0:
            self._first.observe(first_s)
            if written > 1:
                self._each.observe(rest_s / (written - 1))


class _Labelled:
    """What the registry asks for figures with a label."""

    def __init__(self, prefix: str, label: str, values: Callable[[], FiguresBy]) -> None:
        self._prefix, self._label, self._values = prefix, label, values

    def collect(self) -> Iterator[Metric]:
        for name, figures in self._values().items():
            family = GaugeMetricFamily(
                f"{self._prefix}_{name}", name.replace("_", " ").capitalize(), labels=[self._label]
            )
            for each, value in figures.items():
                family.add_metric([each], value)
            yield family


class Meter:
    """One request's figures; ends once, whatever is told later. For any thread."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._metrics = metrics
        self._began = perf_counter()
        self._first = 0.0
        self._ended = False
        self._lock = Lock()

    def refused(self, reason: str) -> None:
        """It was not accepted after all; `reason` is a gRPC status name."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._metrics._in_flight.dec()
            self._metrics.refused(reason)

    def piece(self) -> None:
        """Some text of the answer came."""
        self._first = self._first or perf_counter()

    def end(self, how: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """How it ended: a finish reason, or the name of a gRPC status."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        now = perf_counter()
        self._metrics._end(
            how,
            first_s=self._first - self._began if self._first else -1.0,
            rest_s=now - self._first,
            read=prompt_tokens,
            written=completion_tokens,
        )

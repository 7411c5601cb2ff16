"""Rounds as TensorBoard's event files, where the settings name a folder for them.

The package `tensorboard` is an extra: ./run.sh setup tensorboard. A run that goes on writes on in
the same folder; a round that stands there twice is drawn once.
"""

import contextlib
import importlib.util
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from fl.errors import SettingsError
from fl.rounds import RoundReport

_NEEDED = (
    "federation.tensorboard needs the package tensorboard: ./run.sh setup tensorboard installs it."
)
_log = logging.getLogger("flwr.netgpt")


class Sink(Protocol):
    """Where rounds are written to as they end."""

    def write(self, report: RoundReport) -> None:
        """Add a round."""

    def close(self) -> None:
        """Nothing comes any more."""


class TensorBoardSink:
    """One folder of event files."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise SettingsError(_NEEDED) from None
        self._event, self._summary = Event, Summary
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = EventFileWriter(str(folder))
        except OSError as error:
            raise SettingsError(
                f"federation.tensorboard: nothing can be written in {folder} ({error.strerror}). "
                "Name another folder."
            ) from None

    def write(self, report: RoundReport) -> None:
        """One step a round; what was not measured is left out."""
        values = [
            self._summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars(report)
            if math.isfinite(value)
        ]
        event = self._event(step=report.round_number, summary=self._summary(value=values))
        with _unharmed():
            self._writer.add_event(event)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        with _unharmed():
            self._writer.close()


@contextlib.contextmanager
def _unharmed() -> Iterator[None]:
    """A disk that refuses pictures of a round must not cost the round."""
    try:
        yield
    except OSError as error:
        _log.warning("TensorBoard's file could not be written (%s)", error.strerror)


def require_tensorboard() -> None:
    """Raise SettingsError where the package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError(_NEEDED)


def open_sink(folder: Path | None) -> Sink | None:
    """The sink of a folder; None without one.

    Raises SettingsError where the package is missing, or the folder cannot be written in.
    """
    return None if folder is None else TensorBoardSink(folder)


def scalars(report: RoundReport) -> Iterator[tuple[str, float]]:
    """A round's numbers by tag; nan where one was not measured."""
    outcomes = [o for o in report.outcomes if o.admitted]
    yield "loss/mean_heldout", report.mean_heldout_loss
    for outcome in outcomes:
        yield f"loss/{outcome.site_id}", outcome.heldout_loss
    yield "bytes/up", float(sum(o.bytes_up for o in report.outcomes))
    yield "bytes/down", float(sum(o.bytes_down for o in report.outcomes))
    yield "seconds/training", report.training_seconds
    yield "seconds/transport", report.transport_seconds
    yield "seconds/aggregation", report.aggregation_seconds
    yield "aggregation/error", report.aggregation_error
    if (telemetry := report.telemetry) is None:
        return
    yield "aggregation/effective_rank", telemetry.effective_rank
    for site, norm in telemetry.norms.items():
        yield f"norm/{site}", norm
    count = len(telemetry.sites)
    if count > 1:
        total = sum(map(sum, telemetry.cosines)) - count  # without each site's own 1
        yield "cosine/mean", total / (count * (count - 1))

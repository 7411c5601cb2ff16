"""What happened, on disk: rounds.jsonl (one line a round, only ever appended) and status.json.

rounds.jsonl is the record: a line is written and fsynced after its release is published. It lies
aside, durable, before that, so that a cloud killed in between still adds it when it goes on.
status.json says where the run is now and, once it has ended, how; it is replaced whole at every
change. All of it holds ids and numbers, never text of a site.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fl import durable
from fl.aggregation.telemetry import Telemetry
from fl.errors import FederationError
from fl.release import Delivery, Verdict
from fl.rounds import LateUpdate, RoundReport, SiteOutcome

State = Literal["running", "completed", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run is. Only `running` is not a terminal state."""

    state: State
    run_id: str  # Flower's id of the run that wrote this
    step: str  # roll call | round 2 | delivery | ...
    rounds_done: int
    rounds: int
    replies: int  # of this step
    sites: int
    message: str = ""  # one sentence: why it failed, or what went wrong on the way
    pid: int = 0  # of the process that wrote this
    attempt: int = 1  # at the round of this step
    current_release: int | None = None
    candidate: int | None = None


def newest_federation(federations: Path) -> Path | None:
    """The folder of the federation with the highest number; None before the first."""
    folders = [f for f in federations.glob("*") if f.name.isdecimal()]
    return max(folders, key=lambda folder: int(folder.name), default=None)


def is_complete(status: RunStatus | None, rounds: int) -> bool:
    """Whether a run has done all of so many rounds."""
    return status is not None and status.state == "completed" and status.rounds_done >= rounds


class RoundLog:
    """The log of one federation, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._rounds = folder / "rounds.jsonl"
        self._coming = folder / ".round.json"
        self._status = folder / "status.json"
        self._deliveries = folder / "deliveries.json"

    def prepare(self, report: RoundReport) -> None:
        """Make a report durable before its release. Raises FederationError."""
        with self._recorded(report):
            durable.write(self._coming, _line(report))

    def append(self, report: RoundReport) -> None:
        """Add a round's line and make it durable. Raises FederationError."""
        with self._recorded(report), open(self._rounds, "ab") as stream:
            if stream.tell() and not self._rounds.read_bytes().endswith(b"\n"):
                stream.write(b"\n")  # a killed process tore its last line; it stays, by itself
            stream.write(_line(report))
            stream.flush()
            os.fsync(stream.fileno())
        self._coming.unlink(missing_ok=True)

    def catch_up(self, newest_release: int) -> None:
        """Add the line of the newest release, if the cloud was killed before it did."""
        prepared = list(read_reports(self._coming))
        written = {report.release_number for report in self.reports()}
        for report in prepared:
            if report.release_number == newest_release and newest_release not in written:
                self.append(report)
        self._coming.unlink(missing_ok=True)

    def reports(self) -> tuple[RoundReport, ...]:
        """All complete lines; a torn one is left out."""
        return tuple(read_reports(self._rounds))

    def set_status(self, status: RunStatus) -> None:
        """Replace status.json, so that a reader sees the old one or the new one."""
        _replace(self._status, asdict(status))

    def keep_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write what the sites answered to the last release."""
        _replace(self._deliveries, [asdict(delivery) for delivery in deliveries])

    @contextmanager
    def _recorded(self, report: RoundReport) -> Iterator[None]:
        """A disk that refuses is a FederationError."""
        try:
            yield
        except OSError as error:
            raise FederationError(
                f"Round {report.round_number} could not be recorded in {self._rounds} "
                f"({error.strerror})."
            ) from error


def read_status(folder: Path) -> RunStatus | None:
    """The status in a federation's folder; None where there is none yet."""
    try:
        found = json.loads((folder / "status.json").read_text())
        return RunStatus(**found)
    except OSError:
        return None
    except (ValueError, TypeError) as error:
        raise FederationError(f"{folder / 'status.json'} cannot be read: {error}") from None


def read_reports(file: Path) -> Iterator[RoundReport]:
    """Reports of a rounds.jsonl, nothing where the file is missing.

    Torn lines, and lines of a version with other fields, are left out.
    """
    if not file.is_file():
        return
    for line in file.read_text(errors="replace").splitlines():
        try:
            yield _report(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue


def _line(report: RoundReport) -> bytes:
    return json.dumps(_without_nan(asdict(report))).encode() + b"\n"


def _report(found: dict[str, Any]) -> RoundReport:
    outcomes = tuple(SiteOutcome(**_with_nan(outcome)) for outcome in found.pop("outcomes"))
    late = tuple(LateUpdate(**update) for update in found.pop("late", ()))
    verdict, telemetry = found.pop("verdict", None), found.pop("telemetry", None)
    return RoundReport(
        **_with_nan(found),
        outcomes=outcomes,
        late=late,
        verdict=None if verdict is None else Verdict(**verdict),
        telemetry=None if telemetry is None else _telemetry(telemetry),
    )


def _telemetry(found: dict[str, Any]) -> Telemetry:
    cosines = tuple(tuple(row) for row in found["cosines"])
    return Telemetry(**{**found, "sites": tuple(found["sites"]), "cosines": cosines})


def _without_nan(value: Any) -> Any:
    """NaN is not JSON: a number that is not known is null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(found: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in found.items()}


def _replace(file: Path, value: Any) -> None:
    aside = file.with_name(f".{file.name}")
    aside.write_text(json.dumps(_without_nan(value), indent=2) + "\n")
    aside.replace(file)

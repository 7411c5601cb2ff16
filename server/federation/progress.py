"""Where a run is, told in status.json at every step so that anybody may watch it from outside."""

import logging
import os
from dataclasses import replace

from server.federation.round_log import RoundLog, RunStatus, State

# Below Flower's own logger, so `flwr run . --stream` and the run's log show these lines.
_log = logging.getLogger("flwr.netgpt")


class Progress:
    """The run's status, written at every change."""

    def __init__(self, log: RoundLog, *, run_id: str, rounds: int, sites: int) -> None:
        self._log = log
        self._status = RunStatus(
            state="running",
            run_id=run_id,
            step="start",
            rounds_done=0,
            rounds=rounds,
            replies=0,
            sites=sites,
            pid=os.getpid(),
        )
        self._log.set_status(self._status)

    def begin(self, step: str, *, attempt: int = 1) -> None:
        """A step begins; no replies yet."""
        self._change(replace(self._status, step=step, attempt=attempt, replies=0))

    def heard(self) -> None:
        """One more site answered in this step."""
        self._change(replace(self._status, replies=self._status.replies + 1))

    def finished_rounds(self, rounds_done: int) -> None:
        """So many rounds have their release."""
        self._change(replace(self._status, rounds_done=rounds_done))

    def releases(self, *, current: int | None, candidate: int | None) -> None:
        """Which release is in use, and which waits for its verdict."""
        self._change(replace(self._status, current_release=current, candidate=candidate))

    def say(self, message: str) -> None:
        """Something a person should know; the last one stays in the status."""
        _log.warning(message)
        self._change(replace(self._status, message=message))

    def end(self, state: State, message: str = "") -> None:
        """The terminal state; a message said before stays if there is no new one."""
        if state == "failed" and not message:
            message = f"stopped in step {self._status.step!r}; the log has the cause"
        self._change(replace(self._status, state=state, message=message or self._status.message))

    def _change(self, status: RunStatus) -> None:
        self._status = status
        try:
            self._log.set_status(status)
        except OSError as error:  # it is for people to watch; nothing is read from it
            _log.warning("status.json cannot be written (%s)", error.strerror)

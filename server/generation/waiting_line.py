"""Who may enter the embedded engine: requests in flight and prompt tokens that wait are counted.

A request is counted before tokenising is paid for, so that a burst cannot slip through.
"""

from collections import deque
from collections.abc import Callable

from fl.errors import GenerationError
from server.generation.job import Job


class WaitingLine:
    """First come, first served. Its caller holds a lock around every call."""

    def __init__(self, *, most_requests: int, most_tokens: int) -> None:
        """`most_requests` waiting or running; `most_tokens` of the prompts that wait."""
        self._most_requests, self._most_tokens = most_requests, most_tokens
        self._jobs: deque[Job] = deque()
        self.in_flight = 0  # waiting, running, or being tokenised
        self.tokens = 0  # to be read for those that wait

    def __len__(self) -> int:
        return len(self._jobs)

    def enter(self) -> None:
        """Count a request. Raises GenerationError (RESOURCE_EXHAUSTED)."""
        if self.in_flight >= self._most_requests:
            raise GenerationError(
                f"The cloud is busy: {self.in_flight} requests are waiting or running, "
                f"service.queue allows {self._most_requests}. Try again later.",
                status="RESOURCE_EXHAUSTED",
            )
        self.in_flight += 1

    def exit(self) -> None:
        """A request that entered has ended."""
        self.in_flight -= 1

    def put(self, job: Job) -> None:
        """Let a request that entered wait. Raises GenerationError (RESOURCE_EXHAUSTED)."""
        after = self.tokens + len(job.reading)
        if self._jobs and after > self._most_tokens:
            raise GenerationError(
                f"The cloud is busy: {self.tokens} prompt tokens wait, service.queue_tokens allows "
                f"{self._most_tokens}. Try again later.",
                status="RESOURCE_EXHAUSTED",
            )
        self._jobs.append(job)
        self.tokens = after

    def remove(self, job: Job) -> bool:
        """Take out a request that waits; False where it does not."""
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        self.tokens -= len(job.reading)
        return True

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """The first one, if it fits: nobody overtakes a long request, so that it gets its turn."""
        if not self._jobs or not fits(self._jobs[0]):
            return None
        job = self._jobs.popleft()
        self.tokens -= len(job.reading)
        return job

    def clear(self) -> list[Job]:
        """Take out all."""
        jobs = list(self._jobs)
        self._jobs.clear()
        self.tokens = 0
        return jobs

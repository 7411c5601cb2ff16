"""All workers of the cloud in the event model: who is there, who has what, what becomes of it."""

from collections.abc import Callable, Mapping

from fl.orchestration.admission import Admission
from fl.orchestration.batch_server import Pace
from fl.orchestration.calendar import Calendar
from fl.orchestration.stations import Through, Worker


class Workforce:
    """Requests go where admission says; nothing is lost with a worker."""

    def __init__(
        self,
        calendar: Calendar,
        admission: Admission,
        paces: Mapping[str, Pace],
        *,
        through: Through,
        wanted: Callable[[str], bool],
    ) -> None:
        """`wanted` says whether somebody still waits for a request."""
        self._calendar, self._admission, self._paces = calendar, admission, paces
        self._through, self._wanted = through, wanted
        self._workers: dict[str, Worker] = {}
        self._at: dict[str, str] = {}  # request -> worker
        self._stranded: dict[str, float] = {}  # no worker was left for them

    @property
    def up(self) -> int:
        """Workers that are there."""
        return len(self._workers)

    @property
    def requests(self) -> int:
        """That run or wait at them."""
        return sum(len(worker) for worker in self._workers.values())

    def begin(self, name: str) -> None:
        """A worker is there, for the first time or again."""
        pace = self._paces[name]
        self._workers[name] = Worker(self._calendar, pace, self._through)
        self._admission.worker(name, pace)
        stranded, self._stranded = self._stranded, {}
        for job, tokens in stranded.items():
            self.put(job, tokens)

    def lose(self, name: str) -> None:
        """A worker dies; others go on with what it had written."""
        gone = self._workers.pop(name)
        self._admission.lose(name)
        for job, left in gone.die().items():
            self.put(job, left)

    def put(self, job: str, tokens: float) -> None:
        """A request is here, with so many tokens to be written."""
        if not self._wanted(job):
            return
        worker = self._admission.come(self._calendar.now, job, tokens)
        if worker is None:
            self._stranded[job] = tokens
        else:
            self._at[job] = worker
            self._workers[worker].put(job, tokens)

    def remove(self, job: str) -> None:
        """A request is given up, wherever it is."""
        if (worker := self._workers.get(self._at.pop(job, ""))) is not None:
            worker.remove(job)

"""Time in these tests passes only while the cloud waits: deadlines cost nothing and are exact."""

import pytest

from server.federation import exchange, roll_call, strategy


class Clock:
    """Stands in for the module `time` where the cloud waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (exchange, roll_call, strategy):
        monkeypatch.setattr(module, "time", clock)
    return clock

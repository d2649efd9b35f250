"""Time limits on an injected clock."""

import time

import pytest

from models.clock import Deadline, SystemClock
from tests.fakes import FakeClock


def test_a_deadline_passes_at_its_moment(clock: FakeClock) -> None:
    deadline = Deadline.after(clock, 10.0)
    assert deadline.at == clock.now() + 10
    for seconds, remaining in ((0.0, 10.0), (9.5, 0.5), (0.5, 0.0), (5.0, 0.0)):
        clock.sleep(seconds)
        assert (deadline.remaining, deadline.passed) == (remaining, remaining == 0)


@pytest.mark.parametrize(("seconds", "remaining"), [(3.0, 3.0), (10.0, 10.0), (11.0, 10.0), (float("inf"), 10.0)])
def test_the_earlier_of_two_deadlines_counts(clock: FakeClock, seconds: float, remaining: float) -> None:
    assert Deadline.after(clock, 10.0).earlier(seconds).remaining == remaining


def test_the_system_clock_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    assert abs(clock.monotonic() - time.monotonic()) < 60
    clock.sleep(0.25)
    clock.sleep(-1.0)  # a moment that has passed
    assert paused == [0.25, 0.0]

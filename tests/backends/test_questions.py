"""Answers that come after the check which asked for them."""

import gevent
import pytest

from models.backends.errors import ServerUnavailable
from models.backends.http import Service, TimedOutError
from models.backends.questions import answered, optional
from models.clock import Deadline
from tests.fakes import FakeClock
from tests.servers.simulated import ORIGIN, SimulatedClock, simulated


@pytest.mark.parametrize("pause", [1.5, 4.0])
def test_a_late_answer_belongs_to_the_next_check(pause: float) -> None:
    """Whether it comes while that check waits, or between the two."""
    clock, asked = SimulatedClock(), []
    service = Service(name="Painter", base_url=ORIGIN, clock=clock, settings="`painter_base_url`")

    def slow(until: Deadline) -> int:
        asked.append(until.remaining)
        clock.sleep(3)
        return 7

    def work() -> list[object]:
        seen: list[object] = []
        for _ in range(4):
            try:
                seen.append(answered(service, "state", slow, Deadline.after(clock, 1)))
            except TimedOutError as late:
                seen.append(late.transient)
            clock.sleep(pause)
        return seen

    with simulated(clock, lambda _: None):
        assert clock.run(work) == [True, 7, True, 7]
    assert asked == [10, 10]


def test_an_error_is_raised_where_it_is_waited_for_and_then_asked_again() -> None:
    clock = SimulatedClock()
    service = Service(name="Painter", base_url=ORIGIN, clock=clock)
    outcomes = [ServerUnavailable("Asking failed", transient=True), 7]

    def ask(_: Deadline) -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def work() -> object:
        with pytest.raises(ServerUnavailable):
            answered(service, "state", ask, Deadline.after(clock, 1))
        return answered(service, "state", ask, Deadline.after(clock, 1))

    with simulated(clock, lambda _: None):
        assert clock.run(work) == 7


def test_a_limit_of_the_caller_is_not_taken_for_the_questions(clock: FakeClock) -> None:
    service = Service(name="Painter", base_url=ORIGIN, clock=clock)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
        answered(service, "state", lambda _: gevent.sleep(5), Deadline.after(clock, 10))


def test_a_server_that_failed_is_not_asked_for_what_can_be_left_out(clock: FakeClock) -> None:
    """For twenty seconds."""
    service = Service(name="Painter", base_url=ORIGIN, clock=clock)
    asked: list[float] = []

    def fails() -> str:
        asked.append(clock.now())
        raise ServerUnavailable("Asking failed")

    began = clock.now()
    assert optional(service, lambda: "list", "none") == "list"
    for _ in range(4):
        assert optional(service, fails, "none") == "none"
        clock.sleep(10)
    assert asked == [began, began + 20]
    other = Service(name="Painter", base_url="http://other", clock=clock)
    assert optional(other, lambda: "list", "none") == "list"

"""Answers that come after the check which asked for them."""

import pytest

from models.backends.errors import ServerUnavailable
from models.backends.http import Service, TimedOutError
from models.backends.questions import answered
from models.clock import Deadline
from tests.servers.simulated import ORIGIN, SimulatedClock, simulated


def test_a_late_answer_belongs_to_the_next_check() -> None:
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
            clock.sleep(1.5)
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

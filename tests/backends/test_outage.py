"""Errors of a server while a job runs there."""

import pytest

from models.backends.errors import AuthorizationFailed, ConnectionFailed, ImageError, RateLimited, ServerUnavailable
from models.backends.http import TimedOutError
from models.backends.outage import OUTAGE_LIMIT, Outage
from tests.fakes import FakeClock

LOST = ConnectionFailed("Asking failed", "the connection was lost", transient=True)
SILENT = TimedOutError("Asking failed", "it did not reply", transient=True)
BROKEN = ServerUnavailable("Asking failed", "HTTP 502", transient=True)
BUSY = RateLimited("Asking failed", "too many requests", transient=True)


def met(clock: FakeClock, *errors: ImageError) -> Outage:
    outage = Outage(clock)
    for error in errors:
        outage.met(error, clock.now())
    return outage


def test_an_outage_lasts_after_a_minute_and_ends_with_an_answer(clock: FakeClock) -> None:
    outage = met(clock, LOST)
    clock.sleep(OUTAGE_LIMIT - 1)
    assert not outage.lasting
    clock.sleep(1)
    assert outage.lasting
    outage.end()
    assert not outage.lasting
    assert OUTAGE_LIMIT == 60.0


def test_an_outage_began_with_its_first_error(clock: FakeClock) -> None:
    outage = met(clock, LOST)
    clock.sleep(40)
    outage.met(LOST, clock.now())
    assert not outage.lasting
    clock.sleep(20)
    assert outage.lasting
    outage.end()
    outage.met(LOST, clock.now())
    assert not outage.lasting


def test_a_lasting_error_is_raised(clock: FakeClock) -> None:
    with pytest.raises(AuthorizationFailed):
        met(clock, AuthorizationFailed("Asking failed"))


@pytest.mark.parametrize(
    ("errors", "told"), [((BROKEN, SILENT), BROKEN), ((SILENT, BROKEN), BROKEN), ((SILENT,), SILENT)]
)
def test_the_cause_is_told_rather_than_the_silence_after_it(
    clock: FakeClock, errors: tuple[ImageError, ...], told: ImageError
) -> None:
    reason = met(clock, *errors).reason("Generating", "Painter", "`painter_base_url`")
    assert type(reason) is (ConnectionFailed if told is SILENT else type(told))
    assert told.said in reason.said
    assert "`painter_base_url`" in reason.next_step
    assert not isinstance(reason, TimedOutError), "whose advice is more time"
    assert "timeout" not in str(reason)


def test_a_busy_server_is_waited_for_until_it_is_silent(clock: FakeClock) -> None:
    outage = met(clock, BUSY)
    clock.sleep(2 * OUTAGE_LIMIT)
    assert not outage.lasting
    outage.met(SILENT, clock.now())
    assert outage.lasting


def test_a_server_that_goes_on_failing_is_asked_more_rarely(clock: FakeClock) -> None:
    outage = met(clock)
    assert outage.pause == 0
    outage.met(LOST, clock.now())
    clock.sleep(4)
    assert outage.pause == 0.5
    clock.sleep(30)
    assert outage.pause == 1


def test_without_an_outage_the_deadline_is_the_reason(clock: FakeClock) -> None:
    assert "Raise `timeout`" in str(Outage(clock).reason("Generating", "Painter", "x"))
    assert (
        Outage(clock).reason("Generating", "Painter", "x", "Set waiting to polling").next_step
        == "Set waiting to polling"
    )

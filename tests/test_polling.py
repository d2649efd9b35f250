"""Polling: a call is held while the job is watched; all state travels; nothing is lost, nothing waits for ever."""

import json

import pytest
from pydantic import JsonValue

from models import polling
from models.backends.errors import ConnectionFailed, ServerUnavailable
from models.entities import ImageRequest
from models.output.delivery import DeliveryOptions
from models.polling import Finished, Waiting
from tests.fakes import FakeClock
from tests.stubs import StubBackend, StubJobs

OPTIONS = DeliveryOptions(details=True, output_format="webp")


def request(timeout: float = 600.0) -> ImageRequest:
    return ImageRequest(model="stub-model", prompt="a fox", timeout=timeout)


def test_a_service_without_jobs_finishes_inside_the_start(clock: FakeClock) -> None:
    outcome = polling.start(StubBackend(clock), request(), OPTIONS)
    assert isinstance(outcome, Finished)
    assert outcome.options == OPTIONS


def test_a_service_without_jobs_gets_less_time_than_the_host_gives_a_call(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    polling.start(backend, request(timeout=7200), OPTIONS)
    assert backend.asked[0].timeout == 590
    assert backend.asked[0].notices == (
        "`timeout` became 590 seconds: Dify waits no longer for an answer that comes in one call.",
    )


def test_the_default_time_is_lowered_without_a_word(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    polling.start(backend, request(), OPTIONS)
    assert (backend.asked[0].timeout, backend.asked[0].notices) == (590, ())


def test_a_job_that_nobody_polls_gets_no_more_time_either(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=700)
    with pytest.raises(ConnectionFailed):
        backend.invoke(request(timeout=7200))
    assert len(backend.cancelled) == 1


@pytest.mark.parametrize("state", [{"job": {}}, {"job": "x", "started": 1, "deadline": 2, "delivery": {}}])
def test_the_state_of_another_version_is_told_as_such(clock: FakeClock, state: dict[str, JsonValue]) -> None:
    with pytest.raises(ServerUnavailable, match="was replaced by another version while it ran; run it again"):
        polling.check(StubJobs(clock, takes=40), state)


def test_a_short_job_finishes_inside_the_start_within_half_a_second_of_its_end(clock: FakeClock) -> None:
    outcome = polling.start(StubJobs(clock, takes=7.3), request(), OPTIONS)
    assert isinstance(outcome, Finished)
    assert 7.3 <= outcome.duration < 7.8


def test_a_long_job_goes_on_in_another_process(clock: FakeClock) -> None:
    started = polling.start(StubJobs(clock, takes=40), request(), OPTIONS)
    assert isinstance(started, Waiting)
    clock.sleep(started.next_check)
    state = json.loads(json.dumps(started.state))
    outcome = polling.check(StubJobs(clock, takes=40), state)
    assert isinstance(outcome, Finished)
    assert outcome.options == OPTIONS
    assert outcome.result.prompt == "a fox"
    assert 40 <= outcome.duration < 41


def test_a_call_is_held_for_25_seconds_at_most(clock: FakeClock) -> None:
    before = clock.now()
    polling.start(StubJobs(clock, takes=4000), request(timeout=7200), OPTIONS)
    assert clock.now() - before == pytest.approx(25)


def test_two_hours_fit_into_the_hosts_240_checks(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=7190)
    outcome = polling.start(backend, request(timeout=7200), OPTIONS)
    checks = 0
    while isinstance(outcome, Waiting):
        clock.sleep(outcome.next_check)
        outcome = polling.check(backend, outcome.state)
        checks += 1
    assert checks <= 240
    assert outcome.duration < 7196


def test_transient_trouble_keeps_the_job(clock: FakeClock) -> None:
    lost = ConnectionFailed("Asking failed", "connection lost", transient=True)
    outcome = polling.start(StubJobs(clock, takes=3, troubles=[lost, lost]), request(), OPTIONS)
    assert isinstance(outcome, Finished)


def test_a_failed_job_ends_the_wait_at_once(clock: FakeClock) -> None:
    broken = ServerUnavailable("Generating failed", "out of memory")
    backend = StubJobs(clock, takes=100, troubles=[broken])
    with pytest.raises(ServerUnavailable, match="out of memory"):
        polling.start(backend, request(), OPTIONS)
    assert backend.checks == 1


def test_a_job_past_its_deadline_is_cancelled_and_said(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=100)
    with pytest.raises(ConnectionFailed) as failure:
        polling.start(backend, request(timeout=10), OPTIONS)
    assert len(backend.cancelled) == 1
    assert str(failure.value) == (
        "Generating with Stub service failed: the time for the whole job is over; last seen: step 12/30. "
        "Raise `timeout`, or ask for less."
    )


def test_the_state_survives_the_hosts_number_types(clock: FakeClock) -> None:
    started = polling.start(StubJobs(clock, takes=40), request(), OPTIONS)
    assert isinstance(started, Waiting)
    state = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in started.state.items()
    }
    assert not isinstance(polling.check(StubJobs(clock, takes=40), state), Waiting)


def test_invoke_waits_for_the_same_job_and_gives_up_the_same_way(clock: FakeClock) -> None:
    assert StubJobs(clock, takes=30).invoke(request()).images
    backend = StubJobs(clock, takes=100)
    with pytest.raises(ConnectionFailed):
        backend.invoke(request(timeout=10))
    assert len(backend.cancelled) == 1

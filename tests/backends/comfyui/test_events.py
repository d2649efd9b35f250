"""The messages of the WebSocket and the progress text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.backends.base import Running
from models.backends.comfyui.client import HistoryEntry
from models.backends.comfyui.events import UNKNOWN, Event, JobProgress, JobWait, NoSocketError, read_event
from models.backends.comfyui.jobs import queued
from models.backends.comfyui.state import JobState
from models.backends.errors import BadRequest, ConnectionFailed, ImageError
from models.backends.outage import Outage
from models.backends.partial import Partial
from models.clock import Deadline
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("place", "words"),
    [(1, "queued 1st"), (2, "queued 2nd"), (3, "queued 3rd"), (4, "queued 4th"), (11, "queued 11th"), (12, "queued 12th"), (21, "queued 21st"), (113, "queued 113th")],
)  # fmt: skip
def test_the_place_in_the_queue_is_an_ordinal(place: int, words: str) -> None:
    assert queued(place) == words


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"data": {}}', '{"type": "progress", "data": {"value": "x"}}'])
def test_a_message_of_unknown_shape_is_ignored(text: str) -> None:
    assert read_event(text) == UNKNOWN


def test_a_warning_that_looks_like_an_error_does_not_end_a_job() -> None:
    progress = JobProgress(["a"])
    progress.record(
        read_event('{"type": "execution_error", "data": {"prompt_id": "a", "exception_type": "ExecutionBlocked"}}')
    )
    assert not progress.over


def test_progress_of_several_runs_names_the_run() -> None:
    progress = JobProgress(["a", "b"])
    progress.record(read_event('{"type": "progress", "data": {"prompt_id": "b", "value": 3, "max": 20}}'))
    assert progress.words == "image 2 of 2, step 3/20"


def test_the_job_ends_with_all_runs_or_the_first_failure() -> None:
    progress = JobProgress(["a", "b"])
    end = '{"type": "executing", "data": {"prompt_id": "%s", "node": null}}'
    progress.record(read_event(end % "a"))
    assert not progress.over
    progress.record(read_event('{"type": "execution_interrupted", "data": {"prompt_id": "a"}}'))
    assert progress.over


def test_a_step_of_one_and_a_node_without_a_title_are_told_as_they_are() -> None:
    told: list[str] = []
    progress = JobProgress(["a", "b"], {"3": "Main"}, told.append)
    for event in (
        Event(type="progress", prompt_id="a", value=1.6, max=2),
        Event(type="executing", prompt_id="a", node="3"),
        Event(type="executing", prompt_id="b", node="4"),
        Event(type="executing", prompt_id="other", node="3"),
        Event(type="status", prompt_id="b"),
    ):
        progress.record(event)
    assert told == ["image 1 of 2, step 2/2", "image 1 of 2, running Main", "image 2 of 2, running 4"]
    assert progress.started == {"a", "b"}
    assert (progress.ended, progress.failed) == (set(), set())


def test_a_lost_socket_may_come_back() -> None:
    assert not NoSocketError().forbidden
    assert (Event(type="x").value, Event(type="x").max) == (0, 0)


# --- the wait ---


@dataclass
class Polls:
    """A tracker whose polls say what a test gives it, in order; then the job runs."""

    clock: FakeClock
    says: list[Running | Partial | ImageError] = field(default_factory=list)
    polls: int = 0
    place: int | None = None
    queue_polled: float | None = None
    entries: dict[str, HistoryEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = Running("running")
        self.state = JobState.of([({}, 1)], prompt="x", keep_workflow=False)

    def poll(self) -> Running | Partial:
        self.polls += 1
        said = self.says.pop(0) if self.says else self.seen
        if isinstance(said, ImageError):
            raise said
        return said


@dataclass
class Listens:
    """A stream of events; each listening does what a test gives it, or lets the silence pass."""

    clock: FakeClock
    progress: JobProgress
    behind: bool = True
    connected: bool = True
    acts: list[Callable[[], object]] = field(default_factory=list)
    opened: int = 0
    silences: list[float] = field(default_factory=list)

    def open(self) -> None:
        self.opened += 1

    def listen(self, max_silence: Callable[[], float], until: Deadline) -> None:
        self.silences.append(max_silence())
        act = self.acts.pop(0) if self.acts else lambda: self.clock.sleep(until.earlier(max_silence()).remaining)
        act()


@dataclass
class Wait:
    """A wait of 10 seconds with a pause of one, and what it is made of."""

    clock: FakeClock
    says: list[Running | Partial | ImageError] = field(default_factory=list)
    pause: float = 1.0

    def __post_init__(self) -> None:
        self.told: list[str] = []
        self.polls = Polls(self.clock, self.says)
        self.events = Listens(self.clock, JobProgress(self.polls.state.ids, {}, self.told.append))
        self.outage = Outage(self.clock)

    def until(self, seconds: float = 10.0) -> Running | Partial:
        tracker: Any = self.polls
        events: Any = self.events
        return JobWait(tracker, events, lambda: self.pause, self.outage).until(Deadline.after(self.clock, seconds))

    def over(self) -> None:
        """The events tell the end of the job."""
        self.events.progress.record(Event(type="executing", prompt_id=self.polls.state.ids[0]))


DONE = Partial()
LATE = ConnectionFailed("x", "off", transient=True)


def test_a_job_that_may_have_ended_is_polled_before_it_is_listened_to(clock: FakeClock) -> None:
    wait = Wait(clock, [DONE])
    assert wait.until() is DONE
    assert (wait.events.behind, wait.events.silences) == (False, [])


def test_a_job_of_which_no_event_was_missed_is_listened_to_first(clock: FakeClock) -> None:
    wait = Wait(clock, [DONE])
    wait.events.behind = False
    wait.events.acts = [wait.over]
    assert wait.until() is DONE
    assert (wait.polls.polls, len(wait.events.silences), clock.pauses) == (1, 1, [])


def test_a_silence_within_the_time_ends_with_a_poll_and_the_time_without_one(clock: FakeClock) -> None:
    wait = Wait(clock, pause=4.0)
    assert wait.until(10.0) == Running("running")
    assert (wait.polls.polls, clock.pauses) == (3, [4.0, 4.0, 2.0])
    assert wait.told == ["running"] * 3


def test_an_end_at_the_last_moment_is_still_fetched(clock: FakeClock) -> None:
    wait = Wait(clock, [Running(), DONE])
    wait.events.acts = [lambda: clock.sleep(10)]
    wait.polls.entries[wait.polls.state.ids[0]] = HistoryEntry()
    assert wait.until(10.0) is DONE


@pytest.mark.parametrize(("seconds", "opened"), [(2.0, 0), (2.1, 1)])
def test_a_short_wait_does_without_a_socket(clock: FakeClock, seconds: float, opened: int) -> None:
    wait = Wait(clock, pause=20.0)
    wait.until(seconds)
    assert wait.events.opened == opened


def test_the_words_of_the_events_go_before_those_of_the_poll(clock: FakeClock) -> None:
    wait = Wait(clock, pause=20.0)
    wait.events.progress.started.add("a")
    wait.events.progress.words = "step 3/4"
    assert wait.until() == Running("step 3/4")
    assert wait.told == []


@pytest.mark.parametrize(("pause", "pauses"), [(3.0, [3.0]), (30.0, [10.0])])
def test_images_that_cannot_be_had_at_the_moment_are_asked_for_after_a_pause(
    clock: FakeClock, pause: float, pauses: list[float]
) -> None:
    wait = Wait(clock, [LATE, DONE], pause)
    wait.polls.entries[wait.polls.state.ids[0]] = HistoryEntry()
    wait.events.acts = [lambda: None]
    assert wait.until() is DONE
    assert clock.pauses == pauses


def test_an_end_that_only_the_events_told_counts_for_one_poll(clock: FakeClock) -> None:
    wait = Wait(clock, [Running(), DONE])
    wait.over()
    wait.until()
    assert wait.events.progress.ended == set()
    assert wait.told == [], "the job has begun, so its events tell how it goes"
    assert clock.pauses == [1.0], "the silence, and no pause before it"


def test_a_submission_that_was_repeated_is_followed_by_its_new_id(clock: FakeClock) -> None:
    wait = Wait(clock, [Running()], 20.0)
    wait.polls.state.submissions[0].prompt_id = "fresh"
    wait.until()
    assert wait.events.progress.ids == ["fresh"]


def test_an_outage_of_a_minute_ends_the_wait_and_an_answer_ends_the_outage(clock: FakeClock) -> None:
    wait = Wait(clock, [LATE] * 200)
    began = clock.now()
    assert wait.until(300.0) == Running("running")
    assert clock.now() - began == 60.0
    assert wait.outage.error is LATE
    wait.says[:] = [Running(), DONE]
    wait.events.behind = True
    assert wait.until(300.0) is DONE
    assert wait.outage == Outage(clock)


def test_an_error_that_will_not_pass_ends_the_wait(clock: FakeClock) -> None:
    with pytest.raises(BadRequest):
        Wait(clock, [BadRequest("x", "no")]).until()


@pytest.mark.parametrize(
    ("pause", "facts", "silence"),
    [
        (1.0, {"place": 3}, 3.0),
        (1.0, {"place": 9}, 5.0),
        (0.5, {"place": 1, "queue_polled": 7.0}, 0.5),
        (0.5, {"place": 3, "started": True}, 1.0),
        (2.0, {"place": 0, "queue_polled": 7.0, "started": True}, 2.0),
        (0.5, {}, 1.0),
        (0.5, {"queue_polled": 7.0}, 0.5),
        (0.5, {"connected": False, "started": True}, 0.5),
        (0.1, {"queue_polled": 7.0, "trouble": 4.0}, 0.5),
        (0.1, {"place": 4, "trouble": 4.0}, 2.0),
        (0.7, {"queue_polled": 7.0, "trouble": 4.0}, 0.7),
    ],
)
def test_the_patience_depends_on_the_place_the_socket_and_the_outage(
    clock: FakeClock, pause: float, facts: dict[str, Any], silence: float
) -> None:
    wait = Wait(clock, pause=pause)
    wait.polls.place, wait.polls.queue_polled = facts.get("place"), facts.get("queue_polled")
    wait.events.behind, wait.events.connected = False, facts.get("connected", True)
    wait.events.progress.started = {"a"} if facts.get("started") else set()
    wait.outage.since = clock.now() - facts["trouble"] if "trouble" in facts else None
    wait.until(0.1)
    assert wait.events.silences == [silence]

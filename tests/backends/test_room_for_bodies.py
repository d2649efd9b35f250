"""Bodies of results are read when there is room for them; questions about a job are always answered."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import gevent
import pytest

from models.backends.base import Job, Running
from models.backends.errors import ConnectionFailed
from models.backends.http import Service, TimedOutError
from models.clock import Deadline, SystemClock
from models.entities import ImageRequest, ImageResult
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.room import MIB, CallRoom, Intake, Room, room_for_call
from models.settings import Settings
from tests.fakes import FakeClock
from tests.servers.scripted import Script, say, scripted_server
from tests.stubs import StubBackend, StubJobs

BODY = b"x" * MIB


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted_server() as script:
        script.then(say(200, BODY))
        yield script


@pytest.fixture
def room() -> Room:
    """Filled by another call."""
    room = Room(2 * MIB)
    CallRoom(room, 0).take(2 * MIB)
    return room


def ask(script: Script, room: Room, method: str, *, seconds: float = 20, brings_result: bool | None = None) -> int:
    clock = SystemClock()
    service = Service(name="Painter", base_url=script.url, clock=clock)
    deadline = Deadline(clock, clock.now() + seconds)
    with room_for_call("form", room):
        return len(
            service.request(method, "x", attempt="Painting", deadline=deadline, brings_result=brings_result).body
        )


@pytest.mark.parametrize(("method", "brings_result"), [("POST", None), ("GET", True)])
def test_a_result_stays_on_its_socket_until_there_is_room(
    server: Script, room: Room, method: str, brings_result: bool | None
) -> None:
    asking = gevent.spawn(ask, server, room, method, brings_result=brings_result)
    with gevent.Timeout(20):
        while not room._waiting:
            gevent.sleep(0.01)
    assert not asking.ready()
    room._inside[0].leave()
    assert asking.get(timeout=20) == MIB
    assert not room._inside, "the call has ended"


def test_the_answer_to_a_question_does_not_wait(server: Script, room: Room) -> None:
    assert ask(server, room, "GET") == MIB


def test_the_deadline_of_the_request_ends_the_wait(server: Script, room: Room) -> None:
    with pytest.raises(TimedOutError):
        ask(server, room, "POST", seconds=0.5)
    assert not room._waiting


class Jobs(StubJobs):
    """Each look at the job reads a MiB."""

    def check(self, job: Job) -> Running | ImageResult:
        Intake(0).received(MIB)
        return super().check(job)


@dataclass(eq=False)
class ClockWithSizes(FakeClock):
    """Notes the room of a call at each pause."""

    sizes: list[int] = field(default_factory=list)
    call: CallRoom | None = None

    def sleep(self, seconds: float) -> None:
        assert self.call
        self.sizes.append(self.call.size)
        super().sleep(seconds)


def test_a_call_that_waits_for_its_job_has_no_room() -> None:
    clock = ClockWithSizes()
    with room_for_call("form", Room(2 * MIB)) as call:
        backend = Jobs(clock, takes=3)
        clock.call = call
        job = backend.submit(ImageRequest(model="stub-model", prompt="a fox"))
        assert isinstance(job, dict)
        result = backend.watch(job, Deadline(clock, clock.now() + 60), started=clock.now())
        assert isinstance(result, ImageResult)
        assert clock.sizes
        assert not any(clock.sizes)
        assert call.size == MIB, "the result is in memory"


class Failing(StubBackend):
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        Intake(0).received(MIB)
        error = ConnectionFailed("Generating with Stub failed", "the host could not be reached")
        error.undone = True
        raise error


def test_a_reply_that_failed_has_no_room_while_another_model_answers(clock: FakeClock) -> None:
    with room_for_call("form", Room(2 * MIB)) as call:
        asked = Asked(Conversation("a fox"), {"fallback": "preview"})
        done = Call(Failing(clock), Settings({}, {})).generate(asked)
        assert done.result.answered_by == "preview"
        assert call.size == 0

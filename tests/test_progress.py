"""Progress: every change of a job's state is told once, then the result or the failure."""

from collections.abc import Generator

import pytest

from models.backends.errors import ServerUnavailable
from models.entities import ImageRequest, ImageResult
from models.progress import narrated
from tests.fakes import FakeClock
from tests.stubs import StubJobs

REQUEST = ImageRequest(model="stub-model", prompt="a fox")


def listen(steps: Generator[str, None, ImageResult]) -> tuple[list[str], ImageResult]:
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def test_each_state_is_told_once_and_the_result_returned(clock: FakeClock) -> None:
    told, result = listen(narrated(StubJobs(clock, takes=5), REQUEST))
    assert told == ["step 12/30"]
    assert result.images[0].seed == 7


def test_a_failure_is_raised_as_itself(clock: FakeClock) -> None:
    broken = ServerUnavailable("Generating failed", "out of memory")
    with pytest.raises(ServerUnavailable, match="out of memory"):
        listen(narrated(StubJobs(clock, takes=5, troubles=[broken]), REQUEST))

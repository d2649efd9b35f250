"""Turns: how long each model of a request has, and what goes on in a job's state."""

import math
from dataclasses import replace

import pytest

from models.backends.errors import RateLimited
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage
from models.request.build import Wanted
from models.request.conversation import Conversation
from models.routing import ModelRequest, ModelRoute, RoutePlan
from models.settings import Settings
from models.turns import Turn, Unfinished
from tests.fakes import FakeClock, image_file
from tests.stubs import StubBackend, StubJobs

NOW = FakeClock().now()
NO_CREDIT = RateLimited("Generating failed", "no credit")
REQUEST = ImageRequest(model="stub-model", prompt="a fox", timeout=100)


def turn(backend: StubBackend | StubJobs, *left: str, ends: float = 100, until: float | None = None) -> Turn:
    """A turn that began now; `left` are the models behind it, `ends` and `until` seconds from now."""
    plan = RoutePlan(wanted=Wanted(model="stub-model", prompt="a fox", values={}), left=left)
    route = ModelRoute(backend, Settings({"stability_api_key": "sk"}, {}), Conversation("a fox"), None, plan)
    return Turn(backend, route, NOW, NOW + (ends if until is None else until), NOW + ends)


def as_it_is(found: ModelRequest) -> ImageRequest:
    return found.request


class FreeBackend(StubBackend):
    """A service that costs nothing."""

    charges = False


@pytest.mark.parametrize(
    ("ago", "ends", "timeout"),
    [(0, 6900, 590), (500, 6900, 90), (589.5, 6900, 1), (600, 6900, 1), (0, 50, 50), (0, 0.5, 1), (0, 0, 1)],
)
def test_the_next_model_has_what_is_left_of_the_call_and_of_the_job(
    clock: FakeClock, ago: float, ends: float, timeout: float
) -> None:
    following, request = turn(StubBackend(clock), "preview", ends=ends, until=ends / 2).next(
        NO_CREDIT, NOW - ago, as_it_is
    )
    assert (following.backend.model.name, following.until, following.ends) == ("preview", NOW + ends, NOW + ends)
    assert (request.timeout, request.model) == (timeout, "preview")


def test_where_nobody_may_be_asked_the_error_stays(clock: FakeClock) -> None:
    with pytest.raises(RateLimited) as raised:
        replace(turn(StubBackend(clock), "preview"), route=None).next(NO_CREDIT, NOW, as_it_is)
    assert raised.value is NO_CREDIT


def test_without_time_only_the_preview_is_asked(clock: FakeClock) -> None:
    _, request = turn(StubBackend(clock), "sd3.5-large", "preview", ends=0).next(NO_CREDIT, NOW, as_it_is)
    assert request.notices == (
        "stub-model did not answer (no credit).",
        "sd3.5-large was not asked: no time was left.",
        "preview answered in place of stub-model.",
    )


def test_the_model_that_is_asked_next_is_told_as_progress(clock: FakeClock) -> None:
    backend, told = StubBackend(clock), list[str]()
    backend.on_progress = lambda running: told.append(running.progress)
    turn(backend, "preview").next(NO_CREDIT, NOW, as_it_is)
    assert told == ["preview is asked"]


@pytest.mark.parametrize(
    ("charges", "left", "asked", "until", "timeout"),
    [
        (True, (), 100, 100, 100),
        (False, (), 100, 100, 100),
        (True, ("sd3.5-large",), 100, 50, 100),
        (False, ("sd3.5-large",), 100, 50, 50),
        (False, ("sd3.5-large",), 60, 50, 50),
        (False, ("sd3.5-large",), 20, 50, 20),
    ],
)
def test_only_a_service_that_charges_has_all_the_time_for_a_call(
    clock: FakeClock, *, charges: bool, left: tuple[str, ...], asked: float, until: float, timeout: float
) -> None:
    backend = StubBackend(clock) if charges else FreeBackend(clock)
    shared, request = turn(backend, *left).shared(replace(REQUEST, timeout=asked))
    assert (shared.until, shared.ends, request.timeout) == (NOW + until, NOW + 100, timeout)


def test_the_first_turn_ends_when_the_time_of_the_request_is_over(clock: FakeClock) -> None:
    backend = StubBackend(clock)
    route = turn(backend).route
    assert route
    first, request = Turn.first(route, backend, NOW - 5, REQUEST)
    assert (first.began, first.until, first.ends, request) == (NOW - 5, NOW + 95, NOW + 95, REQUEST)
    assert first.remaining == 95


def test_a_result_at_once_ends_the_turn(clock: FakeClock) -> None:
    made = ImageResult(images=(GeneratedImage(image_file()),), backend="stub", model="stub-model", prompt="a fox")

    class AtOnce(StubJobs):
        def _submit(self, request: ImageRequest, deadline: object) -> ImageResult:
            return made

    backend = AtOnce(clock, takes=0)
    assert turn(backend, "preview").serve(REQUEST, hold=0.8) is made
    assert turn(backend, "preview").serve(REQUEST, hold=math.inf) is made
    assert backend.checks == 0
    plain = StubBackend(clock)
    assert isinstance(turn(plain, "preview").serve(REQUEST, hold=0.8), ImageResult)
    assert plain.asked == [REQUEST]


@pytest.mark.parametrize("with_images", [True, False])
def test_a_job_with_input_images_keeps_its_model_and_the_time(clock: FakeClock, *, with_images: bool) -> None:
    class Editing(StubJobs):
        def check_image_count(self, count: int) -> None:
            """Any number."""

    backend = Editing(clock, takes=200)
    images = (InputImage(image_file(), "image/png"),) if with_images else ()
    seen = turn(backend, "sd3.5-large", until=50).serve(replace(REQUEST, images=images), hold=0.8)
    assert isinstance(seen, Unfinished)
    assert (seen.turn.route is None, seen.turn.until) == (with_images, NOW + (100 if with_images else 50))
    assert backend.in_one_call is False


def test_a_call_that_waits_for_its_job_says_so(clock: FakeClock) -> None:
    backend = StubJobs(clock, takes=5)
    assert isinstance(turn(backend, "preview").serve(REQUEST, hold=math.inf), ImageResult)
    assert backend.in_one_call is True

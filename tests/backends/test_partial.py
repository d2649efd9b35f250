"""Several calls for one result: successful images are returned, failures give a notice."""

import gevent
import pytest

from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.partial import Partial, collected, each, together
from models.entities import GeneratedImage
from tests.fakes import image_file

IMAGE = GeneratedImage(image_file())


def painted(name: str) -> GeneratedImage:
    if name == "good":
        return IMAGE
    raise ServerUnavailable(name)


def test_a_failure_does_not_affect_other_images_and_is_reported_once() -> None:
    made = each(painted, ("bad", "good", "bad"))
    assert made.images == (IMAGE,)
    assert made.notices(3) == ["1 of 3 images came back.", "bad."]


def test_there_is_no_notice_if_all_succeed() -> None:
    assert each(painted, ("good", "good")).notices(2) == []


def test_the_first_failure_is_raised_if_all_fail() -> None:
    made = Partial(failures=(BadRequest("first"),)) + each(painted, ("second",))
    with pytest.raises(BadRequest, match="first"):
        made.notices(2)


def test_calls_run_in_parallel_within_the_limit_and_keep_their_order() -> None:
    running, most = 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gevent.sleep(0)
        gevent.sleep(0)
        running -= 1
        return number * 2

    assert together(work, range(6), at_once=3) == [0, 2, 4, 6, 8, 10]
    assert most == 3


def test_after_a_failure_no_call_is_started_and_started_ones_are_kept() -> None:
    begun: list[str] = []

    def work(name: str) -> Partial:
        begun.append(name)
        gevent.sleep(0)
        return Partial((painted(name),))

    outcomes = together(work, ("good", "bad", "good", "good"), at_once=2)
    assert begun[:2] == ["good", "bad"]
    assert len(begun) < 4
    result = collected(outcomes)
    assert result.images
    assert [str(failure) for failure in result.failures] == ["bad."]


def test_an_internal_error_is_raised() -> None:
    def work(number: int) -> ImageError:
        raise KeyError(number)

    with pytest.raises(KeyError):
        together(work, (1, 2), at_once=2)


def test_an_item_that_starts_too_late_does_not_affect_the_others() -> None:
    def wait(place: int) -> None:
        if place == 1:
            raise BadRequest("too late")

    outcomes = together(str, range(3), at_once=3, wait=wait)
    assert [str(outcome) for outcome in outcomes] == ["0", "too late.", "2"]


def test_a_queued_item_is_not_started_after_a_failure() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        raise ServerUnavailable("down")

    outcomes = together(work, range(3), at_once=3, wait=lambda place: gevent.sleep(0) if place else None)
    assert begun == [0]
    assert len(outcomes) == 1

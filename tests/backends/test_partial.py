"""Several images of one request: what was made is delivered, what was not is said."""

import pytest

from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.partial import Made, each
from models.entities import GeneratedImage
from tests.fakes import picture

IMAGE = GeneratedImage(picture())


def painted(name: str) -> GeneratedImage:
    if name == "good":
        return IMAGE
    raise ServerUnavailable(name)


def test_a_failure_costs_only_its_own_image_and_is_told_once() -> None:
    made = each(painted, ("bad", "good", "bad"))
    assert made.images == (IMAGE,)
    assert made.notices(3) == ["1 of 3 images came back.", "bad."]


def test_nothing_is_said_when_all_came() -> None:
    assert each(painted, ("good", "good")).notices(2) == []


def test_the_first_failure_is_raised_where_nothing_was_made() -> None:
    made = Made(failures=(BadRequest("first"),)) + each(painted, ("second",))
    with pytest.raises(BadRequest, match="first"):
        made.notices(2)

"""What an error says about the request: whether the service surely did not take it up."""

import pytest
import requests
import responses

from models.backends.errors import (
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
)
from models.backends.http import ONCE, Service, TimedOutError
from models.backends.images import download_result
from models.backends.partial import Partial
from models.backends.reply import Explanation, Reply
from models.clock import Deadline
from tests.fakes import FakeClock
from tests.servers.broken import broken_server

URL = "https://service.example/v1/generate"


def promising(reply: Reply) -> Explanation:
    """503 promises that nothing happened; other failures promise nothing."""
    retry = 0.0 if reply.status == 503 else None
    return Explanation(error=class_for_status(reply.status), said="no", retry_after=retry)


def service(clock: FakeClock, url: str = "https://service.example") -> Service:
    return Service(name="the service", base_url=url, clock=clock, explain=promising)


def refused(clock: FakeClock, url: str = "https://service.example") -> ImageError:
    with pytest.raises(ImageError) as failure:
        service(clock, url).request(
            "POST", "v1/generate", attempt="Generating", deadline=Deadline.after(clock, 30), json={}, retries=ONCE
        )
    return failure.value


@pytest.mark.parametrize(
    ("status", "kind", "undone"),
    [
        (503, ServerUnavailable, True),
        (500, ServerUnavailable, False),
        (429, RateLimited, True),
        (402, RateLimited, True),
        (400, BadRequest, False),
    ],
)
@responses.activate
def test_a_refusal_for_want_of_credit_or_capacity_left_nothing_behind(
    clock: FakeClock, status: int, kind: type[ImageError], *, undone: bool
) -> None:
    responses.post(URL, status=status)
    error = refused(clock)
    assert (type(error), error.undone) == (kind, undone)


@pytest.mark.parametrize(
    ("raised", "undone"),
    [
        (requests.exceptions.ConnectTimeout(), True),
        (requests.exceptions.SSLError(), True),
        (requests.exceptions.ReadTimeout(), False),
        (requests.exceptions.ConnectionError("reset"), False),
    ],
)
@responses.activate
def test_a_request_that_was_not_sent_left_nothing_behind(clock: FakeClock, raised: Exception, *, undone: bool) -> None:
    responses.post(URL, body=raised)
    assert refused(clock).undone is undone


def test_a_refused_connection_left_nothing_behind(clock: FakeClock) -> None:
    with broken_server() as server:
        url = server.url
    assert refused(clock, url).undone


def test_of_a_reply_that_did_not_come_nothing_is_known() -> None:
    assert not TimedOutError("Generating failed").undone


@responses.activate
def test_an_image_that_cannot_be_fetched_was_made(clock: FakeClock) -> None:
    responses.get("https://files.example/1.png", status=429)
    with pytest.raises(ImageError) as failure:
        download_result(
            "https://files.example/1.png",
            attempt="Fetching",
            clock=clock,
            deadline=Deadline.after(clock, 30),
            allow_private=True,
            next_step="Look there",
        )
    assert not failure.value.undone


@pytest.mark.parametrize(("second", "undone"), [(RateLimited("second"), True), (ConnectionFailed("second"), False)])
def test_several_calls_left_nothing_behind_only_if_none_did(second: ImageError, *, undone: bool) -> None:
    with pytest.raises(RateLimited) as failure:
        Partial(failures=(RateLimited("first"), second)).notices(2)
    assert failure.value.undone is undone

"""Cookies of load balancers: kept for one job, without logins."""

import sys

import pytest
import responses
from requests import PreparedRequest
from websocket import _handshake

from models.backends.affinity import Cookies, keep_from_header, with_cookies
from models.backends.comfyui import events
from models.backends.errors import ImageError
from models.backends.http import Service
from models.clock import Deadline
from tests.fakes import FakeClock

URL = "http://balancer.test"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"


def asked(service: Service) -> None:
    service.request("GET", "queue", attempt="Asking", deadline=Deadline.after(service.clock, 10))


def service(clock: FakeClock, cookies: Cookies | None, **headers: str) -> Service:
    return Service(name="ComfyUI", base_url=URL, clock=clock, headers=headers, cookies=cookies)


@pytest.fixture
def sent() -> list[str | None]:
    """The header `Cookie` of each request; the first reply sets cookies, further ones move to another worker."""
    headers: list[str | None] = []
    answers = iter(
        [
            [("Set-Cookie", "WORKER=gpu1; path=/; HttpOnly"), ("Set-Cookie", f"session_token={JWT}; path=/")],
            [],
            [("Set-Cookie", "WORKER=gpu2; path=/")],
            [],
        ]
    )

    def answer(request: PreparedRequest) -> tuple[int, list[tuple[str, str]], str]:
        headers.append(request.headers.get("Cookie"))
        return 200, next(answers), "{}"

    responses.add_callback(responses.GET, f"{URL}/queue", callback=answer)  # type: ignore[arg-type]  # headers twice
    return headers


@responses.activate
def test_a_cookie_goes_back_with_every_further_request_and_follows_the_balancer(
    clock: FakeClock, sent: list[str | None]
) -> None:
    cookies: Cookies = {}
    for _ in range(4):
        asked(service(clock, cookies))
    assert sent == [None, "WORKER=gpu1", "WORKER=gpu1", "WORKER=gpu2"]
    assert cookies == {"WORKER": "gpu2"}


@responses.activate
def test_other_services_keep_no_cookies(clock: FakeClock, sent: list[str | None]) -> None:
    asked(service(clock, None))
    asked(service(clock, None))
    asked(service(clock, {}))
    assert sent == [None, None, None]


@responses.activate
def test_a_cookie_of_the_reply_of_an_error_counts_too(clock: FakeClock) -> None:
    responses.get(f"{URL}/queue", status=404, headers={"Set-Cookie": "WORKER=gpu3"})
    cookies: Cookies = {}
    with pytest.raises(ImageError):
        asked(service(clock, cookies))
    assert cookies == {"WORKER": "gpu3"}


def test_the_owners_own_cookie_is_kept_beside_it() -> None:
    assert with_cookies({"cookie": "tenant=7", "X": "y"}, {"WORKER": "gpu1"}) == {
        "X": "y",
        "Cookie": "tenant=7; WORKER=gpu1",
    }
    assert with_cookies({"cookie": "tenant=7"}, {}) == {"cookie": "tenant=7"}


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("WORKER=gpu1; path=/", {"WORKER": "gpu1"}),
        ('sticky-host="MS4yLjMuNDo4MA=="; HttpOnly', {"sticky-host": "MS4yLjMuNDo4MA=="}),
        ("AWSALB=abc/def+ghi=; Expires=Fri, 04 Dec 2026 10:00:00 GMT; Path=/", {"AWSALB": "abc/def+ghi="}),
        ("WORKER=gpu1; path=/; route=17.2", {"WORKER": "gpu1", "route": "17.2"}),
        ("CF_Authorization=secret", {}),
        (f"portal={JWT}", {}),
        ("csrftoken=abc", {}),
        (f"big={'x' * 512}", {"big": "x" * 512}),
        (f"big={'x' * 513}", {}),
        ("WORKER=", {}),
        ("", {}),
        ("{}=a b", {}),
    ],
)
def test_what_may_be_a_login_is_not_kept(header: str, kept: Cookies) -> None:
    found: Cookies = {}
    keep_from_header(header, found)
    assert found == kept
    keep_from_header(header, None)


def test_the_websocket_library_shares_no_cookies_between_jobs() -> None:
    assert events.__name__ in sys.modules  # it is what takes the library's cookies away
    _handshake.CookieJar.add("WORKER=gpu1; domain=balancer.test")
    assert _handshake.CookieJar.get("balancer.test") == ""

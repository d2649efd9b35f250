"""Time limits, retries and addresses of the HTTP client, without a server."""

from typing import Any

import pytest
import requests
import responses
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ServerUnavailable
from models.backends.http import (
    MAX_REPLY_BYTES,
    ONCE,
    REPEATED,
    Service,
    TimedOutError,
    TooLargeError,
    _sendable,
    _session,
    join_url,
    timed_out,
    with_scheme,
    without_nulls,
)
from models.backends.network_errors import host_of, silence
from models.backends.public_adapter import is_public_ip, public_adapter
from models.backends.reply import Explanation
from models.clock import Deadline
from models.room import Intake
from tests.asking import sent_with
from tests.fakes import FakeClock

URL = "https://api.example/v1"


def service(clock: FakeClock, **parts: Any) -> Service:
    return Service(**{"name": "Painter", "base_url": URL, "clock": clock, "settings": "`base_url`", **parts})


def ask(clock: FakeClock, method: Any = "GET", seconds: Any = 500.0, **parts: Any) -> Any:
    given = {"attempt": "Painting", "deadline": Deadline.after(clock, seconds), **parts}
    return service(clock).request(method, "x", **given)


@responses.activate
@pytest.mark.parametrize(
    ("left", "read", "timeout"),
    [
        (500.0, None, (10.0, 120.0)),
        (500.0, 30.0, (10.0, 30.0)),
        (20.0, None, (10.0, 21.0)),
        (5.0, None, (4.5, 6.0)),
        (20.0, 20.5, (10.0, 20.5)),
        (20.0, 0.0, (10.0, 0.1)),
    ],
)
def test_a_request_waits_for_its_connection_and_its_reply(
    clock: FakeClock, left: float, read: float | None, timeout: tuple[float, float]
) -> None:
    responses.get(f"{URL}/x", json={})
    ask(clock, seconds=left, **({} if read is None else {"read_timeout": read}))
    assert sent_with(responses.calls[0], "timeout") == pytest.approx(timeout)
    assert sent_with(responses.calls[0], "stream") is True
    assert sent_with(responses.calls[0], "verify")


@responses.activate
@pytest.mark.parametrize(
    ("method", "question", "sent"), [("GET", False, 3), ("HEAD", False, 3), ("POST", False, 1), ("POST", True, 3)]
)
@pytest.mark.parametrize("status", [500, 502, 503, 504, 524])
def test_what_changes_nothing_is_repeated_after_one_and_four_seconds(
    clock: FakeClock, method: str, question: bool, sent: int, status: int
) -> None:
    responses.add(method, f"{URL}/x", status=status)
    with pytest.raises(ServerUnavailable) as failure:
        ask(clock, method, question=question)
    assert len(responses.calls) == sent
    assert clock.pauses == [1.0, 4.0][: sent - 1]
    assert failure.value.transient
    assert failure.value.in_flight is (status in {504, 524})
    assert not failure.value.undone


@responses.activate
@pytest.mark.parametrize(("status", "sent"), [(429, 2), (503, 2), (500, 1), (502, 1), (404, 1)])
def test_a_named_wait_promises_that_nothing_was_done(clock: FakeClock, status: int, sent: int) -> None:
    responses.post(f"{URL}/x", status=status, headers={"Retry-After": "0.5"})
    responses.post(f"{URL}/x", json={})
    if sent == 1:
        with pytest.raises((ServerUnavailable, BadRequest)):
            ask(clock, "POST")
    else:
        ask(clock, "POST")
    assert len(responses.calls) == sent
    assert clock.pauses == [1.0] * (sent - 1), "at least a second"


@responses.activate
@pytest.mark.parametrize(("named", "waits"), [("59", [59.0]), ("60", []), ("61", [])])
def test_a_wait_ends_before_the_deadline(clock: FakeClock, named: str, waits: list[float]) -> None:
    responses.get(f"{URL}/x", status=503, headers={"Retry-After": named})
    responses.get(f"{URL}/x", json={})
    if waits:
        ask(clock, seconds=60.0)
    else:
        with pytest.raises(ServerUnavailable):
            ask(clock, seconds=60.0)
    assert clock.pauses == waits


@responses.activate
@pytest.mark.parametrize(
    ("status", "accepted"), [(199, False), (200, True), (299, True), (300, False), (404, True), (405, False)]
)
def test_success_or_an_accepted_status_is_a_reply(clock: FakeClock, status: int, accepted: bool) -> None:
    responses.get(f"{URL}/x", status=status)
    if accepted:
        assert ask(clock, accept=(404,)).status == status
    else:
        with pytest.raises((ServerUnavailable, BadRequest)):
            ask(clock, accept=(404,))


@responses.activate
@pytest.mark.parametrize("status", [300, 302, 399])
def test_a_redirect_names_its_host_alone(clock: FakeClock, status: int) -> None:
    responses.get(f"{URL}/x", status=status, headers={"Location": "https://login.example/in?ticket=secret"})
    with pytest.raises(ServerUnavailable) as refusal:
        ask(clock)
    assert str(refusal.value) == (
        f"Painting failed: HTTP {status}, the address redirects to login.example. "
        "Enter the final address in `base_url`; the plugin cannot pass a login page."
    )
    responses.replace(responses.GET, f"{URL}/x", status=status)
    with pytest.raises(ServerUnavailable, match="redirects to another page"):
        ask(clock)


@responses.activate
@pytest.mark.parametrize(("size", "limit", "fits"), [(10, 10, True), (11, 10, False), (0, 0, True)])
def test_a_reply_has_at_most_the_allowed_bytes(clock: FakeClock, size: int, limit: int, fits: bool) -> None:
    responses.get(f"{URL}/x", body=bytes(size))
    if fits:
        assert len(ask(clock, max_bytes=limit).body) == size
    else:
        with pytest.raises(ServerUnavailable, match="the reply is larger than 0 MiB"):
            ask(clock, max_bytes=limit)
    assert MAX_REPLY_BYTES == 201_326_592, "ten images of four megapixels as base64"


def test_after_the_deadline_nothing_is_asked(clock: FakeClock) -> None:
    with pytest.raises(TimedOutError) as late:
        ask(clock, seconds=0.0)
    assert str(late.value) == str(timed_out("Painting"))
    assert str(late.value) == (
        "Painting failed: the time limit of the job has passed. Raise `timeout`, or request fewer or smaller images."
    )
    assert not late.value.transient


@pytest.mark.parametrize(
    ("idempotent", "said"),
    [
        (True, "Painting failed: api.example did not reply in time. Check that Painter is running at the address in `base_url`."),
        (
            False,
            "Painting failed: the time limit of the job has passed: api.example accepted the request and did not reply in "
            "time; it may still have been processed. Raise `timeout`, or check Painter before trying again.",
        ),
    ],
)  # fmt: skip
def test_a_late_reply_is_told(clock: FakeClock, idempotent: bool, said: str) -> None:
    late = service(clock).late("Painting", idempotent=idempotent)
    assert (str(late), late.transient) == (said, idempotent)
    assert service(clock).late("Painting").transient


@responses.activate
@pytest.mark.parametrize(
    ("error", "method", "said", "facts"),
    [
        (requests.ConnectTimeout(), "POST", "api.example did not accept a connection in time", (True, True, False)),
        (requests.ReadTimeout(), "POST", "api.example accepted the request and did not reply in time", (True, False, True)),
        (requests.ReadTimeout(), "GET", "api.example did not reply in time", (True, False, False)),
        (requests.ConnectionError("x"), "POST", "the connection to api.example was lost; the request may still", (True, False, False)),
        (requests.ConnectionError("x"), "GET", "the connection to api.example was lost", (True, False, False)),
        (requests.exceptions.ProxyError("x"), "GET", "the proxy on the way to api.example did not forward", (True, False, False)),
        (requests.exceptions.SSLError("x"), "GET", "no secure connection to api.example could be made", (False, True, False)),
        (requests.exceptions.InvalidURL("x"), "GET", "the address 'https://api.example/v1' is not a URL", (False, True, False)),
    ],
)  # fmt: skip
def test_what_went_wrong_on_the_network_is_told(
    clock: FakeClock, error: Exception, method: str, said: str, facts: tuple[bool, bool, bool]
) -> None:
    responses.add(method, f"{URL}/x", body=error)
    with pytest.raises(ConnectionFailed) as failure:
        ask(clock, method, retries=REPEATED)
    assert failure.value.said.startswith(said)
    assert (failure.value.transient, failure.value.undone, failure.value.in_flight) == facts


@responses.activate
@pytest.mark.parametrize(
    ("error", "method", "sent"),
    [
        (requests.ConnectTimeout(), "POST", 3),
        (requests.ReadTimeout(), "POST", 1),
        (requests.ReadTimeout(), "GET", 3),
        (requests.exceptions.SSLError("x"), "GET", 1),
        (requests.exceptions.InvalidURL("x"), "GET", 1),
    ],
)
def test_only_what_may_help_is_tried_again(clock: FakeClock, error: Exception, method: str, sent: int) -> None:
    responses.add(method, f"{URL}/x", body=error)
    with pytest.raises(ConnectionFailed):
        ask(clock, method)
    assert len(responses.calls) == sent


@pytest.mark.parametrize(
    ("value", "sent"),
    [("abc", True), ("ünï", True), (b"abc", True), (" abc", False), ("a\nb", False), ("a\x00", False), ("a“b", False), ("ā", False), ("", True)],
)  # fmt: skip
def test_a_header_is_plain_text(value: str | bytes, sent: bool) -> None:
    assert _sendable(value) is sent


def test_a_key_that_cannot_be_sent_is_refused(clock: FakeClock) -> None:
    broken = service(clock, headers={"Authorization": "Bearer a\nb"})
    with pytest.raises(AuthorizationFailed, match="a line break or a curly quote"):
        broken.request("GET", "x", attempt="Painting", deadline=Deadline.after(clock, 5))


@pytest.mark.parametrize(
    ("address", "full"),
    [
        ("", ""),
        ("  ", ""),
        ("https://a.example#x", "https://a.example"),
        ("HTTP://a.example", "HTTP://a.example"),
        ("localhost:8188", "http://localhost:8188"),
        ("host.docker.internal", "http://host.docker.internal"),
        ("gpu", "http://gpu"),
        ("gpu:8188/x", "http://gpu:8188/x"),
        ("192.168.1.5:8188", "http://192.168.1.5:8188"),
        ("[::1]:8188", "http://[::1]:8188"),
        ("box.local/x", "http://box.local/x"),
        ("box.lan", "http://box.lan"),
        ("box.internal", "http://box.internal"),
        ("user:pw@gpu:8188", "http://user:pw@gpu:8188"),
        ("api.example", "https://api.example"),
        ("api.example:8443/v1", "https://api.example:8443/v1"),
    ],
)
def test_an_address_without_a_scheme_gets_one(address: str, full: str) -> None:
    assert with_scheme(address) == full


def test_nulls_are_left_out_and_paths_joined() -> None:
    assert without_nulls({"a": None, "b": 0, "c": "", "d": False}) == {"b": 0, "c": "", "d": False}
    assert join_url("https://a.example/x/", "/y") == join_url("https://a.example/x", "y") == "https://a.example/x/y"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://u:p@a.example:8/x", "a.example:8"),
        ("a.example", "a.example"),
        ("u:p@[x", "[x"),
        ("http://[", "http://["),
    ],
)
def test_a_host_is_shown_without_its_login(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("billable", "words"), [(True, "may still have been processed"), (False, "did not reply in time")]
)
def test_a_silence_is_told(billable: bool, words: str) -> None:
    assert words in silence("a.example", billable=billable)[0]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.1.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("2606:4700::1111", True),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("fe80::1%eth0", False),
        ("ff0e::1", False),
    ],
)
def test_a_public_address_is_one_of_the_internet(address: str, public: bool) -> None:
    assert is_public_ip(address) is public


def test_all_requests_share_their_connections_and_no_cookies() -> None:
    for scheme in ("http", "https"):
        adapter = _session().get_adapter(f"{scheme}://a.example")
        assert isinstance(adapter, requests.adapters.HTTPAdapter)
        assert adapter is _session().get_adapter("https://b.example")
        pool = adapter.poolmanager.connection_pool_kw
        assert pool["maxsize"] == 256
    assert _session().cookies.get_policy().is_not_allowed("a.example")  # type: ignore[attr-defined]


def explained(**parts: Any) -> Any:
    return lambda _: Explanation(**{"error": ServerUnavailable, "said": "no", **parts})


@responses.activate
def test_a_promised_refusal_without_a_wait_has_the_planned_ones(clock: FakeClock) -> None:
    responses.post(f"{URL}/x", status=500)
    unbilled = service(clock, explain=explained(retry_after=0.0))
    with pytest.raises(ServerUnavailable) as failure:
        unbilled.request("POST", "x", attempt="Painting", deadline=Deadline.after(clock, 60))
    assert (clock.pauses, failure.value.undone) == ([1.0, 4.0], True)


@responses.activate
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_is_sent_once_obeys_no_named_wait(clock: FakeClock, method: str) -> None:
    responses.add(method, f"{URL}/x", status=503, headers={"Retry-After": "3"})
    with pytest.raises(ServerUnavailable):
        ask(clock, method, retries=ONCE)
    assert (len(responses.calls), clock.pauses) == (1, [])


@responses.activate
def test_the_start_of_a_long_refusal_is_read(clock: FakeClock) -> None:
    responses.get(f"{URL}/x", status=400)
    asked = service(clock, explain=explained(said=" " * 19_999 + "xy"))
    with pytest.raises(ServerUnavailable) as failure:
        asked.request("GET", "x", attempt="Painting", deadline=Deadline.after(clock, 60), retries=ONCE)
    assert (failure.value.said, failure.value.next_step) == ("x", ServerUnavailable.advice)


@responses.activate
def test_a_long_reply_is_read_in_pieces(clock: FakeClock) -> None:
    body = bytes(range(256)) * 1000
    responses.get(f"{URL}/x", body=body)
    assert ask(clock, max_bytes=len(body)).body == body
    with pytest.raises(TooLargeError):
        ask(clock, max_bytes=len(body) - 1)


@responses.activate
@pytest.mark.parametrize(
    ("said", "most", "length"),
    [("100000", 10**6, 100_000), ("100000", 5000, 5000), ("-5", 5000, 0), ("many", 5000, 0), (None, 5000, 0)],
)
def test_room_is_taken_for_the_length_that_a_reply_names(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, said: str | None, most: int, length: int
) -> None:
    taken: list[int] = []

    class Noting(Intake):
        def __init__(self, expected: int) -> None:
            taken.append(expected)
            super().__init__(0)

        def received(self, size: int) -> None:
            taken.append(size)

    monkeypatch.setattr("models.backends.http.Intake", Noting)
    monkeypatch.setattr("models.backends.http.MAX_REPLY_BYTES", most)
    body = bytes(100_000)
    responses.get(
        f"{URL}/x",
        body=body,
        headers={} if said is None else {"Content-Length": said},
        auto_calculate_content_length=False,
    )
    ask(clock, brings_result=True)
    assert (taken[0], taken[-1]) == (length, len(body))
    taken.clear()
    ask(clock)
    assert taken == []


@responses.activate
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (requests.ConnectionError(), "the connection to api.example was lost"),
        (requests.exceptions.SSLError(), "no secure connection to api.example could be made"),
        (
            requests.ConnectionError(ReadTimeoutError(HTTPConnectionPool("api.example"), "", "silent")),
            "api.example did not reply in time",
        ),
        (
            requests.ConnectionError(
                MaxRetryError(
                    HTTPConnectionPool("api.example"), "", NewConnectionError(HTTPConnection("api.example"), "no")
                )
            ),
            "api.example could not be reached",
        ),
    ],
)
def test_an_error_of_the_network_is_told_with_and_without_its_reason(
    clock: FakeClock, error: Exception, said: str
) -> None:
    responses.get(f"{URL}/x", body=error)
    with pytest.raises(ConnectionFailed) as failure:
        ask(clock, retries=ONCE)
    assert failure.value.said == said


@pytest.mark.parametrize(("public", "hosts", "each"), [(False, 64, 256), (True, 16, 32)])
def test_the_connections_to_the_last_hosts_are_kept(public: bool, hosts: int, each: int) -> None:
    adapter: Any = public_adapter.__wrapped__() if public else _session.__wrapped__().get_adapter("https://a.example")
    pools = adapter.poolmanager
    first, *others = (pools.connection_from_host(f"{number}.example") for number in range(hosts))
    assert pools.connection_pool_kw["maxsize"] == each
    assert pools.connection_from_host("0.example") is first
    pools.connection_from_host("one-more.example")
    assert pools.connection_from_host("1.example") is not others[0]

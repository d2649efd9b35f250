"""The HTTP client: timeouts, retries, size limits, and that a key is sent only to its own service."""

import base64
import gzip
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import gevent
import pytest

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
)
from models.backends.http import (
    ONCE,
    Retries,
    Service,
    TimedOutError,
    basic_auth,
    bearer_auth,
    join_url,
    split_userinfo,
)
from models.backends.refusals import RefusalTable
from models.backends.reply import Explanation, Reply
from models.clock import Deadline
from models.settings import Access
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.faulty import SELF_SIGNED, FaultyProxy, running
from tests.servers.scripted import Act, Script, free_port, hang_up, raw, say, scripted_server, silence

HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"image": "'
CHUNKED_HALF = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


def service(base_url: str, clock: FakeClock, **changes: object) -> Service:
    known = {
        "name": "Painter",
        "base_url": base_url,
        "clock": clock,
        "settings": "`painter_base_url`",
        "headers": bearer_auth(MARKER_KEY),
        "secrets": (MARKER_KEY,),
    }
    return Service(**{**known, **changes})  # type: ignore[arg-type]


def ask(asked: Service, method: str = "POST", *, seconds: float = 300.0, **more: object) -> Reply:
    deadline = Deadline.after(asked.clock, seconds)
    return asked.request(method, "/paint", attempt="Painting", deadline=deadline, **more)  # type: ignore[arg-type]


def failed(asked: Service, method: str = "POST", **more: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        ask(asked, method, **more)  # type: ignore[arg-type]
    error = caught.value
    assert str(error).startswith("Painting failed")
    assert MARKER_KEY not in f"{error} {error!r}"
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


def unbilled(reply: Reply) -> Explanation:
    """The explanation of a service that guarantees that a refusal is not billed."""
    return Explanation(error=RateLimited, said=reply.text, next_step="Wait", retry_after=5.0)


# Retries


@pytest.mark.parametrize(
    "act",
    [hang_up, raw(HALF), raw(CHUNKED_HALF), silence, say(500), say(502), say(503), say(504), say(429)],
    ids=["closed", "half a body", "half a chunked body", "silence", "500", "502", "503", "504", "429"],
)
def test_a_post_that_may_have_been_executed_is_not_retried(server: Script, clock: FakeClock, act: Act) -> None:
    server.then(act)
    failed(service(server.url, clock), read_timeout=0.2)
    assert len(server.seen) == 1
    assert clock.pauses == []


@pytest.mark.parametrize(
    "act",
    [hang_up, raw(HALF), silence, say(500), say(503), say(429)],
    ids=["closed", "half a body", "silence", "500", "503", "429"],
)
def test_a_get_is_retried_after_a_transient_error(server: Script, clock: FakeClock, act: Act) -> None:
    server.then(act, act)
    assert ask(service(server.url, clock), "GET", read_timeout=0.2).ok
    assert len(server.seen) == 3
    assert clock.pauses == [1.0, 4.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_permanent_refusal_is_not_retried(server: Script, clock: FakeClock, status: int) -> None:
    server.then(say(status))
    failed(service(server.url, clock), "GET")
    assert len(server.seen) == 1


def test_a_refused_connection_is_retried_even_for_a_post(clock: FakeClock) -> None:
    error = failed(service(f"http://127.0.0.1:{free_port()}", clock))
    assert type(error) is ConnectionFailed
    assert clock.pauses == [1.0, 4.0]
    assert "could not be reached" in error.said
    assert "`painter_base_url`" in error.next_step
    assert error.transient


def test_a_post_is_retried_if_the_service_did_not_execute_it(server: Script, clock: FakeClock) -> None:
    server.then(say(429), say(500))
    assert ask(service(server.url, clock, explain=unbilled), json={"prompt": "x"}).ok
    assert clock.pauses == [5.0, 5.0]
    assert {seen.body for seen in server.seen} == {b'{"prompt": "x"}'}


@pytest.mark.parametrize(
    ("act", "explain", "undone"),
    [(hang_up, None, False), (silence, None, False), (say(500), None, False), (say(429), unbilled, True)],
    ids=["closed", "silence", "500", "a promised refusal"],
)
def test_only_a_request_that_surely_did_not_arrive_may_go_to_another_server(
    server: Script, clock: FakeClock, act: Act, explain: object, undone: bool
) -> None:
    server.then(act, act, act)
    asked = service(server.url, clock, **({"explain": explain} if explain else {}))
    assert failed(asked, read_timeout=0.2).undone is undone
    assert failed(service(f"http://127.0.0.1:{free_port()}", clock)).undone


def test_a_refused_attempt_before_a_silent_one_proves_nothing(server: Script, clock: FakeClock) -> None:
    server.then(say(429), silence)
    error = failed(service(server.url, clock, explain=unbilled), seconds=5.3)
    assert type(error) is RateLimited, "the earlier trouble is told"
    assert not error.undone


def test_a_form_is_complete_in_a_retry(server: Script, clock: FakeClock) -> None:
    server.then(say(429))
    ask(service(server.url, clock, explain=unbilled), form={"image": ("image", b"\x89PNG", "image/png")})
    first, second = server.seen
    assert first.body == second.body != b""


def test_retry_after_overrides_the_retry_plan(server: Script, clock: FakeClock) -> None:
    server.then(say(429, Retry_After="17"))
    ask(service(server.url, clock, explain=unbilled))
    assert clock.pauses == [17.0]


def test_a_named_wait_is_obeyed_as_long_as_the_deadline_allows(server: Script, clock: FakeClock) -> None:
    server.then(*[say(429, Retry_After="7")] * 20)
    failure = failed(service(server.url, clock, explain=unbilled), seconds=60.0)
    assert isinstance(failure, RateLimited)
    assert clock.pauses == [7.0] * 8


@pytest.mark.parametrize("status", [429, 503])
def test_a_status_with_retry_after_promises_that_nothing_was_done(
    server: Script, clock: FakeClock, status: int
) -> None:
    server.then(say(status, Retry_After="3"))
    assert ask(service(server.url, clock), "POST", json={"prompt": "x"}).ok
    assert clock.pauses == [3.0]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_account_without_credit_is_told_at_once(server: Script, clock: FakeClock, method: str) -> None:
    server.then(say(429, '{"error": {"message": "You exceeded your current quota"}}', Retry_After="3"))
    explained = service(server.url, clock, explain=lambda reply: RefusalTable().explain(reply, Access(prefix="x")))
    assert not failed(explained, method).transient
    assert clock.pauses == []


@pytest.mark.parametrize(
    ("act", "in_flight"), [(silence, True), (say(504), True), (hang_up, False), (say(502), False), (say(503), False)]
)
def test_only_a_request_without_an_answer_may_still_be_carried_out(
    server: Script, clock: FakeClock, act: Act, in_flight: bool
) -> None:
    server.then(act)
    assert failed(service(server.url, clock), read_timeout=0.2).in_flight is in_flight


def test_a_post_that_changes_nothing_is_a_question(server: Script, clock: FakeClock) -> None:
    server.then(hang_up, say(503))
    assert ask(service(server.url, clock), "POST", question=True).ok
    server.then(silence)
    assert "may still" not in failed(service(server.url, clock), question=True, retries=ONCE, seconds=0.2).said


def test_an_invalid_retry_after_is_ignored(server: Script, clock: FakeClock) -> None:
    server.then(say(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"))
    ask(service(server.url, clock, explain=unbilled))
    assert clock.pauses == [5.0]


def test_a_retry_after_above_the_maximum_ends_the_attempts(server: Script, clock: FakeClock) -> None:
    server.then(say(429, Retry_After="3600"))
    assert isinstance(failed(service(server.url, clock, explain=unbilled)), RateLimited)
    assert clock.pauses == []


def test_a_pause_never_exceeds_the_deadline(server: Script, clock: FakeClock) -> None:
    server.then(say(429, Retry_After="20"))
    failed(service(server.url, clock, explain=unbilled), seconds=15.0)
    assert clock.pauses == []


def test_attempts_end_with_the_retry_plan(server: Script, clock: FakeClock) -> None:
    server.then(*[say(503)] * 9)
    error = failed(service(server.url, clock), "GET", retries=Retries(delays=(2.0, 8.0)))
    assert isinstance(error, ServerUnavailable)
    assert error.transient
    assert clock.pauses == [2.0, 8.0]


def test_the_plan_once_sends_one_request(server: Script, clock: FakeClock) -> None:
    server.then(say(503))
    failed(service(server.url, clock), "GET", retries=ONCE)
    assert len(server.seen) == 1


def test_an_accepted_status_is_a_reply(server: Script, clock: FakeClock) -> None:
    server.then(say(404, b"none"))
    assert ask(service(server.url, clock), "GET", accept=(404,)).text == "none"


# Waiting


def test_after_the_deadline_nothing_is_sent(server: Script, clock: FakeClock) -> None:
    error = failed(service(server.url, clock), seconds=0.0)
    assert isinstance(error, ConnectionFailed)
    assert "timeout" in error.next_step
    assert server.seen == []


def test_a_read_timeout_says_that_the_request_may_be_accepted(server: Script, clock: FakeClock) -> None:
    server.then(silence)
    error = failed(service(server.url, clock), read_timeout=0.1)
    assert isinstance(error, ConnectionFailed)
    assert "may still have been processed" in error.said


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 100],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 100],
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100],
    ],
    ids=["body", "chunks", "headers"],
)
def test_a_slow_response_body_ends_at_the_deadline(server: Script, clock: FakeClock, pieces: list[bytes]) -> None:
    server.then(raw(*pieces, pause=0.05))
    error = failed(service(server.url, clock), seconds=0.3)
    assert isinstance(error, ConnectionFailed)
    assert "time limit of the job has passed" in error.said


def test_a_question_that_is_not_answered_names_the_address_and_no_longer_timeout(
    server: Script, clock: FakeClock
) -> None:
    server.then(silence)
    error = failed(service(server.url, clock), "GET", seconds=0.3)
    assert isinstance(error, TimedOutError)
    assert error.transient
    assert f"{server.url.removeprefix('http://')} did not reply in time" in error.said
    assert "`painter_base_url`" in error.next_step
    assert "`timeout`" not in str(error)


def test_a_job_that_is_not_answered_before_the_deadline_may_have_been_carried_out(
    server: Script, clock: FakeClock
) -> None:
    server.then(silence)
    error = failed(service(server.url, clock), seconds=0.3)
    assert isinstance(error, TimedOutError)
    assert not error.transient
    assert f"{server.url.removeprefix('http://')} accepted the request" in error.said
    assert "may still have been processed" in error.said
    assert "Raise `timeout`" in error.next_step


def test_an_answer_that_is_late_before_the_deadline_is_not_helped_by_more_time(
    server: Script, clock: FakeClock
) -> None:
    server.then(silence)
    assert "`timeout`" not in str(failed(service(server.url, clock), read_timeout=0.1))


def test_the_trouble_before_the_deadline_is_told(server: Script, clock: FakeClock) -> None:
    server.then(hang_up, silence)
    error = failed(service(server.url, clock), "GET", seconds=1.3)
    assert "was lost" in error.said


def test_an_aborted_connection_is_not_reused(server: Script, clock: FakeClock) -> None:
    late = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"late"'
    server.then(raw(b"", late, pause=0.3))
    failed(service(server.url, clock), read_timeout=0.1)
    assert ask(service(server.url, clock)).text == "{}"


def test_a_connection_is_reused(server: Script, clock: FakeClock) -> None:
    for _ in range(3):
        ask(service(server.url, clock))
    assert len({seen.peer for seen in server.seen}) == 1


def test_a_closed_connection_is_not_reused_for_a_post(server: Script, clock: FakeClock) -> None:
    server.then(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    ask(service(server.url, clock))
    gevent.sleep(0.05)  # the end of the connection is on its way
    assert ask(service(server.url, clock)).ok
    assert len({seen.peer for seen in server.seen}) == 2


def test_many_requests_wait_concurrently(server: Script, clock: FakeClock) -> None:
    crowd = 30
    together = threading.Barrier(crowd, timeout=30)

    def answer_when_all_are_here(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        say()(handler)

    server.then(*[answer_when_all_are_here] * crowd)
    waiting = [gevent.spawn(ask, service(server.url, clock)) for _ in range(crowd)]
    assert all(each.get().ok for each in waiting)


# Sizes and encodings


def test_a_reply_over_the_size_limit_is_an_error(server: Script, clock: FakeClock) -> None:
    server.then(say(200, b"x" * 5000))
    error = failed(service(server.url, clock), max_bytes=4000)
    assert isinstance(error, ServerUnavailable)
    assert "larger than" in error.said


def test_the_size_limit_counts_decompressed_bytes(server: Script, clock: FakeClock) -> None:
    bomb = gzip.compress(bytes(3_000_000))
    assert len(bomb) < 10_000
    server.then(say(200, bomb, Content_Encoding="gzip"))
    assert "larger than 1 MiB" in failed(service(server.url, clock), max_bytes=1024**2).said


def test_the_size_limit_applies_to_a_redirect(server: Script, clock: FakeClock) -> None:
    server.then(say(302, b"x" * 5000, Location="/elsewhere"))
    assert "larger than" in failed(service(server.url, clock), max_bytes=4000).said


def test_gzip_is_decompressed(server: Script, clock: FakeClock) -> None:
    server.then(say(200, gzip.compress(b'{"a": 1}'), Content_Encoding="gzip"))
    assert ask(service(server.url, clock)).json() == {"a": 1}


def test_broken_gzip_is_a_connection_error(server: Script, clock: FakeClock) -> None:
    server.then(say(200, b"no gzip", Content_Encoding="gzip"))
    assert isinstance(failed(service(server.url, clock)), ConnectionFailed)


# Credentials


def test_a_redirect_is_reported_and_not_followed(server: Script, clock: FakeClock) -> None:
    with scripted_server() as other:
        server.then(say(302, Location=f"{other.url}/login?ticket={MARKER_KEY}"))
        error = failed(service(server.url, clock), "GET")
        assert other.seen == []
    assert isinstance(error, ServerUnavailable)
    assert f"redirects to {other.url.removeprefix('http://')}" in error.said
    assert "ticket" not in str(error)
    assert "`painter_base_url`" in error.next_step


@pytest.mark.parametrize("location", ["", "/login", "http://[", "//"])
def test_a_redirect_to_any_text_is_reported(server: Script, clock: FakeClock, location: str) -> None:
    server.then(say(301, Location=location))
    assert "HTTP 301" in failed(service(server.url, clock)).said


def test_cookies_of_one_account_never_reach_another(server: Script, clock: FakeClock) -> None:
    server.then(say(200, Set_Cookie="session=one; Path=/"))
    ask(service(server.url, clock))
    ask(service(server.url, clock))
    assert all("cookie" not in seen.headers for seen in server.seen)


def test_netrc_is_not_used(server: Script, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    ask(service(server.url, clock))
    ask(service(server.url, clock, headers={}))
    assert server.seen[0].headers["authorization"] == f"Bearer {MARKER_KEY}"
    assert "authorization" not in server.seen[1].headers


def test_the_environments_proxy_is_used_and_named_on_failure(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    error = failed(service("http://painter.invalid", clock), retries=ONCE)
    assert isinstance(error, ConnectionFailed)
    assert "proxy" in str(error)


def test_a_login_in_the_address_is_never_sent_or_shown(server: Script, clock: FakeClock) -> None:
    address = server.url.replace("http://", f"http://someone:{MARKER_KEY}@")
    server.then(hang_up)
    failed(service(address, clock, headers={}, secrets=()))
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("http://h:80/p", ("http://h:80/p", "", "")),
        ("https://someone:p%40ss@h/p", ("https://h/p", "someone", "p@ss")),
        ("http://key@h", ("http://h", "key", "")),
        ("http://[bad", ("http://[bad", "", "")),
    ],
)
def test_a_login_is_split_from_its_address(address: str, parts: tuple[str, str, str]) -> None:
    assert split_userinfo(address) == parts


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h", "/v1/x", "http://h/v1/x"),
        ("http://h/", "v1/x", "http://h/v1/x"),
        ("http://h/proxy/painter/", "/v1/x", "http://h/proxy/painter/v1/x"),
        ("http://h", "//x", "http://h//x"),
    ],
)
def test_a_path_prefix_of_the_address_is_kept(base: str, path: str, url: str) -> None:
    assert join_url(base, path) == url


def test_the_path_prefix_is_sent(server: Script, clock: FakeClock) -> None:
    ask(service(f"{server.url}/mounted/here/", clock), params={"q": "a b"})
    assert server.seen[0].path in {"/mounted/here/paint?q=a+b", "/mounted/here/paint?q=a%20b"}


# Invalid form values


@pytest.mark.parametrize(
    "address",
    [
        "",
        "painter.example",
        "painter.example:7860",
        "ftp://painter.example",
        "http://",
        "http://[bad",
        "http://painter.example:99999999",
        f"http://{'a' * 70}.example",
        "http://.example",
        f"someone:{MARKER_KEY}@painter.example",
        f"http://someone:{MARKER_KEY}@[bad",
    ],
)
def test_an_invalid_url_names_its_field_and_is_not_retried(clock: FakeClock, address: str) -> None:
    error = failed(service(address, clock))
    assert isinstance(error, ConnectionFailed)
    assert "is not a URL" in error.said
    assert "`painter_base_url`" in error.next_step
    assert not error.transient
    assert clock.pauses == []


@pytest.mark.parametrize("key", ["sk-MARKER…51d2", "sk-MARKER\nX-Evil: 1", "sk-密钥", "sk-MARKER\xa0", "  sk-MARKER"])
def test_a_key_with_invalid_characters_is_an_authorization_error(server: Script, clock: FakeClock, key: str) -> None:
    error = failed(service(server.url, clock, headers={"Authorization": key}, secrets=(key,)))
    assert isinstance(error, AuthorizationFailed)
    assert "MARKER" not in str(error)
    assert server.seen == []


def test_https_to_an_http_server_is_explained_and_not_retried(server: Script, clock: FakeClock) -> None:
    error = failed(service(server.url.replace("http://", "https://"), clock), "GET")
    assert isinstance(error, ConnectionFailed)
    assert "secure connection" in error.said
    assert "http://" in error.next_step
    assert clock.pauses == []


def test_a_self_signed_certificate_says_how_to_trust_it(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(FaultyProxy(upstream="", stages={"any": ""}, stage="any", act=say()), SELF_SIGNED) as server:
        asked = service(server.url, clock)
        error = failed(asked, "GET")
        assert isinstance(error, ConnectionFailed)
        assert not error.transient
        assert "is not trusted (self-signed certificate)" in error.said
        assert "`painter_base_url`" in error.next_step
        assert clock.pauses == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(SELF_SIGNED))
        assert ask(asked, "GET").ok, "as the sentence advises"


# Redaction


@pytest.mark.parametrize(
    "quoted",
    [
        MARKER_KEY,
        f"Incorrect API key provided: {MARKER_KEY}",
        f"key {MARKER_KEY[:10]}…{MARKER_KEY[-10:]}",
        f"middle {MARKER_KEY[5:20]}",
        f"Authorization: Bearer {MARKER_KEY}",
    ],
)
@pytest.mark.parametrize("shape", ['{{"message": "{0}"}}', "{0}", '{{"detail": [{{"loc": ["a"], "msg": "{0}"}}]}}'])
def test_a_key_quoted_by_the_service_is_redacted(server: Script, clock: FakeClock, quoted: str, shape: str) -> None:
    server.then(say(401, shape.format(quoted)))
    error = failed(service(server.url, clock))
    assert isinstance(error, AuthorizationFailed)
    assert "[hidden]" in str(error)
    assert MARKER_KEY[:8] not in str(error)
    assert MARKER_KEY[6:16] not in str(error)


def test_a_quoted_basic_login_is_redacted(server: Script, clock: FakeClock) -> None:
    login = basic_auth("someone", MARKER_KEY)
    server.then(say(401, f'{{"message": "got {login["Authorization"]}"}}'))
    error = failed(service(server.url, clock, headers=login))
    assert login["Authorization"].removeprefix("Basic ") not in str(error)


def test_the_next_step_is_redacted_too(server: Script, clock: FakeClock) -> None:
    def careless(reply: Reply) -> Explanation:
        return Explanation(error=BadRequest, said="no", next_step=f"Check {MARKER_KEY}")

    server.then(say(400))
    assert failed(service(server.url, clock, explain=careless)).next_step == "Check [hidden]"


def test_an_html_page_is_not_quoted(server: Script, clock: FakeClock) -> None:
    server.then(say(502, "<html><body>Bad <b>gateway</b></body></html>", Content_Type="text/html"))
    assert failed(service(server.url, clock)).said == "HTTP 502"


def test_a_huge_error_body_becomes_a_short_sentence(server: Script, clock: FakeClock) -> None:
    server.then(say(500, "Traceback: " + "x" * 1_000_000, Content_Type="text/plain"))
    assert len(str(failed(service(server.url, clock)))) < 1000


# The wire


def test_text_parts_of_a_form_have_no_file_name(server: Script, clock: FakeClock) -> None:
    ask(service(server.url, clock), form={"prompt": "红", "image": ("image", b"\x89PNG", "image/png")})
    seen = server.seen[0]
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert re.search(rb'name="prompt"\r\n\r\n\xe7\xba\xa2\r\n', seen.body)
    assert b'name="image"; filename="image"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n' in seen.body


def test_a_json_body_has_its_content_type(server: Script, clock: FakeClock) -> None:
    ask(service(server.url, clock), json={"a": 1})
    assert server.seen[0].headers["content-type"] == "application/json"


def test_every_request_has_a_user_agent(server: Script, clock: FakeClock) -> None:
    ask(service(server.url, clock), headers={"Accept": "application/json"})
    headers = server.seen[0].headers
    assert headers["user-agent"].startswith("dify-image-generation/")
    assert headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (401, AuthorizationFailed),
        (402, RateLimited),
        (403, AuthorizationFailed),
        (404, BadRequest),
        (407, AuthorizationFailed),
        (408, ConnectionFailed),
        (413, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (500, ServerUnavailable),
        (504, ServerUnavailable),
    ],
)
def test_a_status_has_one_class_and_always_a_next_step(
    server: Script, clock: FakeClock, status: int, error: type[ImageError]
) -> None:
    server.then(say(status))
    caught = failed(service(server.url, clock))
    assert type(caught) is error
    assert caught.next_step


@pytest.mark.parametrize(
    ("username", "password", "header"),
    [("", "", None), ("u", "", "u:"), ("", "p", ":p"), ("ü", "p", "ü:p")],
)
def test_a_login_may_lack_its_name_or_its_password(username: str, password: str, header: str | None) -> None:
    sent = basic_auth(username, password)
    assert sent == ({"Authorization": f"Basic {base64.b64encode(header.encode()).decode()}"} if header else {})

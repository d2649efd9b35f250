"""The wait for a job's end: sockets that open, drop, stay silent or are forbidden, on a simulated clock."""

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
import pytest
import websocket
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from models.backends.comfyui.events import (
    UNKNOWN,
    Event,
    EventSocket,
    EventStream,
    JobProgress,
    NoSocketError,
    open_socket,
    read_event,
)
from models.backends.http import Service
from models.clock import Deadline
from tests.fakes import FakeClock

STATUS = Event(type="status")


@dataclass
class Wire(EventSocket):
    """A socket that says what a test gives it. An exception is raised, None is silence."""

    says: list[Any]
    clock: FakeClock
    closed: int = 0
    waits: list[float] = field(default_factory=list)

    def next(self, seconds: float) -> Event | None:
        self.waits.append(seconds)
        said = self.says.pop(0) if self.says else None
        if said is None:
            self.clock.time += seconds
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        self.closed += 1


def service(clock: FakeClock) -> Service:
    return Service(name="ComfyUI", base_url="http://comfy.test", clock=clock)


def wire(clock: FakeClock, *says: Any) -> Wire:
    return Wire(None, list(says), clock)  # type: ignore[arg-type]


def stream(clock: FakeClock, *openers: Callable[[], EventSocket] | EventSocket) -> tuple[EventStream, list[str]]:
    asked: list[str] = []
    left = list(openers)

    def opener(_: Service, client_id: str) -> EventSocket:
        asked.append(client_id)
        one = left.pop(0)
        return one() if callable(one) else one

    return EventStream(service(clock), "client", JobProgress(["job"]), opener), asked


def opened(events: EventStream) -> EventStream:
    events.open()
    events.settle()
    return events


def refuses(*, forbidden: bool) -> Callable[[], EventSocket]:
    def opener() -> EventSocket:
        raise NoSocketError(forbidden=forbidden)

    return opener


def test_an_open_socket_has_missed_nothing(clock: FakeClock) -> None:
    events, asked = stream(clock, wire(clock, STATUS))
    assert (events.connected, events.behind) == (False, True)
    opened(events)
    assert (events.connected, events.behind, asked) == (True, False, ["client"])
    events.open()
    assert asked == ["client"]


def test_a_socket_is_tried_again_after_five_seconds(clock: FakeClock) -> None:
    events, asked = stream(clock, refuses(forbidden=False), refuses(forbidden=False), wire(clock, STATUS))
    opened(events)
    assert (events.connected, events.behind) == (False, True)
    clock.time += 4.9
    opened(events)
    assert len(asked) == 1
    clock.time += 0.1
    opened(events)
    assert len(asked) == 2


def test_a_socket_that_opens_later_may_have_missed_something(clock: FakeClock) -> None:
    events, _ = stream(clock, wire(clock, STATUS))
    events.behind = False
    events.open()
    gevent.sleep(0)
    assert (events.connected, events.behind) == (True, True)


def test_a_forbidden_socket_is_left_alone_for_a_minute_by_all_jobs(clock: FakeClock) -> None:
    opened(stream(clock, refuses(forbidden=True))[0])
    clock.time += 59
    events, asked = stream(clock, wire(clock, STATUS))
    assert not opened(events).connected
    assert asked == []
    clock.time += 1.1
    assert opened(events).connected


def test_a_socket_without_a_first_message_is_blocked(clock: FakeClock) -> None:
    silent = wire(clock, None)
    events, _ = stream(clock, silent)
    assert not opened(events).connected
    assert (silent.waits, silent.closed) == ([2.0], 1)
    later, asked = stream(clock, wire(clock, STATUS))
    assert not opened(later).connected
    assert asked == []


def test_the_first_message_may_be_about_the_job(clock: FakeClock) -> None:
    events, _ = stream(clock, wire(clock, Event(type="execution_start", prompt_id="job")))
    assert opened(events).progress.started == {"job"}


def listen(events: EventStream, clock: FakeClock, silence: float = 3.0, until: float = 20.0) -> float:
    """How long it listened."""
    began = clock.now()
    events.listen(lambda: silence, Deadline.after(clock, until))
    return clock.now() - began


def end(node: str | None = None) -> Event:
    return Event(type="executing", prompt_id="job", node=node)


def test_events_are_recorded_until_the_job_is_over(clock: FakeClock) -> None:
    source = wire(clock, STATUS, Event(type="progress", prompt_id="job", value=1, max=4), end("3"), end())
    events, _ = stream(clock, source)
    assert listen(opened(events), clock) == 0.0
    assert (events.progress.over, events.progress.words) == (True, "running 3")


@pytest.mark.parametrize(("silence", "until", "heard"), [(3.0, 20.0, 3.0), (3.0, 2.0, 2.0)])
def test_a_silence_ends_the_listening(clock: FakeClock, silence: float, until: float, heard: float) -> None:
    events, _ = stream(clock, wire(clock, STATUS))
    assert listen(opened(events), clock, silence, until) == heard


@pytest.mark.parametrize(("job", "waits"), [("job", [3.0, 3.0]), ("other", [3.0, 2.0])])
def test_events_of_the_job_renew_the_patience_and_others_do_not(clock: FakeClock, job: str, waits: list[float]) -> None:
    class Slow(Wire):
        """A message takes a second."""

        def next(self, seconds: float) -> Event | None:
            said = super().next(seconds)
            clock.time += 1 if said else 0
            return said

    source = Slow(None, [STATUS], clock)  # type: ignore[arg-type]
    events, _ = stream(clock, source)
    opened(events)
    source.waits.clear()
    source.says = [Event(type="progress", prompt_id=job, value=1, max=4), None]
    assert listen(events, clock) == 1.0 + waits[-1]
    assert source.waits == waits


def test_a_lost_socket_ends_the_listening_at_once(clock: FakeClock) -> None:
    source = wire(clock, STATUS, end("3"), NoSocketError())
    events, _ = stream(clock, source)
    assert listen(opened(events), clock) == 0.0
    assert (events.connected, source.closed, events.progress.started) == (False, 1, set())


def test_without_a_socket_time_passes(clock: FakeClock) -> None:
    events, _ = stream(clock)
    assert listen(events, clock) == 3.0
    assert clock.pauses == [3.0]


def test_events_that_may_be_missing_are_asked_for_first(clock: FakeClock) -> None:
    events, _ = stream(clock, wire(clock, STATUS))
    opened(events)
    events.behind = True
    assert listen(events, clock) == 0.0


def test_a_closed_stream_is_closed_at_the_server(clock: FakeClock) -> None:
    source = wire(clock, STATUS)
    events, _ = stream(clock, source)
    opened(events).close()
    assert (events.connected, source.closed) == (False, 1)
    events.close()
    assert source.closed == 1


def test_a_stream_that_is_still_opening_is_given_up(clock: FakeClock) -> None:
    def slow() -> EventSocket:
        gevent.sleep(5)
        raise AssertionError

    events, _ = stream(clock, slow)
    events.open()
    gevent.sleep(0)
    events.close()
    gevent.sleep(0)
    assert events._opening is None


# --- messages ---


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"type": "status"}', STATUS),
        ('{"type": "progress", "data": {"prompt_id": "a", "value": 1, "max": 2}}', Event(type="progress", prompt_id="a", value=1, max=2)),
        ('{"type": "executing", "data": {"node": null}}', Event(type="executing")),
        ('{"type": "x", "data": "text"}', Event(type="x")),
        ('{"type": "x", "data": {"type": "y"}}', Event(type="x")),
        ("[]", UNKNOWN),
        ("{}", UNKNOWN),
        ("nonsense", UNKNOWN),
    ],
)  # fmt: skip
def test_a_message_is_read(text: str, event: Event) -> None:
    assert read_event(text) == event


def test_progress_is_told_when_its_words_change() -> None:
    told: list[str] = []
    progress = JobProgress(["a"], {"3": "Sampler"}, told.append)
    for event in (
        Event(type="progress", prompt_id="a", value=1, max=1),
        Event(type="progress", prompt_id="a", value=1, max=2),
        Event(type="progress", prompt_id="a", value=1, max=2),
        Event(type="executing", prompt_id="a", node="3"),
        Event(type="executing", prompt_id="a", node="9"),
        Event(type="executing", prompt_id="other", node="3"),
    ):
        progress.record(event)
    assert told == ["step 1/2", "running Sampler", "running 9"]
    assert progress.started == {"a"}


@pytest.mark.parametrize(
    ("kinds", "over"),
    [
        ([("a", None)], False),
        ([("a", None), ("b", None)], True),
        ([("a", "execution_error")], False),
        ([("a", "execution_error"), ("a", None)], True),
        ([("a", None), ("b", "execution_interrupted")], False),
    ],
)
def test_a_job_is_over_with_all_or_with_the_first_failure(kinds: list[tuple[str, str | None]], over: bool) -> None:
    progress = JobProgress(["a", "b"])
    for job, kind in kinds:
        progress.record(Event(type=kind or "executing", prompt_id=job))
    assert progress.over is over


# --- the connection ---


class Refuses:
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: dict[str, Any] = {}

    def __call__(self, url: str, **options: Any) -> Any:
        self.asked = {"url": url, **options}
        raise self.error


@pytest.mark.parametrize(
    ("error", "forbidden"),
    [
        (websocket.WebSocketTimeoutException(), True),
        (websocket.WebSocketBadStatusException("x %s %s", 403), True),
        (websocket.WebSocketBadStatusException("x %s %s", 302), True),
        (websocket.WebSocketBadStatusException("x %s %s", 499), True),
        (websocket.WebSocketBadStatusException("x %s %s", 500), False),
        (websocket.WebSocketBadStatusException("x %s %s", 502), False),
        (websocket.WebSocketConnectionClosedException(), False),
        (websocket.WebSocketAddressException(), False),
        (websocket.WebSocketProxyException(), False),
        (OSError(), False),
        (ValueError(), False),
        (websocket.WebSocketException("redirect limit exceeded"), True),
        (websocket.WebSocketProtocolException(), True),
    ],
)
def test_what_answers_without_a_socket_is_not_tried_again(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, error: Exception, forbidden: bool
) -> None:
    refusing = Refuses(error)
    monkeypatch.setattr(websocket, "create_connection", refusing)
    with pytest.raises(NoSocketError) as none:
        open_socket(service(clock), "a b")
    assert none.value.forbidden is forbidden
    assert refusing.asked["url"] == "ws://comfy.test/ws?clientId=a+b"
    assert (refusing.asked["timeout"], refusing.asked["redirect_limit"], refusing.asked["suppress_origin"]) == (
        5.0,
        0,
        True,
    )


@pytest.mark.parametrize(("own", "used"), [("/etc/own.pem", "/etc/own.pem"), ("", DEFAULT_CA_BUNDLE_PATH)])
def test_a_socket_trusts_the_certificates_of_the_http_requests(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, own: str, used: str
) -> None:
    refusing = Refuses(OSError())
    monkeypatch.setattr(websocket, "create_connection", refusing)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", own)
    with pytest.raises(NoSocketError):
        open_socket(service(clock), "a")
    assert refusing.asked["sslopt"] == {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": used}


class Handshake:
    """A connection as the library opens it."""

    def __init__(self, headers: dict[str, str] | None) -> None:
        self.headers = headers

    def __call__(self, *_: Any, **__: Any) -> "Handshake":
        return self

    def getheaders(self) -> dict[str, str] | None:
        return self.headers


@pytest.mark.parametrize(
    ("headers", "kept"),
    [(None, {"old": "1"}), ({}, {"old": "1"}), ({"set-cookie": "worker=2; Path=/"}, {"old": "1", "worker": "2"})],
)
def test_the_cookies_of_a_handshake_are_kept(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str] | None, kept: dict[str, str]
) -> None:
    monkeypatch.setattr(websocket, "create_connection", Handshake(headers))
    balanced = replace(service(clock), cookies={"old": "1"})
    open_socket(balanced, "a")
    assert balanced.cookies == kept


class Raw:
    """The library's socket."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.timeouts: list[float] = []

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def recv_data(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def close(self, timeout: float) -> None:
        self.timeouts.append(timeout)
        if isinstance(self.outcome, Exception):
            raise self.outcome


ABNF = websocket.ABNF


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        ((ABNF.OPCODE_TEXT, json.dumps({"type": "status"}).encode()), STATUS),
        ((ABNF.OPCODE_BINARY, b'{"type": "status"}'), UNKNOWN),
        (websocket.WebSocketTimeoutException(), None),
    ],
)
def test_a_socket_gives_events(outcome: Any, event: Event | None) -> None:
    raw = Raw(outcome)
    assert EventSocket(raw).next(3.0) == event  # type: ignore[arg-type]
    EventSocket(raw).next(0.0)  # type: ignore[arg-type]
    assert raw.timeouts == [3.0, 0.001]


@pytest.mark.parametrize(
    "outcome", [(ABNF.OPCODE_CLOSE, b""), websocket.WebSocketConnectionClosedException(), OSError()]
)
def test_a_socket_that_is_over_is_told(outcome: Any) -> None:
    with pytest.raises(NoSocketError) as over:
        EventSocket(Raw(outcome)).next(3.0)  # type: ignore[arg-type]
    assert not over.value.forbidden


@pytest.mark.parametrize("outcome", [None, OSError(), websocket.WebSocketException()])
def test_closing_a_socket_never_fails(outcome: Any) -> None:
    raw = Raw(outcome)
    EventSocket(raw).close()  # type: ignore[arg-type]
    assert raw.timeouts == [0.5]

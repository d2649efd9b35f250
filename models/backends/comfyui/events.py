"""The server's WebSocket: messages, the progress of a job, the connection, and the wait for a job's end.

Only the history decides that a job has ended. With a socket one poll at the end is enough; without one, or without
events, the job is polled at intervals, so that nothing depends on an event that may never arrive, and nothing waits for
a socket that may never open.

Reference: ComfyUI WebSocket messages (`server.py`, `main.py`, `execution.py`). Only `executing` without a node means
the end of a job: `execution_success` comes before the history has it, and `execution_error` can be a mere warning.
Events are sent only to the socket whose id the job was submitted with, and the first message is always a `status`. Two
sockets with one id block each other's events, so each job has its own id.
"""

import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode

import gevent
import websocket
from pydantic import BaseModel
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from websocket import _handshake

from models.backends.affinity import keep_from_header, with_cookies
from models.backends.base import Running
from models.backends.cache import ServerCache
from models.backends.comfyui.jobs import QUEUE_SECONDS, JobTracker
from models.backends.errors import ImageError
from models.backends.http import CLIENT_NAME, Service, join_url
from models.backends.outage import Outage
from models.backends.partial import Partial
from models.clock import Deadline
from models.version import VERSION

OPEN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 0.5
FIRST_MESSAGE_SECONDS = 2.0  # the server sends a status at once, so a longer silence means a blocked socket
REOPEN_SECONDS = 5.0  # seconds between attempts to get a lost socket back
SETTLE_SECONDS = 0.5  # for which a submission waits for its socket; one that opens later is used all the same
WORTH_SECONDS = 2.0  # a shorter wait, as of a check in polling, does without a socket
SILENCE_SECONDS = 1.0  # without a message: the job may have ended, as a socket can be dead without a sign

# The library keeps cookies with a domain for the whole process and would send those of one job with another one's.
_handshake.CookieJar.add = lambda _: None  # type: ignore[method-assign, assignment]

_NO_SOCKET = ServerCache[bool](seconds=60.0)  # servers that recently refused it


class Event(BaseModel):
    """One message. `prompt_id` is empty in messages to all clients; `value` and `max` count a node's steps."""

    type: str
    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    max: float = 0


UNKNOWN = Event(type="unknown")  # a preview image, or a message of an extension in a shape of its own


def read_event(text: str | bytes) -> Event:
    try:
        message = json.loads(text)
        data = message["data"] if isinstance(message.get("data"), dict) else {}
        return Event.model_validate({**data, "type": message["type"]})
    except (ValueError, AttributeError, KeyError):
        return UNKNOWN


@dataclass
class JobProgress:
    """The progress of the submissions `ids` of one job, from its events.

    `titles` are the nodes' names in messages; `report` is called with the words whenever they change.
    """

    ids: Sequence[str]
    titles: Mapping[str, str] = field(default_factory=dict)
    report: Callable[[str], None] = lambda _: None
    ended: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    words: str = ""

    def record(self, event: Event) -> None:
        if event.prompt_id not in self.ids:
            return
        self.started.add(event.prompt_id)
        match event.type:
            case "executing" if event.node is None:
                self.ended.add(event.prompt_id)
            case "executing":
                self._report(event, f"running {self.titles.get(event.node or '', event.node)}")
            case "progress" if event.max > 1:
                self._report(event, f"step {event.value:.0f}/{event.max:.0f}")
            case "execution_error" | "execution_interrupted":
                self.failed.add(event.prompt_id)

    @property
    def over(self) -> bool:
        return self.ended.issuperset(self.ids) or bool(self.ended & self.failed)

    def _report(self, event: Event, words: str) -> None:
        if len(self.ids) > 1:
            words = f"image {list(self.ids).index(event.prompt_id) + 1} of {len(self.ids)}, {words}"
        if words != self.words:
            self.words = words
            self.report(words)


class NoSocketError(Exception):
    """No socket, or it was lost. `forbidden`: it is refused or blocked, so it is not tried again."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__("no socket")


@dataclass(slots=True)
class EventSocket:
    _socket: websocket.WebSocket

    def next(self, seconds: float) -> Event | None:
        """The next event; None after `seconds` of silence. Raises NoSocketError when the connection is over."""
        try:
            self._socket.settimeout(max(0.001, seconds))
            opcode, data = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError):
            raise NoSocketError from None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise NoSocketError
        return read_event(data) if opcode == websocket.ABNF.OPCODE_TEXT else UNKNOWN

    def close(self) -> None:
        with suppress(websocket.WebSocketException, OSError):  # the connection is no longer needed
            self._socket.close(timeout=CLOSE_TIMEOUT)


type SocketOpener = Callable[[Service, str], EventSocket]


def open_socket(service: Service, client_id: str) -> EventSocket:
    """Connect with the same login and below the same path as the HTTP requests. Raises NoSocketError."""
    base_url = f"ws{service.base_url.removeprefix('http')}"  # http → ws, https → wss
    headers = {"User-Agent": f"{CLIENT_NAME}/{VERSION}", **with_cookies(service.headers, service.cookies)}
    try:
        opened = websocket.create_connection(
            f"{join_url(base_url, 'ws')}?{urlencode({'clientId': client_id})}",
            timeout=OPEN_TIMEOUT,
            header=[f"{name}: {value}" for name, value in headers.items()],
            # Proxies that rewrite Host and leave Origin would make the server's origin check fail.
            suppress_origin=True,
            redirect_limit=0,  # the login must not travel to another host
            sslopt={
                "cert_reqs": ssl.CERT_REQUIRED,
                "ca_certs": os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH,
            },
        )
    except websocket.WebSocketTimeoutException:
        # Probably a proxy that drops the handshake: another attempt would wait as long.
        raise NoSocketError(forbidden=True) from None
    except websocket.WebSocketBadStatusException as error:
        raise NoSocketError(forbidden=error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR) from None
    except _NOT_REACHED:
        raise NoSocketError from None
    except websocket.WebSocketException:  # something answered that is no WebSocket, such as a redirect to a login page
        raise NoSocketError(forbidden=True) from None
    keep_from_header((opened.getheaders() or {}).get("set-cookie", ""), service.cookies)
    return EventSocket(opened)


_NOT_REACHED = (
    websocket.WebSocketConnectionClosedException,
    websocket.WebSocketAddressException,
    websocket.WebSocketProxyException,
    OSError,
    ValueError,
)


@dataclass
class EventStream:
    """The events of one job, read into `progress`. Without a socket it lets time pass.

    `behind`: events may have been missed since the last poll of the job.
    """

    service: Service
    client_id: str
    progress: JobProgress
    opener: SocketOpener
    behind: bool = field(default=True, init=False)
    _socket: EventSocket | None = field(default=None, init=False)
    _opening: "gevent.Greenlet[[], None] | None" = field(default=None, init=False)
    _tried: float = field(default=0.0, init=False)

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def open(self) -> None:
        """Begin to open a socket, at most every REOPEN_SECONDS. Never raises: polling works as well."""
        recently = self.service.clock.now() - self._tried < REOPEN_SECONDS
        if self.connected or self._opening or recently or _NO_SOCKET.get(self.service):
            return
        self._tried = self.service.clock.now()
        self._opening = gevent.spawn(self._connect)

    def settle(self) -> None:
        """Wait a moment for the socket, before there is anything to miss."""
        if self._opening is not None:
            gevent.with_timeout(SETTLE_SECONDS, self._opening.join, timeout_value=None)
        self.behind = not self.connected

    def _connect(self) -> None:
        try:
            self._socket, self.behind = self._checked(self.opener(self.service, self.client_id)), True
        except NoSocketError as none:
            if none.forbidden:
                _NO_SOCKET.put(self.service, True)
        finally:
            self._opening = None

    def listen(self, max_silence: Callable[[], float], until: Deadline) -> None:
        """Record events until the job is over, none came for `max_silence()` seconds, some may have been missed, or
        `until` passes."""
        end = until.earlier(max_silence())
        while not self.progress.over and not end.passed:
            if self._socket is None:
                self.service.clock.sleep(end.remaining)
            elif self.behind:
                return
            elif self._receive(self._socket, end.remaining):
                end = until.earlier(max_silence())
            elif not self.connected:
                return  # the connection was lost and events may be missing: poll at once

    def close(self) -> None:
        """Close the socket: the server keeps one per client id, and the next one needs the id."""
        if self._opening is not None:
            self._opening.kill(block=False)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self, source: EventSocket, seconds: float) -> bool:
        try:
            event = source.next(seconds)
        except NoSocketError:
            self.close()
            self.progress.started.clear()  # the server may have restarted and lost the job
            return False
        if event is None:
            return False
        self.progress.record(event)
        return event.prompt_id in self.progress.ids

    def _checked(self, source: EventSocket) -> EventSocket:
        first = source.next(FIRST_MESSAGE_SECONDS)
        if first is None:
            source.close()
            raise NoSocketError(forbidden=True)
        self.progress.record(first)  # usually a status, but nothing depends on it
        return source


@dataclass
class JobWait:
    """`pause()` is the number of seconds between polls without a socket."""

    tracker: JobTracker
    events: EventStream
    pause: Callable[[], float]
    outage: Outage

    def until(self, end: Deadline) -> Running | Partial:
        """Wait for the job's end or `end`.

        Transient errors are ignored until they last as long as an outage; raises ImageError for a job that failed.
        """
        due = self.events.behind
        while True:
            if end.remaining > WORTH_SECONDS:
                self.events.open()
            if due and (ended := self._poll()):
                return ended
            if end.passed or self.outage.lasting:
                return Running(self.events.progress.words or self.tracker.seen.progress)
            if self.events.progress.over:  # and its images cannot be had at the moment
                self.tracker.clock.sleep(min(self.pause(), end.remaining))
            self.events.listen(self._max_silence, end)
            due = self.events.progress.over or not end.passed

    def _poll(self) -> Partial | None:
        progress, began = self.events.progress, self.tracker.clock.now()
        self.events.behind = False
        try:
            seen = self.tracker.poll()
            self.outage.end()
        except ImageError as error:
            self.outage.met(error, began)
            return None
        finally:
            # A resubmission may have a new id, and an end known only from events counts for one poll.
            progress.ids = self.tracker.state.ids
            progress.ended = set(self.tracker.entries)
        if isinstance(seen, Partial):
            return seen
        if not progress.started:
            progress.report(seen.progress)
        return None

    def _max_silence(self) -> float:
        """Seconds until the next poll if no event comes; a job far back in the queue is polled less often."""
        pause, started = max(self.pause(), self.outage.pause), bool(self.events.progress.started)
        if self.tracker.place and not started:
            return min(QUEUE_SECONDS, pause * self.tracker.place)
        hopeful = started or self.tracker.queue_polled is None
        return max(SILENCE_SECONDS, pause) if self.events.connected and hopeful else pause

"""The server's WebSocket: its messages, what they say about a job, the connection, and the wait for a job's end.

Only the history decides that a job is over. With a socket a warm job costs one look at its end; without one, or with
one that stays silent, looks come by the clock, so that nothing depends on an event that may never arrive.

Reference: ComfyUI WebSocket messages (`server.py`, `main.py`, `execution.py`). Only `executing` without a node means
the end of a job: `execution_success` comes before the history holds it, and `execution_error` can be a mere warning.
Events go only to the socket whose id the job was submitted with, and the first message is always a `status`. Two
sockets with one id silence each other, so an id serves one job.
"""

import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode

import websocket
from pydantic import BaseModel
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from models.backends.base import Running
from models.backends.cache import ServerCache
from models.backends.comfyui.jobs import QUEUED, JobTracker
from models.backends.errors import ImageError
from models.backends.http import CLIENT_NAME, CLIENT_VERSION, Service, join_url
from models.backends.outage import Outage
from models.backends.partial import Partial
from models.clock import Deadline

OPEN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 0.5
GREETING = 2.0  # seconds; the server greets at once, so a socket that stays silent longer is blocked on the way
REOPEN = 5.0  # seconds between attempts to get a lost socket back
FIRST_LOOK = 1.0  # seconds without a start, after which a reader wants to know the place in the queue
SILENCE = 10.0  # seconds without an event of a running job: a model is being loaded, or the socket is dead

_NO_SOCKET = ServerCache[bool](seconds=60.0)
"""Servers that lately refused the socket: trying again with every image would only cost time."""


class Event(BaseModel):
    """One message. `prompt_id` is empty in messages to everybody; `value` and `max` count a node's steps."""

    type: str
    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    max: float = 0


UNKNOWN = Event(type="unknown")
"""A preview image, or a message of an extension in a shape of its own."""


def read_event(text: str | bytes) -> Event:
    """A text message of the socket as an event."""
    try:
        message = json.loads(text)
        data = message["data"] if isinstance(message.get("data"), dict) else {}
        return Event.model_validate({**data, "type": message["type"]})
    except (ValueError, AttributeError, KeyError):
        return UNKNOWN


@dataclass
class JobProgress:
    """What the events said about the submissions `ids` of one job.

    `titles` names the nodes for a reader; `say` is called with the words whenever they change.
    """

    ids: Sequence[str]
    titles: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    ended: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    words: str = ""

    def hear(self, event: Event) -> None:
        """Take in one event; those about other jobs change nothing."""
        if event.prompt_id not in self.ids:
            return
        self.started.add(event.prompt_id)
        match event.type:
            case "executing" if event.node is None:
                self.ended.add(event.prompt_id)
            case "executing":
                self._tell(event, f"running {self.titles.get(event.node or '', event.node)}")
            case "progress" if event.max > 1:
                self._tell(event, f"step {event.value:.0f}/{event.max:.0f}")
            case "execution_error" | "execution_interrupted":
                self.failed.add(event.prompt_id)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for: every submission ended, or one of them failed."""
        return self.ended.issuperset(self.ids) or bool(self.ended & self.failed)

    def _tell(self, event: Event, words: str) -> None:
        if len(self.ids) > 1:
            words = f"image {list(self.ids).index(event.prompt_id) + 1} of {len(self.ids)}, {words}"
        if words != self.words:
            self.words = words
            self.say(words)


class NoSocketError(Exception):
    """There is no socket (any more). `forbidden`: it is refused or blocked on the way, so trying again is useless."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__("no socket")


@dataclass(slots=True)
class EventSocket:
    """An open socket, always read with a timeout."""

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
        with suppress(websocket.WebSocketException, OSError):  # nobody waits for this connection any more
            self._socket.close(timeout=CLOSE_TIMEOUT)


type SocketOpener = Callable[[Service, str], EventSocket]


def open_socket(service: Service, client_id: str) -> EventSocket:
    """Connect with the same login and below the same path as the HTTP requests. Raises NoSocketError."""
    base_url = f"ws{service.base_url.removeprefix('http')}"  # http → ws, https → wss
    headers = {"User-Agent": f"{CLIENT_NAME}/{CLIENT_VERSION}", **service.headers}
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
        # A proxy that does not pass the handshake on: every further attempt would cost the same wait.
        raise NoSocketError(forbidden=True) from None
    except websocket.WebSocketBadStatusException as error:
        raise NoSocketError(forbidden=error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR) from None
    except (websocket.WebSocketException, OSError, ValueError):
        raise NoSocketError from None
    if opened.getstatus() != HTTPStatus.SWITCHING_PROTOCOLS:
        # The library hands out a redirect as if it were an open socket.
        opened.close(timeout=0)
        raise NoSocketError(forbidden=True)
    return EventSocket(opened)


@dataclass
class EventStream:
    """The events of one job, read into `progress`. Without a socket it just lets time pass."""

    service: Service
    client_id: str
    progress: JobProgress
    opener: SocketOpener
    _socket: EventSocket | None = field(default=None, init=False)
    _tried: float = field(default=0.0, init=False)

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def open(self) -> None:
        """Try to get a socket, at most every REOPEN seconds. Never raises: polling works as well."""
        lately = self.service.clock.now() - self._tried < REOPEN
        if self.connected or lately or _NO_SOCKET.get(self.service):
            return
        self._tried = self.service.clock.now()
        try:
            self._socket = self._greeted(self.opener(self.service, self.client_id))
        except NoSocketError as none:
            if none.forbidden:
                _NO_SOCKET.put(self.service, True)

    def listen(self, patience: Callable[[], float], until: Deadline) -> None:
        """Take in events until the job is over, nothing came for `patience()` seconds, or `until` passes."""
        end = until.earlier(patience())
        while not self.progress.over and not end.passed:
            if self._socket is None:
                self.service.clock.sleep(end.remaining)
            elif self._hear(self._socket, end.remaining):
                end = until.earlier(patience())
            elif not self.connected:
                return  # the connection was lost, and events may have been missed: look at once

    def close(self) -> None:
        """Close the socket: the server keeps one socket per client id, and the next one must find the place free."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _hear(self, source: EventSocket, seconds: float) -> bool:
        """Whether an event of this job came within `seconds`."""
        try:
            event = source.next(seconds)
        except NoSocketError:
            self.close()
            self.progress.started.clear()  # the server may have been restarted and have forgotten the job
            return False
        if event is None:
            return False
        self.progress.hear(event)
        return event.prompt_id in self.progress.ids

    def _greeted(self, source: EventSocket) -> EventSocket:
        greeting = source.next(GREETING)
        if greeting is None:
            source.close()
            raise NoSocketError(forbidden=True)
        self.progress.hear(greeting)  # usually a status, but nothing depends on it
        return source


@dataclass
class JobWait:
    """`pause()` is the number of seconds between looks where no socket helps."""

    tracker: JobTracker
    events: EventStream
    pause: Callable[[], float]
    outage: Outage

    def until(self, end: Deadline, *, look_first: bool) -> Running | Partial:
        """Wait for the job's end or `end`. `look_first`: the socket was opened too late to have heard everything.

        Transient trouble is waited out for as long as an outage may last; raises ImageError for a job that failed.
        """
        due = look_first
        while True:
            if due and (ended := self._look()):
                return ended
            if end.passed or self.outage.lasting:
                return Running(self.events.progress.words or self.tracker.seen.progress)
            if self.events.progress.over:  # and its images cannot be had at the moment
                self.tracker.clock.sleep(min(self.pause(), end.remaining))
            self.events.open()
            self.events.listen(self._patience, end)
            due = self.events.progress.over or not end.passed

    def _look(self) -> Partial | None:
        progress, began = self.events.progress, self.tracker.clock.now()
        try:
            seen = self.tracker.look()
            self.outage.end()
        except ImageError as error:
            self.outage.met(error, began)
            return None
        finally:
            # A submission that had to be repeated may have another id, and an end that was only heard counts for one look.
            progress.ids = self.tracker.state.ids
            progress.ended = set(self.tracker.entries)
        if isinstance(seen, Partial):
            return seen
        if not progress.started:
            progress.say(seen.progress)
        return None

    def _patience(self) -> float:
        """How long silence may last before the next look."""
        heard = bool(self.events.progress.started)
        if not self.events.connected or (self.tracker.at_work and not heard):
            return self.pause()
        if heard:
            return SILENCE
        return FIRST_LOOK if self.tracker.queue_asked is None else QUEUED

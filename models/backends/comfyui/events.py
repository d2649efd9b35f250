"""The server's WebSocket: its messages, what they say about a job, and the connection.

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
from pydantic import BaseModel, JsonValue, ValidationError
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from models.backends.http import CLIENT_NAME, CLIENT_VERSION, Service, join_url

OPEN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """One message. `prompt_id` is empty in messages to everybody; `value` and `of` count a node's steps."""

    kind: str
    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    of: float = 0


class _EventData(BaseModel):
    prompt_id: str = ""
    node: str | None = None
    value: float = 0
    max: float = 0


class _EventMessage(BaseModel):
    type: str
    data: JsonValue = None


UNKNOWN = Event("unknown")
"""A preview image, or a message of an extension in a shape of its own."""


def read_event(text: str | bytes) -> Event:
    """A text message of the socket as an event."""
    try:
        message = _EventMessage.model_validate(json.loads(text))
        data = _EventData.model_validate(message.data if isinstance(message.data, dict) else {})
    except (ValueError, ValidationError):
        return UNKNOWN
    return Event(message.type, data.prompt_id, data.node, data.value, data.max)


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
        match event.kind:
            case "executing" if event.node is None:
                self.ended.add(event.prompt_id)
            case "executing":
                self._tell(event, f"running {self.titles.get(event.node or '', event.node)}")
            case "progress" if event.of > 1:
                self._tell(event, f"step {event.value:.0f}/{event.of:.0f}")
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


def queued(place: int) -> str:
    """The place in the queue in words: `queued 2nd`."""
    teens = place % 100 in {11, 12, 13}
    return f"queued {place}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"


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

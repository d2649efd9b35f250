"""The server's WebSocket: opened for one job, always read with a timeout, never needed.

Reference: ComfyUI `server.py`, route `/ws?clientId=`. Events go only to the socket whose id the job was submitted
with; the first message is always a `status`. Two sockets with one id silence each other, so an id serves one job.
"""

import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

import websocket
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from models.backends.comfyui.events import BINARY, UNKNOWN, Event, read_event
from models.backends.http import CLIENT_NAME, CLIENT_VERSION, Service, join_url

OPEN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 0.5


class NoSocket(Exception):
    """There is no socket (any more). `forbidden`: it is refused or swallowed on the way, trying again is of no use."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__("no socket")


@dataclass(slots=True)
class EventSocket:
    """An open socket."""

    _socket: websocket.WebSocket

    def next(self, seconds: float) -> Event | None:
        """The next event, None after `seconds` of silence. Raises NoSocket when the connection is over."""
        try:
            self._socket.settimeout(max(0.001, seconds))
            opcode, data = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError):
            raise NoSocket from None
        match opcode:
            case websocket.ABNF.OPCODE_CLOSE:
                raise NoSocket
            case websocket.ABNF.OPCODE_TEXT:
                return read_event(data)
            case websocket.ABNF.OPCODE_BINARY:
                return BINARY
            case _:
                return UNKNOWN

    def close(self) -> None:
        # Whatever goes wrong here, nobody waits for this connection any more.
        with suppress(websocket.WebSocketException, OSError):
            self._socket.close(timeout=CLOSE_TIMEOUT)


def open_socket(service: Service, client_id: str) -> EventSocket:
    """Connect with the same login and below the same path as the HTTP requests. Raises NoSocket."""
    url = f"{join_url(_ws(service.base_url), 'ws')}?{urlencode({'clientId': client_id})}"
    headers = {"User-Agent": f"{CLIENT_NAME}/{CLIENT_VERSION}", **service.headers}
    try:
        opened = websocket.create_connection(
            url,
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
        # A proxy that swallows the handshake: every further attempt would cost the same wait.
        raise NoSocket(forbidden=True) from None
    except websocket.WebSocketBadStatusException as error:
        passing = error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise NoSocket(forbidden=not passing) from None
    except (websocket.WebSocketException, OSError, ValueError):
        raise NoSocket from None
    if opened.getstatus() != HTTPStatus.SWITCHING_PROTOCOLS:
        # The library hands out a redirect as if it were an open socket.
        opened.close(timeout=0)
        raise NoSocket(forbidden=True)
    return EventSocket(opened)


def _ws(base_url: str) -> str:
    # http → ws, https → wss
    return f"ws{base_url.removeprefix('http')}"

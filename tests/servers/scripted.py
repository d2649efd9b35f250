"""A server that replies to each request with the next step of a script, as raw bytes if needed."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from tests.servers.busy import BusyServer

type Act = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Seen:
    """A received request; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: int = 0
    """The client's port identifies the connection."""


@dataclass
class Script:
    """The next steps and the received requests. Without steps left, the reply is 200 `{}`."""

    url: str = ""
    acts: deque[Act] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)

    def then(self, *acts: Act) -> "Script":
        self.acts.extend(acts)
        return self


def say(status: int = 200, body: bytes | str = b"{}", **headers: str) -> Act:
    """A complete reply. Header names are given with underscores."""
    content = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **named}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return act


def raw(*pieces: bytes, pause: float = 0.0) -> Act:
    """Raw bytes, `pause` seconds apart, then the connection closes."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        for piece in pieces:
            try:
                handler.wfile.write(piece)
            except OSError:  # the client disconnected, as intended by the test
                return
            time.sleep(pause)

    return act


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without a reply."""
    handler.close_connection = True


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Send nothing until the client disconnects."""
    handler.close_connection = True
    handler.connection.settimeout(5.0)
    try:
        handler.connection.recv(1)
    except OSError:
        return


@contextmanager
def scripted_server() -> Iterator[Script]:
    script = Script()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        state: ClassVar[Script] = script

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                script.seen.append(Seen(self.command, self.path, headers, body, self.client_address[1]))
                act = script.acts.popleft() if script.acts else say()
            act(self)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = BusyServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port

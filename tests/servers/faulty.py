"""A proxy on a real socket in front of a fake service: it passes everything on but the requests that shall fail.

A fault is an `Act` that answers in place of the service. Whether the service carried the request out before is the
fault's choice: `carried_out` passes the request on and throws the answer away.
"""

import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.servers.busy import BusyServer
from tests.servers.scripted import Act, Seen

SELF_SIGNED = Path(__file__).parents[1] / "fixtures/tls/self_signed.pem"
"""A key and its certificate for 127.0.0.1, valid until 2126, made by `openssl req -x509 -nodes -days 36500`."""
_SOCKET_OF_EVENTS = "/ws"


@dataclass(kw_only=True)
class FaultyProxy:
    """`stages` are regular expressions for "METHOD /path"; requests of `stage` are answered by `act`, `times` times at most.

    `carried_out`: the service gets them first; `late`: it gets them that many seconds after `act`. `onwards`: after the first of
    them, all requests of any stage are answered so.
    """

    upstream: str
    stages: Mapping[str, str]
    stage: str = ""
    act: Act | None = None
    times: int = 1_000_000
    carried_out: bool = False
    late: float | None = None
    onwards: bool = False
    url: str = ""
    fake: Any = None
    """The service behind, for acts that change it."""
    seen: list[tuple[str, Seen]] = field(default_factory=list)
    """Every request with its stage, "" for others."""

    def count(self, stage: str | None = None) -> int:
        return sum(stage in {None, kind} for kind, _ in self.seen)

    def stage_of(self, line: str) -> str:
        return next((name for name, pattern in self.stages.items() if re.match(pattern, line)), "")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        stage = self.stage_of(f"{handler.command} {handler.path}")
        self.seen.append((stage, Seen(handler.command, handler.path, headers, body)))
        meant = (stage and stage == self.stage) or (self.onwards and self.count(self.stage))
        act = self.act if meant and self.times > 0 else None
        if not act or self.carried_out:
            status, told, content = self._passed_on(handler, body)
        if act:
            self.times -= 1
            act(handler)
            if self.late is not None:
                time.sleep(self.late)
                self._passed_on(handler, body)
        else:
            _send(handler, status, told, content)

    def _passed_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
        if _SOCKET_OF_EVENTS in handler.path:  # jobs are found without the socket too
            return 403, "text/plain", b""
        there = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=30)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            connection.request(handler.command, handler.path, body or None, headers)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        # Services name the addresses of their results: those lead through the proxy as well.
        here = urlsplit(self.url).netloc.encode()
        content = content.replace(there.netloc.encode(), here)
        return reply.status, reply.headers.get("content-type", ""), content


def _send(handler: BaseHTTPRequestHandler, status: int, content_type: str, content: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


class ProxyServer(BusyServer):
    proxy: FaultyProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break off on both sides; that is what such a test is about."""


@contextmanager
def running(proxy: FaultyProxy, certificate: Path | None = None) -> Iterator[FaultyProxy]:
    """With a certificate (key and certificate in one file), the proxy speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            proxy.answer(self)

        do_GET = do_HEAD = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ProxyServer(("127.0.0.1", 0), Handler)
    server.proxy = proxy
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


# Acts beyond those of `scripted`.


def reset_inside_body(handler: BaseHTTPRequestHandler) -> None:
    """Half an answer, then a reset."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"images": ["' + b"A" * 5000)
    reset(handler)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """A TCP reset in place of an answer."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing until the client goes away."""
    handler.close_connection = True
    handler.connection.settimeout(60)
    with suppress(OSError):
        handler.connection.recv(1)


def die(handler: BaseHTTPRequestHandler) -> None:
    """The service ends: this connection is reset, and all further ones are refused."""
    server = handler.server
    assert isinstance(server, ProxyServer)
    server.shutdown()
    server.server_close()
    reset(handler)


def restart(handler: BaseHTTPRequestHandler) -> None:
    """The service forgets its jobs and comes back; this connection is reset."""
    server = handler.server
    assert isinstance(server, ProxyServer)
    server.proxy.fake.restart()
    reset(handler)


def dripping(pause: float) -> Act:
    """A body that comes byte by byte and does not end."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(2000):
                handler.wfile.write(b" ")
                time.sleep(pause)

    return act


def huge(size: int) -> Act:
    """An answer of `size` bytes."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        block = b"A" * 2**20
        with suppress(OSError):
            for _ in range(size // len(block)):
                handler.wfile.write(block)

    return act


@contextmanager
def full_backlog() -> Iterator[str]:
    """The address of a host that takes no more connections: one more waits for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            with suppress(OSError):
                one.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for one in waiting:
            one.close()

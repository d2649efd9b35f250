"""The HTTP side of fakes that answer JSON or bytes: a subclass says what, `running` serves it on a real socket."""

import json
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.servers.busy import BusyServer


@dataclass(frozen=True)
class Call:
    """One request: `query` holds the first value of each name, `body` the JSON, header names are lower case.

    `form` holds the parts of a multipart body, files as bytes.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]
    form: Mapping[str, bytes | str]


@dataclass(frozen=True)
class Headed:
    """The body of a reply that has headers of its own."""

    body: object
    headers: Mapping[str, str]


@dataclass
class JsonService:
    """`key` is the only one that is taken; empty: any."""

    key: str = ""
    url: str = ""

    @abstractmethod
    def answer(self, call: Call) -> tuple[int, object]:
        """Status and body of the reply: JSON, or bytes as they are."""

    def refusal(self, call: Call) -> tuple[int, object] | None:
        """The reply to a request with another key than `key`; None where the request is allowed."""
        return None


def _parts(content_type: str, raw: bytes) -> Iterator[tuple[str, bytes | str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    for part in BytesParser(policy=HTTP).parsebytes(head + raw).iter_parts():
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        yield str(part.get_param("name", header="content-disposition")), data if part.get_filename() else data.decode()


class _Handler(BaseHTTPRequestHandler):
    service: ClassVar[JsonService]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        form = dict(_parts(headers["content-type"], raw)) if "multipart" in headers.get("content-type", "") else {}
        body = {} if form else json.loads(raw or "{}")
        call = Call(self.command, parts.path, query, headers, body, form)
        status, answer = self.service.refusal(call) or self.service.answer(call)
        reply = answer if isinstance(answer, Headed) else Headed(answer, {})
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(status)
        usual = "image/png" if isinstance(reply.body, bytes) else "application/json"
        for name, value in {"Content-Type": usual, **reply.headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def running[S: JsonService](service: S) -> Iterator[S]:
    server = BusyServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()

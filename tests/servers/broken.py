"""A server with one selected fault for every request, which every backend must handle."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.servers.busy import BusyServer


class Broken:
    """`status` and `body` of every answer. `{keys}` in the body becomes the credentials that the request carried, as
    services do that quote them. `silent` never answers, `hang_up` closes the connection."""

    def __init__(self) -> None:
        self.status = 500
        self.body = ""
        self.content_type = "application/json"
        self.silent = False
        self.hang_up = False
        self.requests: list[str] = []
        self.released = threading.Event()
        self.url = ""

    def says(self, status: int, body: object, content_type: str = "application/json") -> None:
        self.status = status
        self.body = body if isinstance(body, str) else json.dumps(body)
        self.content_type = content_type


@contextmanager
def broken_server() -> Iterator[Broken]:
    state = Broken()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            state.requests.append(f"{self.command} {self.path}")
            if state.silent:
                state.released.wait(30)
            if state.silent or state.hang_up:
                self.close_connection = True
                return
            keys = " ".join(
                value for name, value in self.headers.items() if name.lower() in {"authorization", "x-api-key"}
            )
            body = state.body.replace("{keys}", keys).encode()
            self.send_response(state.status)
            self.send_header("Content-Type", state.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = BusyServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()

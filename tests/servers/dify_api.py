"""A fake of the service API of a Dify workflow app: upload, streamed run, status of a run.

Source: Dify, workflow app API. Strict about keys, fields and the order of calls; can be busy, fail and lose streams.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "app-test-key"


class FakeDify:
    """`outputs` is the app's result, `error` its failure; `busy` is the number of busy replies by path."""

    def __init__(self, outputs: Mapping[str, object]) -> None:
        self.outputs = dict(outputs)
        self.error = ""
        self.busy: dict[str, list[int]] = {}
        self.lose_stream_after: int | None = None
        self.looks_until_done = 1
        self.requests: list[tuple[str, str]] = []
        self.uploads: dict[str, bytes] = {}
        self.inputs: dict[str, object] = {}
        self.images: dict[str, bytes] = {}
        handler = type("Handler", (_Handler,), {"dify": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    @contextmanager
    def run(self) -> Iterator["FakeDify"]:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def asked(self, path: str) -> int:
        return sum(1 for _, asked in self.requests if asked == path)

    @property
    def finished(self) -> dict[str, object]:
        if self.error:
            return {"status": "failed", "outputs": None, "error": self.error}
        return {"status": "succeeded", "outputs": self.outputs, "error": None}

    def events(self) -> list[dict[str, object]]:
        names = ("workflow_started", "node_started", "node_finished", "workflow_finished")
        return [
            {
                "event": name,
                "task_id": "task-1",
                "workflow_run_id": "run-1",
                "data": self.finished if name == "workflow_finished" else {},
            }
            for name in names
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    dify: FakeDify

    def do_GET(self) -> None:
        self.dify.requests.append(("GET", self.path))
        if self.path in self.dify.images:
            self._send(400 if "Authorization" in self.headers else 200, self.dify.images[self.path])
        elif self.path == "/v1/workflows/run/run-1" and self._allowed():
            self.dify.looks_until_done -= 1
            running: dict[str, object] = {"status": "running", "outputs": {}, "error": None}
            self._json(200, self.dify.finished if self.dify.looks_until_done <= 0 else running)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.dify.requests.append(("POST", self.path))
        if not self._allowed():
            return
        if self.path == "/v1/files/upload":
            self._upload(body)
        elif self.path == "/v1/workflows/run":
            self._run(json.loads(body))

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _allowed(self) -> bool:
        waiting = self.dify.busy.get(self.path, [])
        if waiting:
            status = waiting.pop(0)
            if status == 0:
                self.close_connection = True
                self.connection.close()
            else:
                self._json(status, {"code": "busy", "message": "too busy", "status": status})
            return False
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._json(401, {"code": "unauthorized", "message": "Access token is invalid", "status": 401})
            return False
        return True

    def _upload(self, body: bytes) -> None:
        boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", self.headers["Content-Type"])
        assert boundary
        parts = body.split(b"--" + boundary[1].encode())[1:-1]
        fields = {}
        for part in parts:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="(\w+)"', head)
            assert name
            fields[name[1].decode()] = content
        if set(fields) != {"file", "user"}:
            self._json(400, {"code": "no_file_uploaded", "message": f"fields {sorted(fields)}", "status": 400})
            return
        identity = f"upload-{len(self.dify.uploads) + 1}"
        self.dify.uploads[identity] = fields["file"]
        self._json(201, {"id": identity, "name": "photo", "size": len(fields["file"]), "mime_type": "image/png"})

    def _run(self, body: dict[str, object]) -> None:
        inputs = body.get("inputs")
        assert isinstance(inputs, dict)
        image = inputs.get("image")
        right = (
            set(body) == {"inputs", "response_mode", "user"}
            and set(inputs) == {"image", "instruction"}
            and body["response_mode"] == "streaming"
            and isinstance(image, dict)
            and set(image) == {"type", "transfer_method", "upload_file_id"}
            and image["upload_file_id"] in self.dify.uploads
        )
        if not right:
            self._json(400, {"code": "invalid_param", "message": f"not these: {body}", "status": 400})
            return
        self.dify.inputs = inputs
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(self.dify.events()):
            if number == self.dify.lose_stream_after:
                self.close_connection = True
                return  # without the last chunk: the client sees a connection that broke
            self._chunk(f"event: ping\n\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _json(self, status: int, body: Mapping[str, object]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

"""A fake ComfyUI over HTTP and WebSocket, with faults on request."""

import base64
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.servers.comfyui_engine import Engine

type SocketMode = Literal["open", "forbidden", "stuck", "redirected", "silent", "mute", "dropping"]
type Fault = Literal["lost_answer", "lost_request", "bad_gateway"]

SHIPPED_FILES = (
    ("CheckpointLoaderSimple", "ckpt_name", ("sd_xl_base_1.0.safetensors",)),
    ("UNETLoader", "unet_name", ("flux1-dev.safetensors", "qwen_image_fp8_e4m3fn.safetensors", "qwen_image_edit_2509_fp8_e4m3fn.safetensors")),
    ("CLIPLoader", "clip_name", ("qwen_2.5_vl_7b_fp8_scaled.safetensors",)),
    ("DualCLIPLoader", "clip_name1", ("clip_l.safetensors",)),
    ("DualCLIPLoader", "clip_name2", ("t5xxl_fp16.safetensors",)),
    ("VAELoader", "vae_name", ("ae.safetensors", "qwen_image_vae.safetensors")),
    ("LoraLoader", "lora_name", ("ink.safetensors",)),
)  # fmt: skip


@dataclass
class ComfyUIServer:
    """Start with `with ComfyUIServer() as server:`; `restart()` forgets what a restarted process forgets.

    `sockets`: "forbidden" refuses the handshake, "stuck" does not answer it, "redirected" points to another host,
    "silent" never says a word, "mute" greets and then is silent,
    "dropping" breaks off after the start of a job. `faults` holds, per "METHOD /path", what happens to the next
    requests. `login` is the Authorization header that a proxy in front of the server expects; `logins` are further ones.
    `submitted` holds the Authorization header and the graph of every job.
    """

    version: str = "0.10.0"
    prefix: str = ""
    sockets: SocketMode = "open"
    login: str = ""
    logins: tuple[str, ...] = ()
    submitted: list[tuple[str | None, Any]] = field(default_factory=list)
    max_upload: int = 100 * 1024 * 1024
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0
    origins: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(tuple(int(part) for part in self.version.split(".")), self.publish)
        self._open: dict[str, _Socket] = {}
        self._http: _Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def start(self) -> None:
        server = self
        handler = type("Handler", (_Handler,), {"server_state": server})
        self._http = _Server(("127.0.0.1", self.port), handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.engine.start()

    def stop(self) -> None:
        """End the process: connections break off without a goodbye."""
        self.engine.stop()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            assert not self._http.broken, "the fake server itself failed, see its traceback"
        self.drop_sockets()
        self.engine.forget()

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def listeners(self) -> int:
        """How many sockets are open."""
        return len(self._open)

    def drop_sockets(self) -> None:
        for one in list(self._open.values()):
            one.abort()

    def publish(self, client: str | None, kind: str, data: dict[str, Any]) -> None:
        if self.sockets in {"silent", "mute"}:
            return
        for name, one in list(self._open.items()):
            if client is None or name == client:
                one.send({"type": kind, "data": data})
                if self.sockets == "dropping" and kind == "execution_start":
                    one.abort()

    def fill_history(self, count: int) -> None:
        """Add finished jobs of other clients."""
        item = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x" * 200}}}
        for number in range(count):
            key = f"00000000-0000-4000-8000-{number:012}"
            outputs = {"1": {"images": [{"filename": f"old_{number}.png", "subfolder": "", "type": "output"}]}}
            status = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
            self.engine.history[key] = {"prompt": [0, key, item, {}, ["1"]], "outputs": outputs, "status": status}

    def install_models(self) -> None:
        """Add every model file of the shipped workflows."""
        for class_type, name, files in SHIPPED_FILES:
            self.engine.object_info[class_type]["input"]["required"][name] = [[*files], {}]

    def count(self, line: str) -> int:
        """The number of requests that start with `line`, such as "GET /history"."""
        return sum(request.startswith(line) for request in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def server_close(self) -> None:
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Disconnecting clients are part of the tests; any other error is a fault of the fake server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
            self.broken = True

    broken = False


class _Socket:
    """One WebSocket connection, driven by a protocol implementation that knows nothing of sockets."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.protocol = connection, ServerProtocol()
        self.lock = threading.RLock()

    def accept(self, raw_request: bytes) -> None:
        self.protocol.receive_data(raw_request)
        (request,) = self.protocol.events_received()
        assert isinstance(request, Request)
        self.protocol.send_response(self.protocol.accept(request))
        self._flush()

    def send(self, message: dict[str, Any]) -> None:
        with self.lock, suppress(OSError):
            if self.protocol.state.name == "OPEN":
                self.protocol.send_text(json.dumps(message).encode())
                self._flush()

    def serve(self) -> None:
        """Read until the client disconnects."""
        with suppress(OSError):
            while data := self.connection.recv(4096):
                with self.lock:
                    self.protocol.receive_data(data)
                    self._flush()
                    if any(getattr(event, "opcode", None) is Opcode.CLOSE for event in self.protocol.events_received()):
                        return

    def abort(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.connection.sendall(data)


class _Handler(BaseHTTPRequestHandler):
    server_state: ComfyUIServer
    raw_requestline: bytes
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        state = self.server_state
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(state.prefix)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state.requests.append(f"{method} {path}")
        state.origins.append(self.headers.get("Origin"))
        if not parts.path.startswith(state.prefix):
            return self._answer(404)
        fault = self._next_fault(f"{method} {path}")
        if fault == "lost_request":
            return self._break_off()
        if fault == "bad_gateway":
            return self._answer(502, text="<html>Bad Gateway</html>", content_type="text/html")
        if state.login and self.headers.get("Authorization") not in {state.login, *state.logins}:
            return self._answer(401, text="<html>401 Authorization Required</html>", content_type="text/html")
        if len(body) > state.max_upload:
            return self._answer(413, text=f"Maximum request body size {state.max_upload} exceeded.")
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if path == "/ws":
            return self._websocket(query.get("clientId", ""))
        self._lose_answer = fault == "lost_answer"
        return self._route(method, path.removeprefix("/api") if "/jobs" not in path else path, query, body)

    _lose_answer = False

    def _route(  # noqa: C901, PLR0912 -- a table of routes
        self, method: str, path: str, query: dict[str, str], body: bytes
    ) -> None:
        engine = self.server_state.engine
        match method, path.strip("/").split("/"):
            case "POST", ["prompt"]:
                self._prompt(body)
            case "GET", ["prompt"]:
                self._answer(200, {"exec_info": {"queue_remaining": engine.remaining()}})
            case "GET", ["history", prompt_id]:
                entry = engine.history.get(unquote(prompt_id))
                self._answer(200, {prompt_id: entry} if entry else {})
            case "GET", ["history"]:
                self._answer(200, dict(engine.history))
            case "GET", ["queue"]:
                with engine.lock:
                    running = [engine.running.item] if engine.running else []
                    self._answer(200, {"queue_running": running, "queue_pending": [t.item for t in engine.pending]})
            case "POST", ["queue"]:
                engine.delete(json.loads(body).get("delete", []))
                self._answer(200)
            case "POST", ["interrupt"]:
                engine.interrupt(json.loads(body or b"{}").get("prompt_id"))
                self._answer(200)
            case "GET", ["view"]:
                self._view(query)
            case "POST", ["upload", "image"]:
                self._upload(body)
            case "GET", ["object_info", name]:
                name = unquote(name)
                self._answer(200, {name: engine.object_info[name]} if name in engine.object_info else {})
            case "GET", ["object_info"]:
                self._answer(200, engine.object_info)
            case "GET", ["system_stats"]:
                self._answer(200, {"system": {"os": "linux", "comfyui_version": self.server_state.version}})
            case "POST", ["api", "jobs", prompt_id, "cancel"] if engine.version >= (0, 38):
                self._answer(200, {"cancelled": engine.cancel(prompt_id)})
            case _:
                self._answer(404, content_type="application/octet-stream")

    def _prompt(self, body: bytes) -> None:
        try:
            status, answer = self.server_state.engine.submit(json.loads(body))
        except (ValueError, AttributeError):  # what is no JSON, or no graph
            return self._answer(500, text="500 Internal Server Error\n\nServer got itself in trouble")
        if status == 200:
            self.server_state.submitted.append((self.headers.get("Authorization"), json.loads(body)["prompt"]))
        return self._answer(status, answer)

    def _view(self, query: dict[str, str]) -> None:
        kind, folder, name = query.get("type", "output"), query.get("subfolder", ""), query.get("filename", "")
        if kind not in {"output", "input", "temp"} or ".." in name:
            return self._answer(400)
        data = self.server_state.engine.files.get((kind, folder, name))
        if data is None:
            return self._answer(404)
        return self._answer(200, raw=data, content_type="image/png" if name.endswith(".png") else "application/x")

    def _upload(self, body: bytes) -> None:
        fields = dict(self._fields(body))
        files = self.server_state.engine.files
        image = fields.get("image")
        if not isinstance(image, tuple):
            return self._answer(400)
        name, data = image
        kind, folder = str(fields.get("type", "input")), str(fields.get("subfolder", ""))
        if ".." in folder or ".." in name:
            return self._answer(400)
        stem, _, suffix = name.rpartition(".")
        number = 1
        while fields.get("overwrite") not in {"true", "1"} and files.get((kind, folder, name), data) != data:
            name, number = f"{stem} ({number}).{suffix}", number + 1
        files[kind, folder, name] = data
        return self._answer(200, {"name": name, "subfolder": folder, "type": kind})

    def _fields(self, body: bytes) -> Iterator[tuple[str, str | tuple[str, bytes]]]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            file = part.get_filename()
            # A part with a file name is an upload whatever its name: `overwrite` sent so is not recognised.
            yield name, (file, data) if file else data.decode()

    def _websocket(self, client: str) -> None:
        state = self.server_state
        self.close_connection = True
        if state.sockets == "forbidden":
            return self._answer(403, text="<html>Forbidden</html>", content_type="text/html")
        if state.sockets == "redirected":
            return self._answer(302, location="http://192.0.2.1/ws")
        if state.sockets == "stuck":
            self.connection.recv(1)  # until the client gives up
            return None
        one = _Socket(self.connection)
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        one.accept(self.raw_requestline + "".join(lines).encode() + b"\r\n")
        state._open[client] = one
        if state.sockets != "silent":
            info = {"exec_info": {"queue_remaining": state.engine.remaining()}}
            one.send({"type": "status", "data": {"status": info, "sid": client}})
        one.serve()
        # As in the real server: closing the older of two sockets of one client silences the newer.
        state._open.pop(client, None)
        return None

    def _next_fault(self, line: str) -> Fault | None:
        waiting = self.server_state.faults.get(line)
        return waiting.pop(0) if waiting else None

    def _break_off(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(
        self,
        status: int,
        answer: Any = None,
        *,
        text: str = "",
        raw: bytes = b"",
        content_type: str = "",
        location: str = "",
    ) -> None:
        if self._lose_answer:
            return self._break_off()
        if answer is not None:
            raw, content_type = json.dumps(answer).encode(), "application/json; charset=utf-8"
        raw = raw or text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type or "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(raw)
        self.server_state.bytes_sent += len(raw)
        return None


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def wait_until(true: Any, seconds: float = 5.0) -> None:
    """Wait for a condition; fails the test on timeout."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)

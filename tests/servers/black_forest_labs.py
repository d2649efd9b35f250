"""A fake of the Black Forest Labs API: tasks at a polling address, images at another, credits.

It is as strict as the service: an unknown field, a size off the grid or a seed that is no number is refused.
"""

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.fakes import image_file
from tests.servers.busy import BusyServer

COMMON = {"prompt", "seed", "output_format", "safety_tolerance"}
INPUTS = {"input_image", *(f"input_image_{place}" for place in range(2, 9))}
FIELDS = {
    "flux-2-pro": {*COMMON, *INPUTS, "width", "height"},
    "flux-2-flex": {*COMMON, *INPUTS, "width", "height", "steps", "guidance", "prompt_upsampling"},
    "flux-pro-1.1": {*COMMON, "width", "height", "image_prompt", "prompt_upsampling"},
    "flux-pro-1.1-ultra": {
        *COMMON,
        "aspect_ratio",
        "image_prompt",
        "image_prompt_strength",
        "raw",
        "prompt_upsampling",
    },
    "flux-kontext-pro": {*COMMON, *sorted(INPUTS)[:4], "aspect_ratio", "prompt_upsampling"},
    "flux-pro-1.0-fill": {*COMMON, "image", "mask", "steps", "guidance", "prompt_upsampling"},
    "flux-pro-1.0-expand": {
        *(*COMMON, "image", "steps", "guidance", "prompt_upsampling"),
        *("top", "bottom", "left", "right"),
    },
}
GRID = {"flux-2-pro": 16, "flux-2-flex": 16, "flux-pro-1.1": 32}


@dataclass
class FakeFlux:
    """`faults` are the next replies to a new task, `states` the next looks at a task, as (status, body) pairs."""

    key: str = ""
    url: str = ""
    cost: float | None = 3.0
    looks: int = 1
    faults: deque[tuple[int, object]] = field(default_factory=deque)
    states: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        self.asked.append((path, body))
        if self.faults:
            return self.faults.popleft()
        model = path.removeprefix("/v1/")
        if model not in FIELDS:
            return 404, {"detail": "Not Found"}
        if wrong := self._wrong(model, body):
            return 422, {"detail": [{"loc": ["body", wrong], "msg": "not allowed here", "type": "value_error"}]}
        number = f"task-{len(self.looked)}"
        self.looked[number] = 0
        return 200, {"id": number, "polling_url": f"{self.url}/v1/get_result?id={number}", "cost": self.cost}

    def _wrong(self, model: str, body: dict[str, Any]) -> str:
        if unknown := set(body) - FIELDS[model]:
            return min(unknown)
        for name in INPUTS & set(body):
            base64.b64decode(body[name], validate=True)
        sides = [body[name] for name in ("width", "height") if name in body]
        return "" if all(side % GRID.get(model, 1) == 0 for side in sides) else "width"

    def get(self, path: str, query: str) -> tuple[int, object]:
        if path == "/v1/credits":
            return 200, {"credits": 123.4}
        if path.startswith("/results/"):
            return 200, image_file(64, 48)
        number = parse_qs(query)["id"][0]
        if self.states:
            return self.states.popleft()
        self.looked[number] += 1
        if self.looked[number] <= self.looks:
            return 200, {"id": number, "status": "Pending", "progress": 0.4, "result": None}
        result = {"sample": f"{self.url}/results/{number}.png", "seed": 7, "prompt": "x"}
        return 200, {"id": number, "status": "Ready", "result": result}


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeFlux]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._send(*self.fake.get(parts.path, parts.query))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(*self.fake.post(self.path, body))

    def _send(self, status: int, body: object) -> None:
        if self.fake.key and self.headers.get("x-key") != self.fake.key:
            status, body = 403, {"detail": "Not authenticated - Invalid Authentication"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def black_forest_labs(key: str = "") -> Iterator[FakeFlux]:
    fake = FakeFlux(key)
    server = BusyServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()

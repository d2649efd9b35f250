"""A fake of OpenRouter: the images API, chat completions with images, the model list and the key endpoint.

It is as strict as the service: an unknown key of a body is refused. `faults` are applied one per image request.
"""

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

from tests.fakes import image_file
from tests.servers.busy import BusyServer
from tests.servers.scenes import order_of, painted

BASE = "/api/v1"
IMAGE_MODELS = {
    "openai/gpt-image-2": {"aspect_ratio", "quality", "background", "n", "input_references"},
    "openai/gpt-image-2.5-flare": {"aspect_ratio", "quality", "background", "n", "input_references"},
    "openai/gpt-image-2.5-sunburst": {"aspect_ratio", "quality", "background", "n", "input_references"},
    "bytedance-seed/seedream-4.5": {"aspect_ratio", "resolution", "n", "input_references"},
    "krea/krea-1": {"aspect_ratio", "resolution", "seed"},
}
CHAT_MODELS = {
    "google/gemini-3.1-flash-image",
    "google/gemini-3.1-flash-lite-image",
    "google/gemini-3-pro-image",
    "acme/painter",
}
VALUES = {"resolution": ["1K", "2K"], "quality": ["auto", "low", "medium", "high"]}
SHAPES = {None: (1024, 1024), "1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 672), "9:16": (768, 1344)}


@dataclass
class FakeOpenRouter:
    """The received requests, and the next replies: `faults` are (status, body) pairs."""

    key: str = ""
    url: str = ""
    cost: float | None = 0.06
    words: str = ""
    faults: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[int, object]:
        self.reads.append(path)
        if path == f"{BASE}/key":
            return 200, {"data": {"label": "sk-or-v1-0e6...1c2", "limit": 20, "limit_remaining": 7.5, "usage": 12.5}}
        if path == f"{BASE}/images/models":
            return 200, {"data": [_record(model) for model in IMAGE_MODELS]}
        return 404, _error(404, "Not Found")

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        self.asked.append((path, body))
        if self.faults:
            return self.faults.popleft()
        if path == f"{BASE}/images":
            return self._generated(body)
        if path == f"{BASE}/chat/completions":
            return self._answered_in_chat(body)
        return 404, _error(404, "Not Found")

    def _generated(self, body: dict[str, Any]) -> tuple[int, object]:
        known = IMAGE_MODELS.get(body["model"])
        if known is None:
            return 404, _error(404, f"No endpoints found for {body['model']}.")
        unknown = set(body) - known - {"model", "prompt"}
        if unknown:
            return 400, _error(400, f"Unrecognized key(s): {', '.join(sorted(unknown))}")
        data = self._painted(body, body.get("aspect_ratio"))
        return 200, {"created": 1790000000, "data": [{"b64_json": data, "media_type": "image/png"}], **self._usage}

    def _answered_in_chat(self, body: dict[str, Any]) -> tuple[int, object]:
        if body["model"] not in CHAT_MODELS:
            return 404, _error(404, f"No endpoints found for {body['model']}.")
        message: dict[str, object] = {"role": "assistant", "content": self.words or "Here is your image."}
        if not self.words:
            data = self._painted(body, body.get("image_config", {}).get("aspect_ratio"))
            part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
            message["images"] = [part]
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}], **self._usage}

    @staticmethod
    def _painted(body: dict[str, Any], ratio: str | None) -> str:
        small = image_file(*SHAPES[ratio])
        return base64.b64encode(painted(small, lambda: order_of("OpenRouter", body["model"], body))).decode()

    @property
    def _usage(self) -> dict[str, object]:
        tokens = {"prompt_tokens": 7, "completion_tokens": 1290, "total_tokens": 1297}
        return {"usage": {**tokens, **({"cost": self.cost} if self.cost is not None else {})}}


def _record(model: str) -> Mapping[str, object]:
    able = {name: {"type": "enum", "values": VALUES[name]} if name in VALUES else {} for name in IMAGE_MODELS[model]}
    return {"id": model, "name": model, "supported_parameters": able, "endpoints": f"/api/v1/images/models/{model}"}


def _error(code: int, message: str, metadata: Mapping[str, object] | None = None) -> dict[str, object]:
    return {"error": {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}}


@contextmanager
def openrouter(*, key: str = "") -> Iterator[FakeOpenRouter]:
    fake = FakeOpenRouter(key=key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        state: ClassVar[FakeOpenRouter] = fake

        def do_GET(self) -> None:
            self._answer(*(fake.get(self.path) if self._allowed() else (401, _error(401, "User not found."))))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self._answer(*(fake.post(self.path, body) if self._allowed() else (401, _error(401, "User not found."))))

        def _allowed(self) -> bool:
            return not fake.key or self.headers.get("Authorization") == f"Bearer {fake.key}"

        def _answer(self, status: int, body: object) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = BusyServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()

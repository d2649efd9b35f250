"""A fake of fal's queue: requests, their state and result, schemas, prices.

It is as strict as the service: an unknown input is refused, and the addresses of a request hold the app without its sub-path.
"""

from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

OPEN = {"prompt", "image_size", "seed", "num_inference_steps", "guidance_scale", "output_format"}
ENDPOINTS: dict[str, set[str]] = {
    "fal-ai/flux/dev": OPEN,
    "fal-ai/flux/dev/image-to-image": {*OPEN, "image_url", "strength"},
    "fal-ai/nano-banana": {"prompt", "aspect_ratio", "output_format"},
    "fal-ai/nano-banana/edit": {"prompt", "aspect_ratio", "output_format", "image_urls"},
    "acme/painter": {"prompt", "image_size", "seed", "num_inference_steps", "brush", "image_urls"},
}
PAINTER: dict[str, Any] = {
    "PainterInput": {
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string"},
            "image_size": {
                "anyOf": [
                    {"$ref": "#/components/schemas/ImageSize"},
                    {"enum": ["square_hd", "landscape_4_3"], "type": "string"},
                ],
                "default": "landscape_4_3",
            },
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 40, "default": 20},
            "brush": {"type": "string", "enum": ["oil", "ink"], "default": "ink", "title": "Brush"},
            "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "image_urls": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
            "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
            "sync_mode": {"type": "boolean", "default": False},
            "loras": {"type": "array", "items": {"$ref": "#/components/schemas/Lora"}},
        },
    },
    "ImageSize": {
        "properties": {"width": {"type": "integer", "default": 512}, "height": {"type": "integer", "default": 512}}
    },
    "Lora": {"properties": {"path": {"type": "string"}}},
}
DOCUMENT = {
    "paths": {
        "/acme/painter": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PainterInput"}}}
                }
            }
        }
    },
    "components": {"schemas": PAINTER},
}


@dataclass
class FakeFal(JsonService):
    """`faults` are the next replies to a new request, `results` those to a finished one."""

    faults: deque[tuple[int, object]] = field(default_factory=deque)
    results: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lives: list[str] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    jobs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def answer(self, call: Call) -> tuple[int, object]:
        if call.method == "PUT":
            self.cancelled.append(call.path.split("/")[-2])
            return 202, {"status": "CANCELLATION_REQUESTED"}
        if call.method == "POST":
            return self.post(call.path, call.body, call.headers)
        return self.get(call.path, call.query)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        public = call.path.startswith(("/api/openapi", "/files/"))
        if self.key and not public and call.headers.get("authorization") != f"Key {self.key}":
            return 401, {"detail": "No user found for Key ID and Secret"}
        return None

    def post(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, object]:
        self.asked.append((path, body))
        self.lives.append(headers.get("x-fal-object-lifecycle-preference", ""))
        if self.faults:
            return self.faults.popleft()
        known = ENDPOINTS.get(path.removeprefix("/"))
        if known is None:
            return 404, {"detail": f"Path {path} not found"}
        if unknown := set(body) - known:
            fault = {
                "loc": ["body", min(unknown)],
                "msg": "not permitted",
                "type": "value_error",
                "input": body["prompt"],
            }
            return 422, {"detail": [fault]}
        number = f"r{len(self.looked)}"
        self.looked[number], self.jobs[number] = 0, (path, body)
        app = "/".join(path.split("/")[:3])
        at = f"{self.url}{app}/requests/{number}"
        urls = {"response_url": at, "status_url": f"{at}/status", "cancel_url": f"{at}/cancel"}
        return 200, {"status": "IN_QUEUE", "request_id": number, "queue_position": 1, **urls}

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, object]:
        if path == "/v1/models/pricing":
            return 200, {"prices": [{"endpoint_id": "fal-ai/flux/dev", "unit_price": 0.025, "unit": "image"}]}
        if path == "/api/openapi/queue/openapi.json":
            return (200, DOCUMENT) if query["endpoint_id"] == "acme/painter" else (404, {"detail": "none"})
        if path.startswith("/files/"):
            app, body = self.jobs[path.rpartition("/")[2].removesuffix(".png")]
            return 200, painted(image_file(64, 48), lambda: order_of("fal", app.strip("/"), body))
        if path.endswith("/status"):
            return self._state(path.split("/")[-2])
        if self.results:
            return self.results.popleft()
        number = path.rpartition("/")[2]
        image = {"url": f"{self.url}/files/{number}.png", "width": 64, "height": 48, "content_type": "image/png"}
        return 200, {"images": [image], "seed": 9, "has_nsfw_concepts": [False], "prompt": "x"}

    def _state(self, number: str) -> tuple[int, object]:
        self.looked[number] += 1
        match self.looked[number]:
            case 1:
                return 202, {"status": "IN_QUEUE", "queue_position": 2}
            case 2:
                return 202, {"status": "IN_PROGRESS", "logs": None}
            case _:
                return 200, {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 2.1}}


def fal(key: str = "") -> AbstractContextManager[FakeFal]:
    return running(FakeFal(key))

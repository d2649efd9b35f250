"""A fake of Replicate: predictions by model and by version, models with their schemas, the account.

It is as strict as the service: an unknown input or a wrong type is refused with `invalid_fields`.
"""

from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

BASE = "/v1"
VERSION = "7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc"
OFFICIAL: dict[str, set[str]] = {
    "black-forest-labs/flux-schnell": {
        *("prompt", "aspect_ratio", "num_inference_steps", "seed", "output_format", "output_quality"),
    },
    "black-forest-labs/flux-1.1-pro": {
        *("prompt", "aspect_ratio", "width", "height", "seed", "prompt_upsampling", "output_format", "output_quality"),
        "image_prompt",
    },
    "black-forest-labs/flux-kontext-pro": {
        *("prompt", "aspect_ratio", "input_image", "seed", "prompt_upsampling", "output_format"),
    },
    "bytedance/seedream-4": {"prompt", "size", "width", "height", "image_input", "enhance_prompt"},
}
SDXL: dict[str, Any] = {
    "Input": {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "x-order": 0},
            "negative_prompt": {"type": "string", "x-order": 1},
            "image": {"type": "string", "format": "uri", "x-order": 2},
            "mask": {"type": "string", "format": "uri", "x-order": 3},
            "width": {"type": "integer", "default": 1024, "x-order": 4},
            "height": {"type": "integer", "default": 1024, "x-order": 5},
            "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1, "x-order": 6},
            "scheduler": {"allOf": [{"$ref": "#/components/schemas/scheduler"}], "default": "K_EULER", "x-order": 7},
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50, "x-order": 8},
            "guidance_scale": {"type": "number", "minimum": 1, "maximum": 50, "default": 7.5, "x-order": 9},
            "prompt_strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8, "x-order": 10},
            "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}], "x-order": 11},
            "refine": {"type": "string", "enum": ["no_refiner", "expert_ensemble_refiner"], "default": "no_refiner"},
            "lora_scale": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": 0.6,
                "description": "LoRA strength",
            },
            "apply_watermark": {"type": "boolean", "default": True},
            "disable_safety_checker": {"type": "boolean", "default": False},
        },
    },
    "scheduler": {"type": "string", "enum": ["DDIM", "K_EULER"]},
    "Output": {"type": "array", "items": {"type": "string", "format": "uri"}},
}


@dataclass
class FakeReplicate(JsonService):
    """`faults` are the next replies to a new prediction, `endings` the next final states as fields of a prediction."""

    logs: str = ""
    faults: deque[tuple[int, object]] = field(default_factory=deque)
    endings: deque[dict[str, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lives: list[str] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    jobs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def answer(self, call: Call) -> tuple[int, object]:
        if call.method == "POST":
            return self.post(call.path, call.body, call.headers)
        return self.get(call.path)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"title": "Unauthenticated", "detail": "You did not pass a valid authentication token"}
        return None

    def post(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, object]:
        if path.endswith("/cancel"):
            self.cancelled.append(path.split("/")[-2])
            return 200, {"id": path.split("/")[-2], "status": "canceled"}
        self.asked.append((path, body))
        self.lives.append(headers.get("cancel-after", ""))
        if self.faults:
            return self.faults.popleft()
        known = self._inputs(path, body)
        if known is None:
            return 404, {"detail": "The requested resource could not be found.", "status": 404}
        if unknown := set(body["input"]) - known:
            said = f"- input.{min(unknown)}: Additional property {min(unknown)} is not allowed"
            return 422, {"title": "Input validation failed", "detail": said, "status": 422}
        number = f"p{len(self.looked)}"
        self.looked[number] = 0
        model = path.removeprefix(f"{BASE}/models/").removesuffix("/predictions")
        self.jobs[number] = ("stability-ai/sdxl" if "version" in body else model, body)
        return 201, {"id": number, "status": "starting", "output": None, "error": None, "logs": ""}

    def _inputs(self, path: str, body: dict[str, Any]) -> set[str] | None:
        if path == f"{BASE}/predictions":
            return set(SDXL["Input"]["properties"]) if body["version"] == VERSION else None
        return OFFICIAL.get(path.removeprefix(f"{BASE}/models/").removesuffix("/predictions"))

    def get(self, path: str) -> tuple[int, object]:
        if path == f"{BASE}/account":
            return 200, {"type": "user", "username": "dify"}
        if path == f"{BASE}/models/stability-ai/sdxl":
            return 200, {"latest_version": {"id": VERSION, "openapi_schema": {"components": {"schemas": SDXL}}}}
        if path.startswith("/files/"):
            model, body = self.jobs[path.rpartition("/")[2].removesuffix(".png")]
            return 200, painted(image_file(64, 48), lambda: order_of("Replicate", model, body))
        if path.startswith(f"{BASE}/predictions/"):
            return 200, self._prediction(path.rpartition("/")[2])
        return 404, {"detail": "The requested resource could not be found.", "status": 404}

    def _prediction(self, number: str) -> dict[str, object]:
        self.looked[number] += 1
        state: dict[str, object] = {
            "id": number,
            "status": "processing",
            "output": None,
            "error": None,
            "logs": " 42%|####  | 21/50",
        }
        if self.looked[number] == 1:
            return state
        done = {"status": "succeeded", "output": [f"{self.url}/files/{number}.png"], "logs": self.logs}
        return {**state, **(self.endings.popleft() if self.endings else done)}


def replicate(key: str = "") -> AbstractContextManager[FakeReplicate]:
    return running(FakeReplicate(key))

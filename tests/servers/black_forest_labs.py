"""A fake of the Black Forest Labs API: tasks at a polling address, images at another, credits.

It is as strict as the service: an unknown field, a size off the grid or a seed that is no number is refused.
"""

import base64
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

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
class FakeFlux(JsonService):
    """`faults` are the next replies to a new task, `states` the next looks at a task, as (status, body) pairs."""

    cost: float | None = 3.0
    looks: int = 1
    faults: deque[tuple[int, object]] = field(default_factory=deque)
    states: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def answer(self, call: Call) -> tuple[int, object]:
        if call.method == "POST":
            return self.post(call.path, call.body)
        return self.get(call.path, call.query)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        if self.key and call.headers.get("x-key") != self.key:
            return 403, {"detail": "Not authenticated - Invalid Authentication"}
        return None

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
        self.looked[number], self.jobs[number] = 0, (model, body)
        return 200, {"id": number, "polling_url": f"{self.url}/v1/get_result?id={number}", "cost": self.cost}

    def _wrong(self, model: str, body: dict[str, Any]) -> str:
        if unknown := set(body) - FIELDS[model]:
            return min(unknown)
        for name in INPUTS & set(body):
            base64.b64decode(body[name], validate=True)
        sides = [body[name] for name in ("width", "height") if name in body]
        return "" if all(side % GRID.get(model, 1) == 0 for side in sides) else "width"

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, object]:
        if path == "/v1/credits":
            return 200, {"credits": 123.4}
        if path.startswith("/results/"):
            model, body = self.jobs[path.rpartition("/")[2].removesuffix(".png")]
            return 200, painted(image_file(64, 48), lambda: order_of("Black Forest Labs", model, body))
        number = query["id"]
        if self.states:
            return self.states.popleft()
        self.looked[number] += 1
        if self.looked[number] <= self.looks:
            return 200, {"id": number, "status": "Pending", "progress": 0.4, "result": None}
        result = {"sample": f"{self.url}/results/{number}.png", "seed": 7, "prompt": "x"}
        return 200, {"id": number, "status": "Ready", "result": result}


def black_forest_labs(key: str = "") -> AbstractContextManager[FakeFlux]:
    return running(FakeFlux(key))

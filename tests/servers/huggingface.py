"""A fake of Hugging Face: the router with four providers, and the Hub's list of who serves a model."""

import base64
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

SCHNELL = "black-forest-labs/FLUX.1-schnell"


def _entry(name: str, status: str = "live") -> dict[str, str]:
    return {"status": status, "providerId": name, "task": "text-to-image"}


MODELS: dict[str, object] = {
    SCHNELL: {
        "nscale": _entry(SCHNELL),
        "fal-ai": _entry("fal-ai/flux/schnell"),
        "replicate": _entry("bfl/flux-schnell"),
    },
    "acme/listed": [{"provider": "together", **_entry("acme/listed-1")}, {"provider": "acme", **_entry("x")}],
    "acme/nobody": {"acme": _entry("x")},
    "acme/ill": {"fal-ai": _entry("fal-ai/ill", "error"), "nscale": _entry("acme/ill")},
}
INPUTS = {
    "/fal-ai/fal-ai/flux/schnell": {
        *("prompt", "image_size", "num_inference_steps", "guidance_scale", "negative_prompt", "seed", "image_url"),
    },
    "/together/v1/images/generations": {
        *("model", "prompt", "response_format", "width", "height", "steps", "negative_prompt", "seed", "image_url"),
    },
    "/nscale/v1/images/generations": {"model", "prompt", "response_format", "size"},
    "/replicate/v1/models/bfl/flux-schnell/predictions": {"input"},
}


@dataclass
class FakeHub(JsonService):
    """`replies` are the next answers of a provider."""

    replies: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        if self.key and call.path != "/file.png" and call.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        return None

    def answer(self, call: Call) -> tuple[int, object]:
        if call.path == "/file.png":
            return 200, self._painted(int(call.query.get("number", -1)))
        if call.path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "dify"}
        if call.method == "GET":
            model = call.path.removeprefix("/api/models/")
            known = MODELS.get(model)
            return (200, {"id": model, "inferenceProviderMapping": known}) if known else (404, {"error": "Not Found"})
        self.asked.append((call.path, call.body))
        if self.replies:
            return self.replies.popleft()
        known_inputs = INPUTS.get(call.path)
        if known_inputs is None or set(call.body) - known_inputs:
            return 422, {"error": f"not possible: {sorted(call.body)}"}
        if call.path.startswith(("/fal-ai", "/replicate")):
            return 200, {"images": [{"url": f"{self.url}/file.png?number={len(self.asked) - 1}"}], "output": None}
        return 200, {"data": [{"b64_json": base64.b64encode(self._painted(-1)).decode()}]}

    def _painted(self, number: int) -> bytes:
        path, body = self.asked[number]
        return painted(image_file(64, 48), lambda: order_of("Hugging Face", path.strip("/"), body))


def huggingface(key: str = "") -> AbstractContextManager[FakeHub]:
    return running(FakeHub(key))

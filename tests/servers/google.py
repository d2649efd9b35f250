"""A fake of Google's generateContent for image models, and its list of models."""

import base64
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

SIZES = {None: (64, 64), "1:1": (64, 64), "16:9": (96, 54), "3:2": (96, 64)}


def error(status: int, name: str, message: str) -> tuple[int, object]:
    return status, {"error": {"code": status, "message": message, "status": name}}


@dataclass
class FakeGemini(JsonService):
    """`replies` are the next answers to generateContent."""

    replies: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        if self.key and call.headers.get("x-goog-api-key") != self.key:
            return error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        return None

    def answer(self, call: Call) -> tuple[int, object]:
        if call.path == "/v1beta/models":
            return 200, {"models": []}
        self.asked.append((call.path, call.body))
        if self.replies:
            return self.replies.popleft()
        config = call.body["generationConfig"].get("imageConfig", {})
        if unknown := set(config) - {"aspectRatio", "imageSize"}:
            return error(400, "INVALID_ARGUMENT", f"Unknown name {min(unknown)}")
        model = call.path.rpartition("/")[2].partition(":")[0]
        small = image_file(*SIZES[config.get("aspectRatio")])
        data = base64.b64encode(painted(small, lambda: order_of("Google", model, call.body))).decode()
        image = {"inlineData": {"mimeType": "image/png", "data": data}}
        draft = {"inlineData": {"mimeType": "image/png", "data": "ZHJhZnQ="}, "thought": True}
        parts = [{"text": "Here it is."}, draft, image]
        return 200, {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}


def google(key: str = "") -> AbstractContextManager[FakeGemini]:
    return running(FakeGemini(key))

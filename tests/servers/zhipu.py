"""A fake of Zhipu's image generation: it answers with an address, as strict as the service about fields and sizes."""

from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

MULTIPLE = {"glm-image": 32}


@dataclass
class FakeZhipu(JsonService):
    """`replies` are the next answers to a generation."""

    replies: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        if self.key and call.path != "/file.png" and call.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"code": "1000", "message": "身份验证失败"}}
        return None

    def answer(self, call: Call) -> tuple[int, object]:
        if call.path == "/file.png":
            body = self.asked[int(call.query.get("number", -1))]
            return 200, painted(image_file(64, 48), lambda: order_of("Zhipu", body["model"], body))
        if call.method == "GET":
            return 200, {"data": [{"id": "glm-image"}]}
        self.asked.append(call.body)
        if self.replies:
            return self.replies.popleft()
        sides = [int(side) for side in call.body.get("size", "1024x1024").split("x")]
        unknown = set(call.body) - {"model", "prompt", "size", "watermark_enabled", "quality"}
        if unknown or any(side % MULTIPLE.get(call.body["model"], 16) for side in sides):
            return 400, {"error": {"code": "1210", "message": "API 调用参数有误"}}
        return 200, {"created": 1795000000, "data": [{"url": f"{self.url}/file.png?number={len(self.asked) - 1}"}]}


def zhipu(key: str = "") -> AbstractContextManager[FakeZhipu]:
    return running(FakeZhipu(key))

"""A fake of Ark, as strict as the service about sizes and fields: images here, the tasks of videos in `ark_videos`."""

import base64
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.servers.ark_videos import TASKS, VideoTasks
from tests.servers.json_service import Call, JsonService, running
from tests.servers.scenes import order_of, painted

FIELDS = {"model", "prompt", "image", "size", "response_format", "watermark"}
LEAST = {"seedream-4-5": 3_686_400, "seedream-5-0-260128": 3_686_400}


def error(status: int, code: str, message: str = "it is so") -> tuple[int, object]:
    return status, {"error": {"code": code, "message": message, "type": "BadRequest"}}


@dataclass
class FakeArk(JsonService):
    """`replies` are the next answers to a generation, `asked` the bodies of all."""

    videos: VideoTasks = field(default_factory=VideoTasks)
    replies: deque[tuple[int, object]] = field(default_factory=deque)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def refusal(self, call: Call) -> tuple[int, object] | None:
        signed = call.path.startswith("/files/")
        if self.key and not signed and call.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "AuthenticationError", f"the API key {call.headers.get('authorization')} is wrong")
        return None

    def answer(self, call: Call) -> tuple[int, object]:
        if call.path.startswith("/files/"):
            return self.videos.file(call.path)
        if call.path.startswith(f"{TASKS}/"):
            number = call.path.removeprefix(f"{TASKS}/")
            return self.videos.deleted(number) if call.method == "DELETE" else self.videos.state(number, self.url)
        if call.path == TASKS and call.method == "GET":
            return 200, {"total": 0, "items": []}
        if call.method == "GET":
            return 405, {"error": {"code": "MethodNotAllowed", "message": "no"}}
        self.asked.append(call.body)
        if self.replies:
            return self.replies.popleft()
        if call.path == TASKS:
            return self.videos.started(call.body)
        model = call.body["model"]
        more = {"output_format"} if "-5-0" in model else set()
        if unknown := set(call.body) - FIELDS - more:
            return error(400, f"InvalidParameter.{min(unknown)}")
        sides = [int(side) for side in call.body.get("size", "2048x2048").split("x")]
        least = next((area for name, area in LEAST.items() if name in model), 0)
        if sides[0] * sides[1] < least:
            return error(400, "InvalidParameter", "the area is too small")
        small = image_file(64, 48, kind="JPEG")
        data = base64.b64encode(painted(small, lambda: order_of("Ark", model, call.body, kind="jpeg"))).decode()
        return 200, {"model": model, "data": [{"b64_json": data, "size": "64x48"}], "usage": {"generated_images": 1}}


def ark(key: str = "") -> AbstractContextManager[FakeArk]:
    return running(FakeArk(key))

"""The video tasks of the fake of Ark: as strict as the service about fields, roles, resolutions and durations."""

import base64
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import image_file
from tests.video_files import mp4

TASKS = "/contents/generations/tasks"
FIELDS = {"model", "content", "resolution", "ratio", "duration", "watermark", "return_last_frame"}
RATIOS = {"16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive"}
TOKENS = 108_900

type Json = Any


@dataclass(frozen=True)
class Generation:
    """What a generation of models takes."""

    more: frozenset[str]
    seconds: range
    resolutions: frozenset[str]
    images: int


_LINES = frozenset({"480p", "720p", "1080p"})
GENERATIONS = {
    "seedance-1-0": Generation(frozenset({"seed", "camera_fixed"}), range(2, 13), _LINES, 2),
    "seedance-1-5": Generation(frozenset({"seed", "generate_audio"}), range(4, 13), _LINES, 2),
    "seedance-2-0-fast": Generation(frozenset({"generate_audio"}), range(4, 16), _LINES - {"1080p"}, 9),
    "seedance-2-0": Generation(frozenset({"generate_audio"}), range(4, 16), _LINES | {"4k"}, 9),
}


@dataclass
class VideoTasks:
    """`looks` is how often a task is running before it ends, `states` are the next answers to a look.

    `files` are the videos and frames by their path.
    """

    looks: int = 1
    video: bytes = field(default_factory=mp4)
    states: deque[dict[str, Json]] = field(default_factory=deque)
    looked: dict[str, int] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    file_faults: dict[str, int] = field(default_factory=dict)

    def started(self, body: dict[str, Json]) -> tuple[int, object]:
        if wrong := _wrong(body):
            return _error(f"InvalidParameter.{wrong}")
        number = f"cgt-{len(self.looked)}"
        self.looked[number] = 0
        return 200, {"id": number}

    def state(self, number: str, base: str) -> tuple[int, object]:
        if number not in self.looked:
            return 404, {"error": {"code": "ResourceNotFound", "message": "no such task", "type": "NotFound"}}
        if self.states:
            return 200, {"id": number, "model": "m", "error": None, **self.states.popleft()}
        self.looked[number] += 1
        if self.looked[number] <= self.looks:
            return 200, {"id": number, "model": "m", "status": "running", "error": None}
        content = {"video_url": f"{base}/files/{number}.mp4", "last_frame_url": f"{base}/files/{number}.png"}
        usage = {"completion_tokens": TOKENS, "total_tokens": TOKENS}
        more = {"seed": 1234, "resolution": "720p", "ratio": "16:9", "duration": 5, "framespersecond": 24}
        return 200, {"id": number, "status": "succeeded", "error": None, "content": content, "usage": usage, **more}

    def file(self, path: str) -> tuple[int, object]:
        kind = path.rpartition(".")[2]
        if kind in self.file_faults:
            return self.file_faults[kind], {"error": "AccessDenied"}
        return 200, image_file(1280, 720) if kind == "png" else self.video

    def deleted(self, number: str) -> tuple[int, object]:
        """Only a task that waits can be cancelled."""
        if self.looked.get(number, 1):
            return _error("InvalidAction.RunningTaskDeletion")
        self.cancelled.append(number)
        return 200, {}


def _error(code: str) -> tuple[int, object]:
    return 400, {"error": {"code": code, "message": "it is so", "type": "BadRequest"}}


def _wrong(body: dict[str, Json]) -> str:
    known = next((one for name, one in GENERATIONS.items() if name in body["model"]), None)
    if known is None:
        return "model"
    if unknown := set(body) - FIELDS - known.more:
        return min(unknown)
    right = {
        "duration": body["duration"] in known.seconds,
        "resolution": body["resolution"] in known.resolutions,
        "ratio": body.get("ratio", "adaptive") in RATIOS,
        "content": _is_content(body["content"], known.images),
    }
    return next((name for name, fits in right.items() if not fits), "")


def _is_content(content: list[dict[str, Json]], most: int) -> bool:
    text, *images = content
    roles = [one["role"] for one in images]
    for one in images:
        head, _, data = one["image_url"]["url"].partition(",")
        base64.b64decode(data, validate=True)
        if not head.startswith("data:image/") or one["type"] != "image_url":
            return False
    frames = roles == ["first_frame", "last_frame"][: len(roles)]
    references = bool(roles) and set(roles) == {"reference_image"} and most > len(["first", "last"])
    return text["type"] == "text" and len(images) <= most and (frames or references)

"""The video tasks of the fake of Model Studio: as strict as the service about paths, fields, images and sizes."""

import base64
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from tests.video_files import mp4

type Json = Any

RATIOS = {"16:9", "9:16", "1:1", "4:3", "3:4", "adaptive"}
SIZES: Mapping[str, set[str]] = {
    "480P": {"832*480", "480*832", "624*624"},
    "720P": {"1280*720", "720*1280", "960*960", "1088*832", "832*1088"},
    "1080P": {"1920*1080", "1080*1920", "1440*1440", "1632*1248", "1248*1632"},
}
TEXTS = {"prompt", "negative_prompt"}
ALWAYS = {"prompt_extend", "watermark", "seed"}
THREE = frozenset({"480P", "720P", "1080P"})


@dataclass(frozen=True)
class VideoKind:
    """What a model takes: the part of its path, fields of `input` and `parameters`, lengths, images and their sides.

    `media`: the roles of images in a list; `named`: fields of `input` that must hold one each.
    """

    path: str = "video-generation"
    texts: frozenset[str] = frozenset(TEXTS)
    parameters: frozenset[str] = frozenset({"resolution", "duration"})
    seconds: range | tuple[int, ...] = (5,)
    resolutions: frozenset[str] = THREE
    media: Callable[[list[str]], bool] | None = None
    named: tuple[str, ...] = ()
    sides: tuple[int, int] = (360, 2000)


def _frames(roles: list[str]) -> bool:
    return roles in (["first_frame"], ["first_frame", "last_frame"])


def _anything(roles: list[str]) -> bool:
    return not roles or _frames(roles) or (set(roles) == {"reference_image"} and len(roles) <= 10)


_WAN3 = VideoKind(
    texts=frozenset({"prompt"}),
    parameters=frozenset({"resolution", "ratio", "duration", "audio"}),
    seconds=range(2, 31),
    media=_anything,
    sides=(240, 8000),
)
_HIGH = THREE - {"480P"}
_PLUS = THREE - {"720P"}
_SIZED = frozenset({"size", "duration"})
_T25 = VideoKind(parameters=_SIZED | {"audio"}, seconds=(5, 10))
_I25 = VideoKind(parameters=frozenset({"resolution", "duration", "audio"}), seconds=(5, 10), named=("img_url",))
_I22 = VideoKind(parameters=frozenset({"resolution"}), named=("img_url",))
VIDEO_MODELS: Mapping[str, VideoKind] = {
    "wan3.0-video": _WAN3,
    "wan3.0-video-prime": _WAN3,
    "wan2.7-t2v": VideoKind(
        parameters=frozenset({"resolution", "ratio", "duration"}), seconds=range(2, 16), resolutions=_HIGH
    ),
    "wan2.7-i2v": VideoKind(seconds=range(2, 16), resolutions=_HIGH, media=_frames, sides=(240, 8000)),
    "wan2.5-t2v-preview": _T25,
    "wan2.5-i2v-preview": _I25,
    "wan2.2-t2v-plus": VideoKind(parameters=frozenset({"size"}), resolutions=_PLUS),
    "wan2.2-i2v-plus": replace(_I22, resolutions=_PLUS),
    "wan2.2-i2v-flash": _I22,
    "wan2.2-kf2v-flash": replace(_I22, path="image2video", named=("first_frame_url", "last_frame_url")),
}
VIDEO_PATHS = frozenset(kind.path for kind in VIDEO_MODELS.values())
VIDEO = mp4()


def usage_of(body: Json) -> dict[str, object]:
    """The old models and those with images name the length in words of their own."""
    seconds = body["parameters"].get("duration", 5)
    if "size" in body["parameters"]:
        return {"video_duration": seconds, "video_ratio": body["parameters"]["size"], "video_count": 1}
    if "media" in body["input"] or "wan3" in body["model"]:
        return {"duration": seconds, "output_video_duration": seconds, "input_video_duration": 0, "fps": 30}
    return {"duration": seconds, "SR": 720, "video_count": 1}


def wrong(body: Json, path: str) -> str:
    """What the service would refuse; empty for a body as it takes it."""
    kind, given, values = VIDEO_MODELS[body["model"]], body["input"], body["parameters"]
    if kind.path != path:
        return "url error, please check url"
    images = [] if kind.media is None else [entry["url"] for entry in given.get("media", [])]
    fields = kind.texts | set(kind.named) | ({"media"} if kind.media else set())
    resolutions = {name for name, sizes in SIZES.items() if values.get("size") in sizes} or {values.get("resolution")}
    right = {
        "input": set(given) <= fields and isinstance(given.get("prompt"), str) and bool(given["prompt"]),
        "input.img_url": set(kind.named) <= set(given),
        "media": kind.media is None or kind.media([entry["type"] for entry in given.get("media", [])]),
        "parameters": ALWAYS <= set(values) <= ALWAYS | kind.parameters,
        "size": "size" not in kind.parameters or bool(resolutions & kind.resolutions),
        "resolution": "resolution" not in kind.parameters or values.get("resolution") in kind.resolutions,
        "ratio": values.get("ratio", "adaptive") in RATIOS,
        "duration": type(values.get("duration", 5)) is int and values.get("duration", 5) in kind.seconds,
        "seed": type(values.get("seed")) is int and 0 <= values["seed"] <= 2147483647,
        "audio": type(values.get("audio", True)) is bool,
        "image": all(_is_taken(url, kind.sides) for url in (*images, *(given.get(name, "") for name in kind.named))),
    }
    return next((f"Field required or wrong: {name}" for name, fits in right.items() if not fits), "")


def _is_taken(url: str, sides: tuple[int, int]) -> bool:
    match = re.fullmatch(r"data:image/(jpeg|png|bmp|webp);base64,(.*)", url, re.DOTALL)
    if match is None or len(url) > 10_485_760:
        return False
    image = Image.open(io.BytesIO(base64.b64decode(match[2], validate=True)))
    low, high = sides
    return "A" not in image.getbands() and all(low <= side <= high for side in image.size)

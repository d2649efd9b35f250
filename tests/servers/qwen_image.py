"""A fake of Alibaba Cloud Model Studio's image API and of its video tasks, as strict as the service: `python -m tests.servers.qwen_image`.

It accepts only documented requests, records every request, returns real images of the requested size, and can fail,
delay, drop connections and lose tasks on request. It shares no code with the plugin, so that both cannot contain the
same misunderstanding.
"""

import argparse
import base64
import binascii
import io
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image, UnidentifiedImageError

from tests.servers.busy import BusyServer
from tests.servers.model_studio_videos import VIDEO, VIDEO_MODELS, VIDEO_PATHS, usage_of, wrong
from tests.servers.scenes import order_of, painted

GOOD_KEY = "sk-test-good"
SIGNATURE = "Expires=1795000000&OSSAccessKeyId=LTAI&Signature=abc%2Bd%2F%3D"
FIXED = {"1664*928", "1472*1104", "1328*1328", "1104*1472", "928*1664"}
MAX_DATA_URL = 10_485_760
BOTH = frozenset({"beijing", "singapore"})
EVERYWHERE = BOTH | {"us"}


@dataclass(frozen=True)
class Kind:
    """The limits of one model: size rule, number of input and output images, regions. `unsaid` is `n` if it is not sent,
    `sides` and `opaque` what input images must have, `pictures` a list of them instead of a function."""

    size: str
    most: int = 1
    images: tuple[int, int] = (0, 0)
    regions: frozenset[str] = BOTH
    jobs: str = ""
    sync: bool = True
    extra: frozenset[str] = frozenset()
    unsaid: int = 1
    sides: tuple[int, int] = (1, 16384)
    opaque: bool = False
    pictures: bool = False


PLAIN = frozenset({"size", "n", "negative_prompt", "prompt_extend", "watermark", "seed"})
THINKING = PLAIN | {"prompt_extend_mode", "enable_thinking"}
WAN = PLAIN - {"negative_prompt", "prompt_extend"} | {"thinking_mode"}
TWO_ONE = frozenset({"size", "n", "prompt_extend", "watermark", "seed"})
WAN_27 = Kind("wan2.7", 4, (0, 9), BOTH, "image-generation", extra=WAN, unsaid=4, sides=(240, 8000), opaque=True)
WAN_EDIT = Kind("wan", 4, (1, 4), EVERYWHERE, "image-generation", extra=PLAIN, unsaid=4, sides=(384, 5000))
THREE = Kind("area", 6, (0, 3), EVERYWHERE, "image-generation", extra=THINKING)
MODELS: Mapping[str, Kind] = {
    "qwen-image-3.0": THREE,
    "qwen-image-3.0-pro": THREE,
    "qwen-image-2.0": Kind("area", 6, (0, 3), extra=PLAIN),
    "qwen-image-2.0-pro": Kind("area", 6, (0, 3), extra=PLAIN),
    "qwen-image-2.0-pro-2026-06-22": Kind("area", 6, (0, 3), extra=PLAIN),
    "qwen-image-max": Kind("fixed", extra=PLAIN),
    "qwen-image-plus": Kind("fixed", jobs="text2image", extra=PLAIN),
    "qwen-image": Kind("fixed", jobs="text2image", extra=PLAIN),
    "qwen-image-edit-plus": Kind("side", 6, (1, 3), extra=PLAIN),
    "qwen-image-edit-max": Kind("side", 6, (1, 3), extra=PLAIN),
    "qwen-image-edit": Kind("none", 1, (1, 3), extra=PLAIN - {"size", "prompt_extend"}),
    "qwen-image-2.1-pro": Kind("area", 6, (0, 10), EVERYWHERE, extra=TWO_ONE),
    "qwen-image-2.1-turbo": Kind("area", 6, (0, 10), extra=PLAIN),
    "wan2.7-image": WAN_27,
    "wan2.7-image-pro": replace(WAN_27, size="wan2.7-pro"),
    "wan2.6-image": WAN_EDIT,
    "wan2.6-t2i": Kind("t2i", 4, (0, 0), EVERYWHERE, "image-generation", extra=PLAIN, unsaid=4),
    "wan2.5-t2i-preview": Kind("t2i", 4, jobs="text2image", sync=False, extra=PLAIN, unsaid=4),
    "wan2.5-i2i-preview": replace(WAN_EDIT, images=(1, 3), regions=BOTH, jobs="image2image", sync=False, pictures=True),
    "z-image-turbo": Kind("area", 1, extra=frozenset({"size", "prompt_extend", "seed"})),
    "wanx2.1-imageedit": Kind("none", 4, (1, 1), frozenset({"beijing"}), "image2image", sync=False),
}
AREAS: Mapping[str, tuple[int, int, int]] = {
    "area": (512**2, 2048**2, 8),
    "wan2.7": (768**2, 2048**2, 8),
    "wan2.7-pro": (768**2, 4096**2, 8),
    "wan": (768**2, 1280**2, 4),
    "t2i": (1280**2, 1440**2, 4),
}
"""Fewest and most pixels, and the longest ratio."""
FUNCTIONS: Mapping[str, frozenset[str]] = {
    "stylization_all": frozenset({"strength"}),
    "stylization_local": frozenset(),
    "description_edit": frozenset({"strength"}),
    "description_edit_with_mask": frozenset(),
    "expand": frozenset({"top_scale", "bottom_scale", "left_scale", "right_scale"}),
    "super_resolution": frozenset({"upscale_factor"}),
    "colorization": frozenset(),
    "doodle": frozenset({"is_sketch"}),
    "control_cartoon_feature": frozenset(),
}
RANGES: Mapping[str, tuple[type, float, float]] = {
    "n": (int, 1, 6),
    "seed": (int, 0, 2147483647),
    "strength": (float, 0, 1),
    "top_scale": (float, 1, 2),
    "bottom_scale": (float, 1, 2),
    "left_scale": (float, 1, 2),
    "right_scale": (float, 1, 2),
    "upscale_factor": (int, 1, 4),
}
TYPES: Mapping[str, type] = {
    "size": str,
    "negative_prompt": str,
    "prompt_extend": bool,
    "watermark": bool,
    "prompt_extend_mode": str,
    "enable_thinking": bool,
    "thinking_mode": bool,
    "is_sketch": bool,
}


class Refusal(Exception):
    """An error reply: status and code of the service's error table."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(code)


def invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameter", message)


def need(truth: object, message: str) -> None:
    if not truth:
        raise invalid(message)


@dataclass
class Received:
    """One received request; header names are lower case."""

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Fault:
    """A fault of the next `times` requests of one kind, instead of or before the normal reply."""

    kind: str
    times: int
    status: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    after: int = 0


@dataclass
class Task:
    id: str
    model: str
    statuses: list[str]
    output: dict[str, object]
    status: str = "PENDING"
    seed: int = 0
    usage: Mapping[str, object] = field(default_factory=lambda: {"image_count": 1})


class FakeModelStudio:
    """The fake service: use its `url` as base URL and inspect `requests`."""

    def __init__(self, *, region: str = "beijing", key: str = GOOD_KEY) -> None:
        self.region = region
        self.key = key
        self.requests: list[Received] = []
        self.statuses: list[str] = ["SUCCEEDED"]
        """The statuses of the next tasks, one per poll; the last one stays."""
        self.per_task: list[str] = []
        """The one status of each task by the order of their seeds: tasks may arrive in any order."""
        self.final: dict[str, object] = {}
        """Fields that replace those of the finished output of the following tasks."""
        self.lists_models = True
        self.choices_apart = False
        self.in_work = 0
        self.most_at_once = 0
        """The number of pending requests: now, and at most."""
        self._faults: list[Fault] = []
        self._tasks: dict[str, Task] = {}
        self._images: dict[str, bytes] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._server: BusyServer | None = None

    # Running

    def start(self, port: int = 0) -> "FakeModelStudio":
        handler = type("Handler", (_Handler,), {"studio": self})
        self._server = BusyServer(("127.0.0.1", port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def origin(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/api/v1"

    # Configuration of faults. `kind`: models, compatible, generate, submit, poll, cancel, download.

    def fail(
        self,
        kind: str,
        status: int,
        code: str,
        message: str = "as told",
        *,
        times: int = 1,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Reply with an error in the service's format, after `after` normal requests."""
        body = json.dumps({"code": code, "message": message, "request_id": "e20"})
        self._faults.append(Fault(kind, times, status, body, dict(headers or {}), after=after))

    def answer(self, kind: str, status: int, body: str, content_type: str = "application/json", times: int = 1) -> None:
        self._faults.append(Fault(kind, times, status, body, {"Content-Type": content_type}))

    def throttle(self, kind: str, times: int = 1) -> None:
        self.fail(kind, 429, "Throttling.RateQuota", "requests rate limit exceeded", times=times)

    def delay(self, kind: str, seconds: float, times: int = 1) -> None:
        self._faults.append(Fault(kind, times, delay=seconds))

    def drop(self, kind: str, times: int = 1) -> None:
        """Read the request, then close the connection without a reply."""
        self._faults.append(Fault(kind, times, drop=True))

    def finish_tasks(self) -> None:
        for task in self._tasks.values():
            task.statuses = ["SUCCEEDED"]

    def forget_images(self) -> None:
        """Expire tasks and images, as after 24 hours."""
        self._images.clear()

    def of_kind(self, kind: str) -> list[Received]:
        return [request for request in self.requests if request.kind == kind]

    def begin(self, received: Received) -> None:
        with self._lock:
            self.requests.append(received)
            self.in_work += 1
            self.most_at_once = max(self.most_at_once, self.in_work)

    def end(self) -> None:
        with self._lock:
            self.in_work -= 1

    def fault_for(self, kind: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.kind == kind and fault.after > 0:
                    fault.after -= 1
                    return None
                if fault.kind == kind and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    # The service

    def authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or key != self.key:
            raise Refusal(401, "InvalidApiKey", f"key {key[:12]}… not accepted")

    def generate(self, received: Received) -> dict[str, object]:
        if "x-dashscope-async" in received.headers:
            raise Refusal(403, "AccessDenied", "current user api does not support asynchronous calls")
        kind = self._kind(received.body)
        if not kind.sync:
            raise Refusal(403, "AccessDenied", "current user api does not support synchronous calls")
        sizes = self._messages(received.body, kind)
        urls = self._draw(received.body["parameters"].get("n", kind.unsaid), sizes, received.body)
        width, height = sizes
        return {
            "output": {
                "choices": self._choices(received.body["model"], urls),
                "task_metric": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0},
            },
            "usage": {"image_count": len(urls), "width": width, "height": height},
        }

    def submit(self, received: Received, api: str) -> dict[str, object]:
        if received.headers.get("x-dashscope-async") != "enable":
            raise Refusal(403, "AccessDenied", "current user api does not support synchronous calls")
        if self.key.startswith("sk-sp-"):
            raise Refusal(403, "AccessDenied", "current user api does not support asynchronous calls")
        if api in VIDEO_PATHS:
            return self._video(received.body, api)
        kind = self._kind(received.body)
        if kind.jobs != api:
            raise Refusal(403, "AccessDenied", "current user api does not support asynchronous calls")
        edit = self._pictures if kind.pictures else self._function
        read = {"text2image": self._prompt, "image-generation": self._messages, "image2image": edit}[api]
        urls = self._draw(received.body["parameters"].get("n", kind.unsaid), read(received.body, kind), received.body)
        choices = {"choices": self._choices(received.body["model"], urls)}
        output = choices if api == "image-generation" else self._results(received.body, urls)
        seed = received.body["parameters"].get("seed", 0)
        task = Task(
            f"t-{next(self._ids):03}", received.body["model"], list(self.statuses), {**output, **self.final}, seed=seed
        )
        self._tasks[task.id] = task
        return {"output": {"task_status": "PENDING", "task_id": task.id}}

    def _video(self, body: Any, api: str) -> dict[str, object]:
        if body["model"] not in VIDEO_MODELS:
            raise Refusal(404, "ModelNotFound", f"model {body['model']} does not exist")
        fault = wrong(body, api)
        need(not fault, fault)
        path = f"/results/{next(self._ids)}.mp4"
        self._images[path] = VIDEO
        output = {
            "video_url": f"{self.origin}{path}?{SIGNATURE}",
            "orig_prompt": body["input"]["prompt"],
            "actual_prompt": f"{body['input']['prompt']}, in slow motion",
        }
        task = Task(
            f"t-{next(self._ids):03}",
            body["model"],
            list(self.statuses),
            {**output, **self.final},
            seed=body["parameters"]["seed"],
            usage=usage_of(body),
        )
        self._tasks[task.id] = task
        return {"output": {"task_status": "PENDING", "task_id": task.id}}

    def look(self, task_id: str) -> dict[str, object]:
        for waiting, status in zip(sorted(self._tasks.values(), key=lambda one: one.seed), self.per_task, strict=False):
            waiting.statuses = [status]
        self.per_task = []
        task = self._tasks.get(task_id)
        if task is None:
            return {"output": {"task_id": task_id, "task_status": "UNKNOWN"}}
        if task.status != "CANCELED":
            task.status = task.statuses.pop(0) if len(task.statuses) > 1 else task.statuses[0]
        known: dict[str, object] = {
            "task_id": task_id,
            "task_status": task.status,
            "submit_time": "2026-11-20 10:00:00.000",
        }
        if task.status == "SUCCEEDED":
            return {"output": {**known, **task.output}, "usage": dict(task.usage)}
        if task.status == "FAILED":
            told: dict[str, object] = {key: task.output[key] for key in ("code", "message") if key in task.output}
            return {"output": {**known, "code": "InternalError.Timeout", "message": "as told", **told}}
        return {"output": known}

    def cancel(self, task_id: str) -> dict[str, object]:
        task = self._tasks.get(task_id)
        if task is None or task.status != "PENDING":
            raise Refusal(400, "UnsupportedOperation", "task is not pending")
        task.status = "CANCELED"
        return {}

    def download(self, received: Received) -> bytes:
        if "authorization" in received.headers or urlsplit(received.path).query != SIGNATURE:
            raise Refusal(403, "SignatureDoesNotMatch", "the signature is not the one that was given out")
        found = self._images.get(urlsplit(received.path).path)
        if found is None:
            raise Refusal(403, "AccessDenied", "Request has expired.")
        return found

    # Checking

    def _kind(self, body: object) -> Kind:
        need(isinstance(body, dict), "body is not JSON")
        assert isinstance(body, dict)
        need(set(body) == {"model", "input", "parameters"}, f"unexpected fields in {sorted(body)}")
        kind = MODELS.get(body["model"])
        if kind is None or self.region not in kind.regions:
            raise Refusal(404, "ModelNotFound", f"model {body['model']} does not exist")
        return kind

    def _messages(self, body: Mapping[str, Any], kind: Kind) -> tuple[int, int]:
        need(set(body["input"]) == {"messages"}, "input takes messages only")
        need(len(body["input"]["messages"]) == 1, "exactly one message is allowed")
        message = body["input"]["messages"][0]
        need(set(message) == {"role", "content"} and message["role"] == "user", "the role must be user")
        *images, text = message["content"]
        need(all(set(item) == {"image"} for item in images), "images come first, then exactly one text")
        need(set(text) == {"text"} and isinstance(text["text"], str) and text["text"], "exactly one text is required")
        low, high = kind.images
        need(low <= len(images) <= high, f"{len(images)} images, the model takes {low} to {high}")
        decoded = [_allowed(_decoded(item["image"]), kind) for item in images]
        parameters = body["parameters"]
        edits = replace(kind, size="wan2.7") if images and kind.size == "wan2.7-pro" else kind
        _check_parameters(parameters, kind.extra, edits)
        if images:
            need("thinking_mode" not in parameters, "thinking takes no images")
            need(parameters.get("prompt_extend_mode") != "agent", "agent mode takes no images")
        return _asked_size(parameters.get("size")) or _like(decoded[-1])

    def _prompt(self, body: Mapping[str, Any], kind: Kind) -> tuple[int, int]:
        need(set(body["input"]) <= {"prompt", "negative_prompt"}, "input takes prompt and negative_prompt only")
        need(isinstance(body["input"].get("prompt"), str) and body["input"]["prompt"], "prompt is required")
        _check_parameters(body["parameters"], kind.extra - {"negative_prompt"}, kind)
        return _asked_size(body["parameters"]["size"]) or (1328, 1328)

    def _pictures(self, body: Mapping[str, Any], kind: Kind) -> tuple[int, int]:
        given = body["input"]
        need(
            {"prompt", "images"} <= set(given) <= {"prompt", "images", "negative_prompt"},
            "input takes prompt and images",
        )
        need(isinstance(given["prompt"], str) and given["prompt"], "prompt is required")
        low, high = kind.images
        need(low <= len(given["images"]) <= high, f"the model takes {low} to {high} images")
        decoded = [_allowed(_decoded(item), kind) for item in given["images"]]
        _check_parameters(body["parameters"], kind.extra - {"negative_prompt"}, kind)
        return _asked_size(body["parameters"].get("size")) or _like(decoded[-1])

    def _function(self, body: Mapping[str, Any], kind: Kind) -> tuple[int, int]:
        given = body["input"]
        function = given.get("function")
        need(function in FUNCTIONS, f"unknown function {function}")
        masked = function == "description_edit_with_mask"
        expected = {"function", "prompt", "base_image_url"} | ({"mask_image_url"} if masked else set())
        need(set(given) == expected, f"the function takes {sorted(expected)}")
        need(given["prompt"], "prompt is required")
        _check_parameters(body["parameters"], FUNCTIONS[function] | {"n", "seed", "watermark"}, kind)
        base = _decoded(given["base_image_url"])
        need(all(512 <= side <= 4096 for side in base.size), f"sides of {base.size} must be in 512..4096")
        if masked:
            mask = _decoded(given["mask_image_url"])
            need(mask.size == base.size, "mask and image differ in size")
            need(set(mask.convert("L").get_flattened_data()) <= {0, 255}, "a mask is pure black and white")
        return _like(base)

    # Generating

    def _draw(self, n: int, size: tuple[int, int], body: dict[str, Any] | None = None) -> list[str]:
        return [self._publish(size, body or {}, place) for place in range(n)]

    def _publish(self, size: tuple[int, int], body: dict[str, Any], place: int) -> str:
        number = next(self._ids)
        out = io.BytesIO()
        Image.new("RGB", size, (number * 37 % 256, 90, 160)).save(out, "PNG", compress_level=1)
        path = f"/results/{number}.png"
        seed = body.get("parameters", {}).get("seed")
        order = partial(order_of, "Model Studio", body.get("model", ""), body, size=size)
        self._images[path] = painted(out.getvalue(), lambda: order(seed=None if seed is None else seed + place))
        return f"{self.origin}{path}?{SIGNATURE}"

    def _choices(self, model: str, urls: list[str]) -> list[dict[str, object]]:
        wan = model.startswith("wan")
        groups = [[url] for url in urls] if self.choices_apart or wan else [urls]
        words = [{"text": "the prompt in other words"}] if model == "z-image-turbo" else []
        kind = {"type": "image"} if wan else {}
        return [
            {
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": [*({**kind, "image": url} for url in group), *words]},
            }
            for group in groups
        ]

    def _results(self, body: Mapping[str, Any], urls: list[str]) -> dict[str, object]:
        prompt = body["input"]["prompt"]
        extended = body["parameters"].get("prompt_extend")
        actual = {"actual_prompt": f"{prompt}, in fine detail"} if extended else {}
        return {
            "results": [{"orig_prompt": prompt, **actual, "url": url} for url in urls],
            "task_metrics": {"TOTAL": len(urls), "SUCCEEDED": len(urls), "FAILED": 0},
        }


@contextmanager
def model_studio(*, region: str = "beijing", key: str = GOOD_KEY) -> Iterator[FakeModelStudio]:
    """A running fake server, stopped at the end."""
    server = FakeModelStudio(region=region, key=key).start()
    try:
        yield server
    finally:
        server.stop()


def _check_parameters(given: Mapping[str, Any], allowed: frozenset[str], kind: Kind) -> None:
    unknown = set(given) - allowed
    need(not unknown, f"unknown parameters {sorted(unknown)}")
    for name, value in given.items():
        if name in RANGES:
            wanted, low, high = RANGES[name]
            right = type(value) is int or (wanted is float and type(value) is float)
            need(right and low <= value <= high, f"{name} must be {wanted.__name__} within {low}..{high}")
        else:
            need(type(value) is TYPES[name], f"{name} must be {TYPES[name].__name__}")
    need(given.get("n", 1) <= kind.most, f"num_images_per_prompt must be at most {kind.most}")
    need(given.get("prompt_extend_mode", "direct") in {"direct", "agent"}, "unknown prompt_extend_mode")
    need(_size_fits(given.get("size"), kind.size), "size must be width*height of a size that the model takes")


def _size_fits(size: str | None, rule: str) -> bool:
    if size is None:
        return True
    if rule == "fixed":
        return size in FIXED
    asked = _asked_size(size)
    if asked is None:
        return False
    width, height = asked
    if rule == "side":
        return 512 <= width <= 2048 and 512 <= height <= 2048
    low, high, ratio = AREAS[rule]
    return low <= width * height <= high and 1 / ratio <= width / height <= ratio


def _asked_size(size: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"([1-9]\d*)\*([1-9]\d*)", size or "")
    return (int(match[1]), int(match[2])) if match else None


def _like(image: Image.Image) -> tuple[int, int]:
    scale = 1024 / (image.width * image.height) ** 0.5
    return max(16, round(image.width * scale / 16) * 16), max(16, round(image.height * scale / 16) * 16)


def _allowed(image: Image.Image, kind: Kind) -> Image.Image:
    low, high = kind.sides
    if not all(low <= side <= high for side in image.size):
        raise Refusal(400, "InvalidImage.ImageSize", f"sides of {image.size} must be in {low}..{high}")
    if kind.opaque and "A" in image.getbands():
        raise Refusal(400, "InvalidImage.FileFormat", "a transparent image is not supported")
    return image


def _decoded(text: str) -> Image.Image:
    if text.startswith(("http://", "https://")):
        raise Refusal(400, "InvalidURL.ConnectionRefused", "the image cannot be downloaded")
    need(len(text) <= MAX_DATA_URL, "Exceeded limit on max bytes per data-uri item : 10485760")
    match = re.fullmatch(r"data:image/(jpeg|png|webp|bmp|tiff|gif);base64,(.*)", text, re.DOTALL)
    need(match, "not a data URL of an image")
    assert match is not None
    try:
        image = Image.open(io.BytesIO(base64.b64decode(match[2], validate=True)))
        image.load()
    except (binascii.Error, UnidentifiedImageError, OSError):
        raise invalid("the image cannot be decoded") from None
    need((image.format or "").lower() == match[1], f"declared {match[1]}, is {image.format}")
    need(image.getexif().get(0x0112, 1) == 1, "the test's service would draw this image turned")
    return image


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # headers and body are two writes; the second must not wait for an answer to the first
    )
    studio: FakeModelStudio

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        received = self._read()
        self.studio.begin(received)
        try:
            self._serve_one(received)
        finally:
            self.studio.end()

    def _serve_one(self, received: Received) -> None:
        fault = self.studio.fault_for(received.kind)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.drop:
                self.close_connection = True
                self.connection.close()
                return
            if fault.status:
                self._send(fault.status, fault.body.encode(), fault.headers)
                return
        try:
            self._answer(received)
        except Refusal as refusal:
            if received.kind == "download":
                xml = f"<?xml version='1.0'?><Error><Code>{refusal.code}</Code></Error>"
                self._send(refusal.status, xml.encode(), {"Content-Type": "application/xml"})
                return
            told = {"code": refusal.code, "message": refusal.message, "request_id": "e01"}
            self._send(refusal.status, json.dumps(told).encode())

    def _read(self) -> Received:
        length = int(self.headers.get("Content-Length", "0"))
        raw = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        return Received(_kind_of(self.command, urlsplit(self.path).path), self.command, self.path, headers, body)

    def _answer(self, received: Received) -> None:
        if received.kind == "download":
            kind = "video/mp4" if ".mp4" in received.path else "image/png"
            self._send(200, self.studio.download(received), {"Content-Type": kind})
            return
        self.studio.authorize(received.headers)
        if received.method == "POST" and received.kind != "cancel":
            need(received.headers.get("content-type") == "application/json", "the body must be application/json")
        answers: Mapping[str, Callable[[], object]] = {
            "models": lambda: self._models(received),
            "compatible": lambda: {"object": "list", "data": [{"id": "qwen-image-2.0", "object": "model"}]},
            "generate": lambda: self.studio.generate(received),
            "submit": lambda: self.studio.submit(received, received.path.split("/")[-2]),
            "poll": lambda: self.studio.look(received.path.rpartition("/")[2]),
            "cancel": lambda: self.studio.cancel(received.path.split("/")[-2]),
        }
        if received.kind not in answers:
            raise Refusal(404, "NotFound", f"no {received.method} {received.path}")
        told = answers[received.kind]()
        assert isinstance(told, dict)
        self._send(200, json.dumps({**told, "request_id": "req-0001"}).encode())

    def _models(self, received: Received) -> object:
        if not self.studio.lists_models:
            raise Refusal(404, "NotFound", "no such path")
        need(set(parse_qs(urlsplit(received.path).query)) == {"page_no", "page_size"}, "page_no and page_size only")
        return {"output": {"page_no": 1, "page_size": 1, "total": 1, "models": [{"model": "qwen-image-2.0"}]}}

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_PATHS: tuple[tuple[str, str, str], ...] = (
    ("models", "GET", r"/api/v1/models"),
    ("compatible", "GET", r"/compatible-mode/v1/models"),
    ("generate", "POST", r"/api/v1/services/aigc/multimodal-generation/generation"),
    ("submit", "POST", r"/api/v1/services/aigc/(text2image|image2image)/image-synthesis"),
    ("submit", "POST", r"/api/v1/services/aigc/image-generation/generation"),
    ("submit", "POST", r"/api/v1/services/aigc/(video-generation|image2video)/video-synthesis"),
    ("cancel", "POST", r"/api/v1/tasks/[^/]+/cancel"),
    ("poll", "GET", r"/api/v1/tasks/[^/]+"),
    ("download", "GET", r"/results/\d+\.(png|mp4)"),
)


def _kind_of(method: str, path: str) -> str:
    return next((kind for kind, verb, pattern in _PATHS if verb == method and re.fullmatch(pattern, path)), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--region", default="beijing", choices=sorted(EVERYWHERE))
    parser.add_argument("--key", default=GOOD_KEY)
    options = parser.parse_args()
    studio = FakeModelStudio(region=options.region, key=options.key).start(options.port)
    print(f"{studio.url}  key {options.key}", flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    main()

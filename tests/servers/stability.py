"""A fake of api.stability.ai, as strict as the real service: `python -m tests.servers.stability --port 9100`.

It checks method, headers, form and ranges, returns an image for every accepted call, and can return every documented
error. Shapes and refusals: Stability REST API, v2beta stable-image/generate, v1 generation, v1 user.
"""

import argparse
import base64
import io
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Self

from PIL import Image

from tests.servers.busy import BusyServer
from tests.servers.scenes import Order, order_of, painted
from tests.servers.stability_edit import ENDPOINTS, Sizes, fault

KEY = "sk-fake-stability-key"
MAX_BODY = 10 * 1024 * 1024
RATIOS = {
    "21:9": (1536, 640),
    "16:9": (1344, 768),
    "3:2": (1216, 832),
    "5:4": (1152, 896),
    "1:1": (1024, 1024),
    "4:5": (896, 1152),
    "2:3": (832, 1216),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
SDXL_SIZES = frozenset(RATIOS.values())
STYLES = frozenset(
    [
        "enhance",
        "anime",
        "photographic",
        "digital-art",
        "comic-book",
        "fantasy-art",
        "line-art",
        "analog-film",
        "neon-punk",
        "isometric",
        "low-poly",
        "origami",
        "modeling-compound",
        "cinematic",
        "3d-model",
        "pixel-art",
        "tile-texture",
    ]
)
SAMPLERS = frozenset(
    [
        "DDIM",
        "DDPM",
        "K_DPMPP_2M",
        "K_DPMPP_2S_ANCESTRAL",
        "K_DPM_2",
        "K_DPM_2_ANCESTRAL",
        "K_EULER",
        "K_EULER_ANCESTRAL",
        "K_HEUN",
        "K_LMS",
    ]
)
SD3_MODELS = frozenset({"sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium"})
ENGINE = "stable-diffusion-xl-1024-v1-0"
CREDITS = {"ultra": 8.0, "core": 3.0, "sd3.5-large": 6.5, "sd3.5-large-turbo": 4.0, "sd3.5-medium": 3.5}

type Draw = Callable[[int, int, str, int], bytes]


@dataclass(frozen=True)
class Refusal:
    """An error reply. `v1` selects the format: `message` instead of `errors`."""

    status: int
    name: str
    text: str
    v1: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    html: bool = False

    def body(self) -> bytes:
        if self.html:
            return f"<html><head><title>{self.status}</title></head><body>{self.text}</body></html>".encode()
        said = {"message": self.text} if self.v1 else {"errors": [self.text]}
        return json.dumps({"id": "00112233445566778899aabbccddeeff", "name": self.name, **said}).encode()

    @property
    def content_type(self) -> str:
        return "text/html" if self.html else "application/json"


class Refused(Exception):
    """Raised with a Refusal, which is sent as the reply."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


BUSY = "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed out for 60 seconds."

REFUSALS: Mapping[str, Refusal] = {
    # v2beta
    "not_multipart": Refusal(400, "bad_request", "content-type: must be multipart/form-data"),
    "bad_request": Refusal(400, "bad_request", "aspect_ratio: must be one of 21:9, 16:9, 3:2"),
    "unauthorized": Refusal(401, "unauthorized", "authorization: invalid or missing header value"),
    "payment_required": Refusal(402, "payment_required", "You lack sufficient credits to make this request."),
    "content_moderation": Refusal(
        403, "content_moderation", "Your request was flagged by our content moderation system."
    ),
    "forbidden": Refusal(403, "forbidden", "this account may not use the model"),
    "not_found": Refusal(404, "not_found", "id: not found"),
    "payload_too_large": Refusal(413, "payload_too_large", "body: payloads cannot be larger than 10MiB in size"),
    "invalid_language": Refusal(422, "invalid_language", "prompt: must be written in English"),
    "public_figure": Refusal(422, "public_figure", "image: the likeness of a public figure is not allowed"),
    "rate_limit_exceeded": Refusal(429, "rate_limit_exceeded", BUSY),
    "internal_error": Refusal(
        500, "internal_error", "An unexpected server error has occurred, please try again later."
    ),
    "html_502": Refusal(502, "", "Bad gateway", html=True),
    "html_503": Refusal(503, "", "Service unavailable", html=True),
    "html_504": Refusal(504, "", "Gateway time-out", html=True),
    # v1
    "v1_bad_request": Refusal(400, "bad_request", "cfg_scale: cannot be greater than 35", v1=True),
    "invalid_height_or_width": Refusal(
        400, "invalid_height_or_width", "height and width must be specified in increments of 64", v1=True
    ),
    "invalid_sdxl_v1_dimensions": Refusal(
        400, "invalid_sdxl_v1_dimensions", "for SDXL v1.0 the allowed dimensions are 1024x1024, 1152x896, ...", v1=True
    ),
    "invalid_pixel_count": Refusal(400, "invalid_pixel_count", "the number of pixels is out of range", v1=True),
    "invalid_samples": Refusal(400, "invalid_samples", "samples must be 1 with this Accept header", v1=True),
    "invalid_file_size": Refusal(400, "invalid_file_size", "the image is too large", v1=True),
    "invalid_mime_type": Refusal(400, "invalid_mime_type", "the image is of an unsupported type", v1=True),
    "invalid_image_dimensions": Refusal(400, "invalid_image_dimensions", "init and mask differ in size", v1=True),
    "invalid_mask_image": Refusal(400, "invalid_mask_image", "mask_image is missing", v1=True),
    "invalid_prompts": Refusal(400, "invalid_prompts", "Invalid prompts detected", v1=True),
    "v1_content_moderation": Refusal(403, "content_moderation", "Invalid prompts detected", v1=True),
    "permission_denied": Refusal(403, "permission_denied", "You lack the permission for this action", v1=True),
    "v1_not_found": Refusal(404, "not_found", f"The specified engine (ID {ENGINE}) was not found.", v1=True),
    "insufficient_balance": Refusal(
        429,
        "insufficient_balance",
        "You have insufficient balance to make this request (need $0.009, have $0.002).",
        v1=True,
    ),
    "server_error": Refusal(500, "server_error", "An unexpected server error has occurred", v1=True),
}
"""Every documented refusal by name, for `fail_next`."""


@dataclass(frozen=True)
class Part:
    """One part of a multipart form."""

    value: bytes
    filename: str | None
    content_type: str

    @property
    def text(self) -> str:
        return self.value.decode()


@dataclass(frozen=True)
class Recorded:
    """One received request. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, Part]

    @property
    def texts(self) -> dict[str, str]:
        """The text parts of a form."""
        return {name: part.text for name, part in self.form.items() if part.filename is None}

    @property
    def json(self) -> dict[str, object]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


@dataclass
class FakeStability:
    """The server. `url` is its base; `requests` everything that arrived, refused calls included;
    `most_at_once` the largest number of calls in work at the same time.

    Before a call is answered: `delay` seconds of work; `fail_next` and `filter_next` spoil the next calls, `drop_next`
    hangs up ("before" the answer, or in the "middle" of it). `throttle` is the number of calls in ten seconds after
    which a key is locked out.
    """

    key: str = KEY
    port: int = 0
    balance: float = 24.5
    delay: float = 0.0
    throttle: int = 150
    draw: Draw | None = None
    requests: list[Recorded] = field(default_factory=list)
    jobs: dict[str, "V2Call"] = field(default_factory=dict)
    ordered: dict[str, Recorded] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    answered: int = 0
    at_work: int = 0
    most_at_once: int = 0
    _plans: deque[Refusal | str] = field(default_factory=deque)
    _arrivals: deque[float] = field(default_factory=deque)
    _locked_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: BusyServer | None = None

    def start(self) -> Self:
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = BusyServer(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        assert self._server, "not started"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail_next(self, refusal: str | Refusal, times: int = 1, **headers: str) -> None:
        """Reply to the next `times` calls with a refusal of REFUSALS (by name) or a given one."""
        plan = REFUSALS[refusal] if isinstance(refusal, str) else refusal
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._plans.extend([Refusal(plan.status, plan.name, plan.text, plan.v1, named, plan.html)] * times)

    def filter_next(self, times: int = 1) -> None:
        """Reply to the next calls with 200 and a blurred image marked CONTENT_FILTERED."""
        self._plans.extend(["filter"] * times)

    def pass_next(self, times: int = 1) -> None:
        """Accept the next calls before further faults."""
        self._plans.extend(["pass"] * times)

    def drop_next(self, when: str = "before", times: int = 1) -> None:
        """Close the connection of the next calls: "before" the reply, or in the "middle" of its body."""
        self._plans.extend([f"drop-{when}"] * times)

    def take_plan(self) -> Refusal | str:
        with self._lock:
            return self._plans.popleft() if self._plans else "pass"

    def record(self, request: Recorded) -> None:
        with self._lock:
            self.requests.append(request)

    def check_rate(self) -> None:
        """Raises the 429 of a blocked key."""
        now = time.monotonic()
        with self._lock:
            while self._arrivals and self._arrivals[0] < now - 10:
                self._arrivals.popleft()
            self._arrivals.append(now)
            if len(self._arrivals) > self.throttle:
                self._locked_until = now + 60
            if now < self._locked_until:
                raise Refused(REFUSALS["rate_limit_exceeded"])

    def work(self) -> None:
        with self._lock:
            self.at_work += 1
            self.most_at_once = max(self.most_at_once, self.at_work)
        time.sleep(self.delay)
        with self._lock:
            self.at_work -= 1

    def pay(self, credits_asked: float) -> bool:
        with self._lock:
            if self.balance < credits_asked:
                return False
            self.balance -= credits_asked
            self.answered += 1
            return True


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeStability]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def _serve(self, work: Callable[[Recorded, str], None]) -> None:
        request = self._read()
        self.fake.record(request)
        try:
            plan = self._admit(request)
            if plan == "drop-before":
                self.close_connection = True
                return
            work(request, plan)
        except Refused as refused:
            refusal = refused.refusal
            self._answer(refusal.status, refusal.content_type, refusal.body(), refusal.headers)

    def _admit(self, request: Recorded) -> str:
        self._authorize(request)
        self.fake.check_rate()
        plan = self.fake.take_plan()
        if isinstance(plan, Refusal):
            raise Refused(plan)
        return plan

    def _read(self) -> Recorded:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Recorded(self.command, self.path, headers, body, parse_form(headers.get("content-type", ""), body))

    def _authorize(self, request: Recorded) -> None:
        given = request.headers.get("authorization", "")
        v1 = not request.path.startswith("/v2beta")
        if given == f"Bearer {self.fake.key}":
            return
        if not given or not v1:
            raise Refused(Refusal(401, "unauthorized", "authorization: invalid or missing header value", v1=v1))
        # The real service quotes the key that it was sent.
        raise Refused(
            Refusal(401, "unauthorized", f"Incorrect API key provided: {given.removeprefix('Bearer ')}", v1=True)
        )

    def _get(self, request: Recorded, plan: str) -> None:
        if request.path.startswith("/v2beta/results/"):
            self._result(request, plan)
            return
        if request.path != "/v1/user/balance":
            raise Refused(REFUSALS["not_found"])
        self._json(200, {"credits": self.fake.balance})

    def _post(self, request: Recorded, plan: str) -> None:
        for name in ("stability-client-id", "stability-client-version"):
            if not request.headers.get(name):
                raise Refused(Refusal(400, "bad_request", f"{name}: this fake server requires the header"))
        self.fake.work()
        if request.path.startswith("/v2beta/stable-image/generate/"):
            self._v2beta(request, plan)
        elif request.path.startswith("/v2beta/stable-image/"):
            self._edit(request, plan)
        elif request.path.startswith("/v1/generation/"):
            self._v1(request, plan)
        else:
            raise Refused(REFUSALS["not_found"])

    def _v2beta(self, request: Recorded, plan: str) -> None:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(REFUSALS["not_multipart"])
        if len(request.body) > MAX_BODY:
            raise Refused(REFUSALS["payload_too_large"])
        endpoint = request.path.rpartition("/")[2]
        call = check_v2beta(endpoint, request.form)
        if not self.fake.pay(call.credits):
            raise Refused(REFUSALS["payment_required"])
        self._send_image(request, call, plan)

    def _edit(self, request: Recorded, plan: str) -> None:
        name = request.path.removeprefix("/v2beta/stable-image/")
        if name not in ENDPOINTS:
            raise Refused(REFUSALS["not_found"])
        if len(request.body) > MAX_BODY:
            raise Refused(REFUSALS["payload_too_large"])
        files = {part: image_size(one, part) for part, one in request.form.items() if one.filename is not None}
        if wrong := fault(name, request.texts, files):
            raise Refused(Refusal(400, "bad_request", wrong))
        if request.texts.get("prompt"):
            check_prompt(request.texts["prompt"], 10_000)
        if not self.fake.pay(ENDPOINTS[name].credits):
            raise Refused(REFUSALS["payment_required"])
        size = next(iter(files.values()))
        call = V2Call(size, request.texts.get("output_format", "png"), int(request.texts.get("seed", "0")), 0)
        if not ENDPOINTS[name].jobs:
            self._send_image(request, call, plan)
            return
        job = secrets.token_hex(32)
        self.fake.jobs[job], self.fake.ordered[job] = call, request
        self._json(200, {"id": job})

    def _result(self, request: Recorded, plan: str) -> None:
        job = request.path.rpartition("/")[2]
        if job not in self.fake.jobs:
            raise Refused(Refusal(404, "generation_not_found", f"id: {job}"))
        if job not in self.fake.looked:
            self.fake.looked.add(job)
            self._json(202, {"id": job, "status": "in-progress"})
            return
        self._send_image(request, self.fake.jobs[job], plan)

    def _send_image(self, request: Recorded, call: "V2Call", plan: str) -> None:
        data = self._draw(request, call.size, call.kind, call.seed)
        finish = "CONTENT_FILTERED" if plan == "filter" else "SUCCESS"
        extra = {"x-request-id": "0f0e0d0c0b0a09080706050403020100"}
        if request.headers.get("accept", "image/*").startswith("application/json"):
            body = json.dumps({"image": base64.b64encode(data).decode(), "seed": call.seed, "finish_reason": finish})
            self._answer(200, f"application/json; type=image/{call.kind}", body.encode(), extra, plan)
        else:
            headers = {**extra, "seed": str(call.seed), "finish-reason": finish}
            self._answer(200, f"image/{call.kind}", data, headers, plan)

    def _v1(self, request: Recorded, plan: str) -> None:
        engine, _, action = request.path.removeprefix("/v1/generation/").partition("/")
        if engine != ENGINE or action not in {"text-to-image", "image-to-image"}:
            raise Refused(REFUSALS["v1_not_found"])
        call = check_v1_text(request) if action == "text-to-image" else check_v1_image(request)
        if not self.fake.pay(0.9 * max(1.0, call.steps / 30) * call.samples):
            raise Refused(REFUSALS["insufficient_balance"])
        artifacts = [
            {
                "base64": base64.b64encode(self._draw(request, call.size, "png", call.seed + index)).decode(),
                "seed": call.seed + index,
                "finishReason": "CONTENT_FILTERED" if plan == "filter" and index == 0 else "SUCCESS",
            }
            for index in range(call.samples)
        ]
        self._answer(200, "application/json", json.dumps({"artifacts": artifacts}).encode(), {}, plan)

    def _draw(self, request: Recorded, size: Sizes, kind: str, seed: int) -> bytes:
        small = (self.fake.draw or plain_image)(*size, kind, seed)
        job = self.fake.ordered.get(request.path.rpartition("/")[2], request)
        return painted(small, lambda: scene_order(job, size, kind, seed))

    def _json(self, status: int, content: object) -> None:
        self._answer(status, "application/json", json.dumps(content).encode(), {})

    def _answer(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str], plan: str = "pass"
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if plan == "drop-middle":
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(body)


@lru_cache(maxsize=64)
def plain_image(width: int, height: int, kind: str, seed: int) -> bytes:
    """A small image in a colour derived from the seed."""
    out = io.BytesIO()
    colour = (seed % 251, seed // 251 % 251, 120)
    Image.new("RGB", (width, height), colour).save(out, kind.upper())
    return out.getvalue()


TASKS = {
    "edit/erase": "erase",
    "edit/outpaint": "outpaint",
    "edit/remove-background": "cut-out",
    "upscale/fast": "upscale",
    "upscale/conservative": "upscale",
    "upscale/creative": "upscale",
}


def scene_order(request: Recorded, size: Sizes, kind: str, seed: int) -> Order:
    """What a request asks for, for the demo."""
    texts, endpoint = request.texts, request.path.removeprefix("/v2beta/stable-image/")
    sides = [int(texts.get(side, "0")) for side in ("left", "up", "right", "down")]
    body = (
        request.json
        if request.body[:1] == b"{"
        else {name: part.value for name, part in request.form.items() if part.filename is not None}
    )
    task = TASKS.get(endpoint, "")
    words = [texts.get(name, "") for name in ("prompt", "background_prompt", "text_prompts[0][text]")]
    read = order_of("Stability AI", texts.get("model") or endpoint.rpartition("/")[2], {**body, **texts})
    return replace(
        read,
        prompt=read.prompt or next(filter(None, words), ""),
        size=(size[0] * 2, size[1] * 2) if task == "upscale" else size,
        seed=seed,
        kind="jpeg" if kind == "jpeg" else "webp" if kind == "webp" else "png",
        task=task,
        margins=(sides[0], sides[1], sides[2], sides[3]),
    )


def parse_form(content_type: str, body: bytes) -> dict[str, Part]:
    """The parts of a multipart body; empty for any other content type."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    if not content_type.startswith("multipart/form-data") or not found:
        return {}
    parts = {}
    for chunk in body.split(b"--" + found[1].encode())[1:-1]:
        head, _, value = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode()
        name = re.search(r'\bname="([^"]*)"', text)
        filename = re.search(r'filename="([^"]*)"', text)
        kind = re.search(r"(?i)content-type:\s*(\S+)", text)
        parts[name[1] if name else ""] = Part(
            value.removesuffix(b"\r\n"), filename[1] if filename else None, kind[1] if kind else ""
        )
    return parts


@dataclass(frozen=True)
class V2Call:
    size: tuple[int, int]
    kind: str
    seed: int
    credits: float


_COMMON = {"prompt", "negative_prompt", "aspect_ratio", "seed", "output_format", "style_preset"}
_FIELDS = {
    "core": _COMMON,
    "ultra": _COMMON | {"image", "strength"},
    "sd3": _COMMON | {"model", "mode", "cfg_scale", "image", "strength"},
}


def check_v2beta(endpoint: str, form: Mapping[str, Part]) -> V2Call:
    """The call of a form. Raises the Refusal of its first error."""
    if endpoint not in _FIELDS:
        raise Refused(REFUSALS["not_found"])
    for name, part in form.items():
        require(name in _FIELDS[endpoint], f"{name}: unexpected field")
        require((part.filename is not None) == (name == "image"), f"{name}: file or text mixed up")
    texts = {name: part.text for name, part in form.items() if part.filename is None}
    check_prompt(texts.get("prompt", ""), 10_000)
    require(len(texts.get("negative_prompt", "")) <= 10_000, "negative_prompt: too long")
    ratio = texts.get("aspect_ratio", "1:1")
    require(ratio in RATIOS, "aspect_ratio: must be one of " + ", ".join(RATIOS))
    kind = texts.get("output_format", "png")
    require(kind in {"png", "jpeg", "webp"}, "output_format: must be one of png, jpeg, webp")
    require(texts.get("style_preset", "anime") in STYLES, "style_preset: unknown")
    seed = whole("seed", texts.get("seed", "0"), 0, 4_294_967_294)
    if "cfg_scale" in texts:
        number("cfg_scale", texts["cfg_scale"], 1, 10)
    model = texts.get("model", "sd3.5-large") if endpoint == "sd3" else endpoint
    require(endpoint != "sd3" or model in SD3_MODELS, "model: must be one of " + ", ".join(sorted(SD3_MODELS)))
    size = _image_to_image(endpoint, form, texts) or RATIOS[ratio]
    if endpoint == "core":
        size = (size[0] * 5 // 4 // 64 * 64, size[1] * 5 // 4 // 64 * 64)  # 1.5 megapixels
    return V2Call(size, kind, seed or secrets.randbelow(2**32 - 2) + 1, CREDITS[model])


def _image_to_image(endpoint: str, form: Mapping[str, Part], texts: Mapping[str, str]) -> tuple[int, int] | None:
    has_image = "image" in form
    require(has_image == ("strength" in texts), "strength: goes with image, both or neither")
    if endpoint == "sd3":
        require((texts.get("mode") == "image-to-image") == has_image, "mode: must be image-to-image with an image")
        require(not (has_image and "aspect_ratio" in texts), "aspect_ratio: only valid in text-to-image")
    if not has_image:
        return None
    number("strength", texts["strength"], 0, 1)
    width, height = image_size(form["image"], "image")
    require(min(width, height) >= 64 and max(width, height) <= 16_384, "image: each side must have 64 to 16384 pixels")
    return (width, height) if endpoint == "sd3" else None


@dataclass(frozen=True)
class V1Call:
    size: tuple[int, int]
    seed: int
    steps: int
    samples: int


_V1_FIELDS = {
    "text_prompts",
    "cfg_scale",
    "steps",
    "samples",
    "seed",
    "sampler",
    "style_preset",
    "clip_guidance_preset",
}


def check_v1_text(request: Recorded) -> V1Call:
    require(
        request.headers.get("content-type") == "application/json", "content-type: must be application/json", v1=True
    )
    body = request.json
    prompts = body.get("text_prompts")
    require(isinstance(prompts, list) and prompts, "text_prompts: required", v1=True)
    assert isinstance(prompts, list)
    for name in body:
        require(name in _V1_FIELDS | {"width", "height"}, f"{name}: unexpected field", v1=True)
    width, height = int(str(body.get("width", 512))), int(str(body.get("height", 512)))
    if width % 64 or height % 64:
        raise Refused(REFUSALS["invalid_height_or_width"])
    if (width, height) not in SDXL_SIZES:
        raise Refused(REFUSALS["invalid_sdxl_v1_dimensions"])
    texts = {name: str(value) for name, value in body.items() if name != "text_prompts"}
    return _v1_call(texts, [(prompt["text"], prompt["weight"]) for prompt in prompts], (width, height))


def check_v1_image(request: Recorded) -> V1Call:
    if not request.form:
        raise Refused(Refusal(400, "bad_request", "content-type: must be multipart/form-data", v1=True))
    if len(request.body) > MAX_BODY:
        raise Refused(REFUSALS["invalid_file_size"])
    require("init_image" in request.form, "init_image: required", v1=True)
    require(request.form["init_image"].filename is not None, "init_image: must be a file", v1=True)
    texts = request.texts
    prompts = [
        (text, float(texts.pop(f"text_prompts[{index}][weight]")))
        for index in range(10)
        if (text := texts.pop(f"text_prompts[{index}][text]", None)) is not None
    ]
    require(bool(prompts), "text_prompts: required", v1=True)
    require(texts.pop("init_image_mode", "IMAGE_STRENGTH") == "IMAGE_STRENGTH", "init_image_mode: unknown", v1=True)
    number("image_strength", texts.pop("image_strength", "0.35"), 0, 1, v1=True)
    for name in texts:
        require(name in _V1_FIELDS, f"{name}: unexpected field", v1=True)
    size = image_size(request.form["init_image"], "init_image", v1=True)
    if size not in SDXL_SIZES:
        raise Refused(REFUSALS["invalid_sdxl_v1_dimensions"])
    return _v1_call(texts, prompts, size)


def _v1_call(texts: Mapping[str, str], prompts: list[tuple[str, float]], size: tuple[int, int]) -> V1Call:
    for text, _ in prompts:
        check_prompt(text, 2000, v1=True)
    number("cfg_scale", texts.get("cfg_scale", "7"), 0, 35, v1=True)
    require(texts.get("sampler", "DDIM") in SAMPLERS, "sampler: unknown", v1=True)
    require(texts.get("style_preset", "anime") in STYLES, "style_preset: unknown", v1=True)
    return V1Call(
        size=size,
        seed=whole("seed", texts.get("seed", "0"), 0, 4_294_967_295, v1=True) or secrets.randbelow(2**31),
        steps=whole("steps", texts.get("steps", "30"), 10, 50, v1=True),
        samples=whole("samples", texts.get("samples", "1"), 1, 10, v1=True),
    )


def check_prompt(text: str, longest: int, *, v1: bool = False) -> None:
    """A prompt is required, limited in length, and in English: other scripts are refused."""
    require(0 < len(text) <= longest, f"prompt: must have 1 to {longest} characters", v1=v1)
    if any(char.isalpha() and ord(char) > 0x24F for char in text):
        raise Refused(Refusal(422, "invalid_language", REFUSALS["invalid_language"].text, v1=v1))


def image_size(part: Part, name: str, *, v1: bool = False) -> tuple[int, int]:
    """Width and height of an uploaded image after decoding."""
    try:
        with Image.open(io.BytesIO(part.value), formats=["PNG", "JPEG", "WEBP"]) as image:
            image.load()
            return image.size
    except (OSError, SyntaxError, ValueError):
        if v1:
            raise Refused(REFUSALS["invalid_mime_type"]) from None
        raise Refused(Refusal(400, "bad_request", f"{name}: must be a jpeg, png or webp image")) from None


def require(condition: object, text: str, *, v1: bool = False) -> None:
    if not condition:
        raise Refused(Refusal(400, "bad_request", text, v1=v1))


def number(name: str, text: str, low: float, high: float, *, v1: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    require(low <= value <= high, f"{name}: must be a number from {low:g} to {high:g}", v1=v1)
    return value


def whole(name: str, text: str, low: int, high: int, *, v1: bool = False) -> int:
    value = number(name, text, low, high, v1=v1)
    require(text.isdecimal(), f"{name}: must be a whole number", v1=v1)
    return int(value)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=9100)
    options.add_argument("--key", default=KEY)
    options.add_argument("--delay", type=float, default=0.0, help="seconds of work per image")
    options.add_argument("--balance", type=float, default=1e6, help="credits")
    given = options.parse_args()
    fake = FakeStability(key=given.key, port=given.port, delay=given.delay, balance=given.balance, throttle=10**9)
    with fake:
        print(f"{fake.url} accepts the key {fake.key}", flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()

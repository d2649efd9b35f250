"""Fake servers with the OpenAI images API, strict or lenient like the real ones.

`FakeOpenAIImages(dialect)` behaves like its dialect: OpenAI refuses unknown keys, the others drop them and record them
in `ignored`. `faults` are applied one per image request: a status with a body, a
delay, a dropped connection. Standalone: `python -m tests.servers.openai_images --dialect vllm_omni --port 8091`.
"""

import argparse
import base64
import json
import re
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.fakes import image_file
from tests.servers.scenes import Order, painted

DEFAULT_MODELS = {
    "openai": ("gpt-image-1.5", "gpt-image-2", "gpt-image-1-mini", "gpt-image-2.5-flare"),
    "vllm_omni": ("Qwen/Qwen-Image",),
    "sglang": ("Qwen/Qwen-Image",),
    "localai": ("stablediffusion", "qwen-image-edit"),
    "sdcpp": ("sd-cpp-local",),
    "xinference": ("Qwen-Image", "sd-inpainting"),
    "siliconflow": ("Qwen/Qwen-Image", "Qwen/Qwen-Image-Edit-2509", "Kwai-Kolors/Kolors"),
}
_KINDS = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP"}


@dataclass(frozen=True)
class Fault:
    """The fault of one image request. `delay` (seconds) comes first; `drop` ends without an
    answer, in the middle of one when a status is given."""

    status: int = 0
    body: object = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Seen:
    """One received request. `fields` are the JSON body or the form's text parts, `files` its file parts."""

    method: str
    path: str
    headers: Mapping[str, str]
    fields: dict[str, Any]
    files: tuple[tuple[str, str, bytes], ...] = ()

    def named(self, *names: str) -> list[bytes]:
        return [data for name, _, data in self.files if name in names]


@dataclass(frozen=True)
class Generated:
    """The parameters that the server read, under the plugin's names for every dialect."""

    prompt: str
    width: int
    height: int
    n: int
    kind: str = "png"
    negative: str | None = None
    steps: int | None = None
    cfg: float | None = None
    seed: int | None = None
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None
    base64: bool = True


class Refusal(Exception):
    def __init__(self, status: int, body: object) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Disconnecting clients are part of some tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class FakeOpenAIImages:
    """A server on 127.0.0.1; a context manager. `key` protects the same routes as on the real server."""

    def __init__(
        self, dialect: str, *, key: str = "", models: tuple[str, ...] = (), root: str = "", port: int = 0
    ) -> None:
        self.dialect = dialect
        self.key = key
        self.models = models or DEFAULT_MODELS[dialect]
        self.root = root
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.generated: list[Generated] = []
        self.ignored: list[str] = []
        self.files: dict[str, bytes] = {}
        self.address_for_files = ""
        self.lacks: set[str] = set()
        self.stopping = threading.Event()
        self._http = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"fake": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def serve_forever(self) -> None:
        """Serve until interrupted, for manual tests."""
        self._http.serve_forever()

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    @property
    def paths(self) -> dict[str, str]:
        """The POST endpoints; a test may remove some, as in older versions."""
        return {path: body for path, body in _PATHS[self.dialect].items() if path not in self.lacks}

    # Replies to GET

    def get(self, path: str) -> tuple[int, object]:
        if path == "/v1/models":
            return 200, {"object": "list", "data": [self._card(model) for model in self.models]}
        if path in self.files:
            return 200, self.files[path]
        if path in self.paths and self.dialect in {"vllm_omni", "sglang", "localai", "xinference"}:
            return 405, {"detail": "Method Not Allowed"}
        if path == "/sdcpp/v1/capabilities" and self.dialect == "sdcpp" and path not in self.lacks:
            loaded = {"name": f"{self.root}.gguf", "stem": self.root, "path": f"/models/{self.root}.gguf"}
            return 200, {"model": loaded, "samplers": ["euler", "dpm++2m"], "schedulers": ["discrete", "karras"]}
        return _HEALTH[self.dialect].get(path, (404, _not_found(self.dialect)))

    def _card(self, model: str) -> dict[str, object]:
        card: dict[str, object] = {"id": model, "object": "model"}
        match self.dialect:
            case "openai":
                return {**card, "created": 1, "owned_by": "system"}
            case "vllm_omni":
                return {**card, "created": 1, "owned_by": "vllm", "root": self.root or model, "permission": [{}]}
            case "sglang":
                return {**card, "created": 1, "owned_by": "sglang", "root": self.root or model, "task_type": "T2I"}
            case "sdcpp":
                return {**card, "owned_by": "local"}
            case "xinference":
                return {**card, "created": 0, "owned_by": "xinference", "model_type": "image"}
            case "siliconflow":
                return {**card, "created": 0, "owned_by": ""}
            case _:
                return card

    # Replies to image requests

    def generate(self, seen: Seen) -> dict[str, object]:
        order = _ORDERS[self.dialect](self, seen)
        self.generated.append(order)
        return self._answer(order)

    def _answer(self, order: Generated) -> dict[str, object]:
        data = [self._image(order, number) for number in range(order.n)]
        if self.dialect == "siliconflow":
            links = [{"url": self._kept(one)} for one in data]
            return {"images": links, "timings": {"inference": 1.5}, "seed": order.seed, "data": links}
        items = [self._item(one, order) for one in data]
        size = f"{order.width}x{order.height}"
        return {"created": 1790000000, "data": items, "output_format": order.kind, "size": size}

    def _item(self, data: bytes, order: Generated) -> dict[str, object]:
        if not order.base64 and self.dialect == "xinference":
            return {"url": "/root/.xinference/image/0a1b.jpg", "b64_json": None}
        if not order.base64:
            return {"url": self._kept(data), "b64_json": None}
        item: dict[str, object] = {"b64_json": base64.b64encode(data).decode()}
        if self.dialect == "sglang":
            item |= {"file_path": "/srv/out/secret-place.png", "revised_prompt": order.prompt}
        return item

    def _kept(self, data: bytes) -> str:
        path = f"/v1/images/{len(self.files)}/content"
        self.files[path] = data
        return path if self.dialect == "sglang" else f"{self.address_for_files or self.url}{path}"

    def _image(self, order: Generated, number: int) -> bytes:
        seed = order.seed or 0
        colour = (seed % 256, (seed >> 8) % 256, number * 20 % 256)
        small = image_file(order.width, order.height, kind=_KINDS[order.kind], colour=colour)
        return painted(small, lambda: self._scene(order, None if order.seed is None else seed + number))

    def _scene(self, order: Generated, seed: int | None) -> Order:
        return Order(
            service=self.dialect,
            model=str(self.seen[-1].fields.get("model", self.models[0])),
            prompt=order.prompt,
            negative_prompt=order.negative or "",
            size=(order.width, order.height),
            seed=seed,
            images=order.images,
            mask=order.mask,
            kind="jpeg" if order.kind in {"jpg", "jpeg"} else "webp" if order.kind == "webp" else "png",
        )

    def note_ignored(self, seen: Seen, known: set[str]) -> None:
        self.ignored += sorted(set(seen.fields) - known)
        self.ignored += sorted({name for name, _, _ in seen.files} - known)


# ---- one parser per dialect: checks, parameters, handling of unknown keys


def _shaped(message: str, status: int = 400, param: str | None = None) -> Refusal:
    error = {"message": message, "type": "Bad Request", "param": param, "code": status}
    return Refusal(status, {"error": error})


def _size_of(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    return (int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else None


def _first_size(images: list[bytes]) -> tuple[int, int]:
    from models.images.sniff import sniff  # noqa: PLC0415 -- the standalone server starts without it

    header = sniff(images[0])
    return header.width, header.height


_OPENAI_KEYS = {"model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "user"}
_GPT_1_SIZES = {"auto", "1024x1024", "1536x1024", "1024x1536"}


def _openai_error(message: str, param: str | None, code: str | None) -> Refusal:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refusal(400, {"error": error})


def _openai(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    edits = seen.path.endswith("/edits")
    model = str(seen.fields.get("model", ""))
    known = _OPENAI_KEYS | ({"input_fidelity"} if edits else {"moderation"})
    for key in seen.fields:
        if key not in known:
            raise _openai_error(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
    if model not in fake.models:
        raise _openai_error(f"The model '{model}' does not exist.", "model", "model_not_found")
    size = str(seen.fields.get("size", "auto" if not edits else "1024x1024"))
    if size != "auto" and not _openai_size(model, size):
        raise _openai_error(f"Invalid size '{size}'.", "size", "invalid_value")
    if not 1 <= int(seen.fields.get("n", 1)) <= 10:
        raise _openai_error("Invalid 'n'.", "n", "invalid_value")
    images = seen.named("image", "image[]")
    if "input_fidelity" in seen.fields and model != "gpt-image-1.5":
        message = f"The model '{model}' does not support the 'input_fidelity' parameter."
        raise _openai_error(message, "input_fidelity", "invalid_input_fidelity_model")
    if edits:
        _openai_edit(seen, images)
    kind = str(seen.fields.get("output_format", "png"))
    width, height = _size_of(size) or (1024, 1024)
    return Generated(
        prompt=str(seen.fields["prompt"]),
        width=width,
        height=height,
        n=int(seen.fields.get("n", 1)),
        kind=kind,
        images=tuple(images),
        mask=next(iter(seen.named("mask")), None),
    )


def _openai_size(model: str, size: str) -> bool:
    if not model.startswith("gpt-image-2"):
        return size in _GPT_1_SIZES
    sides = _size_of(size)
    return bool(sides) and all(side % 16 == 0 and side <= 3840 for side in sides or ())


def _openai_edit(seen: Seen, images: list[bytes]) -> None:
    if not images:
        raise _openai_error("You must provide an image.", "image", "missing_required_parameter")
    if len(seen.named("image")) > 1:
        raise _openai_error("Duplicate parameter: 'image'.", "image", "duplicate_parameter")
    for mask in seen.named("mask"):
        import io  # noqa: PLC0415

        from PIL import Image  # noqa: PLC0415

        with Image.open(io.BytesIO(mask)) as opened:
            if opened.format != "PNG" or "A" not in opened.getbands():
                raise _openai_error("The mask must be a PNG with an alpha channel.", "mask", "invalid_value")
            if opened.size != _first_size(images):
                raise _openai_error("The mask must have the size of the image.", "mask", "invalid_value")


_SAMPLING = {"negative_prompt", "num_inference_steps", "guidance_scale", "true_cfg_scale", "seed"}
_COMMON = {"prompt", "model", "n", "size", "response_format", "output_format", "output_compression"}


def _vllm_omni(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    edits = seen.path.endswith("/edits")
    fake.note_ignored(seen, _COMMON | _SAMPLING | ({"image", "image[]", "mask_image", "strength"} if edits else set()))
    fields = seen.fields
    if "prompt" not in fields:
        raise _shaped("1 validation error: prompt: Field required", 400, "body.prompt")
    if "model" in fields and fields["model"] not in fake.models:
        raise _shaped(
            f"Model mismatch: request specifies '{fields['model']}' but server is running '{fake.models[0]}'."
        )
    if fields.get("response_format", "b64_json") not in ({"b64_json"} if edits else {"b64_json", "file"}):
        raise _shaped("1 validation error: response_format", 400, "body.response_format")
    for key, low, high in (("n", 1, 10), ("num_inference_steps", 1, 200), ("true_cfg_scale", 0, 20)):
        if key in fields and not low <= float(fields[key]) <= high:
            raise _shaped(f"1 validation error: {key}", 400, f"body.{key}")
    images = seen.named("image", "image[]")
    if edits and not images:
        raise _shaped("Field 'image' or 'url' is required", 422)
    most = 4 if re.search("2509|2511", fake.root or str(fields.get("model"))) else 1
    if len(images) > most:
        raise _shaped(f"Received {len(images)} input images. At most {most} images are supported by this model.")
    return _diffused(seen, images, _vllm_size(seen, images, edits=edits))


def _vllm_size(seen: Seen, images: list[bytes], *, edits: bool) -> tuple[int, int]:
    size = seen.fields.get("size")
    if edits and size in (None, "auto"):
        width, height = _first_size(images)
    elif size is None:
        width, height = 1024, 1024
    elif (sides := _size_of(str(size))) is None:
        raise _shaped("1 validation error: size", 400, "body.size")
    else:
        width, height = sides
    return max(16, width // 16 * 16), max(16, height // 16 * 16)


def _diffused(seen: Seen, images: list[bytes], size: tuple[int, int], kind: str = "png") -> Generated:
    fields = seen.fields
    scale = fields.get("true_cfg_scale", fields.get("guidance_scale"))
    return Generated(
        prompt=str(fields["prompt"]),
        width=size[0],
        height=size[1],
        n=int(fields.get("n", 1)),
        kind=str(fields.get("output_format", kind)),
        negative=fields.get("negative_prompt"),
        steps=int(fields["num_inference_steps"]) if "num_inference_steps" in fields else None,
        cfg=float(scale) if scale is not None else None,
        seed=int(fields["seed"]) if "seed" in fields else None,
        images=tuple(images),
        mask=next(iter(seen.named("mask", "mask_image")), None),
        base64=fields.get("response_format", "b64_json") == "b64_json",
    )


def _sglang(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    edits = seen.path.endswith("/edits")
    fake.note_ignored(seen, _COMMON | _SAMPLING | ({"image", "image[]"} if edits else set()))
    if "prompt" not in seen.fields:
        detail = [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]
        raise Refusal(422, {"detail": detail})
    images = seen.named("image", "image[]")
    if edits and not images:
        raise Refusal(422, {"detail": "Field 'image' or 'url' is required"})
    seen.fields.setdefault("seed", 42)
    if not edits:
        seen.fields.setdefault("response_format", "url")
    size = _size_of(str(seen.fields.get("size", ""))) or (_first_size(images) if edits else (1024, 1024))
    return _diffused(seen, images, size, "jpg")


def _localai(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    fields = seen.fields
    if fields.get("model") not in fake.models:
        error = {"code": 404, "message": f"model {fields.get('model')} not found", "type": ""}
        raise Refusal(404, {"error": error})
    if seen.path.endswith("/inpainting"):
        return _localai_inpainting(fake, seen)
    fake.note_ignored(
        seen, {"prompt", "model", "n", "size", "response_format", "step", "seed", "file", "files", "ref_images"}
    )
    texts = str(fields["prompt"]).split("|")
    sides = _size_of(str(fields.get("size", ""))) or (512, 512)
    images = [_raw(fields["file"])] if "file" in fields else []
    images += [_raw(one) for one in fields.get("ref_images", ())][len(images) :]
    return Generated(
        prompt=texts[0],
        width=sides[0],
        height=sides[1],
        n=int(fields.get("n", 1)),
        negative=texts[1] if len(texts) > 1 else None,
        steps=fields.get("step", 15),
        seed=fields.get("seed"),
        images=tuple(images),
        base64=fields.get("response_format") == "b64_json",
    )


def _localai_inpainting(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    fake.note_ignored(seen, {"model", "prompt", "steps", "image", "mask"})
    if not seen.named("image") or not seen.named("mask"):
        raise Refusal(400, {"error": {"code": 400, "message": "missing mask file", "type": ""}})
    return Generated(
        prompt=str(seen.fields["prompt"]),
        width=512,
        height=512,
        n=1,
        steps=int(seen.fields.get("steps", 25)),
        seed=0,
        images=tuple(seen.named("image")),
        mask=seen.named("mask")[0],
        base64=False,
    )


def _raw(text: str) -> bytes:
    # No data URL here: the prefix is not base64, and the server would generate without the image.
    return base64.b64decode(text, validate=True)


_TAG = re.compile(r"<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>")


def _sdcpp(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    edits = seen.path.endswith("/edits")
    known = {"prompt", "n", "size", "output_format", "output_compression"}
    fake.note_ignored(seen, known | ({"image", "image[]", "mask"} if edits else set()))
    images = seen.named("image[]") or seen.named("image")
    if edits and not images:
        raise Refusal(400, {"error": "at least one image[] required"})
    prompt, native = str(seen.fields.get("prompt", "")), {}
    if not prompt:
        raise Refusal(400, {"error": "prompt required"})
    if tag := _TAG.search(prompt):
        try:
            native = json.loads(tag[1])
        except ValueError:
            raise Refusal(400, {"error": "invalid sd_cpp_extra_args"}) from None
        prompt = _TAG.sub("", prompt)
    sample = native.get("sample_params", {})
    size = _size_of(str(seen.fields.get("size", ""))) or (_first_size(images) if edits else (512, 512))
    return Generated(
        prompt=prompt,
        width=native.get("width", size[0]),
        height=native.get("height", size[1]),
        n=int(seen.fields.get("n", 1)),
        kind=str(seen.fields.get("output_format", "png")),
        negative=native.get("negative_prompt"),
        steps=sample.get("sample_steps"),
        cfg=sample.get("guidance", {}).get("txt_cfg"),
        seed=native.get("seed"),
        images=tuple(images),
        mask=next(iter(seen.named("mask")), None),
    )


_PIPELINE = {"num_inference_steps", "guidance_scale", "true_cfg_scale", "seed", "negative_prompt", "strength"}


def _xinference(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    edits, fields = not seen.path.endswith("/generations"), seen.fields
    own = {"negative_prompt", "image"} if edits else set()
    mask = {"mask_image"} if seen.path.endswith("/inpainting") else set()
    fake.note_ignored(seen, {"model", "prompt", "n", "size", "response_format", "kwargs"} | own | mask)
    if fields.get("model") not in fake.models:
        raise Refusal(400, {"detail": f"Model not found in the model list, uid: {fields.get('model')}"})
    kwargs = json.loads(fields.get("kwargs", "{}"))
    if unknown := set(kwargs) - _PIPELINE:
        raise Refusal(500, {"detail": f"__call__() got an unexpected keyword argument '{min(unknown)}'"})
    images = seen.named("image")
    if (edits and not images) or (mask and not seen.named("mask_image")):
        raise Refusal(422, {"detail": [{"loc": ["body", "image"], "msg": "Field required", "type": "missing"}]})
    size = re.fullmatch(r"(\d+)\*(\d+)", str(fields.get("size", "*".join(map(str, _shape(images))))))
    if size is None:
        raise Refusal(500, {"detail": f"invalid literal for int() with base 10: '{fields['size']}'"})
    return Generated(
        prompt=str(fields["prompt"]),
        width=int(size[1]),
        height=int(size[2]),
        n=int(fields.get("n", 1)),
        negative=fields.get("negative_prompt", kwargs.get("negative_prompt")),
        steps=kwargs.get("num_inference_steps"),
        cfg=kwargs.get("true_cfg_scale", kwargs.get("guidance_scale")),
        seed=kwargs.get("seed"),
        images=tuple(images),
        mask=next(iter(seen.named("mask_image")), None),
        base64=fields.get("response_format", "url") == "b64_json",
    )


def _shape(images: list[bytes]) -> tuple[int, int]:
    return _first_size(images) if images else (1024, 1024)


def _siliconflow(fake: FakeOpenAIImages, seen: Seen) -> Generated:
    fields = seen.fields
    model = str(fields.get("model", ""))
    editing = "Edit" in model
    kolors = "Kolors" in model
    known = {"model", "prompt", "negative_prompt", "num_inference_steps", "seed", "image"}
    known |= {"image2", "image3"} if "2509" in model else set()
    known |= set() if editing else {"image_size"}
    known |= {"batch_size", "guidance_scale"} if kolors else {"cfg"}
    fake.note_ignored(seen, known)
    if model not in fake.models:
        raise Refusal(400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None})
    if not editing and not _size_of(str(fields.get("image_size", ""))):
        raise Refusal(400, {"code": 20015, "message": "The image_size field is required", "data": None})
    images = [fields[key] for key in ("image", "image2", "image3") if key in fields]
    if editing and not images:
        raise Refusal(400, {"code": 20015, "message": "image is required", "data": None})
    width, height = _size_of(str(fields.get("image_size", ""))) or (1024, 1024)
    return Generated(
        prompt=str(fields["prompt"]),
        width=width,
        height=height,
        n=int(fields.get("batch_size", 1)),
        negative=fields.get("negative_prompt"),
        steps=fields.get("num_inference_steps", 20),
        cfg=fields.get("cfg", fields.get("guidance_scale")),
        seed=fields.get("seed", 7),
        images=tuple(_data_url(image) for image in images),
    )


def _data_url(text: str) -> bytes:
    head, _, body = text.partition(",")
    if not re.fullmatch(r"data:image/\w+;base64", head):
        raise Refusal(400, {"code": 20015, "message": "image must be a URL or a data URL", "data": None})
    return base64.b64decode(body, validate=True)


_ORDERS = {
    "openai": _openai,
    "vllm_omni": _vllm_omni,
    "sglang": _sglang,
    "localai": _localai,
    "sdcpp": _sdcpp,
    "xinference": _xinference,
    "siliconflow": _siliconflow,
}

_PATHS = {
    "openai": {"/v1/images/generations": "json", "/v1/images/edits": "form"},
    "vllm_omni": {"/v1/images/generations": "json", "/v1/images/edits": "form"},
    "sglang": {"/v1/images/generations": "json", "/v1/images/edits": "form"},
    "localai": {"/v1/images/generations": "json", "/v1/images/inpainting": "form"},
    "sdcpp": {"/v1/images/generations": "json", "/v1/images/edits": "form"},
    "xinference": {
        "/v1/images/generations": "json",
        "/v1/images/variations": "form",
        "/v1/images/inpainting": "form",
    },
    "siliconflow": {"/v1/images/generations": "json"},
}

_HEALTH: dict[str, dict[str, tuple[int, object]]] = {
    "openai": {},
    "vllm_omni": {"/health": (200, {"status": "healthy"})},
    "sglang": {"/health": (200, {"status": "ok"})},
    "localai": {"/readyz": (200, b""), "/healthz": (200, b""), "/.well-known/localai.json": (200, {"version": "3"})},
    "sdcpp": {},
    "xinference": {},
    "siliconflow": {},
}

_UNAUTHORIZED: dict[str, object] = {
    "openai": {
        "error": {
            "message": "Incorrect API key provided.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    },
    "vllm_omni": {"error": "Unauthorized"},
    "sglang": {"error": "Unauthorized"},
    "localai": {
        "error": {"code": 401, "message": "An authentication key is required", "type": "invalid_request_error"}
    },
    "sdcpp": {"error": "Unauthorized"},
    "xinference": {"detail": "Could not validate credentials"},
    "siliconflow": "Invalid token",
}


def _not_found(dialect: str) -> object:
    return {"error": "not found"} if dialect == "sdcpp" else {"detail": "Not Found"}


def parse_form(content_type: str, body: bytes) -> tuple[dict[str, Any], tuple[tuple[str, str, bytes], ...]]:
    """The text and file parts of a multipart body."""
    boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    fields: dict[str, Any] = {}
    files = []
    for piece in body.split(boundary)[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(r'\bname="([^"]*)"', head.decode())
        assert name, head
        kind = re.search(r"(?i)content-type: *(\S+)", head.decode())
        if b"filename=" in head:
            files.append((name[1], kind[1] if kind else "", data.removesuffix(b"\r\n")))
        else:
            fields[name[1]] = data.removesuffix(b"\r\n").decode()
    return fields, tuple(files)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeOpenAIImages
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """No log output."""

    def do_GET(self) -> None:
        self.fake.seen.append(Seen("GET", self.path, dict(self.headers), {}))
        if not self._allowed():
            return self._send(401, _UNAUTHORIZED[self.fake.dialect])
        status, body = self.fake.get(self.path)
        return self._send(status, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wanted = self.fake.paths.get(self.path)
        if wanted is None:
            return self._send(404, _not_found(self.fake.dialect))
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("application/json" if wanted == "json" else "multipart/form-data"):
            return self._send(415, {"error": f"wrong content type {kind}"})
        fields, files = (json.loads(body), ()) if wanted == "json" else parse_form(kind, body)
        seen = Seen("POST", self.path, dict(self.headers), fields, files)
        self.fake.seen.append(seen)
        if not self._allowed():
            return self._send(401, _UNAUTHORIZED[self.fake.dialect])
        if self.fake.faults and self._failed(self.fake.faults.popleft()):
            return None
        try:
            return self._send(200, self.fake.generate(seen))
        except Refusal as refusal:
            return self._send(refusal.status, refusal.body)

    def _allowed(self) -> bool:
        guarded = self.path.startswith("/v1")
        return not (self.fake.key and guarded) or self.headers.get("Authorization") == f"Bearer {self.fake.key}"

    def _failed(self, fault: Fault) -> bool:
        """Apply a fault; False if it was only a delay."""
        self.fake.stopping.wait(fault.delay)
        if fault.drop:
            if fault.status:
                self.send_response(fault.status)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b'{"created": 1, "da')
            self.close_connection = True
            return True
        if fault.status:
            self._send(fault.status, fault.body, fault.headers)
        return bool(fault.status)

    def _send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        if isinstance(body, bytes):
            kind = "application/octet-stream"
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialect", choices=sorted(_ORDERS), default="vllm_omni")
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--key", default="")
    parser.add_argument("--model", action="append", default=[])
    asked = parser.parse_args()
    fake = FakeOpenAIImages(asked.dialect, key=asked.key, models=tuple(asked.model), port=asked.port)
    print(f"{asked.dialect} at {fake.url}, serving {', '.join(fake.models)}")  # noqa: T201
    fake.serve_forever()


if __name__ == "__main__":
    main()

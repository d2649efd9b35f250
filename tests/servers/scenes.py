"""What the fakes paint: in tests the small image that they bring along, in the demo a scene with the service's name.

`painted(plain, order)` is called wherever a fake makes an image. `order_of` reads the order out of the JSON of any service,
so that a fake has one line for it.
"""

import base64
import binascii
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from PIL import Image

from models.backends.preview.drawing import PlaceholderImage, drawn, labelled
from models.backends.preview.scenes.photo import extended, foreground
from models.images.codec import decode, encode, flatten, plain
from models.images.sniff import Kind, NotAnImageError, sniff

SWITCH = SimpleNamespace(on=False)
"""`on` is set by the demo; tests make many images and look at few."""

_STYLES = ("", "photographic", "anime", "cinematic", "watercolor", "3d-model", "oil-painting")
"""The styles of models: each has the same one always, unless the prompt asks for another."""
_MEGAPIXEL = 1024 * 1024
_SEEDS = itertools.count(1)
_NAMED_SHAPES = {
    "square": 1.0,
    "portrait_4_3": 3 / 4,
    "portrait_16_9": 9 / 16,
    "landscape_4_3": 4 / 3,
    "landscape_16_9": 16 / 9,
}
_PROMPTS = ("prompt", "input_prompt", "inputs", "text")
_LEAST_IMAGE = 60  # characters of base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a fake was asked for. `seed` None: a new one for each image. `task` is what is done with the first image; `margins` of an outpainting: left, up, right, down."""

    service: str
    model: str
    prompt: str = ""
    negative_prompt: str = ""
    size: tuple[int, int] | None = None
    seed: int | None = None
    style: str = ""
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None
    kind: Kind = "png"
    task: str = ""
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)


def painted(plain_image: Callable[[], bytes] | bytes, order: Callable[[], Order]) -> bytes:
    """The image of a fake: `plain_image`, or in the demo what the order asks for."""
    if not SWITCH.on:
        return plain_image if isinstance(plain_image, bytes) else plain_image()
    return image_of(order())


def image_of(order: Order) -> bytes:
    """The scene or edit as a file."""
    if order.images and order.task in _TASKS:
        return encode(_TASKS[order.task](order, plain(decode(order.images[0]))), order.kind)
    return encode(drawn(_placeholder(order)), order.kind)


def _placeholder(order: Order) -> PlaceholderImage:
    first = sniff(order.images[0]) if order.images else None
    width, height = order.size or ((first.width, first.height) if first else (1024, 1024))
    return PlaceholderImage(
        label=f"{order.service} STAND-IN · 模拟服务",
        model=order.model,
        prompt=order.prompt,
        negative_prompt=order.negative_prompt.strip(),
        width=width,
        height=height,
        seed=next(_SEEDS) if order.seed is None else order.seed,
        style=order.style or ("" if order.images else _style_of(order)),
        painter=order.model,
        images=order.images,
        mask=order.mask,
    )


def _style_of(order: Order) -> str:
    """A style in the prompt wins: `style` would hide it."""
    from models.backends.preview.scenes.reading import read  # noqa: PLC0415 -- the demo alone needs the words

    if read(order.prompt).style:
        return ""
    return _STYLES[hashlib.sha256(f"{order.service}\0{order.model}".encode()).digest()[0] % len(_STYLES)]


# ---- tasks


def _labelled(order: Order, image: Image.Image) -> Image.Image:
    return labelled(flatten(image), _placeholder(replace(order, size=image.size)))


def _upscaled(order: Order, image: Image.Image) -> Image.Image:
    size = order.size or (image.width * 2, image.height * 2)
    return _labelled(order, image.resize(size, Image.Resampling.LANCZOS))


def _cut_out(order: Order, image: Image.Image) -> Image.Image:
    """Transparent where the background was; the label stays readable in a corner of its own."""
    flat = flatten(image)
    mask = foreground(flat)
    if mask is None:
        mask = Image.new("L", flat.size)
        mask.paste(255, (flat.width // 5, flat.height // 5, flat.width * 4 // 5, flat.height * 4 // 5))
    band = Image.new("RGB", flat.size)
    labelled(band, _placeholder(replace(order, size=flat.size, images=())))
    mask.paste(255, mask=band.convert("L").point(lambda value: 255 if value else 0))
    done = _labelled(order, flat)
    done.putalpha(mask)
    return done


def _outpainted(order: Order, image: Image.Image) -> Image.Image:
    left, up, right, down = order.margins
    canvas, _ = extended(flatten(image), (image.width + left + right, image.height + up + down), (left, up))
    return _labelled(order, canvas)


def _erased(order: Order, image: Image.Image) -> Image.Image:
    del image
    return drawn(_placeholder(replace(order, prompt=f"remove {order.prompt}")))


_TASKS: Mapping[str, Callable[[Order, Image.Image], Image.Image]] = {
    "upscale": _upscaled,
    "cut-out": _cut_out,
    "outpaint": _outpainted,
    "erase": _erased,
}


# ---- reading the JSON of any service


@dataclass
class _Found:
    """What was seen in a body, by the names that services use."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    images: list[bytes] = field(default_factory=list)
    mask: bytes | None = None


def order_of(
    service: str,
    model: str,
    body: object,
    *,
    size: tuple[int, int] | None = None,
    seed: int | None = None,
    kind: Kind = "png",
) -> Order:
    """The order that a JSON body holds; size and seed are the body's where the fake does not know them better."""
    found = _Found()
    for name, value in _walk(body, ""):
        _take(found, name.lower(), value)
    return Order(
        service=service,
        model=model,
        prompt=next((found.texts[name] for name in _PROMPTS if found.texts.get(name)), ""),
        negative_prompt=found.texts.get("negative_prompt", ""),
        size=size or _size(found),
        seed=found.numbers.get("seed") if seed is None else seed,
        style=found.texts.get("style_preset", ""),
        images=tuple(found.images),
        mask=found.mask,
        kind=kind,
    )


def _walk(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Every leaf with the nearest name above it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _walk(one, name if key in {"url", "data"} else str(key))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _walk(one, name)
    else:
        yield name, value


def _take(found: _Found, name: str, value: object) -> None:
    data = value if isinstance(value, bytes) else _file(value) if isinstance(value, str) else None
    if data is not None:
        if "mask" in name:
            found.mask = data
        else:
            found.images.append(data)
    elif isinstance(value, str):
        known = found.texts.get(name, "")
        found.texts[name] = f"{known}\n{value}" if known and name == "text" else known or value
    elif isinstance(value, int) and not isinstance(value, bool):
        found.numbers.setdefault(name, value)


def _file(text: str) -> bytes | None:
    """The image that a data URL or a long base64 text holds."""
    packed = text.partition(",")[2] if text.startswith("data:image/") else text
    if len(packed) < _LEAST_IMAGE or " " in packed[:_LEAST_IMAGE]:
        return None
    try:
        data = base64.b64decode(packed, validate=True)
        sniff(data)
    except (binascii.Error, ValueError, NotAnImageError):
        return None
    return data


def _size(found: _Found) -> tuple[int, int] | None:
    width, height = found.numbers.get("width", 0), found.numbers.get("height", 0)
    if width and height:
        return width, height
    for name in ("size", "image_size"):
        if sides := re.fullmatch(r"(\d+)\s*[x*×]\s*(\d+)", found.texts.get(name, "")):
            return int(sides[1]), int(sides[2])
    shape = next((found.texts[name] for name in ("aspect_ratio", "aspectratio", "ratio") if name in found.texts), "")
    if sides := re.fullmatch(r"(\d+):(\d+)", shape):
        return _shaped(int(sides[1]) / int(sides[2]))
    named = found.texts.get("image_size", "").removesuffix("_hd")
    return _shaped(_NAMED_SHAPES[named]) if named in _NAMED_SHAPES else None


def _shaped(ratio: float) -> tuple[int, int]:
    """About a megapixel of that shape."""
    width = (_MEGAPIXEL * ratio) ** 0.5
    return round(width / 8) * 8, round(width / ratio / 8) * 8

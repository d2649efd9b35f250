"""One generated image on its way out: checked, in the asked format, within its share of the line."""

from dataclasses import dataclass

from PIL import Image

from models.images.codec import Kind, decode, encodable, encode, has_alpha, is_animated, plain
from models.images.compression import squeezed

_SHOWN_BY_BROWSERS = frozenset({"PNG", "JPEG", "MPO", "WEBP", "GIF", "AVIF"})
_LOSSY = frozenset({"JPEG", "MPO", "AVIF"})
_LIMIT = "because one answer to Dify holds at most 5 MB"


@dataclass(frozen=True, slots=True)
class Finished:
    """File bytes, and what was done to the image ("was saved as WebP ...")."""

    data: bytes
    changes: tuple[str, ...] = ()


def finish(data: bytes, output_format: str | None, quality: int | None, max_bytes: int) -> Finished:
    """The image as `output_format` in at most `max_bytes` bytes; its own bytes wherever nothing has to change.

    Runs for long on big images: call it in a thread. Raises NotAnImageError and BrokenImageError.
    """
    image = decode(data)
    done = _converted(image, data, output_format, quality)
    return done if len(done.data) <= max_bytes else _fitted(image, done, output_format, quality, max_bytes)


def _converted(image: Image.Image, data: bytes, output_format: str | None, quality: int | None) -> Finished:
    own, wanted = _kind_of(image), _wanted(image, output_format)
    if is_animated(image):
        return Finished(data, ("is an animation and stays in its own format",) if wanted not in {None, own} else ())
    without_use = ("is a PNG, on which `output_quality` has no effect",) if wanted == "png" and quality else ()
    if wanted is None or (wanted == own and (quality is None or own == "png")):
        return Finished(data, without_use)
    ready = encodable(plain(image), wanted)
    made = encode(ready, wanted, quality)
    if wanted == own and len(made) >= len(data):
        return Finished(data)  # the service's own file is already below the asked quality
    return Finished(made, (*without_use, *_losses(image, ready, wanted)))


def _wanted(image: Image.Image, output_format: str | None) -> Kind | None:
    """The format to make: the asked one, else the file's own, else PNG for what browsers do not show."""
    kind = _KINDS.get(output_format or "", _kind_of(image))
    return "png" if kind is None and image.format not in _SHOWN_BY_BROWSERS else kind


def _losses(image: Image.Image, ready: Image.Image, wanted: Kind) -> tuple[str, ...]:
    losses = []
    if wanted == "jpeg" and ready.mode == "RGBA":
        losses.append("lost its transparency, as JPEG has none; white shows instead")
    if max(ready.size) < max(image.size):
        losses.append(f"was made smaller, {_size(image)} to {_size(ready)}, the largest that the format holds")
    return tuple(losses)


def _fitted(image: Image.Image, done: Finished, output_format: str | None, quality: int | None, room: int) -> Finished:
    changes = [] if is_animated(image) else list(done.changes)
    if is_animated(image):
        changes.append("lost its animation; this is the first frame")
    kind = _KINDS.get(output_format or "") or ("jpeg" if image.format in _LOSSY and not has_alpha(image) else "webp")
    lossless_size = 0 if image.format in _LOSSY or kind == "jpeg" else len(done.data)
    data, how = squeezed(plain(image), lossless_size, room, kind, quality)
    changes.append(f"was {how}, {_LIMIT} ({len(done.data) / 1e6:.1f} MB were too much)")
    return Finished(data, tuple(changes))


def _kind_of(image: Image.Image) -> Kind | None:
    return _KINDS.get("jpeg" if image.format == "MPO" else (image.format or "").lower())


def _size(image: Image.Image) -> str:
    return f"{image.width}×{image.height}"


_KINDS: dict[str, Kind] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}

"""Images given by the user: refused by name when they are none, made acceptable to a service when they are.

A mask is white where the image shall be painted anew.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageOps, ImageStat

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images import threaded
from models.images.codec import (
    UPRIGHT,
    decode,
    encode,
    flatten,
    has_alpha,
    is_animated,
    opened,
    orientation,
    plain,
    squeezed,
)
from models.images.integrity import check_whole
from models.images.sniff import MAX_BYTES, BrokenImageError, Kind, NotAnImageError, sniff
from models.sizes import Size, same_shape, written

_MIDDLE_GREY = 128
_GLANCE = 64  # pixels of a side: enough to tell a photo from a mask
_TINT = 4.0  # by how much the channels of a grey JPEG differ on average, at most
_SAME_SHAPE = 1.02  # rounding to whole pixels changes a shape by less


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLimits:
    """What a service takes. Sides are pixels; without `keep_alpha`, white replaces transparency."""

    formats: tuple[Kind, ...] = ("png", "jpeg", "webp")
    max_bytes: int = MAX_BYTES
    min_side: int | None = None
    max_side: int | None = None
    keep_alpha: bool = False


@threaded
def read_input(data: bytes, filename: str = "") -> InputImage:
    """The user's file as an image that is known to decode, its MIME type from the bytes.

    Raises BadRequest, naming the file, for everything else: empty, damaged, of another kind, too big once decoded.
    """
    with _refusal_of(filename):
        return InputImage(data, check_whole(data).mime_type, filename)


@threaded
def fit(image: InputImage, limits: InputLimits) -> tuple[InputImage, tuple[str, ...]]:
    """The image as a service takes it, and what the user should know about the change.

    Upright, first frame, 8 bits per channel, in a format, size and number of bytes within `limits`; the file itself
    where nothing has to change. Raises BadRequest for an image that cannot be brought within them.
    """
    source = _decoded(image)
    flat, notices = _shown(source, keep_alpha=limits.keep_alpha)
    sized = _sized(flat, limits, _name(image.filename))
    if sized.size != flat.size:
        scaled = f"was scaled from {written(flat.size)} to {written(sized.size)}"
        notices.append(f"{scaled}, as the service takes no other size")
    own = sniff(image.data).kind
    untouched = own in limits.formats and sized.size == source.size and _is_plain(source, sized)
    kind = _format_for(sized, own, limits)
    data = image.data if untouched else encode(sized, kind)
    if len(data) > limits.max_bytes:
        data, how = _squeezed(sized, len(data), limits, kind)
        notices.append(f"was {how}, as the service takes at most {limits.max_bytes / 1e6:.1f} MB")
    fitted = image if data is image.data else _file(data, image)
    return fitted, tuple(f"{_name(image.filename)} {notice}" for notice in notices)


def fitted(request: ImageRequest, limits: InputLimits) -> ImageRequest:
    """The request with its images as `fit` makes them, the mask in the size of the first one. Raises BadRequest."""
    results = [fit(image, limits) for image in request.images]
    images = tuple(image for image, _ in results)
    mask, stretched = laid_on(request.mask, images[0]) if request.mask and images else (request.mask, ())
    notices = [notice for _, changes in results for notice in changes]
    return replace(request, images=images, mask=mask).with_notices(*notices, *stretched)


@threaded
def cover(image: InputImage, size: Size) -> InputImage:
    """The image in exactly `size`: scaled to cover it and cut around the middle. Raises BadRequest."""
    covering = ImageOps.fit(plain(_decoded(image)), size, Image.Resampling.LANCZOS)
    return InputImage(encode(covering, "png"), "image/png", image.filename)


@threaded
def alpha_mask(image: InputImage) -> InputImage | None:
    """The mask that an image carries in its own transparency; None where nothing is transparent."""
    source = _decoded(image)
    return _mask_file(_transparency(source), image) if has_alpha(source) else None


@threaded
def looks_like_mask(image: InputImage) -> bool:
    """Whether an image is grey or has transparency; a colour photo is no mask whatever its file is called."""
    source = _decoded(image)
    if has_alpha(source):
        return True
    red, green, blue = plain(source).convert("RGB").resize((_GLANCE, _GLANCE)).split()
    differences = (ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return all(ImageStat.Stat(difference).mean[0] < _TINT for difference in differences)


@threaded
def mask_of(image: InputImage) -> InputImage:
    """A file given as mask in the one form: 8-bit grey PNG. Transparency counts before brightness."""
    return _mask_file(_grey(image), image)


@threaded
def hard_edged(mask: InputImage) -> InputImage:
    """The mask in pure black and white, for services that know nothing in between."""
    return _mask_file(_grey(mask).point(lambda grey: 255 if grey >= _MIDDLE_GREY else 0), mask)


@threaded
def laid_on(mask: InputImage, image: InputImage) -> tuple[InputImage, tuple[str, ...]]:
    """The mask in the size of its image, and a notice where it has another shape."""
    grey, size = _grey(mask), _size_of(image)
    alike = same_shape(grey.width / grey.height, size[0] / size[1], _SAME_SHAPE)
    told = f"The mask of {written(grey.size)} was stretched over the image of {written(size)}."
    return _mask_file(grey.resize(size), mask), () if alike else (told,)


@threaded
def as_alpha(mask: InputImage) -> InputImage:
    """The mask for services where transparency is what shall be painted anew: an RGBA PNG."""
    grey = _grey(mask)
    paper = Image.new("RGBA", grey.size)
    paper.putalpha(ImageOps.invert(grey))
    return _mask_file(paper, mask)


def _decoded(image: InputImage) -> Image.Image:
    with _refusal_of(image.filename):
        return decode(image.data)


def _size_of(image: InputImage) -> Size:
    """Width and height in pixels as a viewer shows the image: the camera's orientation counts."""
    with _refusal_of(image.filename):
        source = opened(image.data)
        return (source.height, source.width) if orientation(source) in {5, 6, 7, 8} else source.size


size_of = threaded(_size_of)


@contextmanager
def _refusal_of(filename: str) -> Iterator[None]:
    try:
        yield
    except (NotAnImageError, BrokenImageError) as error:
        raise BadRequest(f"{_name(filename)} cannot be used", str(error), error.advice) from None


def _shown(source: Image.Image, *, keep_alpha: bool) -> tuple[Image.Image, list[str]]:
    notices = ["is an animation; its first frame is used"] if is_animated(source) else []
    flat = plain(source)
    if flat.mode == "RGBA" and not keep_alpha:
        return flatten(flat), [*notices, "is transparent in places; white is used there"]
    return flat, notices


def _is_plain(source: Image.Image, flat: Image.Image) -> bool:
    return orientation(source) == UPRIGHT and source.mode == flat.mode and not is_animated(source)


def _format_for(image: Image.Image, own: Kind | None, limits: InputLimits) -> Kind:
    """The file's own format where the service takes it, else PNG for drawings and alpha and JPEG for photos."""
    exact = image.mode == "RGBA" or own == "png"
    wishes: tuple[Kind, ...] = ("png", "webp", "jpeg") if exact else ("jpeg", "webp", "png")
    if own is not None and own in limits.formats:
        return own
    return next(kind for kind in wishes if kind in limits.formats)


def _squeezed(image: Image.Image, size: int, limits: InputLimits, kind: Kind) -> tuple[bytes, str]:
    wishes: tuple[Kind, ...] = ("webp", "png", "jpeg") if image.mode == "RGBA" else ("jpeg", "webp", "png")
    lossy = kind if kind != "png" else next(wish for wish in wishes if wish in limits.formats)
    return squeezed(image, size if kind == "png" else 0, limits.max_bytes, kind, None, lossy=lossy)


def _sized(image: Image.Image, limits: InputLimits, name: str) -> Image.Image:
    low, high = limits.min_side or 1, limits.max_side or math.inf
    scale = max(min(1.0, high / max(image.size)), low / min(image.size))
    width, height = (max(low, int(side * scale + 1e-6)) for side in image.size)
    if max(width, height) > high:
        said = f"its shape of {written(image.size)} cannot be brought to sides between {low} and {high}"
        raise BadRequest(f"{name} cannot be used", said, "Crop it to a less narrow shape")
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.LANCZOS)


def _transparency(source: Image.Image) -> Image.Image:
    return ImageOps.invert(plain(source).getchannel("A"))


def _grey(mask: InputImage) -> Image.Image:
    source = _decoded(mask)
    return _transparency(source) if has_alpha(source) else plain(source).convert("L")


def _mask_file(mask: Image.Image, source: InputImage) -> InputImage:
    return InputImage(encode(mask, "png"), "image/png", _renamed(source.filename, "png"))


def _file(data: bytes, source: InputImage) -> InputImage:
    mime_type = sniff(data).mime_type
    return InputImage(data, mime_type, _renamed(source.filename, mime_type.removeprefix("image/")))


def _renamed(filename: str, kind: str) -> str:
    stem, dot, _ = filename.rpartition(".")
    return f"{stem if dot else filename}.{kind}" if filename else ""


def _name(filename: str) -> str:
    return filename[:100] or "The input image"

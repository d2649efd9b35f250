"""Input pictures as the servers want them, and the larger canvas with its mask for outpainting."""

import base64
from dataclasses import dataclass

from PIL import Image, ImageChops

from models.backends.automatic1111.options import Options
from models.backends.automatic1111.size import GRID, Size
from models.backends.errors import BadRequest
from models.images import BrokenImageError, decode, encode, flatten, in_thread, plain
from models.request import InputImage
from models.sniff import NotAnImageError

_OVERLAP = 8  # pixels of the picture that are repainted along a new border, so that no seam shows
_COLOURLESS = 16  # difference between channels that JPEG makes of grey


@dataclass(frozen=True, slots=True)
class Canvas:
    """Picture and mask as PNG bytes; white in the mask is new."""

    picture: bytes
    mask: bytes
    size: Size


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ready(image: InputImage) -> str:
    """The picture upright and without transparency as base64 PNG: the servers ignore a photo's orientation mark and
    put transparent pictures on a colour of their own. Raises BadRequest for what cannot be decoded."""
    return as_base64(in_thread(lambda: encode(_opened(image), "png")))


def size_of(image: InputImage) -> Size:
    """As it is seen: a photo's own orientation counts. Raises BadRequest for what cannot be decoded."""
    return in_thread(lambda: Size(*_opened(image).size))


def looks_like_mask(image: InputImage) -> bool:
    """Whether a picture that came second has no colour: masks are black and white, photos hardly ever are."""
    return in_thread(_colourless, image)


def _colourless(image: InputImage) -> bool:
    small = _opened(image)
    small.thumbnail((64, 64))
    red, green, blue = small.split()
    return max(_most(red, green), _most(green, blue)) <= _COLOURLESS


def _most(one: Image.Image, other: Image.Image) -> float:
    _, most = ImageChops.difference(one, other).getextrema()
    return most if isinstance(most, int | float) else most[1]


def outpainting(image: InputImage, options: Options) -> Canvas:
    """The picture on a canvas that is larger by the borders asked for, rounded up to the server's grid.

    The new area starts from the picture stretched over the canvas: plausible colours for every `inpaint_fill`.
    """
    return in_thread(_outpainting, image, options)


def _outpainting(image: InputImage, options: Options) -> Canvas:
    picture = _opened(image)
    size = _canvas_size(picture, options)
    canvas = picture.resize((size.width, size.height))
    canvas.paste(picture, (options.outpaint_left, options.outpaint_up))
    mask = Image.new("L", canvas.size, 255)
    mask.paste(0, _kept(picture, options, size))
    return Canvas(encode(canvas, "png"), encode(mask, "png"), size)


def _canvas_size(picture: Image.Image, options: Options) -> Size:
    width = picture.width + options.outpaint_left + options.outpaint_right
    height = picture.height + options.outpaint_up + options.outpaint_down
    return Size(-(-width // GRID) * GRID, -(-height // GRID) * GRID)


def _kept(picture: Image.Image, options: Options, size: Size) -> tuple[int, int, int, int]:
    """The box of the picture that stays as it is: smaller by the overlap wherever something new borders on it."""
    left, up = options.outpaint_left, options.outpaint_up
    right, down = left + picture.width, up + picture.height
    return (
        left + (_OVERLAP if left else 0),
        up + (_OVERLAP if up else 0),
        right - (_OVERLAP if right < size.width else 0),
        down - (_OVERLAP if down < size.height else 0),
    )


def _opened(image: InputImage) -> Image.Image:
    try:
        return flatten(plain(decode(image.data)))
    except (NotAnImageError, BrokenImageError) as error:
        name = image.filename or "the input image"
        raise BadRequest(f"Reading {name} failed", str(error), "Send it as PNG, JPEG or WebP") from None

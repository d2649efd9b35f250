"""The larger canvas with its mask for outpainting, and a look at whether an image is a mask."""

from dataclasses import dataclass

from PIL import Image, ImageChops

from models.backends.automatic1111.options import Options
from models.backends.automatic1111.size import GRID, Size, off_grid
from models.entities import InputImage
from models.images.codec import decode, encode, flatten, in_thread, plain

_OVERLAP = 8  # pixels of the image that are repainted along a new border, so that no seam shows
_COLOURLESS = 16  # difference between channels that JPEG makes of grey


@dataclass(frozen=True, slots=True)
class Canvas:
    """Image and mask as PNG files, white in the mask is new; and what the user should know about the size."""

    picture: InputImage
    mask: InputImage
    notices: tuple[str, ...] = ()


def looks_like_mask(image: InputImage) -> bool:
    """Whether an image that came second has no colour: masks are black and white, photos hardly ever are."""
    return in_thread(_colourless, image)


def _colourless(image: InputImage) -> bool:
    small = _decoded(image)
    small.thumbnail((64, 64))
    red, green, blue = small.split()
    return max(_most(red, green), _most(green, blue)) <= _COLOURLESS


def _most(one: Image.Image, other: Image.Image) -> float:
    _, most = ImageChops.difference(one, other).getextrema()
    return most if isinstance(most, int | float) else most[1]


def outpainting(image: InputImage, options: Options) -> Canvas:
    """The image on a canvas that is larger by the borders asked for, rounded up to the server's grid.

    The new area starts from the image stretched over the canvas: plausible colours for every `inpaint_fill`.
    """
    return in_thread(_outpainting, image, options)


def _outpainting(image: InputImage, options: Options) -> Canvas:
    picture, shrunk = _affordable(_decoded(image))
    asked = _with_borders(picture, options)
    size = Size(_rounded_up(asked.width), _rounded_up(asked.height))
    canvas = picture.resize((size.width, size.height))
    canvas.paste(picture, (options.outpaint_left, options.outpaint_up))
    mask = Image.new("L", canvas.size, 255)
    mask.paste(0, _kept(picture, options, size))
    return Canvas(_file(canvas, "canvas"), _file(mask, "mask"), (*shrunk, *off_grid(asked, size)))


def _affordable(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    own = Size(*picture.size)
    if own.capped == own:
        return picture, ()
    small = picture.resize((own.capped.width, own.capped.height), Image.Resampling.LANCZOS)
    return small, (f"The image of {own} was made {own.capped} before it was extended",)


def _with_borders(picture: Image.Image, options: Options) -> Size:
    return Size(
        picture.width + options.outpaint_left + options.outpaint_right,
        picture.height + options.outpaint_up + options.outpaint_down,
    )


def _rounded_up(side: int) -> int:
    return -(-side // GRID) * GRID


def _kept(picture: Image.Image, options: Options, size: Size) -> tuple[int, int, int, int]:
    """The box of the image that stays as it is: smaller by the overlap wherever something new borders on it."""
    left, up = options.outpaint_left, options.outpaint_up
    right, down = left + picture.width, up + picture.height
    return (
        left + (_OVERLAP if left else 0),
        up + (_OVERLAP if up else 0),
        right - (_OVERLAP if right < size.width else 0),
        down - (_OVERLAP if down < size.height else 0),
    )


def _decoded(image: InputImage) -> Image.Image:
    return flatten(plain(decode(image.data)))


def _file(image: Image.Image, name: str) -> InputImage:
    return InputImage(encode(image, "png"), "image/png", f"{name}.png")

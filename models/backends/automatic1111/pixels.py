"""What is done to the pixels of input images: made ready for the servers, masks laid on, the canvas of outpainting."""

from PIL import Image, ImageChops

from models.backends.automatic1111.images import GRID, capped, in_words, on_grid, with_borders
from models.backends.automatic1111.options import Options
from models.entities import InputImage
from models.images.codec import decode, encode, flatten, plain
from models.images.inputs import InputLimits, fit, hard_edged, same_size, size_of
from models.images.threads import in_thread
from models.sizes import Size, same_shape

_SAME_SHAPE = 1.02  # rounding to whole pixels changes a shape by less
_OVERLAP = 8  # pixels of the image that are generated anew along a new border, so that no seam shows
_COLOURLESS = 16  # difference between channels that JPEG makes of grey

# The servers take any file size and format and scale images themselves; they ignore a photo's orientation mark and put
# transparency on a colour of their own.
_LIMITS = InputLimits()


def fitted(image: InputImage, notices: list[str]) -> InputImage:
    """The image as the servers take it."""
    ready, changes = fit(image, _LIMITS)
    notices.extend(changes)
    return ready


def laid_on(image: InputImage, mask: InputImage, notices: list[str]) -> InputImage:
    """The mask in the size of its image: the servers scale both to width and height, each for itself.

    It is black and white, as current servers make it themselves; `mask_blur` softens its edges.
    """
    drawn, size = size_of(mask), size_of(image)
    if not same_shape(drawn[0] / drawn[1], size[0] / size[1], _SAME_SHAPE):
        notices.append(f"The mask of {in_words(drawn)} was stretched over the image of {in_words(size)}.")
    return hard_edged(same_size(mask, image))


def is_grey(image: InputImage) -> bool:
    """Whether an image has no colour: masks are black and white, photos hardly ever are."""
    return in_thread(_is_grey, image)


def outpainted(image: InputImage, options: Options, notices: list[str]) -> tuple[InputImage, InputImage]:
    """The image on a canvas that is larger by the borders, and a mask that is white where it is new."""
    canvas, mask, changes = in_thread(_outpainted, image, options)
    notices.extend(changes)
    return canvas, mask


def _is_grey(image: InputImage) -> bool:
    small = _decoded(image)
    small.thumbnail((64, 64))
    red, green, blue = small.split()
    return max(_difference(red, green), _difference(green, blue)) <= _COLOURLESS


def _difference(one: Image.Image, other: Image.Image) -> float:
    _, most = ImageChops.difference(one, other).getextrema()
    return most if isinstance(most, int | float) else most[1]


def _outpainted(file: InputImage, options: Options) -> tuple[InputImage, InputImage, list[str]]:
    image, notices = _affordable(_decoded(file))
    asked = with_borders(image.size, options)
    size = on_grid(asked)
    if size != asked:
        notices.append(f"The canvas of {in_words(asked)} became {in_words(size)}: sides are multiples of {GRID}.")
    # The new area starts from the image stretched over the canvas: plausible colours for every `inpaint_fill`.
    canvas = image.resize(size)
    canvas.paste(image, (options.outpaint_left, options.outpaint_up))
    mask = Image.new("L", size, 255)
    mask.paste(0, _kept(image.size, options, size))
    return _file(canvas, "canvas"), _file(mask, "mask"), notices


def _affordable(image: Image.Image) -> tuple[Image.Image, list[str]]:
    size = capped(image.size)
    if size == image.size:
        return image, []
    small = image.resize(size, Image.Resampling.LANCZOS)
    return small, [f"The image of {in_words(image.size)} became {in_words(size)} before it was extended."]


def _kept(image: Size, options: Options, canvas: Size) -> tuple[int, int, int, int]:
    """The box of the image that stays as it is: smaller by the overlap wherever something new borders on it."""
    left, up = options.outpaint_left, options.outpaint_up
    right, down = left + image[0], up + image[1]
    return (
        left + (_OVERLAP if left else 0),
        up + (_OVERLAP if up else 0),
        right - (_OVERLAP if right < canvas[0] else 0),
        down - (_OVERLAP if down < canvas[1] else 0),
    )


def _decoded(image: InputImage) -> Image.Image:
    return flatten(plain(decode(image.data)))


def _file(image: Image.Image, name: str) -> InputImage:
    return InputImage(encode(image, "png"), "image/png", f"{name}.png")

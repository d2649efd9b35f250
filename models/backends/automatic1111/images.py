"""The input images of a request: which is the init image, the mask and the ControlNet image; sizes; outpainting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageChops

from models.backends.automatic1111.options import Options
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images.codec import decode, encode, flatten, plain
from models.images.inputs import Limits, alpha_mask, fit, hard_edged, same_size, size_of
from models.images.threads import in_thread
from models.sizes import ONE_MEGAPIXEL, FreeSizes, NoSizes, Size, SizeRule, same_shape, shaped

GRID = 8  # the servers cut sides down to multiples of 8 without a word
DEFAULT_SIZE = (512, 512)  # the API's own
DEFAULT_UPSCALING = 2.0
_SMALLEST_SIDE = 64
_OVERLAP = 8  # pixels of the image that are generated anew along a new border, so that no seam shows
_SAME_SHAPE = 1.02  # rounding to whole pixels changes a shape by less
_COLOURLESS = 16  # difference between channels that JPEG makes of grey

# The servers take any file size and format and scale images themselves; they ignore a photo's orientation mark and put
# transparency on a colour of their own.
_LIMITS = Limits()
_SIZES = FreeSizes(multiple=GRID, min_side=_SMALLEST_SIDE, default=DEFAULT_SIZE)
# For requests without a size: a photo at its own size would not fit into a GPU.
_AFFORDABLE = FreeSizes(multiple=GRID, min_side=_SMALLEST_SIDE, max_area=ONE_MEGAPIXEL)


@dataclass(frozen=True, slots=True)
class InputRoles:
    """The images of one request by what they are for, as the servers take them."""

    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    control: InputImage | None = None
    notices: tuple[str, ...] = ()


# --- sizes ------------------------------------------------------------------------------------------------------------


def size_rule(request: ImageRequest, options: Options) -> SizeRule:
    """The sizes for a request: the first input image gives the default, outpainting and `upscale_by` leave no choice."""
    if not request.images:
        return _SIZES
    own = size_of(request.images[0])
    if options.upscale_by:
        return NoSizes(default=enlarged(own, options.upscale_by), reason="`upscale_by` sets the size")
    if options.upscales:
        return FreeSizes(default=enlarged(own, DEFAULT_UPSCALING))
    if options.outpaints:
        reason = "outpainting adds its borders to the image's own size"
        return NoSizes(default=_on_grid(_with_borders(_capped(own), options)), reason=reason)
    return _SIZES.model_copy(update={"default": default_size(own)})


def default_size(own: Size) -> Size:
    """The size at which an image of the size `own` is generated anew where no size is asked for."""
    return _AFFORDABLE.nearest(own)


def enlarged(size: Size, factor: float) -> Size:
    return round(size[0] * factor), round(size[1] * factor)


def in_words(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _capped(size: Size) -> Size:
    """At most one megapixel, same shape."""
    return size if size[0] * size[1] <= ONE_MEGAPIXEL else shaped(size[0] / size[1], ONE_MEGAPIXEL)


def _with_borders(size: Size, options: Options) -> Size:
    return (
        size[0] + options.outpaint_left + options.outpaint_right,
        size[1] + options.outpaint_up + options.outpaint_down,
    )


def _on_grid(size: Size) -> Size:
    """Rounded up to a size that the server generates."""
    width, height = (max(_SMALLEST_SIDE, -(-side // GRID) * GRID) for side in size)
    return width, height


# --- roles ------------------------------------------------------------------------------------------------------------


def assign_roles(request: ImageRequest, options: Options) -> InputRoles:
    """Tell the images apart and make them ready.

    An image that came second without the word "mask" in its name is read as the mask of the first; it is the control
    image when a ControlNet model is chosen, and another init image when it has colours. Outpainting puts its one
    image on a larger canvas and makes the mask. Raises BadRequest for images that do not go together.
    """
    images, mask, control = list(request.images), request.mask, None
    match _mask_source(mask, images):
        case "place" if options.controlnet_model:
            mask, control = None, mask
        case "place" if mask is not None and (options.upscales or not _looks_like_mask(mask)):
            images, mask = [*images, mask], None
        case "transparency" if options.upscales or options.outpaints:
            mask = None
    inpaints = mask is not None or options.outpaints
    if options.controlnet_model and control is None and len(images) > (1 if inpaints else 0):
        control = images.pop()
    _check(images, mask, control, options)
    return _extended(_ready(images, mask, control), options)


def _mask_source(
    mask: InputImage | None, images: Sequence[InputImage]
) -> Literal["none", "name", "place", "transparency"]:
    """Why a file was taken as the mask."""
    if mask is None:
        return "none"
    if len(images) == 1 and mask == alpha_mask(images[0]):
        return "transparency"
    return "place" if len(images) == 1 and "mask" not in mask.filename.casefold() else "name"


def _looks_like_mask(image: InputImage) -> bool:
    """Whether an image has no colour: masks are black and white, photos hardly ever are."""
    return in_thread(_is_grey, image)


def _is_grey(image: InputImage) -> bool:
    small = _decoded(image)
    small.thumbnail((64, 64))
    red, green, blue = small.split()
    return max(_difference(red, green), _difference(green, blue)) <= _COLOURLESS


def _difference(one: Image.Image, other: Image.Image) -> float:
    _, most = ImageChops.difference(one, other).getextrema()
    return most if isinstance(most, int | float) else most[1]


def _check(images: Sequence[InputImage], mask: InputImage | None, control: InputImage | None, options: Options) -> None:
    if options.controlnet_model and not (control or images):
        raise BadRequest("ControlNet needs an image", next_step="Send the control image as input image")
    if mask is not None and not images:
        raise BadRequest("There is a mask and no image", next_step="Send the image to inpaint beside the mask")
    if (mask is not None or options.outpaints) and len(images) > 1:
        raise BadRequest(
            "Several images cannot share one mask",
            next_step="Send one image at a time; a second one may guide it where a `controlnet_model` is chosen",
        )
    if options.outpaints and not images:
        raise BadRequest("Outpainting needs an image", next_step="Send the image to extend as input image")
    if options.outpaints and mask is not None:
        raise BadRequest("Outpainting makes its own mask", next_step="Leave out the mask, or the borders to add")
    if options.upscales and not images:
        raise BadRequest(
            "Upscaling needs an image",
            next_step="Send it as input image; for a larger image from a prompt use `hires_scale` and `hires_upscaler`",
        )


def _ready(images: Sequence[InputImage], mask: InputImage | None, control: InputImage | None) -> InputRoles:
    fitted = [fit(image, _LIMITS) for image in images]
    steering = [fit(control, _LIMITS)] if control else []
    notices = [notice for _, notices in [*fitted, *steering] for notice in notices]
    return InputRoles(
        images=tuple(image for image, _ in fitted),
        mask=_laid_on(fitted[0][0], mask, notices) if mask else None,
        control=steering[0][0] if steering else None,
        notices=tuple(notices),
    )


def _laid_on(image: InputImage, mask: InputImage, notices: list[str]) -> InputImage:
    """The mask in the size of its image: the servers scale both to width and height, each for itself.

    It is black and white, as current servers make it themselves; `mask_blur` softens its edges.
    """
    drawn, size = size_of(mask), size_of(image)
    if not same_shape(drawn[0] / drawn[1], size[0] / size[1], _SAME_SHAPE):
        notices.append(f"The mask of {in_words(drawn)} was stretched over the image of {in_words(size)}.")
    return hard_edged(same_size(mask, image))


# --- outpainting ------------------------------------------------------------------------------------------------------


def _extended(inputs: InputRoles, options: Options) -> InputRoles:
    """With `outpaint_...`: the image on a canvas that is larger by the borders, and a mask that is white where it is new."""
    if not options.outpaints:
        return inputs
    canvas, mask, notices = in_thread(_outpainting, inputs.images[0], options)
    return InputRoles((canvas,), mask, inputs.control, (*inputs.notices, *notices))


def _outpainting(file: InputImage, options: Options) -> tuple[InputImage, InputImage, list[str]]:
    image, notices = _affordable(_decoded(file))
    asked = _with_borders(image.size, options)
    size = _on_grid(asked)
    if size != asked:
        notices.append(f"The canvas of {in_words(asked)} became {in_words(size)}: sides are multiples of {GRID}.")
    # The new area starts from the image stretched over the canvas: plausible colours for every `inpaint_fill`.
    canvas = image.resize(size)
    canvas.paste(image, (options.outpaint_left, options.outpaint_up))
    mask = Image.new("L", size, 255)
    mask.paste(0, _kept(image.size, options, size))
    return _file(canvas, "canvas"), _file(mask, "mask"), notices


def _affordable(image: Image.Image) -> tuple[Image.Image, list[str]]:
    size = _capped(image.size)
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

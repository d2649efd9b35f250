"""The input images of a request: which is the init image, the mask and the ControlNet image, and the sizes they lead to.

What reads pixels stands in `pixels`, which is imported for requests with images alone: Pillow takes long to load.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.backends.automatic1111.options import Options
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.sizes import ONE_MEGAPIXEL, FreeSizes, NoSizes, Size, SizeRule, shaped

GRID = 8  # the servers cut sides down to multiples of 8 without a word
DEFAULT_SIZE = (512, 512)  # the API's own
DEFAULT_UPSCALING = 2.0
_SMALLEST_SIDE = 64

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
    from models.images.inputs import size_of  # noqa: PLC0415 -- see above

    own = size_of(request.images[0])
    if options.upscale_by:
        return NoSizes(default=enlarged(own, options.upscale_by), reason="`upscale_by` sets the size")
    if options.upscales:
        return FreeSizes(default=enlarged(own, DEFAULT_UPSCALING))
    if options.outpaints:
        reason = "outpainting adds its borders to the image's own size"
        return NoSizes(default=on_grid(with_borders(capped(own), options)), reason=reason)
    return _SIZES.model_copy(update={"default": default_size(own)})


def default_size(own: Size) -> Size:
    """The size at which an image of the size `own` is generated anew where no size is asked for."""
    return _AFFORDABLE.nearest(own)


def enlarged(size: Size, factor: float) -> Size:
    return round(size[0] * factor), round(size[1] * factor)


def capped(size: Size) -> Size:
    """At most one megapixel, same shape."""
    return size if size[0] * size[1] <= ONE_MEGAPIXEL else shaped(size[0] / size[1], ONE_MEGAPIXEL)


def with_borders(size: Size, options: Options) -> Size:
    return (
        size[0] + options.outpaint_left + options.outpaint_right,
        size[1] + options.outpaint_up + options.outpaint_down,
    )


def on_grid(size: Size) -> Size:
    """Rounded up to a size that the server generates."""
    width, height = (max(_SMALLEST_SIDE, -(-side // GRID) * GRID) for side in size)
    return width, height


def in_words(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


# --- roles ------------------------------------------------------------------------------------------------------------


def assign_roles(request: ImageRequest, options: Options) -> InputRoles:
    """Tell the images apart and make them ready. Outpainting puts its image on a larger canvas and makes the mask.

    Raises BadRequest for images that do not go together.
    """
    images, mask, control = _roles(request, options)
    _check(images, mask, control, options)
    if not images and control is None:
        return InputRoles()
    from models.backends.automatic1111 import pixels  # noqa: PLC0415 -- see above

    notices: list[str] = []
    ready = tuple(pixels.fitted(image, notices) for image in images)
    steering = pixels.fitted(control, notices) if control else None
    if options.outpaints:
        canvas, border = pixels.outpainted(ready[0], options, notices)
        return InputRoles((canvas,), border, steering, tuple(notices))
    laid_on = pixels.laid_on(ready[0], mask, notices) if mask else None
    return InputRoles(ready, laid_on, steering, tuple(notices))


def _roles(
    request: ImageRequest, options: Options
) -> tuple[Sequence[InputImage], InputImage | None, InputImage | None]:
    """Init images, mask and control image.

    An image that came second without the word "mask" in its name is read as the mask of the first; it is the control
    image when a ControlNet model is chosen, and another init image when it has colours.
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
    return images, mask, control


def _mask_source(
    mask: InputImage | None, images: Sequence[InputImage]
) -> Literal["none", "name", "place", "transparency"]:
    """Why a file was taken as the mask."""
    if mask is None:
        return "none"
    from models.images.inputs import alpha_mask  # noqa: PLC0415 -- see above

    if len(images) == 1 and mask == alpha_mask(images[0]):
        return "transparency"
    return "place" if len(images) == 1 and "mask" not in mask.filename.casefold() else "name"


def _looks_like_mask(image: InputImage) -> bool:
    from models.backends.automatic1111 import pixels  # noqa: PLC0415 -- see above

    return pixels.is_grey(image)


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

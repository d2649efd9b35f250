"""Which image plays which part: to be repainted, mask, or control image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.backends.automatic1111.canvas import looks_like_mask, outpainting
from models.backends.automatic1111.options import Options
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images.inputs import Limits, alpha_mask, fit, same_size

# The servers take any size and scale it themselves; they ignore a photo's orientation mark and put transparency on a
# colour of their own.
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images of one request, by their parts, as the servers take them."""

    pictures: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    control: InputImage | None = None
    notices: tuple[str, ...] = ()


def sort_inputs(request: ImageRequest, options: Options) -> Inputs:
    """Tell the parts of the images apart and make them ready.

    An image that came second without the word "mask" in its name is read as the mask of the first; it is the control
    image when a ControlNet model is chosen, and an image of its own when it has colours. Outpainting puts its one
    image on a larger canvas and makes the mask. Raises BadRequest for images that do not go together.
    """
    pictures, mask, control = list(request.images), request.mask, None
    match _origin(mask, pictures):
        case "place" if options.controlnet_model:
            mask, control = None, mask
        case "place" if mask is not None and (options.upscales or not looks_like_mask(mask)):
            pictures, mask = [*pictures, mask], None
        case "transparency" if options.upscales or options.outpaints:
            mask = None
    repainted = mask is not None or options.outpaints
    if options.controlnet_model and control is None and len(pictures) > (1 if repainted else 0):
        control = pictures.pop()
    _check(pictures, mask, control, options)
    return _extended(_ready(pictures, mask, control), options)


def _origin(
    mask: InputImage | None, pictures: Sequence[InputImage]
) -> Literal["none", "name", "place", "transparency"]:
    """What made a file the mask."""
    if mask is None:
        return "none"
    if len(pictures) == 1 and mask == alpha_mask(pictures[0]):
        return "transparency"
    return "place" if len(pictures) == 1 and "mask" not in mask.filename.casefold() else "name"


def _check(
    pictures: Sequence[InputImage], mask: InputImage | None, control: InputImage | None, options: Options
) -> None:
    if options.controlnet_model and not (control or pictures):
        raise BadRequest("ControlNet needs an image", next_step="Send the control image as input image")
    if mask is not None and not pictures:
        raise BadRequest("There is a mask and no image", next_step="Send the image to repaint beside the mask")
    if (mask is not None or options.outpaints) and len(pictures) > 1:
        raise BadRequest("Several images cannot share one mask", next_step="Send one image at a time")
    if options.outpaints and not pictures:
        raise BadRequest("Outpainting needs an image", next_step="Send the image to extend as input image")
    if options.outpaints and mask is not None:
        raise BadRequest("Outpainting makes its own mask", next_step="Leave out the mask, or the borders to add")
    if options.upscales and not pictures:
        raise BadRequest(
            "Upscaling needs an image",
            next_step="Send it as input image; to paint larger from a prompt use `hires_scale` and `hires_upscaler`",
        )


def _ready(pictures: Sequence[InputImage], mask: InputImage | None, control: InputImage | None) -> Inputs:
    fitted = [fit(picture, _LIMITS) for picture in pictures]
    steering = [fit(control, _LIMITS)] if control else []
    return Inputs(
        pictures=tuple(image for image, _ in fitted),
        # The servers cut image and mask to width and height each for itself: of one shape they stay on each other.
        mask=same_size(mask, fitted[0][0]) if mask else None,
        control=steering[0][0] if steering else None,
        notices=tuple(notice for _, notices in [*fitted, *steering] for notice in notices),
    )


def _extended(inputs: Inputs, options: Options) -> Inputs:
    if not options.outpaints:
        return inputs
    canvas = outpainting(inputs.pictures[0], options)
    return Inputs((canvas.picture,), canvas.mask, inputs.control, (*inputs.notices, *canvas.notices))

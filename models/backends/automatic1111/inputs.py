"""Which picture plays which part: to be repainted, mask, or control picture."""

from dataclasses import dataclass

from models.backends.automatic1111.canvas import looks_like_mask
from models.backends.automatic1111.options import Options
from models.backends.errors import BadRequest
from models.request import ImageRequest, InputImage


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures of one request, by their parts."""

    pictures: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    control: InputImage | None = None


def sort_inputs(request: ImageRequest, options: Options) -> Inputs:
    """Tell the parts of the pictures apart. Raises BadRequest for pictures that do not go together.

    A picture that came second without the word "mask" in its name is read as the mask of the first; it is the control
    picture when a ControlNet model is chosen, and a picture of its own when it has colours.
    """
    pictures, mask, control = list(request.images), request.mask, None
    doubtful = mask is not None and "mask" not in mask.filename.casefold() and len(pictures) == 1
    if options.controlnet_model:
        if mask is not None and doubtful:
            mask, control = None, mask
        elif len(pictures) > 1 or (pictures and mask is None):
            control = pictures.pop()
    elif mask is not None and doubtful and not looks_like_mask(mask):
        pictures, mask = [*pictures, mask], None
    return _checked(Inputs(tuple(pictures), mask, control), options)


def _checked(inputs: Inputs, options: Options) -> Inputs:
    if options.controlnet_model and not (inputs.control or inputs.pictures):
        raise BadRequest("ControlNet needs a picture", next_step="Send the control picture as input image")
    if inputs.mask is not None and not inputs.pictures:
        raise BadRequest("There is a mask and no picture", next_step="Send the picture to repaint beside the mask")
    if (inputs.mask is not None or options.outpaints) and len(inputs.pictures) > 1:
        raise BadRequest("Several pictures cannot share one mask", next_step="Send one picture at a time")
    if options.outpaints and not inputs.pictures:
        raise BadRequest("Outpainting needs a picture", next_step="Send the picture to extend as input image")
    if options.outpaints and inputs.mask is not None:
        raise BadRequest("Outpainting makes its own mask", next_step="Leave out the mask, or the borders to add")
    if options.upscales and not inputs.pictures:
        raise BadRequest(
            "Upscaling needs a picture",
            next_step="Send it as input image; to paint larger from a prompt use `hires_scale` and `hires_upscaler`",
        )
    return inputs

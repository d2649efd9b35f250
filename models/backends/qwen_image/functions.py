"""The editing functions of `wanx2.1-imageedit`, and which parameter belongs to which.

Source: Model Studio, Wan image editing API. Its function `remove_watermark` is left out on purpose.
"""

from collections.abc import Iterator, Mapping

from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue

MASKED = "description_edit_with_mask"
PLAIN = "description_edit"
SCALES = ("top_scale", "bottom_scale", "left_scale", "right_scale")

FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    PLAIN: ("denoising_strength",),
    MASKED: (),
    "expand": SCALES,
    "stylization_all": ("denoising_strength",),
    "stylization_local": (),
    "super_resolution": ("upscale_factor",),
    "colorization": (),
    "doodle": ("is_sketch",),
    "control_cartoon_feature": (),
}
"""Each function with the parameters that it alone reads."""

_DEFAULTS: Mapping[str, ParameterValue] = {
    "denoising_strength": 0.5,
    **dict.fromkeys(SCALES, 1),
    "upscale_factor": 1,
    "is_sketch": False,
}
"""What the service uses where nothing is sent. A node sends every default of its form: such a value asks for nothing."""
_WIRE_NAMES = {"denoising_strength": "strength"}


def chosen(request: ImageRequest) -> str:
    """The function asked for; without a word about it, a mask means inpainting. Raises BadRequest."""
    function = str(request.extra.get("edit_function") or (MASKED if request.mask else PLAIN))
    if function == MASKED and request.mask is None:
        raise BadRequest(
            f"`{MASKED}` needs a mask and got none",
            next_step="Send a second image of the same size whose file name contains `mask`, white where the "
            "image may change",
        )
    return function


def parameters(request: ImageRequest) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """The function's own fields under their names at the service, and notices about those that it does not read."""
    function = chosen(request)
    given = {name: value for name in _DEFAULTS if (value := _value(request, name)) is not None}
    read = {_WIRE_NAMES.get(name, name): value for name, value in given.items() if name in FUNCTIONS[function]}
    # Every scale is 1 where none is named: the image would be paid for and come back as it was.
    if function == "expand" and all(given.get(name, 1) == 1 for name in SCALES):
        raise BadRequest(
            "`expand` was not told in which direction",
            next_step=f"Give at least one of {', '.join(f'`{name}`' for name in SCALES)}, above 1 and up to 2",
        )
    return read, tuple(_unread(request, function, given))


def _unread(request: ImageRequest, function: str, given: Mapping[str, object]) -> Iterator[str]:
    # Transparency of the image counts as a mask, and not everybody means it as one: no reason to refuse.
    if request.mask is not None and function != MASKED:
        yield f"The mask was not used: `{function}` does not read one, `{MASKED}` would."
    for name, value in given.items():
        if name not in FUNCTIONS[function] and value != _DEFAULTS[name]:
            readers = " and ".join(f"`{reader}`" for reader, own in FUNCTIONS.items() if name in own)
            yield f"`{name}` was not used: `{function}` does not read it, {readers} would."


def _value(request: ImageRequest, name: str) -> object:
    return request.denoising_strength if name == "denoising_strength" else request.extra.get(name)

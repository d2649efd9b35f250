"""The editing functions of `wanx2.1-imageedit`, and which parameter belongs to which.

Source: Model Studio, Wan image editing API. Its function `remove_watermark` is left out on purpose.
"""

from collections.abc import Iterable, Mapping

from models.backends.errors import BadRequest
from models.entities import ImageRequest

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

_SPECIAL = tuple(dict.fromkeys(name for names in FUNCTIONS.values() for name in names))


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
    _check_scales(function, request)
    given = {name: value for name in _SPECIAL if (value := _value(request, name)) is not None}
    read = {_WIRE_NAMES.get(name, name): value for name, value in given.items() if name in FUNCTIONS[function]}
    unread = [name for name in given if name not in FUNCTIONS[function]]
    if request.mask is not None and function != MASKED:
        # Transparency of the image counts as a mask, and not everybody means it as one: no reason to refuse.
        return read, (
            f"The mask was not used: `{function}` does not read one, `{MASKED}` would.",
            *_unread(function, unread),
        )
    return read, tuple(_unread(function, unread))


def _check_scales(function: str, request: ImageRequest) -> None:
    # Every scale is 1 where none is named: the image would be paid for and come back as it was.
    if function == "expand" and not any(_above_one(request.extra.get(name)) for name in SCALES):
        raise BadRequest(
            "`expand` was not told in which direction",
            next_step=f"Give at least one of {', '.join(f'`{name}`' for name in SCALES)}, above 1 and up to 2",
        )


def _above_one(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 1


_WIRE_NAMES = {"denoising_strength": "strength"}


def _value(request: ImageRequest, name: str) -> object:
    return request.denoising_strength if name == "denoising_strength" else request.extra.get(name)


def _unread(function: str, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        readers = " and ".join(f"`{reader}`" for reader, own in FUNCTIONS.items() if name in own)
        yield f"`{name}` was not used: `{function}` does not read it, {readers} would."

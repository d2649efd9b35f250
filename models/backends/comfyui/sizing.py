"""Width and height to ask for: wishes, aspect ratio, the workflow's own size, multiples."""

import math

from models.request import ImageRequest, ParameterValue

DRAFT_SIDE = math.sqrt(0.5)  # half the pixels


def wanted_size(
    request: ImageRequest, own_width: ParameterValue | None, own_height: ParameterValue | None, step: int
) -> tuple[dict[str, ParameterValue], list[str]]:
    """The sizes to set, in pixels and multiples of `step`, with a notice where they differ from the wish.

    The form shows the workflow's own size as the default, so that an aspect ratio beside exactly that size means: no
    size was chosen. An aspect ratio keeps the number of pixels of the workflow's own size.
    """
    size = _wish(request, own_width, own_height)
    own = {"width": own_width, "height": own_height}
    draft = request.extra.get("draft") is True
    if draft:
        whole = {name: value for name, value in own.items() if isinstance(value, int)} | size
        size = {name: value * DRAFT_SIDE for name, value in whole.items()}
    snapped = {name: _snapped(value, step) if value != own[name] else int(value) for name, value in size.items()}
    notices = []
    exact = not draft and (request.width, request.height) != (None, None)
    if exact and any(snapped[name] != size[name] for name in snapped):
        asked = " x ".join(f"{size[name]:g}" for name in snapped)
        made = " x ".join(f"{snapped[name]}" for name in snapped)
        notices.append(f"The size {asked} became {made}: this workflow takes multiples of {step} pixels")
    return dict(snapped), notices


def _snapped(value: float, step: int) -> int:
    return max(step, math.floor(value / step + 0.5) * step)


def _wish(
    request: ImageRequest, own_width: ParameterValue | None, own_height: ParameterValue | None
) -> dict[str, float]:
    ratio = _ratio(request.aspect_ratio)
    width, height = request.width, request.height
    unchosen = (width, height) in ((None, None), (own_width, own_height))
    if ratio and unchosen and isinstance(own_width, int) and isinstance(own_height, int):
        pixels = own_width * own_height
        return {"width": math.sqrt(pixels * ratio), "height": math.sqrt(pixels / ratio)}
    if ratio and width and not height:
        return {"width": width, "height": width / ratio}
    if ratio and height and not width:
        return {"width": height * ratio, "height": height}
    return {name: value for name, value in (("width", width), ("height", height)) if value is not None}


def _ratio(text: str | None) -> float | None:
    if not text:
        return None
    across, _, down = text.partition(":")
    return float(across) / float(down)

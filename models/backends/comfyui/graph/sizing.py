"""Width and height to ask for: the wish, the aspect ratio, the workflow's own size, multiples, a draft."""

import math

from models.entities import ImageRequest, ParameterValue
from models.request.shape import size_for_ratio

_DRAFT_SIDE = math.sqrt(0.5)  # half the pixels


def wanted_size(
    request: ImageRequest, own: tuple[ParameterValue | None, ParameterValue | None], step: int
) -> tuple[dict[str, ParameterValue], tuple[str, ...]]:
    """Width and height to set, in pixels and multiples of `step`, with a notice where they differ from the wish.

    `own` is the workflow's width and height. An aspect ratio keeps its number of pixels; a side that equals the
    workflow's own is left as its author wrote it.
    """
    wish = {side: float(value) for side, value in _wish(request, own, step).items()}
    if request.extra.get("draft") is True:
        halved = {side: value * _DRAFT_SIDE for side, value in (_sides(own) | wish).items()}
        return {side: _snapped(value, step) for side, value in halved.items()}, ()
    owned = dict(zip(("width", "height"), own, strict=True))
    made = {side: int(value) if value == owned[side] else _snapped(value, step) for side, value in wish.items()}
    if made == wish:
        return dict(made), ()
    asked, legal = (" x ".join(f"{value:g}" for value in sides.values()) for sides in (wish, made))
    return dict(made), (f"The size {asked} became {legal}: this workflow takes multiples of {step} pixels",)


def _wish(
    request: ImageRequest, own: tuple[ParameterValue | None, ParameterValue | None], step: int
) -> dict[str, float]:
    given = _sides((request.width, request.height))
    if given or not request.aspect_ratio:
        return given
    width, height = own
    pixels = width * height if isinstance(width, int) and isinstance(height, int) else None
    sizes = size_for_ratio(request.aspect_ratio, multiple=step, **({"pixels": pixels} if pixels else {}))
    return _sides(sizes)


def _sides(pair: tuple[ParameterValue | None, ParameterValue | None]) -> dict[str, float]:
    return {
        side: value for side, value in zip(("width", "height"), pair, strict=True) if isinstance(value, (int, float))
    }


def _snapped(value: float, step: int) -> int:
    return max(step, math.floor(value / step + 0.5) * step)

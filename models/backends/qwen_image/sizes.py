"""Which sizes a model takes, and the nearest of them.

Source: Model Studio, Qwen-Image generation and editing API, `parameters.size`. All numbers are pixels.
"""

from collections.abc import Callable, Iterator
from math import floor, log, sqrt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.entities import ImageRequest

type Size = tuple[int, int]

STEP = 16  # the service rounds the sides of its results to multiples of this
_REACH = 3  # steps around the wished size within which a legal one always exists


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Size


class FixedSizes(_Rule):
    """A closed list: the entry with the most similar shape is the nearest."""

    rule: Literal["fixed"]
    sizes: tuple[Size, ...]

    def nearest(self, size: Size) -> Size:
        return min(self.sizes, key=lambda legal: abs(log(_ratio(legal) / _ratio(size))))


class AreaSizes(_Rule):
    """Any size within an area and up to a ratio between the sides."""

    rule: Literal["area"]
    min_area: int
    max_area: int
    max_ratio: float

    def nearest(self, size: Size) -> Size:
        ratio = _clamp(_ratio(size), 1 / self.max_ratio, self.max_ratio)
        area = _clamp(size[0] * size[1], self.min_area, self.max_area)
        return _on_grid((sqrt(area * ratio), sqrt(area / ratio)), self._legal)

    def _legal(self, size: Size) -> bool:
        shape = max(_ratio(size), 1 / _ratio(size))
        return self.min_area <= size[0] * size[1] <= self.max_area and shape <= self.max_ratio


class SideSizes(_Rule):
    """Any size whose two sides lie between bounds."""

    rule: Literal["side"]
    min_side: int
    max_side: int

    def nearest(self, size: Size) -> Size:
        shrink = min(1.0, self.max_side / max(size))
        grow = max(1.0, self.min_side / (shrink * min(size)))
        width, height = (_clamp(side * shrink * grow, self.min_side, self.max_side) for side in size)
        return _on_grid((width, height), self._legal)

    def _legal(self, size: Size) -> bool:
        return all(self.min_side <= side <= self.max_side for side in size)


type SizeRule = Annotated[FixedSizes | AreaSizes | SideSizes, Field(discriminator="rule")]


def chosen_size(request: ImageRequest, rule: SizeRule, *, like: Size | None, model: str) -> tuple[Size, str]:
    """The legal size for a request and, where it is not what the user named, a notice that names both.

    `like` is the size of the image to edit: an edit that names no size keeps its shape.
    """
    wished = _wished(request, rule.default, like)
    used = rule.nearest(wished)
    if request.width or request.height:
        changed, named = used != wished, f"{wished[0]}×{wished[1]}"
    else:
        changed, named = _misshapen(used, wished), f"the aspect ratio {request.aspect_ratio}"
        changed = changed and request.aspect_ratio is not None
    return used, f"{model} does not make {named}; the nearest size it makes, {used[0]}×{used[1]}, was used." * changed


def _wished(request: ImageRequest, default: Size, like: Size | None) -> Size:
    ratio = _named_ratio(request.aspect_ratio) or _ratio(like or default)
    match request.width, request.height:
        case int(width), int(height):
            return width, height
        case int(width), None:
            return width, max(1, round(width / ratio))
        case None, int(height):
            return max(1, round(height * ratio)), height
        case _:
            area = default[0] * default[1]
            return round(sqrt(area * ratio)), round(sqrt(area / ratio))


def _named_ratio(name: str | None) -> float | None:
    if name is None:
        return None
    width, _, height = name.partition(":")
    return float(width) / float(height)


_SAME_SHAPE = 1.05  # rounding to the grid changes a shape by less


def _misshapen(used: Size, wished: Size) -> bool:
    change = _ratio(used) / _ratio(wished)
    return max(change, 1 / change) > _SAME_SHAPE


def _ratio(size: Size) -> float:
    return size[0] / size[1]


def _clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def _on_grid(target: tuple[float, float], legal: Callable[[Size], bool]) -> Size:
    """The legal size on the grid that lies nearest to `target` in proportion."""
    width, height = target
    candidates = [(w, h) for w in _around(width) for h in _around(height) if legal((w, h))]
    return min(candidates, key=lambda size: abs(log(size[0] / width)) + abs(log(size[1] / height)))


def _around(side: float) -> Iterator[int]:
    nearest = floor(side / STEP)
    return (STEP * step for step in range(max(1, nearest - _REACH), nearest + _REACH + 2))

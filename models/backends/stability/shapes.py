"""From the size that was asked for to what Stability can make: the nearest aspect ratio, the nearest SDXL size."""

from math import log

from models.backends.stability.facts import ASPECT_RATIOS, SDXL_SIZES
from models.request import ImageRequest

type Size = tuple[int, int]


def asked_size(request: ImageRequest) -> Size | None:
    """Width and height when both were given; one alone says nothing about the shape."""
    return (request.width, request.height) if request.width and request.height else None


def asked_shape(request: ImageRequest) -> Size | None:
    """The asked size, else the asked aspect ratio as a pair; None when nothing was asked."""
    if size := asked_size(request):
        return size
    return ratio_pair(request.aspect_ratio) if request.aspect_ratio else None


def asked_words(request: ImageRequest) -> str:
    """The asked shape as the user wrote it: `1280×720`, or `4:3`."""
    size = asked_size(request)
    return f"{size[0]}×{size[1]}" if size else request.aspect_ratio or ""


def ratio_pair(aspect_ratio: str) -> Size:
    width, _, height = aspect_ratio.partition(":")
    return int(width), int(height)


def nearest_ratio(shape: Size) -> str:
    """The aspect ratio of v2beta that distorts `shape` least."""
    return min(ASPECT_RATIOS, key=lambda ratio: _distance(ratio_pair(ratio), shape))


def nearest_sdxl_size(shape: Size) -> Size:
    """The size of SDXL whose proportions distort `shape` least: all nine have about the same number of pixels."""
    return min(SDXL_SIZES, key=lambda size: _distance(size, shape))


def _distance(one: Size, other: Size) -> float:
    return abs(log((one[0] / one[1]) / (other[0] / other[1])))

"""From the size that was asked for to what Stability can make: the nearest aspect ratio, the nearest SDXL size."""

from models.backends.stability.facts import ASPECT_RATIOS, SDXL_SIZES
from models.entities import ImageRequest
from models.request.shape import nearest_ratio, ratio_of

type Size = tuple[int, int]

_SDXL = {f"{width}:{height}": (width, height) for width, height in SDXL_SIZES}


def asked_size(request: ImageRequest) -> Size | None:
    """Width and height when both were given; one alone says nothing about the shape."""
    return (request.width, request.height) if request.width and request.height else None


def asked_ratio(request: ImageRequest) -> float | None:
    """Width over height as asked for, by size or by aspect ratio; None when nothing was asked."""
    if size := asked_size(request):
        return size[0] / size[1]
    return ratio_of(request.aspect_ratio) if request.aspect_ratio else None


def asked_words(request: ImageRequest) -> str:
    """The asked shape as the user wrote it: `1280×720`, or `4:3`."""
    size = asked_size(request)
    return f"{size[0]}×{size[1]}" if size else request.aspect_ratio or ""


def v2beta_ratio(ratio: float) -> str:
    """The aspect ratio of v2beta that distorts least."""
    return nearest_ratio(ratio, 1, ASPECT_RATIOS)


def sdxl_size(ratio: float) -> Size:
    """The size of SDXL that distorts least: all nine have about the same number of pixels."""
    return _SDXL[nearest_ratio(ratio, 1, tuple(_SDXL))]

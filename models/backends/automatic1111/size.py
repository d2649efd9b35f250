"""Sizes: the servers cut width and height down to multiples of 8 without a word, and paint 512×512 unless told."""

from dataclasses import dataclass

from models.entities import ImageRequest
from models.request.shape import ratio_of

GRID = 8
SMALLEST_SIDE = 64
LARGEST_AREA = 1024 * 1024
"""Pixels of a repainted image when the request names no size: a photo's own size would not fit into a GPU."""


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def snapped(self) -> "Size":
        """The nearest size that the server really paints."""
        return Size(_snap(self.width), _snap(self.height))

    @property
    def capped(self) -> "Size":
        """At most LARGEST_AREA pixels, same shape."""
        if self.area <= LARGEST_AREA:
            return self
        return shaped(self.width / self.height, LARGEST_AREA)


DEFAULT = Size(512, 512)


def shaped(ratio: float, area: int) -> Size:
    """The size of `area` pixels whose width is `ratio` times its height."""
    width = (area * ratio) ** 0.5
    return Size(round(width), round(width / ratio))


def _snap(side: int) -> int:
    return max(SMALLEST_SIDE, (side + GRID // 2) // GRID * GRID)


def asked_size(request: ImageRequest, base: Size) -> Size:
    """The size in the request's words, on top of `base` (the input image, or the server's default).

    Width and height win over the aspect ratio, which keeps the area of `base`.
    """
    if request.width or request.height:
        return Size(request.width or base.width, request.height or base.height)
    if request.aspect_ratio:
        return shaped(ratio_of(request.aspect_ratio), base.area)
    return base


def size_notices(request: ImageRequest, asked: Size, sent: Size) -> tuple[str, ...]:
    """What became of a size that was asked for in numbers."""
    return off_grid(asked, sent) if request.width or request.height else ()


def off_grid(asked: Size, sent: Size) -> tuple[str, ...]:
    if asked == sent:
        return ()
    return (f"The size {asked} became {sent}: the WebUI paints multiples of {GRID} pixels from {SMALLEST_SIDE} on",)

"""Sizes: what a family of models paints best, which sizes are legal at all, and the nearest legal one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.request.shape import size_for_ratio

type Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`presets` are the recommended sizes by aspect ratio, `default` the one for a request without any shape (None:
    the server's own). `closed` means that nothing but the presets is legal; otherwise sides are multiples of
    `multiple`, at most `longest`, their product within `pixels`, and the longer side at most `stretch` times the other.
    """

    presets: Mapping[str, Size] = field(default_factory=dict)
    default: Size | None = None
    closed: bool = False
    multiple: int = 16
    longest: int = 16_384
    pixels: tuple[int, int] = (1, 2**31)
    stretch: float = 1000.0
    area: int = 1024 * 1024

    def legal(self, width: int, height: int) -> Size:
        """The legal size nearest to `width` × `height`."""
        if self.closed:
            return min(self.presets.values(), key=lambda size: _distance(size, (width, height)))
        width, height = self._unstretched(width, height)
        scale = self._scale(width, height)
        down = self._snapped(width * scale, height * scale, math.floor)  # as the servers round themselves
        return down if math.prod(down) >= self.pixels[0] else self._snapped(width * scale, height * scale, math.ceil)

    def by_ratio(self, ratio: str) -> Size:
        """The size for an aspect ratio: the preset, else one of the same area, made legal."""
        if ratio in self.presets:
            return self.presets[ratio]
        return self.legal(*size_for_ratio(ratio, pixels=self.area, multiple=self.multiple))

    def _unstretched(self, width: int, height: int) -> Size:
        if width > height * self.stretch:
            return int(height * self.stretch), height
        if height > width * self.stretch:
            return width, int(width * self.stretch)
        return width, height

    def _scale(self, width: int, height: int) -> float:
        least, most = self.pixels
        area = width * height
        if area < least:
            return math.sqrt(least / area)
        return min(1.0, math.sqrt(most / area), self.longest / max(width, height))

    def _snapped(self, width: float, height: float, towards: Callable[[float], int]) -> Size:
        short = self._multiple(min(width, height), towards)
        long = min(self._multiple(max(width, height), towards), self._multiple(short * self.stretch, math.floor))
        return (short, long) if width < height else (long, short)

    def _multiple(self, side: float, towards: Callable[[float], int]) -> int:
        return max(1, towards(side / self.multiple)) * self.multiple


def _distance(one: Size, other: Size) -> tuple[float, float]:
    shape = abs(math.log(one[0] / one[1]) - math.log(other[0] / other[1]))
    return round(shape, 6), abs(one[0] * one[1] - other[0] * other[1])


def written(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def with_transposed(wide: Mapping[str, Size]) -> dict[str, Size]:
    """The presets and their portrait twins."""
    return {**wide, **{":".join(reversed(ratio.split(":"))): (size[1], size[0]) for ratio, size in wide.items()}}


QWEN = Sizes(
    presets=with_transposed({"1:1": (1328, 1328), "16:9": (1664, 928), "4:3": (1472, 1104), "3:2": (1584, 1056)}),
    default=(1328, 1328),
    area=1328 * 1328,
)
# SiliconFlow's page says 1140 where the model card says 1104.
QWEN_AT_SILICONFLOW = Sizes(
    presets=with_transposed({"1:1": (1328, 1328), "16:9": (1664, 928), "4:3": (1472, 1140), "3:2": (1584, 1056)}),
    default=(1328, 1328),
    area=1328 * 1328,
    multiple=2,
)
QWEN_21 = Sizes(
    presets=with_transposed({"1:1": (2048, 2048), "16:9": (2752, 1536), "4:3": (2400, 1792), "3:2": (2528, 1696)}),
    default=(2048, 2048),
    multiple=32,
    area=2048 * 2048,
)
GPT_IMAGE = Sizes(presets={"1:1": (1024, 1024), "3:2": (1536, 1024), "2:3": (1024, 1536)}, closed=True)
# The pixel floor and ceiling come from third parties [unsure]; the rest is OpenAI's own description.
GPT_IMAGE_2 = Sizes(
    presets={"1:1": (1024, 1024), "3:2": (1536, 1024), "2:3": (1024, 1536)},
    longest=3840,
    pixels=(655_360, 8_294_400),
    stretch=3.0,
    area=1536 * 1024,
)
DALL_E_3 = Sizes(presets={"1:1": (1024, 1024), "16:9": (1792, 1024), "9:16": (1024, 1792)}, closed=True)
DALL_E_2 = Sizes(
    presets={"1:1": (1024, 1024), "512": (512, 512), "256": (256, 256)},
    default=(1024, 1024),
    closed=True,
)
KOLORS = Sizes(
    presets={"1:1": (1024, 1024), "3:4": (960, 1280), "9:16": (720, 1280)},
    default=(1024, 1024),
    multiple=8,
)
ANY = Sizes(multiple=8)
ANY_AT_SILICONFLOW = Sizes(default=(1024, 1024), multiple=8)  # a size is required there

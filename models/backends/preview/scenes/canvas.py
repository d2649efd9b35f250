"""Vector shapes and how they become pixels: in bands, each drawn larger and reduced, so that edges are smooth and memory small."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw

from models.images.lettering import Colour

type Point = tuple[float, float]
type Polygon = Sequence[Point]
type Finish = Callable[[Image.Image, int], Image.Image]
"""The last step of a band: the band and the row of the image at which it begins."""

_BAND = 4_000_000  # pixels drawn at once
_FINER = ((400_000, 4), (1_700_000, 3), (2**31, 2))  # pixels of the image up to which it is drawn so many times larger
_CHORD = 0.35  # pixels that a curve may be away from its polygon
_OPAQUE = 255


@dataclass(frozen=True, slots=True)
class Paint:
    """A colour, its opacity, and the colour that it turns into at the lower edge of the shape."""

    colour: Colour
    alpha: float = 1.0
    below: Colour | None = None


@dataclass(frozen=True, slots=True)
class Outline:
    """The line around a shape; `width` in pixels."""

    colour: Colour
    width: float


@dataclass(frozen=True, slots=True)
class Shape:
    """Polygons of one paint, in pixels of the image. `edge` (0 to 1) is the weight of the line that a style may draw around it."""

    polygons: Sequence[Polygon]
    paint: Paint
    edge: float = 0.0
    outline: Outline | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        across = [x for polygon in self.polygons for x, _ in polygon]
        down = [y for polygon in self.polygons for _, y in polygon]
        return min(across), min(down), max(across), max(down)


@dataclass(frozen=True, slots=True)
class Glow:
    """Light or shadow that fades towards the edge of an ellipse; `box` is its bounds."""

    box: tuple[float, float, float, float]
    colour: Colour
    alpha: float


type Item = Shape | Glow


def rasterised(
    items: Iterable[Item], width: int, height: int, finish: Finish | None = None, over: Image.Image | None = None
) -> Image.Image:
    """The items, the first at the bottom, as an image. `over`: an RGB image of that size, on which they are drawn."""
    known = [(item, item.box) for item in items]
    canvas = over or Image.new("RGB", (width, height))
    finer = next(times for pixels, times in _FINER if width * height <= pixels)
    step = max(1, _BAND // (width * finer * finer))
    for top in range(0, height, step):
        rows = min(step, height - top)
        band = _Band(canvas.crop((0, top, width, top + rows)), top, finer)
        for item, box in known:
            if box[3] >= top and box[1] <= top + rows:
                band.draw(item, box)
        drawn = band.image.reduce(finer)
        canvas.paste(finish(drawn, top) if finish else drawn, (0, top))
    return canvas


class _Band:
    """Some rows of the image, `finer` times larger."""

    def __init__(self, below: Image.Image, top: int, finer: int) -> None:
        larger = below.width * finer, below.height * finer
        self.image = below.resize(larger, Image.Resampling.NEAREST)
        self.top, self.finer = top, finer
        self._pen = ImageDraw.Draw(self.image)

    def draw(self, item: Item, box: tuple[float, float, float, float]) -> None:
        bounds = self._bounds(box)
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            return
        if isinstance(item, Glow):
            self._glow(item, bounds)
            return
        polygons = [self._scaled(polygon, (0, 0)) for polygon in item.polygons]
        if item.paint.alpha >= 1 and item.paint.below is None:
            for polygon in polygons:
                self._pen.polygon(polygon, fill=item.paint.colour)
        else:
            self._blend(item, box, bounds)
        if item.outline:
            width = max(1, round(item.outline.width * self.finer))
            for polygon in polygons:
                self._pen.line([*polygon, *polygon[:2]], fill=item.outline.colour, width=width, joint="curve")

    def _scaled(self, polygon: Polygon, corner: tuple[int, int]) -> list[Point]:
        left, top = corner
        return [(x * self.finer - left, (y - self.top) * self.finer - top) for x, y in polygon]

    def _bounds(self, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
        """The part of a box that lies in the band, in the band's own pixels."""
        left, top, right, bottom = (value * self.finer for value in box)
        shift = self.top * self.finer
        return (
            max(0, math.floor(left)),
            max(0, math.floor(top - shift)),
            min(self.image.width, math.ceil(right) + 1),
            min(self.image.height, math.ceil(bottom - shift) + 1),
        )

    def _blend(self, shape: Shape, box: tuple[float, float, float, float], bounds: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = bounds
        mask = Image.new("L", (right - left, bottom - top))
        pen = ImageDraw.Draw(mask)
        for polygon in shape.polygons:
            pen.polygon(self._scaled(polygon, (left, top)), fill=round(_OPAQUE * shape.paint.alpha))
        if shape.paint.below is None:
            self.image.paste(shape.paint.colour, bounds, mask)
            return
        first, length = (box[1] - self.top) * self.finer - top, max(1.0, (box[3] - box[1]) * self.finer)
        shares = (min(1.0, max(0.0, (row - first) / length)) for row in range(mask.height))
        ends = list(zip(shape.paint.colour, shape.paint.below, strict=True))
        rows = bytes(round(a + (b - a) * share) for share in shares for a, b in ends)
        self.image.paste(
            Image.frombytes("RGB", (1, mask.height), rows).resize(mask.size, Image.Resampling.NEAREST), bounds, mask
        )

    def _glow(self, glow: Glow, bounds: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = bounds
        x, y = glow.box[0] * self.finer, (glow.box[1] - self.top) * self.finer
        across = _disc().width / ((glow.box[2] - glow.box[0]) * self.finer)
        down = _disc().height / ((glow.box[3] - glow.box[1]) * self.finer)
        part = ((left - x) * across, (top - y) * down, (right - x) * across, (bottom - y) * down)
        inside = (max(0.0, part[0]), max(0.0, part[1]), min(256.0, part[2]), min(256.0, part[3]))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            return
        size = right - left, bottom - top
        mask = _disc().resize(size, Image.Resampling.BILINEAR, box=inside).point(lambda value: value * glow.alpha)
        self.image.paste(glow.colour, bounds, mask)


@cache
def _disc() -> Image.Image:
    """Full in the middle, fading to nothing at the edge, without a visible border."""
    return Image.radial_gradient("L").point(lambda value: max(0.0, 1 - value / 180) ** 2 * _OPAQUE)


def ellipse(x: float, y: float, across: float, down: float) -> list[Point]:
    """A polygon close to the ellipse around (x, y) with two radii."""
    count = min(180, max(12, math.ceil(math.pi * math.sqrt(max(across, down, 1.0) / (2 * _CHORD)) * 1.5)))
    angles = (math.tau * number / count for number in range(count))
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def box(left: float, top: float, width: float, height: float, radius: float = 0.0) -> list[Point]:
    """A rectangle, with round corners where `radius` is given."""
    right, bottom, radius = left + width, top + height, min(radius, width / 2, height / 2)
    if radius <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    lower = (right - radius, bottom - radius), (left + radius, bottom - radius)
    centres = (*lower, (left + radius, top + radius), (right - radius, top + radius))
    return [
        (x + radius * math.cos(angle), y + radius * math.sin(angle))
        for quarter, (x, y) in enumerate(centres)
        for angle in (math.pi / 2 * (quarter + part / 6) for part in range(7))
    ]


def stroke(points: Polygon, width: float) -> list[Polygon]:
    """A line with round ends and joints."""
    polygons: list[Polygon] = [ellipse(x, y, width / 2, width / 2) for x, y in points]
    for (x1, y1), (x2, y2) in pairwise(points):
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        dx, dy = (y2 - y1) / length * width / 2, (x1 - x2) / length * width / 2
        polygons.append([(x1 + dx, y1 + dy), (x2 + dx, y2 + dy), (x2 - dx, y2 - dy), (x1 - dx, y1 - dy)])
    return polygons


def curve(start: Point, controls: Sequence[Point]) -> list[Point]:
    """Points of a quadratic (two points) or cubic (three) Bézier curve, without its start."""
    steps = 16
    return [_on_curve((start, *controls), number / steps) for number in range(1, steps + 1)]


def _on_curve(points: Sequence[Point], share: float) -> Point:
    while len(points) > 1:
        points = [(a + (c - a) * share, b + (d - b) * share) for (a, b), (c, d) in pairwise(points)]
    return points[0]

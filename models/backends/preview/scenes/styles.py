"""How a style draws: what it does to the shapes before they become pixels, and to the pixels afterwards."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

from PIL import Image, ImageChops, ImageEnhance, ImageOps

from models.backends.preview.scenes.canvas import Glow, Item, Outline, Paint, Shape, box, ellipse, rasterised
from models.backends.preview.scenes.colours import WHITE, luminance, mix, parsed, shaded
from models.backends.preview.scenes.reading import table
from models.entities import StrictModel
from models.images.lettering import Colour

_THICKEST = 0.1  # share of the smaller side of a shape that its line may take
_TILE = 256
_LEAST_PIECE = 3.0  # pixels
_SAMPLE = 480  # pixels of the longer side of the image that is cut into pieces
_CORNERS: Colour = (12, 12, 24)
_BRIGHT = 225  # luminance from which a surface shines in the dark: sun, moon, stars


class Style(StrictModel):
    """One entry of `styles.yaml`, which explains the fields."""

    words: tuple[str, ...] = ()
    line: float = 0.0
    ink: str = "#2a2b3a"
    fill: Literal["flat", "paper", "pale", "wash", "dark"] = "flat"
    volume: bool = False
    lift: float = 0.0
    colour: float = 1.0
    contrast: float = 1.0
    tint: str = ""
    wash: float = 0.0
    paper: float = 0.0
    grain: float = 0.0
    edge: float = 0.0
    bars: bool = False
    fade: bool = False
    depth: bool = False
    sparkle: bool = False
    steps: int = 0
    dots: float = 0.0
    pieces: Literal["", "squares", "triangles", "dabs"] = ""
    count: int = 0
    gap: bool = False


@cache
def style_of(name: str) -> Style:
    """The style of that name; the plain one for an empty name."""
    return Style.model_validate(table("styles")[name]) if name else Style()


def painted(
    items: Sequence[Item],
    width: int,
    height: int,
    style: Style,
    dice: random.Random,
    over: Image.Image | None = None,
) -> Image.Image:
    """The items in a style as an image; `over`: drawn on that image, which changes."""
    unit = min(width, height)
    shapes = [*_styled(items, style, unit), *_extras(style, width, height, dice)]
    finish = Finishing(style, width, height)
    if not style.pieces:
        return rasterised(shapes, width, height, finish.band, over)
    return _cut(_small(shapes, width, height, over), width, height, style, dice, finish)


def _small(items: Sequence[Item], width: int, height: int, over: Image.Image | None) -> Image.Image:
    scale = min(1.0, _SAMPLE / max(width, height))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    return rasterised([_resized(item, scale) for item in items], *size, over=over and over.resize(size))


def _resized(item: Item, scale: float) -> Item:
    if isinstance(item, Glow):
        left, top, right, bottom = (value * scale for value in item.box)
        return replace(item, box=(left, top, right, bottom))
    polygons = [[(x * scale, y * scale) for x, y in polygon] for polygon in item.polygons]
    line = item.outline and Outline(item.outline.colour, item.outline.width * scale)
    return replace(item, polygons=polygons, outline=line)


# ---- shapes


def _styled(items: Sequence[Item], style: Style, unit: int) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Glow):
            if style.fill not in {"paper", "pale"}:
                yield item
            continue
        if style.lift and item.edge:
            shift = unit * style.lift * item.edge
            moved = [[(x + shift, y + shift) for x, y in polygon] for polygon in item.polygons]
            yield Shape(moved, Paint(_CORNERS, 0.22))
        yield replace(item, paint=_filled(item, style), outline=_outline(item, style, unit))


def _filled(shape: Shape, style: Style) -> Paint:
    paint = shape.paint
    match style.fill:
        case "paper":
            return Paint(mix(paint.colour, WHITE, 0.97 if shape.edge else 0.9), paint.alpha)
        case "pale":
            return _each(paint, lambda colour: mix(colour, WHITE, 0.66))
        case "wash":
            return replace(
                _each(paint, lambda colour: mix(colour, WHITE, 0.14)), alpha=paint.alpha * (0.9 if shape.edge else 1)
            )
        case "dark":
            share = 0.74 if shape.edge or luminance(paint.colour) < _BRIGHT else 0.3
            return _each(paint, lambda colour: mix(colour, (34, 14, 66), share))
        case _:
            pass
    if style.volume and shape.edge and paint.alpha >= 1:
        return Paint(shaded(paint.colour, 16), 1.0, shaded(paint.below or paint.colour, -24))
    return paint


def _each(paint: Paint, change: Callable[[Colour], Colour]) -> Paint:
    return Paint(change(paint.colour), paint.alpha, change(paint.below) if paint.below else None)


def _outline(shape: Shape, style: Style, unit: int) -> Outline | None:
    if not style.line or not shape.edge:
        return None
    left, top, right, bottom = shape.box
    width = min(unit * style.line * max(0.4, shape.edge), _THICKEST * min(right - left, bottom - top))
    if style.fill == "dark":
        strong = max(shape.paint.colour) or 1
        red, green, blue = (round(255 * (value / strong) ** 1.6) for value in shape.paint.colour)
        return Outline((red, green, blue), width)
    if style.fill == "wash":
        return Outline(mix(shape.paint.colour, parsed(style.ink), 0.5), width)
    return Outline(parsed(style.ink), width)


def _extras(style: Style, width: int, height: int, dice: random.Random) -> Iterator[Item]:
    unit = min(width, height)
    for _ in range(14 if style.depth else 0):
        x, y, radius = dice.uniform(0, width), dice.uniform(0, height), unit * dice.uniform(0.02, 0.07)
        yield Glow((x - radius, y - radius, x + radius, y + radius), (255, 248, 226), dice.uniform(0.12, 0.3))
    for _ in range(60 if style.sparkle else 0):
        x, y, radius = dice.uniform(0, width), dice.uniform(0, height), unit * dice.uniform(0.004, 0.016)
        yield Glow((x - radius, y - radius, x + radius, y + radius), (255, 250, 220), 0.95)


# ---- pieces


def _cut(
    small: Image.Image, width: int, height: int, style: Style, dice: random.Random, finish: "Finishing"
) -> Image.Image:
    """The image put together again from squares, triangles or dabs of one colour each."""
    cell = max(max(width, height) / style.count, _LEAST_PIECE)
    columns, rows = max(1, round(width / cell)), max(1, round(height / cell))
    if style.pieces == "squares":
        grid = finish.colours(small.resize((columns, rows), Image.Resampling.BOX))
        if not style.gap:
            return grid.resize((width, height), Image.Resampling.NEAREST)
        return rasterised(_tiles(grid, width, height, dice), width, height, finish.surface)
    pieces = _triangles if style.pieces == "triangles" else _dabs
    return rasterised(pieces(small, width, height, (columns, rows), dice), width, height, finish.band)


def _tiles(grid: Image.Image, width: int, height: int, dice: random.Random) -> Iterator[Item]:
    yield Shape([box(0, 0, width, height)], Paint((70, 68, 74)))
    across, down = width / grid.width, height / grid.height
    for row in range(grid.height):
        for column in range(grid.width):
            colour = shaded(_at(grid, column, row), dice.uniform(-9, 9))
            yield Shape(
                [
                    box(
                        column * across + across * 0.06,
                        row * down + down * 0.06,
                        across * 0.88,
                        down * 0.88,
                        across * 0.14,
                    )
                ],
                Paint(colour),
            )


def _triangles(
    small: Image.Image, width: int, height: int, grid: tuple[int, int], dice: random.Random
) -> Iterator[Item]:
    columns, rows = grid
    across, down = width / columns, height / rows

    def corner(column: int, row: int) -> tuple[float, float]:
        spread = dice.uniform(-0.36, 0.36), dice.uniform(-0.36, 0.36)
        x = column * across + (spread[0] * across if 0 < column < columns else 0.0)
        y = row * down + (spread[1] * down if 0 < row < rows else 0.0)
        return x, y

    points = [[corner(column, row) for column in range(columns + 1)] for row in range(rows + 1)]
    scale = small.width / width
    for row in range(rows):
        for column in range(columns):
            a, b = points[row][column], points[row][column + 1]
            c, d = points[row + 1][column + 1], points[row + 1][column]
            halves = ((a, b, c), (a, c, d)) if (row + column) % 2 else ((a, b, d), (b, c, d))
            for half in halves:
                x, y = sum(p[0] for p in half) / 3 * scale, sum(p[1] for p in half) / 3 * scale
                colour = shaded(_at(small, x, y), dice.uniform(-7, 7))
                yield Shape([half], Paint(colour), outline=Outline(colour, 0.7))


def _dabs(small: Image.Image, width: int, height: int, grid: tuple[int, int], dice: random.Random) -> Iterator[Item]:
    columns, rows = grid
    scale = small.width / width
    yield Shape([box(0, 0, width, height)], Paint(_at(small, small.width / 2, small.height / 3)))
    for size, share in ((3.2, 0.16), (1.7, 0.5), (0.95, 1.0)):
        half = width / columns * size
        for _ in range(round(columns * rows * share)):
            x, y = dice.uniform(0, width), dice.uniform(0, height)
            colour = shaded(_at(small, x * scale, y * scale), dice.uniform(-13, 13))
            angle = 0.5 * math.sin(3.1 * x / width * math.tau / 3) + 0.7 * math.cos(2.3 * y / height * math.tau / 3)
            dx, dy = math.cos(angle) * half, math.sin(angle) * half
            wide = 0.34
            dab = [
                (x - dx, y - dy),
                (x - dx * 0.3 - dy * wide, y - dy * 0.3 + dx * wide),
                (x + dx * 0.6 - dy * wide, y + dy * 0.6 + dx * wide),
            ]
            dab += [
                (x + dx, y + dy),
                (x + dx * 0.4 + dy * wide, y + dy * 0.4 - dx * wide),
                (x - dx * 0.6 + dy * wide, y - dy * 0.6 - dx * wide),
            ]
            yield Shape([dab], Paint(colour))


def _at(image: Image.Image, x: float, y: float) -> Colour:
    found = image.getpixel((min(image.width - 1, max(0, int(x))), min(image.height - 1, max(0, int(y)))))
    red, green, blue = found if isinstance(found, tuple) else (0, 0, 0)
    return int(red), int(green), int(blue)


# ---- pixels


@dataclass(frozen=True, slots=True)
class Finishing:
    """What a style does to bands of an image of that size. No step looks at neighbouring pixels, so that no band shows."""

    style: Style
    width: int
    height: int

    def band(self, image: Image.Image, top: int) -> Image.Image:
        return self.surface(self.colours(image), top)

    def colours(self, image: Image.Image) -> Image.Image:
        style = self.style
        if style.colour != 1:
            image = ImageEnhance.Color(image).enhance(style.colour)
        if style.contrast != 1:
            image = image.point(
                [min(255, max(0, round((value - 128) * style.contrast + 128))) for value in range(256)] * 3
            )
        if style.tint:
            tinted = ImageOps.colorize(image.convert("L"), (10, 10, 20), (255, 252, 244), parsed(style.tint))
            image = Image.blend(image, tinted, style.wash)
        if style.steps:
            size = 255 / style.steps
            image = image.point([min(255, round((value // size + 0.5) * size)) for value in range(256)] * 3)
        return image

    def surface(self, image: Image.Image, top: int) -> Image.Image:
        style = self.style
        if style.dots:
            image = Image.blend(image, ImageChops.multiply(image, self._tiled(_dots, image, top)), style.dots)
        if style.paper:
            image = Image.blend(
                image, ImageChops.multiply(image, self._tiled(_paper, image, top)), min(1.0, style.paper * 4)
            )
        if style.grain:
            image = Image.blend(
                image, ImageChops.overlay(image, self._tiled(_grain, image, top)), min(1.0, style.grain * 5)
            )
        if style.edge:
            self._paste(image, top, _CORNERS, style.edge)
        if style.fade:
            self._paste(image, top, (252, 249, 242), 1.35)
        if style.bars:
            self._bars(image, top)
        return image

    def _tiled(self, tile: Callable[[int], Image.Image], image: Image.Image, top: int) -> Image.Image:
        one = tile(max(1, round(min(self.width, self.height) / 900)))
        whole = Image.new("RGB", image.size)
        for y in range(-(top % one.height), image.height, one.height):
            for x in range(0, image.width, one.width):
                whole.paste(one, (x, y))
        return whole

    def _paste(self, image: Image.Image, top: int, colour: Colour, strength: float) -> None:
        """A colour that grows towards the corners."""
        source = _corners()
        part = (
            0.0,
            top / self.height * source.height,
            float(source.width),
            (top + image.height) / self.height * source.height,
        )
        mask = source.resize(image.size, Image.Resampling.BILINEAR, box=part)
        image.paste(colour, (0, 0), mask.point(lambda value: min(255, value * strength)))

    def _bars(self, image: Image.Image, top: int) -> None:
        tall = round(self.height * 0.06)
        image.paste((0, 0, 0), (0, 0, image.width, max(0, min(image.height, tall - top))))


def _noise(name: str, side: int) -> Image.Image:
    return Image.frombytes("L", (side, side), random.Random(name).randbytes(side * side))  # noqa: S311 -- a texture


@lru_cache(maxsize=8)
def _grain(scale: int) -> Image.Image:
    side = _TILE * scale
    grain = _noise("grain", _TILE).resize((side, side), Image.Resampling.BICUBIC)
    return grain.point([round(96 + value / 4) for value in range(256)]).convert("RGB")


@lru_cache(maxsize=8)
def _paper(scale: int) -> Image.Image:
    """Fibres and blotches that repeat without a seam."""
    side = _TILE * 2 * scale
    whole = Image.new("L", (side, side))
    for name, parts, share in (("blotch", 16, 1.0), ("fibre", 128, 0.45), ("grain", 256, 0.3)):
        small = _noise(name, parts)
        wrapped = Image.new("L", (parts + 4, parts + 4))
        for x in (2 - parts, 2, 2 + parts):
            for y in (2 - parts, 2, 2 + parts):
                wrapped.paste(small, (x, y))
        layer = wrapped.resize((side, side), Image.Resampling.BICUBIC, box=(2, 2, parts + 2, parts + 2))
        whole = Image.blend(whole, layer, share)
    return whole.point([round(206 + value / 255 * 49) for value in range(256)]).convert("RGB")


@lru_cache(maxsize=8)
def _dots(scale: int) -> Image.Image:
    """A halftone screen."""
    pitch = 7 * scale
    count = _TILE // 8
    dots = [Shape([box(0, 0, pitch * count, pitch * count)], Paint(WHITE))]
    for row in range(count + 1):
        for column in range(count + 1):
            x = (column + (row % 2) / 2) * pitch
            dots.append(Shape([ellipse(x, row * pitch, pitch * 0.26, pitch * 0.26)], Paint((150, 150, 160))))
    return rasterised(dots, pitch * count, pitch * count)


@cache
def _corners() -> Image.Image:
    """Nothing in the middle, full beyond the corners."""
    return Image.radial_gradient("L").point([round(255 * max(0.0, (value - 120) / 135) ** 1.6) for value in range(256)])

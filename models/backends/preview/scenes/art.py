"""Drawings as text, one shape a line: `KIND PAINT NUMBERS`.

    circle PAINT x y radius             box PAINT left top width height [corner]
    oval PAINT x y across down          ring PAINT x y radius width
    line PAINT width x y x y ...        poly PAINT x y x y ...
    path PAINT M x y L x y Q x y x y C x y x y x y ...

A paint is a name of `colours.yaml`, or `main` and `second`, the colours of the subject, or `lamp`, which shines at night.
`+20` or `-20` behind it makes it lighter or darker, `@40` gives its opacity in per cent, `!` lets it shine in the dark, `~`
lets it darken downwards.
y grows downwards; the subject stands on the lower edge of its `box`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from models.backends.preview.scenes.canvas import Paint, Point, Polygon, box, curve, ellipse, stroke
from models.backends.preview.scenes.colours import named, shaded
from models.images.lettering import Colour

type Place = Callable[[float, float], Point]

_PAINT = re.compile(r"(?P<name>[a-z]+)(?P<shade>[+-]\d+)?(?:@(?P<alpha>\d+))?(?P<shines>!)?(?P<fades>~)?")
_FADE = -18  # per cent
_PARTS = {"M": 1, "L": 1, "Q": 2, "C": 3}
_FINE = 60  # a unit of a drawing is divided so finely before curves become polygons


@dataclass(frozen=True, slots=True)
class Stroke:
    """One shape of a drawing in its own units."""

    paint: str
    polygons: tuple[tuple[Point, ...], ...]


@lru_cache(maxsize=256)
def drawing(text: str) -> tuple[Stroke, ...]:
    """The shapes of a drawing."""
    return tuple(_stroke(line) for line in text.splitlines() if line.strip())


def _stroke(line: str) -> Stroke:
    kind, paint, *rest = line.split()
    polygons = [_path(rest)] if kind == "path" else _KINDS[kind](*(float(number) for number in rest))
    return Stroke(paint, tuple(tuple(polygon) for polygon in polygons))


def _path(words: Sequence[str]) -> list[Point]:
    points: list[Point] = []
    for command, values in _commands(words):
        controls = list(zip(values[::2], values[1::2], strict=True))
        for at in range(0, len(controls), _PARTS[command]):
            part = controls[at : at + _PARTS[command]]
            points += part if command in "ML" else curve(points[-1], part)
    return points


def _commands(words: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    command, values = "", list[float]()
    for word in (*words, ""):
        if word in _PARTS or not word:
            if command:
                yield command, values
            command, values = word, []
        else:
            values.append(float(word))


def _circle(x: float, y: float, radius: float) -> list[Polygon]:
    return _oval(x, y, radius, radius)


def _oval(x: float, y: float, across: float, down: float) -> list[Polygon]:
    return [_unscaled(ellipse(x * _FINE, y * _FINE, across * _FINE, down * _FINE))]


def _box(left: float, top: float, width: float, height: float, radius: float = 0.0) -> list[Polygon]:
    return [box(left, top, width, height, radius)]


def _ring(x: float, y: float, radius: float, width: float) -> list[Polygon]:
    (outer,), (inner,) = _circle(x, y, radius + width / 2), _circle(x, y, radius - width / 2)
    return [[*outer, outer[0], inner[0], *reversed(inner)]]


def _line(width: float, *numbers: float) -> list[Polygon]:
    points = [(x * _FINE, y * _FINE) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    return [_unscaled(polygon) for polygon in stroke(points, width * _FINE)]


def _poly(*numbers: float) -> list[Polygon]:
    return [list(zip(numbers[::2], numbers[1::2], strict=True))]


def _unscaled(polygon: Polygon) -> Polygon:
    return [(x / _FINE, y / _FINE) for x, y in polygon]


_KINDS: dict[str, Callable[..., list[Polygon]]] = {
    "circle": _circle,
    "oval": _oval,
    "box": _box,
    "ring": _ring,
    "line": _line,
    "poly": _poly,
}


def paint_of(text: str, own: dict[str, Colour], light: Callable[[Colour], Colour]) -> Paint:
    """The paint of a shape; `own` are the colours of the subject, `light` is not applied to `lamp`."""
    found = _PAINT.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no paint")
    name = found["name"]
    colour = own.get(name) or named()[name]
    colour = shaded(colour, int(found["shade"] or 0))
    seen = colour if name == "lamp" or found["shines"] else light(colour)
    alpha = int(found["alpha"] or 100) / 100
    return Paint(seen, alpha, shaded(seen, _FADE) if found["fades"] else None)

"""Colours as (red, green, blue): named ones from `colours.yaml`, and the arithmetic of light and distance."""

import colorsys
from functools import cache
from pathlib import Path

from models.images.lettering import Colour
from models.parameters import read_yaml

INK = (38, 40, 56)
WHITE = (255, 255, 255)
_FULL = 255


def parsed(text: str) -> Colour:
    """`#rrggbb` as a colour."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


@cache
def named() -> dict[str, Colour]:
    """The colour of each name that art may use."""
    return {name: parsed(entry["value"]) for name, entry in read_yaml(Path(__file__).with_name("colours.yaml")).items()}


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a share (0 to 1) of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shaded(colour: Colour, percent: float) -> Colour:
    """Lighter by a positive, darker by a negative percentage."""
    return mix(colour, WHITE if percent > 0 else INK, abs(percent) / 100)


def lit(colour: Colour, light: Colour) -> Colour:
    """A surface in coloured light."""
    red, green, blue = (round(a * b / _FULL) for a, b in zip(colour, light, strict=True))
    return red, green, blue


def turned(colour: Colour, turn: float) -> Colour:
    """The colour with its hue turned by a share of the circle."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / _FULL for value in colour))
    red, green, blue = colorsys.hls_to_rgb((hue + turn) % 1, lightness, saturation)
    return round(red * _FULL), round(green * _FULL), round(blue * _FULL)


def luminance(colour: Colour) -> float:
    """0 to 255."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue

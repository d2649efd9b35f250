"""The background: a calm landscape whose colours and hills follow from prompt and seed, its composition from the size."""

import colorsys
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

_LARGEST = 1024  # pixels of the longer side that is really drawn; smooth shapes bear enlarging
_FINER = 2  # drawn larger and scaled down: smooth edges
_HILLS = 5
_WAVES = 3

type Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Dice:
    """Numbers between 0 and 1 that depend on nothing but a text, on every machine."""

    source: str

    def roll(self, name: str) -> float:
        digest = hashlib.sha256(f"{self.source}\0{name}".encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:6]) / 2**48


def scenery(width: int, height: int, dice: Dice) -> Image.Image:
    """The landscape of `dice` in width × height pixels."""
    scale = min(_FINER, _FINER * _LARGEST / max(width, height))
    canvas = _sky(max(1, round(width * scale)), max(1, round(height * scale)), dice)
    _sun(canvas, dice)
    for number in range(_HILLS):
        _hill(canvas, number, dice)
    return canvas.resize((width, height), Image.Resampling.LANCZOS)


def _colour(hue: float, saturation: float, lightness: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _hue(dice: Dice) -> float:
    return dice.roll("hue")


def _sky(width: int, height: int, dice: Dice) -> Image.Image:
    hue = _hue(dice)
    turn = 0.08 + 0.1 * dice.roll("turn")
    grey = Image.linear_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
    return ImageOps.colorize(
        grey,
        black=_colour(hue, 0.48, 0.36),
        mid=_colour(hue + turn, 0.52, 0.66),
        white=_colour(hue + 2 * turn, 0.75, 0.86),
    )


def _sun(canvas: Image.Image, dice: Dice) -> None:
    """A disc with rings of light; where it stands depends on the shape of the image."""
    across, down = 0.2 + 0.6 * dice.roll("across"), 0.2 + 0.22 * dice.roll("down")
    radius = min(canvas.size) * (0.09 + 0.07 * dice.roll("radius"))
    centre = canvas.width * across, canvas.height * down
    for ring, strength in ((3.2, 18), (2.2, 26), (1.5, 40), (1.0, 215)):
        _disc(canvas, centre, radius * ring, strength)


def _disc(canvas: Image.Image, centre: tuple[float, float], radius: float, strength: int) -> None:
    box = [round(centre[0] - radius), round(centre[1] - radius), round(centre[0] + radius), round(centre[1] + radius)]
    mask = Image.new("L", (max(1, box[2] - box[0]), max(1, box[3] - box[1])))
    ImageDraw.Draw(mask).ellipse((0, 0, mask.width - 1, mask.height - 1), fill=strength)
    canvas.paste((255, 250, 240), (box[0], box[1]), mask)


def _hill(canvas: Image.Image, number: int, dice: Dice) -> None:
    """One ridge; the nearer (the higher its number) the lower, darker and steeper."""
    nearness = number / (_HILLS - 1)
    hue = _hue(dice) + 0.05 * nearness + 0.02
    colour = _colour(hue, 0.34 + 0.12 * nearness, 0.62 - 0.44 * nearness)
    top = canvas.height * (0.46 + 0.34 * nearness)
    height = min(canvas.size) * (0.05 + 0.05 * nearness)
    step = max(1, canvas.width // 400)
    wave = _wave(number, dice)
    ridge = [(x, top - height * wave(x / canvas.width)) for x in range(0, canvas.width + step, step)]
    ImageDraw.Draw(canvas).polygon([*ridge, (canvas.width + step, canvas.height), (0, canvas.height)], fill=colour)


def _wave(number: int, dice: Dice) -> Callable[[float], float]:
    """A sum of sines, each of a shorter length and a smaller height than the one before."""
    sines = [
        (n + 1, n + 0.6 + dice.roll(f"length {number} {n}"), dice.roll(f"phase {number} {n}")) for n in range(_WAVES)
    ]
    return lambda across: sum(math.sin(math.tau * (across * often + phase)) / flat for flat, often, phase in sines)

"""What stands behind the horizon: mountains, hills, trees, houses, a skyline."""

import math
from collections.abc import Callable

from models.backends.preview.scenes.canvas import box, ellipse
from models.backends.preview.scenes.colours import mix, shaded, turned
from models.backends.preview.scenes.reading import subjects
from models.backends.preview.scenes.stage import Stage
from models.images.lettering import Colour

LEAVES: list[Colour] = [(74, 148, 88), (98, 168, 92), (58, 128, 92), (124, 176, 84)]
_ROCK = (104, 116, 140)


def peaks(stage: Stage, leaves: list[Colour]) -> None:
    """Two ranges of pointed mountains; the higher ones have snow."""
    del leaves
    for layer, distance in enumerate((0.62, 0.38)):
        reach = stage.unit * (0.5 - 0.12 * layer)
        x = -reach * stage.roll(0.2, 0.7)
        while x < stage.width + reach:
            height = reach * stage.roll(0.62, 1.05) * (0.92 if layer else 1)
            _peak(stage, x, height, reach * stage.roll(0.62, 0.85), distance)
            x += reach * stage.roll(0.55, 0.95)
    stage.plain(box(0, stage.horizon - stage.unit * 0.1, stage.width, stage.unit * 0.12), stage.light.sky[2], 0.35)


def _peak(stage: Stage, x: float, height: float, half: float, distance: float) -> None:
    foot = stage.horizon + stage.unit * 0.04
    top = foot - height
    rock = stage.light.on(_ROCK, distance)
    lean = stage.roll(-0.15, 0.15) * half
    crest = [
        (x + lean, top),
        (x + lean * 0.5 + half * 0.06, top + height * 0.3),
        (x - half * 0.08, top + height * 0.62),
    ]
    stage.add([(x - half, foot), (x + lean, top), (x + half, foot)], rock, below=mix(rock, stage.light.sky[2], 0.45))
    stage.plain(
        [(x + lean, top), (x + half, foot), (x + half * 0.1, foot), *reversed(crest[1:])], shaded(rock, -16), 0.8
    )
    snow = stage.light.on((246, 249, 253), distance * 0.5)
    cap = 0.3
    left, right = (
        (x + lean + (x - half - x - lean) * cap, top + height * cap),
        (x + lean + (x + half - x - lean) * cap, top + height * cap),
    )
    step = (right[0] - left[0]) / 4
    zigzag = [(left[0] + step * n, left[1] + height * (0.05 if n % 2 else -0.05)) for n in (3, 2, 1)]
    stage.plain([(x + lean, top), right, *zigzag, left], snow)


def hills(stage: Stage, leaves: list[Colour]) -> None:
    """Two soft ridges of the ground's own colour, or of the leaves' where those have a season."""
    for number, distance in enumerate((0.55, 0.3)):
        colour = stage.light.on(mix(stage.ground, leaves[2], 0.35), distance)
        top = stage.horizon - stage.unit * (0.07 - 0.035 * number)
        stage.ridge(top, stage.unit * 0.04, colour, shaded(colour, 8), waves=1.0)


def islands(stage: Stage, leaves: list[Colour]) -> None:
    """One or two far islands on the horizon."""
    for _ in range(stage.dice.randint(1, 2)):
        x, half = stage.roll(0, stage.width), stage.unit * stage.roll(0.12, 0.3)
        colour = stage.light.on(mix(_ROCK, leaves[2], 0.4), 0.55)
        arch = [(x + half * math.cos(a), stage.horizon - half * 0.3 * math.sin(a)) for a in _half_circle()]
        stage.plain(arch, colour, below=mix(colour, stage.light.sky[2], 0.3))


def _half_circle() -> list[float]:
    return [math.pi * number / 24 for number in range(25)]


def dunes(stage: Stage, leaves: list[Colour]) -> None:
    """Long ridges of sand."""
    del leaves
    for number, distance in enumerate((0.5, 0.28)):
        colour = stage.light.on(turned(stage.ground, -0.01), distance)
        top = stage.horizon - stage.unit * (0.1 - 0.05 * number)
        stage.ridge(top, stage.unit * 0.06, colour, shaded(colour, 10), waves=0.7)


def _row(stage: Stage, names: list[str], size: float, distance: float, gap: float, leaves: list[Colour]) -> None:
    """Small drawings along the horizon."""
    x = -stage.unit * size * stage.roll(0, gap)
    while x < stage.width + stage.unit * size:
        entry = subjects()[stage.dice.choice(names)]
        height = stage.unit * size * stage.roll(0.75, 1.2)
        foot = stage.horizon + stage.unit * stage.roll(0.004, 0.03)
        stage.art(
            entry["art"], entry["box"], (x, foot), height, main=stage.dice.choice(leaves), distance=distance,
            mirrored=stage.dice.random() < 0.5,  # noqa: PLR2004
        )  # fmt: skip
        x += stage.unit * size * gap * stage.roll(0.5, 1.4)


def treeline(stage: Stage, leaves: list[Colour]) -> None:
    """The closed edge of a far forest."""
    colour = stage.light.on(leaves[2], 0.42)
    x = -stage.unit * 0.05
    while x < stage.width + stage.unit * 0.1:
        radius = stage.unit * stage.roll(0.035, 0.075)
        stage.plain(ellipse(x, stage.horizon - radius * 0.4, radius, radius * 1.25), mix(colour, leaves[0], 0.12))
        x += radius * stage.roll(0.8, 1.3)
    stage.plain(box(0, stage.horizon - stage.unit * 0.03, stage.width, stage.unit * 0.06), colour)


def pines(stage: Stage, leaves: list[Colour]) -> None:
    greens = [mix(leaf, (40, 96, 84), 0.45) for leaf in LEAVES]
    _row(stage, ["pine"], 0.16, 0.28, 0.7, greens)
    del leaves


def trees(stage: Stage, leaves: list[Colour]) -> None:
    _row(stage, ["tree", "tree", "poplar"], 0.17, 0.2, 1.5, leaves)


def houses(stage: Stage, leaves: list[Colour]) -> None:
    """A row of small houses."""
    del leaves
    walls: list[Colour] = [(240, 226, 205), (226, 150, 120), (236, 196, 128), (168, 196, 206), (214, 214, 196)]
    _row(stage, ["townhouse", "townhouse", "house"], 0.24, 0.16, 0.72, walls)


def skyline(stage: Stage, leaves: list[Colour]) -> None:
    """Two rows of towers; at night their windows shine."""
    del leaves
    for distance, size in ((0.6, 0.62), (0.34, 0.42)):
        x = -stage.unit * 0.05
        while x < stage.width:
            width = stage.unit * stage.roll(0.07, 0.14)
            _tower(stage, x, width, stage.unit * size * stage.roll(0.45, 1.0), distance)
            x += width * stage.roll(0.92, 1.15)


def _tower(stage: Stage, x: float, width: float, height: float, distance: float) -> None:
    tints: list[Colour] = [(86, 104, 140), (112, 120, 150), (74, 110, 132), (140, 126, 146)]
    wall = stage.light.on(stage.dice.choice(tints), distance)
    top = stage.horizon + stage.unit * 0.02 - height
    stage.add(box(x, top, width, height), wall, below=mix(wall, stage.light.sky[2], 0.35))
    stage.plain(box(x + width * 0.62, top, width * 0.38, height), shaded(wall, -12), 0.6)
    match stage.dice.randint(0, 3):
        case 0:
            stage.plain(box(x + width * 0.44, top - height * 0.16, width * 0.1, height * 0.16), wall)
        case 1:
            stage.add([(x, top), (x + width / 2, top - width * 0.5), (x + width, top)], wall)
        case 2:
            stage.add(box(x + width * 0.2, top - width * 0.22, width * 0.6, width * 0.24), wall)
        case _:
            pass
    shining = mix(stage.lamp, wall, 0.12 if stage.light.dark else 0.62)
    rows, side = int(height / (width * 0.3)), width * 0.1
    for row in range(rows):
        for column in range(4):
            if stage.dice.random() < (0.5 if stage.light.dark else 0.85):
                left = x + width * (0.12 + 0.21 * column)
                stage.plain(box(left, top + width * (0.18 + 0.3 * row), side, side * 1.4), shining)


FAR: dict[str, Callable[[Stage, list[Colour]], None]] = {
    "peaks": peaks,
    "hills": hills,
    "islands": islands,
    "dunes": dunes,
    "treeline": treeline,
    "pines": pines,
    "trees": trees,
    "houses": houses,
    "skyline": skyline,
}

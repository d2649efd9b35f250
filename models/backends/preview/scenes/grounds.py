"""What the subjects stand on, and the rooms that have no sky. Each sets `floor`, the height at which a subject stands."""

import math
from collections.abc import Callable

from models.backends.preview.scenes.canvas import box, ellipse
from models.backends.preview.scenes.colours import WHITE, mix, shaded, turned
from models.backends.preview.scenes.stage import Stage

FLOOR = 0.86  # of the height; below it stands the label
INDOORS = frozenset({"room", "wall", "studio", "space", "underwater"})
"""Grounds that paint the whole image."""


def land(stage: Stage) -> None:
    """Gentle ground with a lighter edge."""
    near = stage.light.on(stage.ground)
    edge = stage.ridge(
        stage.horizon + stage.unit * 0.02, stage.unit * 0.012, stage.light.on(stage.ground, 0.16), near, 0.8
    )
    low = (edge(stage.width * 0.5) + stage.height) / 2
    swing = min(stage.unit * 0.03, (stage.height - stage.horizon) * 0.12)
    stage.ridge(low - swing, swing, near, shaded(near, -22), waves=0.7)
    stage.floor = stage.height * FLOOR


def rows(stage: Stage) -> None:
    """A field in rows that meet at the horizon."""
    land(stage)
    x0 = stage.roll(0.35, 0.65) * stage.width
    top, reach = stage.horizon + stage.unit * 0.05, stage.width * 1.6
    dark = shaded(stage.light.on(stage.ground), -20)
    for number in range(-9, 10):
        left, right = x0 + reach * (number - 0.2) / 9, x0 + reach * (number + 0.2) / 9
        x1, x2 = x0 + stage.width * 0.3 * (number - 0.2) / 9, x0 + stage.width * 0.3 * (number + 0.2) / 9
        stage.plain([(x1, top), (x2, top), (right, stage.height), (left, stage.height)], dark, 0.45)


def water(stage: Stage) -> None:
    """Open water with the light of sky and sun on it."""
    deep = stage.light.on(stage.ground)
    near = mix(stage.light.sky[1], deep, 0.72)
    shape = box(0, stage.horizon, stage.width, stage.height - stage.horizon + 1)
    stage.plain(shape, mix(stage.light.sky[2], deep, 0.45), below=shaded(near, -18))
    _glints(stage, stage.horizon, stage.height)
    stage.floor = stage.height * 0.8


def _glints(stage: Stage, top: float, bottom: float) -> None:
    """Short bright lines, wider and sparser towards the viewer."""
    count = round(46 * min(3.0, stage.width / stage.unit))
    for _ in range(count):
        share = stage.roll(0, 1) ** 1.6
        y = top + (bottom - top) * share
        half, thick = stage.unit * (0.012 + 0.06 * share) * stage.roll(0.5, 1.3), stage.unit * (0.0012 + 0.004 * share)
        x = stage.roll(0, stage.width)
        stage.plain(ellipse(x, y, half, thick), mix(stage.light.sky[2], WHITE, 0.5), 0.5)


def shore(stage: Stage) -> None:
    """Sea behind, sand in front, foam between."""
    sand, sea = stage.light.on(stage.ground), stage.light.on((58, 158, 184))
    line = stage.horizon + (stage.height - stage.horizon) * 0.42
    shape = box(0, stage.horizon, stage.width, line - stage.horizon + stage.unit * 0.12)
    stage.plain(shape, mix(stage.light.sky[2], shaded(sea, -22), 0.72), below=mix(sea, WHITE, 0.18))
    _glints(stage, stage.horizon, line)
    swing, state = stage.unit * 0.014, stage.dice.getstate()
    for lift, colour in (
        (0.03, mix(sea, WHITE, 0.55)),
        (0.016, mix(WHITE, sand, 0.1)),
        (0.0, shaded(sand, -14)),
        (-0.02, sand),
    ):
        stage.dice.setstate(state)
        stage.ridge(line - stage.unit * lift, swing, colour, shaded(sand, -10) if lift <= 0 else colour, waves=0.6)
    stage.floor = stage.height * FLOOR


def dune(stage: Stage) -> None:
    near = stage.light.on(stage.ground)
    stage.ridge(stage.horizon + stage.unit * 0.02, stage.unit * 0.03, shaded(near, 10), near, waves=0.6)
    middle = (stage.horizon + stage.height) / 2
    stage.ridge(middle + stage.unit * 0.06, stage.unit * 0.035, near, shaded(turned(near, -0.01), -20), waves=0.5)
    stage.floor = stage.height * FLOOR


def street(stage: Stage) -> None:
    """Pavement, kerb and a road with a broken line."""
    road = stage.light.on(stage.ground)
    depth = stage.height - stage.horizon
    pavement = mix(road, WHITE, 0.38)
    stage.plain(box(0, stage.horizon, stage.width, depth + 1), pavement, below=shaded(pavement, -8))
    top = stage.horizon + depth * 0.2
    stage.plain(box(0, top, stage.width, depth * 0.035), shaded(pavement, -22))
    stage.plain(box(0, top + depth * 0.035, stage.width, depth), shaded(road, -34), below=shaded(road, -48))
    length, y = stage.unit * 0.13, stage.horizon + depth * 0.72
    x = -length * stage.roll(0, 1)
    while x < stage.width:
        stage.plain(box(x, y, length, depth * 0.03), mix(pavement, (250, 240, 200), 0.5), 0.85)
        x += length * 1.9
    stage.floor = stage.horizon + depth * 0.5


def wall(stage: Stage) -> None:
    """A plastered wall with a few bricks, and pavement."""
    paint = stage.light.on(stage.ground)
    foot = stage.horizon
    stage.plain(box(0, 0, stage.width, stage.height), shaded(paint, 6), below=shaded(paint, -16))
    size = stage.unit * 0.075
    for _ in range(5):
        x0, y0 = stage.roll(0, stage.width), stage.roll(0.05, 0.9) * foot
        for number in range(stage.dice.randint(3, 7)):
            x, y = x0 + size * (number % 3 + (number // 3 % 2) * 0.5), y0 + size * 0.5 * (number // 3)
            stage.plain(box(x, y, size * 0.92, size * 0.4, size * 0.06), shaded(paint, -11 - 5 * (number % 2)), 0.7)
    lean = stage.unit * 0.5
    left = stage.roll(-0.1, 0.5) * stage.width
    beam = [(left, 0.0), (left + lean * 1.1, 0.0), (left + lean * 2.1, foot), (left + lean, foot)]
    stage.plain(beam, mix(paint, WHITE, 0.6), 0.28)
    stage.plain(box(0, foot - stage.unit * 0.05, stage.width, stage.unit * 0.05), shaded(paint, -22))
    floor = stage.light.on((158, 150, 148))
    stage.plain(box(0, foot, stage.width, stage.height - foot + 1), shaded(floor, 12), below=shaded(floor, -14))
    for number in range(1, 14):
        x = stage.width * (number - 7) / 7
        stage.plain(
            [(stage.width / 2 + x, foot), (stage.width / 2 + x + 1.5, foot), (stage.width / 2 + x * 1.5 + 2, stage.height), (stage.width / 2 + x * 1.5, stage.height)],
            shaded(floor, -26), 0.5,
        )  # fmt: skip
    stage.floor = stage.horizon + (stage.height - stage.horizon) * 0.42


def room(stage: Stage) -> None:
    """A wall with a window that shows the time of day, a lamp or a shelf, and a table along the lower edge."""
    tone = stage.main
    paint = mix(stage.backdrop or turned(tone, 0.5), (238, 228, 212), 0.3 if stage.backdrop else 0.8)
    paint = (
        mix(paint, stage.light.sky[1], 0.18) if not stage.light.dark else mix(shaded(paint, -42), (66, 56, 100), 0.35)
    )
    stage.plain(box(0, 0, stage.width, stage.height), shaded(paint, 8), below=shaded(paint, -10))
    side = -1 if stage.dice.random() < 0.5 else 1  # noqa: PLR2004
    size = min(stage.unit * 0.42, stage.horizon * 0.72)
    x = stage.width / 2 + side * min(stage.width * 0.27, stage.width / 2 - size * 0.4)
    _window(stage, x, stage.horizon * 0.46, size)
    _shelf(stage, stage.width / 2 - side * stage.width * 0.28, stage.horizon * 0.42, stage.unit * 0.26, paint)
    top = stage.horizon
    wood = shaded(stage.ground, -30) if stage.light.dark else stage.ground
    stage.plain(box(0, top, stage.width, stage.height - top + 1), shaded(wood, 14), below=shaded(wood, -18))
    stage.plain(box(0, top, stage.width, stage.unit * 0.012), shaded(wood, 34), 0.7)
    for _ in range(7):
        y, half = stage.roll(top + stage.unit * 0.04, stage.height), stage.roll(0.1, 0.4) * stage.width
        stage.plain(ellipse(stage.roll(0, stage.width), y, half, stage.unit * 0.0035), shaded(wood, -24), 0.4)
    if stage.light.dark:
        stage.glow(stage.width / 2, stage.horizon * 0.7, stage.unit * 0.9, (255, 214, 140), 0.4)
    stage.floor = top + (stage.height * FLOOR - top) * 0.75


def _window(stage: Stage, x: float, y: float, size: float) -> None:
    width, height = size * 0.86, size * 1.06
    left, top = x - width / 2, y - height / 2
    frame, rim = (250, 246, 238), size * 0.045
    frame = shaded(frame, -34) if stage.light.dark else frame
    stage.plain(box(left - rim, top - rim, width + 2 * rim, height + 2 * rim, rim), shaded(frame, -12))
    stage.plain(box(left, top, width, height), stage.light.sky[0], below=stage.light.sky[2])
    if not stage.light.dull:
        stage.glow(left + width * 0.7, top + height * 0.3, size * 0.22, stage.light.sun, 0.9)
        stage.plain(ellipse(left + width * 0.7, top + height * 0.3, size * 0.06, size * 0.06), stage.light.sun)
    hill = stage.light.on((110, 168, 96), 0.25)
    arch = [(left + width * n / 12, top + height * (0.8 - 0.1 * math.sin(math.pi * n / 9 + 0.4))) for n in range(13)]
    stage.plain([*arch, (left + width, top + height), (left, top + height)], hill)
    stage.plain(box(x - rim * 0.4, top, rim * 0.8, height), frame)
    stage.plain(box(left, y - rim * 0.4, width, rim * 0.8), frame)
    stage.plain(box(left - rim * 2, top + height + rim * 0.4, width + 4 * rim, rim * 1.3, rim * 0.3), frame)


def _shelf(stage: Stage, x: float, y: float, width: float, paint: tuple[int, int, int]) -> None:
    shelf = mix(stage.ground, paint, 0.25)
    stage.plain(box(x - width / 2, y, width, width * 0.05), shelf)
    left = x - width * 0.42
    for _ in range(5):
        wide, tall = width * stage.roll(0.06, 0.1), width * stage.roll(0.24, 0.4)
        book = mix(turned(stage.main, stage.roll(-0.12, 0.5)), paint, 0.35)
        stage.plain(box(left, y - tall, wide * 0.92, tall, wide * 0.1), book)
        left += wide
    pot, leaf = x + width * 0.26, stage.light.on((92, 158, 98))
    for lean in (-0.12, -0.05, 0.03, 0.1):
        tip = (pot + width * lean * 1.7, y - width * (0.44 - abs(lean)))
        stage.plain(
            [(pot - width * 0.03, y - width * 0.12), tip, (pot + width * 0.04, y - width * 0.12)],
            mix(leaf, paint, 0.15),
        )
    stage.plain(
        [
            (pot - width * 0.08, y - width * 0.15),
            (pot + width * 0.08, y - width * 0.15),
            (pot + width * 0.055, y),
            (pot - width * 0.055, y),
        ],
        mix((206, 120, 84), paint, 0.2),
    )


def studio(stage: Stage) -> None:
    """A sweep of paper in a colour that goes with the subject, a disc of light, a low plinth."""
    tone = mix(turned(stage.main, stage.dice.choice((0.5, 0.42, 0.08, 0.92))), (250, 244, 236), 0.66)
    tone = mix(stage.backdrop, WHITE, 0.12) if stage.backdrop else shaded(tone, -55) if stage.light.dark else tone
    stage.plain(box(0, 0, stage.width, stage.height), shaded(tone, 14), below=shaded(tone, -6))
    radius = stage.unit * 0.38
    x, y = stage.width / 2 + stage.roll(-0.05, 0.05) * stage.width, stage.height * 0.44
    stage.plain(ellipse(x, y, radius, radius), mix(tone, turned(stage.main, 0.08), 0.26), below=mix(tone, WHITE, 0.3))
    stage.glow(x - radius * 0.4, y - radius * 0.6, stage.unit * 0.75, WHITE, 0.4)
    stage.plain(box(0, stage.height * 0.74, stage.width, stage.height * 0.27), shaded(tone, -4), below=shaded(tone, 22))
    stage.floor = stage.height * 0.84
    stage.ground = tone


def space(stage: Stage) -> None:
    """Nebulae, stars, a planet, and the ground of another one."""
    deep = [(13, 14, 42), (20, 18, 58), (12, 26, 54)][stage.dice.randint(0, 2)]
    stage.plain(box(0, 0, stage.width, stage.height), deep, below=mix(deep, (84, 50, 120), 0.55))
    for colour in ((160, 70, 160), (60, 110, 190), (220, 110, 130)):
        x, y = stage.roll(0, stage.width), stage.roll(0, stage.height * 0.8)
        stage.glow(x, y, stage.unit * stage.roll(0.4, 0.8), colour, 0.4)
    stars(stage, 150, stage.height)
    x, y, radius = (
        stage.roll(0.12, 0.88) * stage.width,
        stage.roll(0.16, 0.34) * stage.height,
        stage.unit * stage.roll(0.09, 0.15),
    )
    planet = [(226, 160, 110), (124, 176, 196), (190, 140, 200)][stage.dice.randint(0, 2)]
    stage.glow(x, y, radius * 1.9, planet, 0.5)
    stage.plain(ellipse(x, y, radius, radius), shaded(planet, 12), below=shaded(planet, -42))
    for lift, half in ((-0.35, 0.85), (0.1, 0.95), (0.45, 0.8)):
        stage.plain(ellipse(x, y + radius * lift, radius * half, radius * 0.07), shaded(planet, 26), 0.4)
    stage.plain(_tilted(x, y, radius), mix(planet, WHITE, 0.5), 0.75)
    ground = (126, 112, 150)
    stage.ridge(stage.horizon, stage.unit * 0.02, shaded(ground, 10), shaded(ground, -40), waves=0.7)
    for _ in range(6):
        x, y = stage.roll(0, stage.width), stage.roll(stage.horizon + stage.unit * 0.04, stage.height)
        half = stage.unit * stage.roll(0.02, 0.07)
        stage.plain(ellipse(x, y, half, half * 0.26), shaded(ground, -38), 0.8)
        stage.plain(ellipse(x, y + half * 0.05, half * 0.86, half * 0.18), shaded(ground, -22), 0.8)
    stage.floor = stage.height * FLOOR


def _tilted(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """The front half of a ring around a planet."""
    outer, inner = 1.75, 1.4
    angles = [math.pi * number / 40 for number in range(41)]
    front = [(outer * math.cos(a), outer * 0.2 * math.sin(a)) for a in angles]
    back = [(inner * math.cos(a), inner * 0.14 * math.sin(a)) for a in reversed(angles)]
    return [(x + radius * (a + b * 0.3), y + radius * (b - a * 0.25)) for a, b in (*front, *back)]


def underwater(stage: Stage) -> None:
    """Rays from above, bubbles, weed and sand."""
    tone = stage.light.on((26, 110, 160))
    stage.plain(box(0, 0, stage.width, stage.height), mix(tone, (120, 220, 224), 0.5), below=shaded(tone, -35))
    for _ in range(6):
        x, half = stage.roll(0, stage.width), stage.unit * stage.roll(0.03, 0.1)
        lean = stage.unit * 0.35
        stage.plain(
            [
                (x - half * 0.4, 0),
                (x + half * 0.4, 0),
                (x + half + lean, stage.height),
                (x - half + lean, stage.height),
            ],
            WHITE,
            0.09,
        )
    sand = stage.light.on(mix((238, 214, 160), tone, 0.22))
    stage.ridge(
        stage.horizon - stage.unit * 0.04, stage.unit * 0.03, mix(sand, tone, 0.55), mix(sand, tone, 0.6), waves=0.8
    )
    x = stage.roll(0, 0.1) * stage.width
    while x < stage.width:
        _weed(stage, x, stage.horizon + stage.unit * 0.05, stage.unit * stage.roll(0.1, 0.34))
        x += stage.unit * stage.roll(0.03, 0.2)
    stage.ridge(stage.horizon + stage.unit * 0.03, stage.unit * 0.015, sand, shaded(sand, -24), waves=1.0)
    for _ in range(26):
        radius = stage.unit * stage.roll(0.003, 0.013)
        stage.plain(ellipse(stage.roll(0, stage.width), stage.roll(0, stage.horizon), radius, radius), WHITE, 0.4)
    stage.floor = stage.height * FLOOR


def _weed(stage: Stage, x: float, y: float, height: float) -> None:
    colours = [(238, 120, 112), (244, 176, 92), (66, 160, 120), (96, 180, 110), (198, 110, 170)]
    colour = stage.light.on(stage.dice.choice(colours))
    phase, half = stage.roll(0, 6), height * 0.09
    steps = [n / 14 for n in range(15)]
    left = [(x - half * (1 - s) + half * math.sin(phase + 5 * s), y - height * s) for s in steps]
    right = [(x + half * (1 - s) + half * math.sin(phase + 5 * s), y - height * s) for s in reversed(steps)]
    stage.add([*left, *right], colour, below=shaded(colour, -30))


def air(stage: Stage) -> None:
    """Only a sea of clouds below."""
    for row in range(3):
        y = stage.horizon + stage.unit * (0.02 + 0.06 * row)
        colour = (
            mix(stage.light.sky[2], WHITE, 0.3 + 0.25 * row)
            if not stage.light.dark
            else shaded(stage.light.sky[1], 8 + 9 * row)
        )
        x = -stage.unit * 0.1
        while x < stage.width + stage.unit * 0.2:
            stage.cloud(x, y, stage.unit * stage.roll(0.3, 0.5), colour, 0.95)
            x += stage.unit * stage.roll(0.16, 0.3)
        stage.plain(box(0, y, stage.width, stage.height - y + 1), colour, 0.95)
    stage.floor = stage.height * 0.7


def stars(stage: Stage, count: int, bottom: float) -> None:
    for _ in range(round(count * min(3.0, max(stage.width, stage.height) / stage.unit))):
        radius = stage.unit * 0.0024 * stage.roll(0.4, 1.5)
        x, y = stage.roll(0, stage.width), stage.roll(0, bottom)
        stage.plain(ellipse(x, y, radius, radius), (255, 250, 232), stage.roll(0.35, 1.0))


GROUNDS: dict[str, Callable[[Stage], None]] = {
    "land": land,
    "rows": rows,
    "water": water,
    "shore": shore,
    "dune": dune,
    "street": street,
    "wall": wall,
    "room": room,
    "studio": studio,
    "space": space,
    "underwater": underwater,
    "air": air,
}

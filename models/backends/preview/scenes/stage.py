"""The space of a scene: its size, light and dice, and the list of shapes drawn so far."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.backends.preview.scenes.art import drawing, paint_of
from models.backends.preview.scenes.canvas import Glow, Item, Paint, Point, Polygon, Shape, ellipse
from models.backends.preview.scenes.colours import WHITE, lit, mix, shaded, turned
from models.images.lettering import Colour


@dataclass(frozen=True, slots=True)
class Light:
    """The sky from top to horizon, the light on all surfaces, and sun or moon. `dark` means that lamps are on."""

    sky: tuple[Colour, Colour, Colour]
    light: Colour
    sun: Colour
    dark: bool = False
    dull: bool = False

    def on(self, colour: Colour, distance: float = 0.0, own: float = 0.0) -> Colour:
        """A surface in this light; with `distance` (0 to 1) it fades into the sky at the horizon, with `own` it keeps its colour."""
        return mix(lit(colour, mix(self.light, WHITE, own)), self.sky[2], distance)


@dataclass
class Stage:
    """Width, height and all positions are in pixels; `unit` is the side that measures things, `horizon` a height."""

    width: int
    height: int
    horizon: float
    light: Light
    dice: random.Random
    ground: Colour = (110, 170, 90)
    main: Colour = (216, 67, 59)
    backdrop: Colour | None = None
    floor: float = 0.0
    items: list[Item] = field(default_factory=list)

    @property
    def unit(self) -> float:
        return min(self.width, self.height, max(self.width, self.height) * 0.75)

    def roll(self, low: float, high: float) -> float:
        return self.dice.uniform(low, high)

    def add(self, polygon: Polygon, colour: Colour, alpha: float = 1.0, below: Colour | None = None) -> None:
        self.items.append(Shape([polygon], Paint(colour, alpha, below), edge=1.0))

    def plain(self, polygon: Polygon, colour: Colour, alpha: float = 1.0, below: Colour | None = None) -> None:
        """As `add`; no style draws a line around it."""
        self.items.append(Shape([polygon], Paint(colour, alpha, below)))

    def glow(self, x: float, y: float, across: float, colour: Colour, alpha: float, down: float | None = None) -> None:
        down = across if down is None else down
        self.items.append(Glow((x - across, y - down, x + across, y + down), colour, alpha))

    def ridge(
        self, top: float, swing: float, colour: Colour, below: Colour, waves: float = 1.5, rough: float = 0.0
    ) -> Callable[[float], float]:
        """Land from an uneven upper edge down to the end of the image; returns the height of that edge at each x."""
        parts = [
            (waves * (number + self.roll(0.6, 1.2)), self.roll(0, math.tau), 1 / (number + 1)) for number in range(4)
        ]
        reach = self.unit * 1.6

        def edge(x: float) -> float:
            return top - swing * sum(
                math.sin(math.tau * often * x / reach + phase) * size for often, phase, size in parts
            )

        count = max(24, min(260, round(self.width / max(3.0, self.unit / 90))))
        xs = [self.width * number / count for number in range(count + 1)]
        upper = [(x, edge(x) + (self.roll(-rough, rough) if rough else 0.0)) for x in xs]
        margin = self.width * 0.02
        corners = ((self.width + margin, upper[-1][1]), (self.width + margin, self.height * 1.02))
        self.add([(-margin, upper[0][1]), *upper, *corners, (-margin, self.height * 1.02)], colour, below=below)
        return edge

    def art(
        self,
        text: str,
        box: Sequence[float],
        at: Point,
        height: float,
        *,
        main: Colour | None = None,
        mirrored: bool = False,
        distance: float = 0.0,
        more: Mapping[str, Colour] | None = None,
    ) -> None:
        """A drawing that stands with the middle of its lower edge at `at`."""
        across, down = box
        scale = height / down
        side = -scale if mirrored else scale
        colour = main or self.main
        own = {"main": colour, "second": self._second(colour), "lamp": self.lamp, **(more or {})}
        x0, y0 = at
        edge = min(1.0, height / (0.3 * self.unit))
        for part in drawing(text):
            polygons = [
                [(x0 + (x - across / 2) * side, y0 + (y - down) * scale) for x, y in polygon]
                for polygon in part.polygons
            ]
            paint = paint_of(part.paint, own, lambda seen: self.light.on(seen, distance, own=0.0 if distance else 0.4))
            self.items.append(Shape(polygons, paint, edge if paint.alpha >= 1 else 0.0))

    @property
    def lamp(self) -> Colour:
        """Windows and lanterns: dark glass by day, warm light by night."""
        return (255, 214, 122) if self.light.dark else (92, 128, 158)

    @staticmethod
    def _second(colour: Colour) -> Colour:
        """A colour that goes with the subject's."""
        pale = max(colour) - min(colour) < 30  # noqa: PLR2004 -- nearly grey: its hue says nothing
        return (214, 142, 92) if pale else mix(turned(colour, 0.5), WHITE, 0.35)

    def shadow(self, x: float, y: float, across: float) -> None:
        self.glow(x, y, across, shaded(self.light.on(self.ground), -75), 0.55, down=across * 0.16)

    def cloud(self, x: float, y: float, across: float, colour: Colour, alpha: float) -> None:
        """A flat-bottomed heap of round puffs."""
        puffs = self.dice.randint(4, 6)
        polygons: list[list[Point]] = []
        for number in range(puffs):
            share = number / (puffs - 1)
            radius = across * (0.13 + 0.15 * math.sin(math.pi * share)) * self.roll(0.85, 1.15)
            polygons.append(ellipse(x + across * (share - 0.5) * 0.78, y - radius * 0.55, radius, radius * 0.8))
        polygons.append(ellipse(x, y, across * 0.5, across * 0.09))
        self.items.append(Shape(polygons, Paint(colour, alpha)))

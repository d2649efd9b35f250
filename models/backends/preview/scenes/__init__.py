"""Scenes: flat vector illustrations of what a prompt names.

`reading` finds the words, `composing` places what they ask for on a `stage`, `styles` makes an image of it. What is
known (subjects with their drawings, places, times, weather, colours, styles) stands in the YAML files. The same
order gives the same pixels.
"""

import random
from dataclasses import dataclass

from PIL import Image

from models.backends.preview.scenes.composing import composed
from models.backends.preview.scenes.headline import letter
from models.backends.preview.scenes.reading import read
from models.backends.preview.scenes.styles import painted, style_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOrder:
    """What is drawn. `painter` is a name under which the same prompt looks different; its own style is `style`, unless the prompt names one."""

    prompt: str
    width: int
    height: int
    seed: int = 0
    style: str = ""
    painter: str = ""


def scene(order: SceneOrder) -> Image.Image:
    """The scene as an RGB image."""
    reading = read(order.prompt, order.style)
    source = f"{order.prompt}\0{order.seed}\0{order.painter}".encode("utf-8", "replace")
    dice = random.Random(source)  # noqa: S311 -- a composition
    stage = composed(reading, order.width, order.height, dice)
    image = painted(stage.items, order.width, order.height, style_of(reading.style), dice)
    if reading.lettering:
        letter(image, reading.lettering, stage.main)
    return image

"""Edits of an image by what the prompt names: a colour, an addition, a background, weather, a time, a style; within a mask only there."""

import random
import re
from dataclasses import replace

from PIL import Image, ImageFilter

from models.backends.preview.scenes.canvas import box
from models.backends.preview.scenes.colours import named
from models.backends.preview.scenes.composing import composed, placed
from models.backends.preview.scenes.grounds import stars
from models.backends.preview.scenes.headline import letter
from models.backends.preview.scenes.photo import covering, extended, filled, foreground, in_manner_of, recoloured
from models.backends.preview.scenes.reading import SceneReading, read
from models.backends.preview.scenes.sky import fallen, light_for
from models.backends.preview.scenes.stage import Stage
from models.backends.preview.scenes.styles import painted, style_of
from models.images.lettering import Colour

_ADDS = re.compile(r"\b(?:add|put|place|insert|include|with|wearing|holding)\b|加|放|添|戴|拿")
_EXTENDS = re.compile(r"\b(?:outpaint|extend|expand|uncrop|zoom out|widen)|扩|延展|延伸")
_ERASES = re.compile(r"\b(?:remove|erase|delete|without|clean)|去除|去掉|移除|删除|擦除|消除")
_ON_MASK = 127
_TINTS: dict[str, tuple[Colour, Colour, float]] = {
    "night": ((12, 20, 62), (44, 52, 110), 0.6),
    "sunset": ((90, 40, 110), (255, 170, 80), 0.36),
    "dawn": ((120, 130, 200), (255, 214, 170), 0.34),
    "day": ((150, 205, 245), (255, 250, 225), 0.22),
}
"""What a time of day lays over an image: the colour at the top, at the bottom, and its opacity."""


def edited(image: Image.Image, size: tuple[int, int], prompt: str, seed: int, style: str = "") -> Image.Image:
    """The image in that size, changed as the prompt says."""
    dice, reading = _dice(prompt, seed), read(prompt, style)
    if _EXTENDS.search(prompt.casefold()):
        base, _ = extended(image, size)
    else:
        base = covering(image, size)
    subject = foreground(base) if reading.places and not reading.colours else None
    if subject:
        base = _moved(base, subject, reading, dice)
    elif _colour(reading) and not _ADDS.search(prompt.casefold()):
        base, reading = _coloured(base, reading), replace(reading, subjects=(), colours=())
    stage = _stage(base, reading, dice)
    if not subject:
        _light(stage, reading)
        fallen(stage, reading)
        if reading.subjects and (
            _ADDS.search(prompt.casefold()) or not (reading.style or reading.time or reading.weather)
        ):
            placed(stage, reading.subjects)
    same = base.size == image.size and base.tobytes() == image.tobytes()
    if same and not (stage.items or reading.style or reading.lettering):
        _tone(stage)
    look = style_of(reading.style)
    done = painted(stage.items, *size, look, dice, in_manner_of(base, look))
    if reading.lettering:
        letter(done, reading.lettering, stage.main)
    return done


def inpainted(image: Image.Image, mask: Image.Image, prompt: str, seed: int, style: str = "") -> Image.Image:
    """The image with only the masked part (white) drawn anew; every other pixel stays as it is."""
    only = mask.convert("L").resize(image.size).point(lambda value: 255 if value > _ON_MASK else 0)
    area = only.getbbox()
    if area is None:
        return image
    dice, reading = _dice(prompt, seed), read(prompt, style)
    look = style_of(reading.style)
    below = filled(image, only.filter(ImageFilter.MaxFilter(5)))
    if _ERASES.search(prompt.casefold()) and not _ADDS.search(prompt.casefold()):
        return Image.composite(below, image, only)
    part = below.crop(area)
    if _colour(reading) and not reading.places and not reading.subjects:
        part = recoloured(image.crop(area), _named(reading))
    elif reading.subjects and not reading.places:
        stage = Stage(
            *part.size, part.height * 0.5, light_for(SceneReading(time="day"), 0), dice, floor=part.height * 0.94
        )
        placed(stage, reading.subjects, fill=True)
        part = painted(stage.items, *part.size, look, dice, part)
    else:
        stage = composed(reading, *part.size, dice)
        part = painted(stage.items, *part.size, look, dice)
    below.paste(part, area[:2])
    return Image.composite(below, image, only)


def _dice(prompt: str, seed: int) -> random.Random:
    return random.Random(f"{prompt}\0{seed}\0edit".encode("utf-8", "replace"))  # noqa: S311 -- a composition


def _stage(base: Image.Image, reading: SceneReading, dice: random.Random) -> Stage:
    light = light_for(reading if reading.time else SceneReading(time="day"), 0)
    stage = Stage(*base.size, base.height * 0.6, light, dice, floor=base.height * 0.86)
    if _colour(reading):
        stage.main = _named(reading)
    return stage


def _colour(reading: SceneReading) -> str:
    """The colour to change to: the last one that is named, as in "change the red car to blue"."""
    own = [wanted.colour for wanted in reading.subjects if wanted.colour]
    return (list(reading.colours) or own or [""])[-1]


def _named(reading: SceneReading) -> Colour:
    return named()[_colour(reading)]


def _coloured(base: Image.Image, reading: SceneReading) -> Image.Image:
    every = [*(wanted.colour for wanted in reading.subjects if wanted.colour), *reading.colours]
    source = named()[every[0]] if len(every) > 1 and every[0] not in {"white", "black", "grey"} else None
    return recoloured(base, _named(reading), source)


def _moved(base: Image.Image, mask: Image.Image, reading: SceneReading, dice: random.Random) -> Image.Image:
    """What stands in front of a plain background, in front of another one."""
    stage = composed(replace(reading, subjects=(), lettering=()), *base.size, dice)
    scene = painted(stage.items, *base.size, style_of(""), dice)
    bounds = mask.getbbox() or (0, 0, *base.size)
    cut, alpha = base.crop(bounds), mask.crop(bounds)
    scale = min(1.0, stage.height * 0.66 / cut.height, stage.width * 0.8 / cut.width)
    size = max(1, round(cut.width * scale)), max(1, round(cut.height * scale))
    left, top = (base.width - size[0]) // 2, round(stage.floor - size[1])
    stage.items.clear()
    stage.shadow(left + size[0] / 2, stage.floor, size[0] * 0.6)
    scene = painted(stage.items, *base.size, style_of(""), dice, scene)
    scene.paste(cut.resize(size, Image.Resampling.LANCZOS), (left, top), alpha.resize(size, Image.Resampling.LANCZOS))
    return scene


def _light(stage: Stage, reading: SceneReading) -> None:
    if not reading.time:
        return
    top, bottom, strength = _TINTS[reading.time]
    stage.plain(box(0, 0, stage.width, stage.height), top, strength, below=bottom)
    if reading.time == "night":
        stars(stage, 60, stage.height * 0.4)
    x, y, radius = stage.width * stage.roll(0.12, 0.88), stage.height * stage.roll(0.1, 0.2), stage.unit * 0.05
    stage.glow(x, y, radius * 5, stage.light.sun, 0.8)
    stage.glow(x, y, radius * 1.6, stage.light.sun, 1.0)


def _tone(stage: Stage) -> None:
    """What an edit does whose words name nothing known: other light, so that it is seen that one was made."""
    warm = stage.dice.choice(((255, 176, 92), (92, 150, 255), (255, 120, 170), (90, 210, 170)))
    stage.plain(box(0, 0, stage.width, stage.height), warm, 0.2)
    stage.glow(stage.width * 0.2, stage.height * 0.15, stage.unit * 0.9, (255, 250, 235), 0.55)

"""The placeholder image: a landscape, a badge, the input images and the text of the request.

Prompt and seed decide the colours and hills, the size the composition.
"""

import colorsys
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from models.images.codec import decode, encode, flatten, plain
from models.images.lettering import LINE_HEIGHT, Colour, clipped, shortened, width_of, wrapped, write

BADGE = "PREVIEW · 预览占位图"
_SMALLEST_TEXT = 7
_ROOM_FOR_BADGE = 96  # pixels of the shorter side; below, there is no badge
_DRAWN_TEXT = 3000  # characters; more cannot be read in any size
_PANEL_SHARE = 0.56  # of the height, at most
_STRIP_SHARE = 0.2  # of the height: the input images
_WHITE, _SOFT, _DARK = (255, 255, 255), (214, 220, 228), (14, 18, 26)
_DIM = 158  # of 255
_LARGEST_DRAWN = 1024  # pixels of the longer side of the scenery that is really drawn; smooth shapes bear enlarging
_FINER = 2  # drawn larger and scaled down: smooth edges
_HILLS = 5
_WAVES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceholderImage:
    """What is drawn. The same values give the same bytes; `thumbnails` are captions with files."""

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    seed: int
    thumbnails: Sequence[tuple[str, bytes]] = ()


def draw(placeholder: PlaceholderImage) -> bytes:
    """The placeholder as a PNG file."""
    canvas = scenery(placeholder.width, placeholder.height, f"{placeholder.prompt}\0{placeholder.seed}")
    unit = _unit(*canvas.size)
    if min(canvas.size) >= _ROOM_FOR_BADGE:
        bottom = _badge(canvas, unit, unit)
        _strip(canvas, placeholder.thumbnails, unit, bottom + unit // 2)
    _panel(canvas, placeholder, unit, unit if min(canvas.size) >= _ROOM_FOR_BADGE else 1)
    return encode(canvas, "png")


def _unit(width: int, height: int) -> int:
    """The font size of small print, from which every other measure follows."""
    short, long = sorted((width, height))
    return max(_SMALLEST_TEXT, min(short // 14, max(short // 28, long // 80)))


def _badge(canvas: Image.Image, unit: int, margin: int) -> int:
    """Returns the lower edge of the badge."""
    label = shortened(BADGE, unit, canvas.width - 4 * margin)
    width, height = round(width_of(label, unit)) + 2 * unit, round(unit * 1.9)
    _glass(canvas, (margin, margin, margin + width, margin + height), height // 2)
    write(ImageDraw.Draw(canvas), (margin + unit, margin + 0.45 * unit), label, unit, _WHITE)
    return margin + height


def _strip(canvas: Image.Image, thumbnails: Sequence[tuple[str, bytes]], unit: int, top: int) -> None:
    if not thumbnails:
        return
    gap = max(2, unit // 2)
    room = (canvas.width - 2 * unit - gap * (len(thumbnails) - 1)) / len(thumbnails)
    side = max(8, int(min(canvas.height * _STRIP_SHARE, room)))
    left = unit
    for caption, data in thumbnails:
        thumbnail = flatten(plain(decode(data)))
        thumbnail.thumbnail((side, side))
        border = max(1, unit // 8)
        frame = ImageOps.expand(thumbnail, border, _WHITE)
        canvas.paste(frame, (left, top))
        _caption(canvas, caption, left, top + frame.height, unit, side)
        left += frame.width + gap


def _caption(canvas: Image.Image, caption: str, left: int, top: int, unit: int, width: int) -> None:
    size = max(_SMALLEST_TEXT, unit * 2 // 3)
    words = shortened(caption, size, width)
    outline = {"stroke_width": max(1, size // 8), "stroke_fill": _DARK}
    write(ImageDraw.Draw(canvas), (left, top + 2), words, size, _WHITE, **outline)


def _panel(canvas: Image.Image, placeholder: PlaceholderImage, unit: int, margin: int) -> None:
    inner = canvas.width - 4 * margin
    facts = _facts(placeholder, unit, inner)
    room = canvas.height * _PANEL_SHARE - len(facts) * unit * LINE_HEIGHT - 2.5 * unit
    size, lines = _largest(placeholder.prompt[:_DRAWN_TEXT], unit, inner, room)
    height = len(lines) * size * LINE_HEIGHT + len(facts) * unit * LINE_HEIGHT + 2.5 * unit
    top = canvas.height - margin - height
    _glass(canvas, (margin, round(top), canvas.width - margin, canvas.height - margin), unit)
    y = _paragraph(canvas, lines, (2 * margin, top + unit), size, _WHITE)
    _paragraph(canvas, facts, (2 * margin, y + unit / 2), unit, _SOFT)


def _facts(placeholder: PlaceholderImage, size: int, width: float) -> list[str]:
    without = [f"without: {placeholder.negative_prompt}"] if placeholder.negative_prompt else []
    what = f"{placeholder.width} × {placeholder.height} · seed {placeholder.seed} · {placeholder.model}"
    return [*(shortened(line, size, width) for line in without), *wrapped(what, size, width)[:3]]


def _largest(prompt: str, unit: int, width: float, room: float) -> tuple[int, list[str]]:
    """The largest font size at which the prompt fits, and its lines; a very long prompt is cut."""
    smallest = max(_SMALLEST_TEXT, unit * 3 // 4)
    for size in (*range(unit * 2, smallest, -max(1, unit // 6)), smallest):
        lines = wrapped(prompt, size, width)
        if len(lines) * size * LINE_HEIGHT <= room:
            break
    return size, clipped(lines, max(1, int(room / (size * LINE_HEIGHT))), size, width)


def _paragraph(canvas: Image.Image, lines: Sequence[str], at: tuple[float, float], size: int, colour: Colour) -> float:
    pen = ImageDraw.Draw(canvas)
    x, y = at
    for line in lines:
        write(pen, (x, y + size * (LINE_HEIGHT - 1) / 2), line, size, colour)
        y += size * LINE_HEIGHT
    return y


def _glass(
    canvas: Image.Image, box: tuple[int, int, int, int], radius: float, colour: Colour = _DARK, strength: int = _DIM
) -> None:
    """A pane with round corners, a disc where they meet. Nothing but its mask is held beside the image, which may be huge."""
    left, top, right, bottom = box
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius, fill=strength)
    canvas.paste(colour, (left, top), mask)


def _roll(source: str, name: str) -> float:
    """A number between 0 and 1 that depends on nothing but the two texts."""
    digest = hashlib.sha256(f"{source}\0{name}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def scenery(width: int, height: int, source: str) -> Image.Image:
    scale = min(_FINER, _FINER * _LARGEST_DRAWN / max(width, height))
    canvas = _sky(max(1, round(width * scale)), max(1, round(height * scale)), source)
    _sun(canvas, source)
    for number in range(_HILLS):
        _hill(canvas, number, source)
    return canvas.resize((width, height), Image.Resampling.LANCZOS)


def _colour(hue: float, saturation: float, lightness: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sky(width: int, height: int, source: str) -> Image.Image:
    hue = _roll(source, "hue")
    turn = 0.08 + 0.1 * _roll(source, "turn")
    grey = Image.linear_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
    return ImageOps.colorize(
        grey,
        black=_colour(hue, 0.48, 0.36),
        mid=_colour(hue + turn, 0.52, 0.66),
        white=_colour(hue + 2 * turn, 0.75, 0.86),
    )


def _sun(canvas: Image.Image, source: str) -> None:
    """A disc with rings of light; where it stands depends on the shape of the image."""
    across, down = 0.2 + 0.6 * _roll(source, "across"), 0.2 + 0.22 * _roll(source, "down")
    radius = min(canvas.size) * (0.09 + 0.07 * _roll(source, "radius"))
    centre = canvas.width * across, canvas.height * down
    for ring, strength in ((3.2, 18), (2.2, 26), (1.5, 40), (1.0, 215)):
        reach = radius * ring
        left, top, right, bottom = (round(side + shift) for shift in (-reach, reach) for side in centre)
        _glass(canvas, (left, top, right, bottom), reach, (255, 250, 240), strength)


def _hill(canvas: Image.Image, number: int, source: str) -> None:
    """One ridge; the nearer (the higher its number) the lower, darker and steeper."""
    nearness = number / (_HILLS - 1)
    hue = _roll(source, "hue") + 0.05 * nearness + 0.02
    colour = _colour(hue, 0.34 + 0.12 * nearness, 0.62 - 0.44 * nearness)
    top = canvas.height * (0.46 + 0.34 * nearness)
    height = min(canvas.size) * (0.05 + 0.05 * nearness)
    step = max(1, canvas.width // 400)
    wave = _wave(number, source)
    ridge = [(x, top - height * wave(x / canvas.width)) for x in range(0, canvas.width + step, step)]
    ImageDraw.Draw(canvas).polygon([*ridge, (canvas.width + step, canvas.height), (0, canvas.height)], fill=colour)


def _wave(number: int, source: str) -> Callable[[float], float]:
    rolls = [(_roll(source, f"length {number} {n}"), _roll(source, f"phase {number} {n}")) for n in range(_WAVES)]
    sines = [(n + 1, n + 0.6 + length, phase) for n, (length, phase) in enumerate(rolls)]
    return lambda across: sum(math.sin(math.tau * (across * often + phase)) / flat for flat, often, phase in sines)

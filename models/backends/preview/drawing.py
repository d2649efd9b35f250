"""The placeholder image: a scene or an edit of the input image, with a band that says what it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from models.backends.preview.scenes import SceneOrder, scene
from models.backends.preview.scenes.editing import edited, inpainted
from models.backends.preview.scenes.photo import covering
from models.images.codec import decode, encode, flatten, plain
from models.images.lettering import LINE_HEIGHT, Colour, clipped, shortened, width_of, wrapped, write

LABEL = "PREVIEW · 预览占位图"
_SMALLEST_TEXT = 7
_ROOM_FOR_PROMPT = 96  # pixels of the shorter side; below, there are only the facts
_DRAWN_TEXT = 3000  # characters; more cannot be read in any size
_STRIP_SHARE = 0.16  # of the height: further input images
_MOST_LINES = 2  # of the prompt
_WHITE, _SOFT, _DARK = (255, 255, 255), (206, 213, 224), (14, 18, 28)
_DIM = 184  # of 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceholderImage:
    """What is drawn. The same values give the same bytes. With `images` (files), it is an edit of the first one; `painter` is a
    name under which the same prompt looks different."""

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    seed: int
    label: str = LABEL
    style: str = ""
    painter: str = ""
    images: Sequence[bytes] = ()
    mask: bytes | None = None


def draw(placeholder: PlaceholderImage) -> bytes:
    """The placeholder as a PNG file."""
    return encode(drawn(placeholder), "png")


def drawn(placeholder: PlaceholderImage) -> Image.Image:
    """The placeholder. Of an image with a mask, only the masked part changes: the label stands there too."""
    one, size = placeholder, (placeholder.width, placeholder.height)
    if not one.images:
        order = SceneOrder(
            prompt=one.prompt, width=one.width, height=one.height, seed=one.seed, style=one.style, painter=one.painter
        )
        return labelled(scene(order), one)
    first = flatten(plain(decode(one.images[0])))
    if one.mask is None:
        return labelled(edited(first, size, one.prompt, one.seed, one.style), one)
    base, mask = covering(first, size), _mask(one.mask, size)
    return _labelled_within(inpainted(base, mask, one.prompt, one.seed, one.style), mask, one.label)


def _mask(data: bytes, size: tuple[int, int]) -> Image.Image:
    """White where the image may change."""
    image = plain(decode(data))
    grey = ImageOps.invert(image.getchannel("A")) if image.mode == "RGBA" else image.convert("L")
    return covering(grey, size).point(lambda value: 255 if value > 127 else 0)  # noqa: PLR2004 -- the middle


def labelled(canvas: Image.Image, placeholder: PlaceholderImage) -> Image.Image:
    """The image itself, with the further input images and the band drawn on it."""
    unit = _unit(*canvas.size)
    if min(canvas.size) >= _ROOM_FOR_PROMPT:
        _strip(canvas, placeholder.images[1:], unit)
    _band(canvas, placeholder, unit)
    return canvas


def _labelled_within(canvas: Image.Image, mask: Image.Image, label: str) -> Image.Image:
    box = mask.getbbox()
    if box is None:
        return canvas
    left, _, right, bottom = box
    unit = max(_SMALLEST_TEXT, min(_unit(*canvas.size), (right - left) // 14))
    words = shortened(label, unit, right - left - unit)
    width, height = round(width_of(words, unit)) + unit, round(unit * 1.6)
    with_label = canvas.copy()
    corner = _wide_enough(mask, box, width, height)
    _glass(with_label, (*corner, corner[0] + width, bottom), height // 2)
    write(ImageDraw.Draw(with_label), (corner[0] + unit / 2, corner[1] + unit * 0.3), words, unit, _WHITE)
    return Image.composite(with_label, canvas, mask)


def _wide_enough(mask: Image.Image, box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int]:
    """The corner of a label as low in the masked part as it is wide enough."""
    _, top, _, bottom = box
    found = (0, 0, 0)
    for y in range(bottom - height, max(top - 1, bottom - height * 40), -max(1, height // 2)):
        rows = mask.crop((0, y, mask.width, y + height)).resize((mask.width, 1), Image.Resampling.BOX)
        span = rows.point(lambda value: 255 if value == 255 else 0).getbbox() or (0, 0, 0, 0)  # noqa: PLR2004 -- full
        found = max(found, (min(width, span[2] - span[0]), (span[0] + span[2] - width) // 2, y), key=lambda one: one[0])
    return found[1], found[2]


def _unit(width: int, height: int) -> int:
    """The font size of the label, from which every other measure follows."""
    short, long = sorted((width, height))
    return max(_SMALLEST_TEXT, min(short // 16, max(short // 40, long // 90)))


def _band(canvas: Image.Image, placeholder: PlaceholderImage, unit: int) -> None:
    """Along the lower edge: label and facts, and the words where there is room."""
    margin = unit if min(canvas.size) >= _ROOM_FOR_PROMPT else 2
    room = canvas.width - 2 * margin
    lines = _lines(placeholder, unit, room, roomy=margin == unit)
    most = max(1, int(canvas.height * 0.6 / (unit * LINE_HEIGHT)))
    height = round(len(lines[:most]) * unit * LINE_HEIGHT + margin * 1.1)
    y = canvas.height - height + margin * 0.55
    _glass(canvas, (0, canvas.height - height, canvas.width, canvas.height), 0)
    pen = ImageDraw.Draw(canvas)
    for line, colour in lines[:most]:
        write(pen, (margin, y + unit * (LINE_HEIGHT - 1) / 2), line, unit, colour)
        y += unit * LINE_HEIGHT


def _lines(placeholder: PlaceholderImage, unit: int, room: float, *, roomy: bool) -> list[tuple[str, Colour]]:
    one = placeholder
    facts = f"{one.model} · {one.width} × {one.height} · seed {one.seed}"
    if not roomy:
        return [(shortened(f"{one.label.partition(' ')[0]} {facts}", unit, room), _WHITE)]
    whole = f"{one.label} · {facts}"
    head = (
        [whole]
        if width_of(whole, unit) <= room
        else [shortened(one.label, unit, room), *wrapped(facts, unit, room)[:2]]
    )
    prompt = clipped(wrapped(one.prompt[:_DRAWN_TEXT], unit, room), _MOST_LINES, unit, room)
    without = [shortened(f"without: {one.negative_prompt}", unit, room)] if one.negative_prompt else []
    return [*((line, _WHITE) for line in head), *((line, _SOFT) for line in (*prompt, *without) if line.strip())]


def _strip(canvas: Image.Image, references: Sequence[bytes], unit: int) -> None:
    """The further input images, small, along the upper edge."""
    gap, left = max(2, unit // 2), unit
    for data in references:
        room = (canvas.width - 2 * unit - gap * (len(references) - 1)) / len(references)
        side = max(8, int(min(canvas.height * _STRIP_SHARE, room)))
        thumbnail = flatten(plain(decode(data)))
        thumbnail.thumbnail((side, side))
        frame = ImageOps.expand(thumbnail, max(1, unit // 6), _WHITE)
        canvas.paste(frame, (left, unit))
        left += frame.width + gap


def _glass(canvas: Image.Image, box: tuple[int, int, int, int], radius: float) -> None:
    """A dark pane. Nothing but its mask is held beside the image, which may be huge."""
    left, top, right, bottom = box
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius, fill=_DIM)
    canvas.paste(_DARK, (left, top), mask)

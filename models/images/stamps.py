"""Marks drawn on images: texts, QR codes, a logo, and the visible AI label. Sizes are relative to the image.

All of it is CPU work on decoded images: run it in a thread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import segno
from PIL import Image, ImageDraw

from models.images.codec import decode, plain
from models.images.lettering import LINE_HEIGHT, clipped, missing, width_of, wrapped, write
from models.marks import Position

_WHITE, _DARK = (255, 255, 255), (14, 18, 26)
_MARGIN = 0.03  # of the shortest side, like all shares below
_TEXT, _SMALLEST_TEXT = 0.05, 9  # the font size, and its least number of pixels
_WIDEST_TEXT = 0.9  # of the width
_MOST_LINES = 4
_QR = 0.24
_QUIET = 4  # modules of white around a code, as ISO 18004 asks
_LEAST_MODULE = 2  # pixels; cameras do not read finer ones
_LOGO = (0.28, 0.16)
_LABEL = 0.05  # the height of the visible label's capital letters
_CAPITALS = 0.7  # of the font size; the shipped fonts have 0.714 and 0.733
_PANE = 0.75  # opacity of the pane behind the label


@dataclass(frozen=True, slots=True)
class TextStamp:
    text: str


@dataclass(frozen=True, slots=True)
class QRStamp:
    content: str


@dataclass(frozen=True, slots=True)
class LogoStamp:
    """`data` is an image file that is known to decode."""

    data: bytes


type Stamp = TextStamp | QRStamp | LogoStamp


class NoRoomError(ValueError):
    """A mark does not fit on the image; the text names it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Everything that is drawn on one image. `label` is the visible AI label's text; empty: none."""

    stamps: Sequence[Stamp] = ()
    position: Position = "bottom-right"
    opacity: float = 0.8
    label: str = ""

    def draw(self, canvas: Image.Image) -> tuple[str, ...]:
        """Draw on a plain image, in place. Returns notices ("has no room for ...")."""
        tiles, notices = self._tiles(canvas)
        reserved = _draw_label(canvas, self.label, on_the_left=not self.position.endswith("left")) if self.label else 0
        bottom = reserved if self.position == "bottom" else 0
        _stack(canvas, tiles, self.position, bottom)
        return tuple(notices)

    def _tiles(self, canvas: Image.Image) -> tuple[list[Image.Image], list[str]]:
        """The stamps that fit on the image below each other, and a notice for each that does not."""
        tiles: list[Image.Image] = []
        notices: list[str] = []
        margin = round(min(canvas.size) * _MARGIN)
        room = canvas.height
        for stamp in self.stamps:
            try:
                tile = _fitting(stamp, canvas.size, self.opacity, room)
            except NoRoomError as error:
                notices.append(f"has no room for {error}; the stamp was left out")
            else:
                tiles.append(tile)
                room -= tile.height + margin
        return tiles, notices

    @property
    def undrawable(self) -> str:
        """The characters of the texts for which there is no glyph."""
        return missing("".join(stamp.text for stamp in self.stamps if isinstance(stamp, TextStamp)))


@lru_cache(maxsize=64)
def qr_code(content: str) -> segno.QRCode:
    """Raises ValueError for more than a QR code holds (about 2,300 bytes). A full one takes 160 ms: use a thread."""
    return segno.make_qr(content, error="m")


def _fitting(stamp: Stamp, size: tuple[int, int], opacity: float, room: int) -> Image.Image:
    """The stamp in at most `room` pixels of height. Raises NoRoomError."""
    tile = _tile(stamp, size, opacity)
    if tile.height > room:
        raise NoRoomError("all stamps below each other")
    return tile


def _tile(stamp: Stamp, size: tuple[int, int], opacity: float) -> Image.Image:
    """One stamp as a transparent image. Raises NoRoomError."""
    match stamp:
        case TextStamp():
            return _faded(_text_tile(stamp.text, size), opacity)
        case QRStamp():
            return _qr_tile(stamp.content, size)
        case LogoStamp():
            return _faded(_logo_tile(stamp.data, size), opacity)


def _faded(tile: Image.Image, opacity: float) -> Image.Image:
    tile.putalpha(tile.getchannel("A").point(lambda value: round(value * opacity)))
    return tile


def _text_tile(text: str, size: tuple[int, int]) -> Image.Image:
    """White letters with a dark outline, which are read on any ground."""
    text = text.translate({ord(char): None for char in missing(text)})
    short, widest = min(size), size[0] * _WIDEST_TEXT
    letters = max(_SMALLEST_TEXT, round(short * _TEXT))
    while letters > max(_SMALLEST_TEXT, round(short * _TEXT / 2)) and width_of(text, letters) > widest:
        letters -= 1
    outline = max(1, math.ceil(letters / 12))
    lines = clipped(wrapped(text, letters, widest - 2 * outline), _MOST_LINES, letters, widest - 2 * outline)
    width = math.ceil(max(width_of(line, letters) for line in lines)) + 2 * outline
    height = math.ceil(len(lines) * letters * LINE_HEIGHT) + outline
    if width > size[0] or height > size[1]:
        raise NoRoomError(f"the text “{text[:30]}”")
    tile = Image.new("RGBA", (width, height), (*_DARK, 0))
    pen = ImageDraw.Draw(tile)
    for number, line in enumerate(lines):
        place = (outline, number * letters * LINE_HEIGHT + outline)
        write(pen, place, line, letters, _WHITE, stroke_width=outline, stroke_fill=_DARK)
    return tile


def _qr_tile(content: str, size: tuple[int, int]) -> Image.Image:
    """Always opaque, on white: cameras need the contrast."""
    rows = [bytes(0 if dark else 255 for dark in row) for row in qr_code(content).matrix_iter(border=_QUIET)]
    side, short = len(rows), min(size)
    scale = min(max(_LEAST_MODULE, round(short * _QR / side)), short // side)
    if scale < _LEAST_MODULE:
        raise NoRoomError(f"a QR code of {side * _LEAST_MODULE} pixels")
    code = Image.frombytes("L", (side, side), b"".join(rows))
    return code.resize((side * scale, side * scale), Image.Resampling.NEAREST).convert("RGBA")


def _logo_tile(data: bytes, size: tuple[int, int]) -> Image.Image:
    logo = plain(decode(data)).convert("RGBA")
    scale = min(min(size) * share / side for share, side in zip(_LOGO, logo.size, strict=True))
    width, height = (max(1, round(side * scale)) for side in logo.size)
    return logo.resize((width, height), Image.Resampling.LANCZOS)


def _stack(canvas: Image.Image, tiles: Sequence[Image.Image], position: Position, bottom: int) -> None:
    """The tiles one below the other, at one side or corner of the image."""
    margin = gap = round(min(canvas.size) * _MARGIN)
    height = sum(tile.height for tile in tiles) + gap * (len(tiles) - 1)
    vertical, horizontal = position.partition("-")[0], position.rpartition("-")[2]
    top = {"top": margin, "bottom": canvas.height - margin - bottom - height}.get(
        vertical, (canvas.height - height) // 2
    )
    for tile in tiles:
        left = {"left": margin, "right": canvas.width - margin - tile.width}.get(
            horizontal, (canvas.width - tile.width) // 2
        )
        _paste(canvas, tile, _inside(left, canvas.width - tile.width), _inside(top, canvas.height - tile.height))
        top += tile.height + gap


def _inside(wanted: int, most: int) -> int:
    return max(0, min(wanted, most))


def _paste(canvas: Image.Image, tile: Image.Image, left: int, top: int) -> None:
    if canvas.mode == "RGBA":
        canvas.alpha_composite(tile, (left, top))
    else:
        canvas.paste(tile, (left, top), tile)


def _draw_label(canvas: Image.Image, text: str, *, on_the_left: bool) -> int:
    """The AI label in a lower corner, on a dark pane. Returns the height that it takes at the bottom."""
    short = min(canvas.size)
    letters = math.ceil(short * _LABEL / _CAPITALS)
    if short * _LABEL < _SMALLEST_TEXT and width_of(text, _SMALLEST_TEXT) < canvas.width * _WIDEST_TEXT:
        letters = max(letters, _SMALLEST_TEXT)
    width = math.ceil(width_of(text, letters)) + letters
    height = math.ceil(letters * 1.5)
    tile = Image.new("RGBA", (min(width, canvas.width), height), (*_DARK, 0))
    pen = ImageDraw.Draw(tile)
    pen.rounded_rectangle((0, 0, tile.width - 1, height - 1), height // 3, fill=(*_DARK, round(255 * _PANE)))
    write(pen, (max(0, (tile.width - width_of(text, letters)) / 2), letters * 0.22), text, letters, _WHITE)
    margin = min(round(short * _MARGIN), max(0, canvas.width - tile.width))
    left = margin if on_the_left else canvas.width - margin - tile.width
    _paste(canvas, tile, left, max(0, canvas.height - margin - height))
    return height + margin

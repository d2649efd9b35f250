"""Text in the images: the fonts that travel with the plugin, and lines that fit a width, Chinese and Japanese too."""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

EUROPEAN = "NotoSans-Subset.ttf"
EAST_ASIAN = "NotoSansCJKsc-Subset.otf"
LINE_HEIGHT = 1.35
"""Distance of lines in multiples of the font size."""

_BASELINE = 0.86  # of the font size, below the top of a line
# One unit that a line is not broken in: a CJK character with the punctuation that may not begin a line, a word, spaces.
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_NOT_FIRST = "、。，．：；！？）」』】》〉…”’ー々"
_UNITS = re.compile(rf"[{_CJK}][{_NOT_FIRST}]*|[^\s{_CJK}]+[{_NOT_FIRST}]*|\s+")


@lru_cache(maxsize=64)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout gives the same image whether or not the container has libraqm.
    path = Path(__file__).parent / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def runs(text: str, before: str = EUROPEAN) -> list[tuple[str, str]]:
    """The text in pieces of one font each, with the font's name.

    Quotes and dashes follow the character before them; `before` is the font of what precedes the text on its line.
    """
    names = []
    for char in text:
        before = _font_name(char, before)
        names.append(before)
    pairs = zip(names, text, strict=True)
    return [(name, "".join(char for _, char in group)) for name, group in groupby(pairs, key=lambda pair: pair[0])]


def _font_name(char: str, before: str) -> str:
    if "\u2010" <= char <= "\u205e":
        return before
    return EUROPEAN if char < "\u2000" or "\u20a0" <= char <= "\u20c0" else EAST_ASIAN


@lru_cache(maxsize=4096)
def width_of(text: str, size: int, before: str = EUROPEAN) -> float:
    """Width of a piece of text on one line, in pixels."""
    return sum(font(name, size).getlength(run) for name, run in runs(text, before))


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    line: str,
    size: int,
    fill: tuple[int, int, int],
    **outline: object,
) -> None:
    """Draw one line of text with its upper left corner at `at`; `outline` as `ImageDraw.text` takes it."""
    x, y = at
    for name, run in runs(line):
        pen.text((x, y + _BASELINE * size), run, font=font(name, size), fill=fill, anchor="ls", **outline)  # type: ignore[arg-type]
        x += font(name, size).getlength(run)


def wrapped(text: str, size: int, width: float) -> list[str]:
    """`text` in lines of at most `width` pixels at a font size; its own line breaks stay."""
    return [line for paragraph in _printable(text).split("\n") for line in _lines(paragraph, size, width)]


def shortened(text: str, size: int, width: float) -> str:
    """`text` on one line, its end replaced by an ellipsis where it is too long."""
    longest = int(4 * width / size) + 8  # no letter is narrower than a quarter of the font size for long
    line = " ".join(_printable(text).split())
    if len(line) <= longest and width_of(line, size) <= width:
        return line
    fitting = bisect_right(range(min(len(line), longest)), width, key=lambda count: width_of(f"{line[:count]}…", size))
    return f"{line[: max(0, fitting - 1)]}…"


def clipped(lines: list[str], count: int, size: int, width: float) -> list[str]:
    """The first `count` lines, the last one with an ellipsis if there are more."""
    if len(lines) <= count:
        return lines
    return [*lines[: count - 1], shortened(f"{lines[count - 1]} …", size, width)]


def _printable(text: str) -> str:
    composed = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\t", " "))
    return "".join(char for char in composed if char == "\n" or not unicodedata.category(char).startswith("C"))


def _lines(paragraph: str, size: int, width: float) -> list[str]:
    lines, line, taken, before = [], "", 0.0, EUROPEAN
    for piece in (piece for unit in _UNITS.findall(paragraph) for piece in _pieces(unit, size, width)):
        if line and not piece.isspace() and taken + width_of(piece, size, before) > width:
            lines.append(line.rstrip())
            line, taken, before = "", 0.0, EUROPEAN
        if line or not piece.isspace():
            line, taken = line + piece, taken + width_of(piece, size, before)
            before = runs(piece, before)[-1][0]
    return [*lines, line.rstrip()]


def _pieces(unit: str, size: int, width: float) -> list[str]:
    """A word that is longer than a whole line, in pieces; every other unit as it is."""
    if unit.isspace() or width_of(unit, size) <= width:
        return [unit]
    pieces, piece = [], ""
    for char in unit:
        if piece and width_of(piece, size) + width_of(char, size) > width:
            pieces.append(piece)
            piece = ""
        piece += char
    return [*pieces, piece]

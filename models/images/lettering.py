"""Text on images: the shipped fonts, the width of a line, wrapping (in Chinese and Japanese too) and drawing.

A character that the shipped fonts lack is drawn with a font of the machine, if one has it.
"""

import os
import re
import unicodedata
from bisect import bisect_right
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

EUROPEAN = "NotoSans-Subset.ttf"
EAST_ASIAN = "NotoSansCJKsc-Subset.otf"
LINE_HEIGHT = 1.35  # distance of lines in multiples of the font size
_BASELINE = 0.86  # of the font size, below the top of a line
# One unit that a line is not broken in: a CJK character with the punctuation that may not begin a line, a word, spaces.
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_NOT_FIRST = "、。，．：；！？）」』】》〉…”’ー々"
_UNITS = re.compile(rf"[{_CJK}][{_NOT_FIRST}]*|[^\s{_CJK}]+[{_NOT_FIRST}]*|\s+")

_FONTS = Path(__file__).with_name("fonts")
_MACHINE_FONTS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "$WINDIR/Fonts"),
)
_MOST_FONTS = 400
_PROBE_SIZE = 16  # pixels

type Colour = tuple[int, int, int]


@lru_cache(maxsize=64)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout gives the same image whether or not the container has libraqm.
    return ImageFont.truetype(str(_FONTS / name), size, layout_engine=ImageFont.Layout.BASIC)


def missing(text: str) -> str:
    """The characters of `text`, each once, for which neither the shipped fonts nor the machine's have a glyph."""
    return "".join(char for char in dict.fromkeys(text) if not char.isspace() and not _draws(_font_name(char), char))


@lru_cache(maxsize=8192)
def _draws(name: str, char: str) -> bool:
    # Pillow does not show a font's table of characters; one without a glyph gets the glyph of no character.
    try:
        small = font(name, _PROBE_SIZE)
        mask, none = small.getmask(char), small.getmask("\uffff")
    except OSError:  # a bitmap font
        return False
    return mask.getbbox() is not None and (mask.size, bytes(mask)) != (none.size, bytes(none))


@lru_cache(maxsize=4096)
def _machine_font(char: str) -> str:
    """The path of a font of the machine that has the character, else an empty text."""
    return next((path for path in _machine_fonts() if _draws(path, char)), "")


@cache
def _machine_fonts() -> tuple[str, ...]:
    found = (path for folder in _MACHINE_FONTS for path in Path(os.path.expandvars(folder)).expanduser().rglob("*"))
    fonts = (str(path) for path in found if path.suffix.lower() in {".ttf", ".otf", ".ttc"})
    return tuple(sorted(fonts, key=lambda path: ("sans" not in path.casefold(), path)))[:_MOST_FONTS]


def runs(text: str, before: str = EUROPEAN) -> list[tuple[str, str]]:
    """The font and text of each piece; quotes and dashes take the font before them, at the beginning `before`."""
    names = []
    for char in text:
        before = _font_name(char, before)
        names.append(before)
    pairs = zip(names, text, strict=True)
    return [(name, "".join(char for _, char in group)) for name, group in groupby(pairs, key=lambda pair: pair[0])]


def _font_name(char: str, before: str = EUROPEAN) -> str:
    if "\u2010" <= char <= "\u205e":
        return before
    shipped = EUROPEAN if char < "\u2000" or "\u20a0" <= char <= "\u20c0" else EAST_ASIAN
    return shipped if char.isspace() or _draws(shipped, char) else _machine_font(char) or shipped


@lru_cache(maxsize=4096)
def width_of(text: str, size: int, before: str = EUROPEAN) -> float:
    """In pixels."""
    return sum(font(name, size).getlength(run) for name, run in runs(text, before))


def write(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], line: str, size: int, fill: Colour, **outline: object
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

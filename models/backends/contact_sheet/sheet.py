"""The drawn sheet: a grid of images with captions and a title. All of it is CPU work: run it in a thread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image, ImageDraw

from models.images.codec import decode, flatten, plain
from models.images.lettering import LINE_HEIGHT, clipped, width_of, wrapped, write
from models.images.sniff import OversizedImageError, sniff

_LARGEST_SHEET = 16_000_000  # pixels
_LARGEST_IMAGE = 40_000_000  # pixels of an image to be shown; a few are decoded at a time
_WANTED_SHAPE = 1.4  # width to height of a sheet whose columns are chosen here
_NARROWEST, _WIDEST = 0.4, 2.5  # shapes of a cell
_PAPER, _CARD, _EDGE = (244, 245, 247), (255, 255, 255), (224, 227, 232)
_INK, _PALE, _WARNING = (32, 36, 44), (130, 137, 148), (176, 60, 48)
_GAP = 0.05  # of the cell size
_CAPTION_LINES, _TITLE_LINES = 2, 2
_SMALLEST_TEXT = 10


@dataclass(frozen=True, slots=True)
class SheetCell:
    """An image in its cell, or (without one) the reason why it is missing."""

    caption: str
    image: Image.Image | None = None
    missing: str = ""


def shown_in_cell(data: bytes, cell_size: int) -> Image.Image:
    """A file as it is shown, at most `cell_size` pixels long. Raises NotAnImageError, BrokenImageError."""
    header = sniff(data)
    if header.pixels > _LARGEST_IMAGE:
        raise OversizedImageError(f"the image has more than {_LARGEST_IMAGE // 1_000_000} megapixels")
    image = flatten(plain(decode(data)))
    scale = cell_size / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Measures in pixels."""

    columns: int
    rows: int
    width: int
    height: int
    gap: int
    text: int
    caption: int
    """Height of a caption."""
    title: int
    """Height of the title with the space below it."""

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.columns * (self.width + self.gap) + self.gap,
            self.title + self.rows * (self.height + self.caption + self.gap) + self.gap,
        )

    def place(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, self.columns)
        return (
            self.gap + column * (self.width + self.gap),
            self.gap + self.title + row * (self.height + self.caption + self.gap),
        )


def drawn_sheet(cells: Sequence[SheetCell], title: str, columns: int, cell_size: int) -> tuple[Image.Image, int]:
    """The sheet, and the cell size it was drawn with: a sheet has at most 16 megapixels. `columns` 0: chosen here."""
    grid = _grid(cells, title, columns, cell_size)
    while grid.size[0] * grid.size[1] > _LARGEST_SHEET:
        cell_size = int(cell_size * min(0.95, math.sqrt(_LARGEST_SHEET / (grid.size[0] * grid.size[1]))))
        grid = _grid(cells, title, columns, cell_size)
    canvas = Image.new("RGB", grid.size, _PAPER)
    pen = ImageDraw.Draw(canvas)
    if title:
        size = _title_size(grid.text)
        _lines(pen, title, (grid.gap, grid.gap), size, grid.size[0] - 2 * grid.gap, _TITLE_LINES)
    for number, cell in enumerate(cells):
        _draw(canvas, pen, cell, grid, grid.place(number))
    return canvas, cell_size


def _grid(cells: Sequence[SheetCell], title: str, columns: int, cell_size: int) -> _Grid:
    shapes = [cell.image.width / cell.image.height for cell in cells if cell.image] or [1.0]
    shape = min(_WIDEST, max(_NARROWEST, median(shapes)))
    width = round(cell_size * min(1, shape))
    height = round(cell_size / max(1, shape))
    text = max(_SMALLEST_TEXT, cell_size // 20)
    gap = max(4, round(cell_size * _GAP))
    lines = max(len(_fitting(cell.caption, text, width, _CAPTION_LINES)) for cell in cells)
    caption = math.ceil(lines * text * LINE_HEIGHT + gap / 2)
    chosen = columns or _columns(len(cells), (width + gap) / (height + caption + gap))
    chosen = min(chosen, len(cells))
    title_width = chosen * (width + gap) - gap
    title_lines = _fitting(title, _title_size(text), title_width, _TITLE_LINES) if title else []
    above = math.ceil(len(title_lines) * _title_size(text) * LINE_HEIGHT + gap / 2) if title_lines else 0
    return _Grid(chosen, math.ceil(len(cells) / chosen), width, height, gap, text, caption, above)


def _title_size(text: int) -> int:
    return round(text * 1.5)


def _columns(count: int, cell_shape: float) -> int:
    """As near to the wanted shape of the sheet as whole columns come, with few empty cells in the last row."""

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        empty = (rows * columns - count) / count
        return abs(math.log(columns * cell_shape / rows / _WANTED_SHAPE)) + empty

    return min(range(1, count + 1), key=badness)


def _fitting(text: str, size: int, width: int, most: int) -> list[str]:
    return clipped(wrapped(text, size, width), most, size, width)


def _lines(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], size: int, width: int, most: int) -> None:
    for number, line in enumerate(_fitting(text, size, width, most)):
        write(pen, (at[0], at[1] + number * size * LINE_HEIGHT), line, size, _INK)


def _draw(canvas: Image.Image, pen: ImageDraw.ImageDraw, cell: SheetCell, grid: _Grid, at: tuple[int, int]) -> None:
    left, top = at
    pen.rectangle((left - 1, top - 1, left + grid.width, top + grid.height), fill=_CARD, outline=_EDGE)
    if cell.image is None:
        _say_missing(pen, cell.missing, grid, at)
    else:
        image = cell.image.copy()
        image.thumbnail((grid.width, grid.height), Image.Resampling.LANCZOS)
        canvas.paste(image, (left + (grid.width - image.width) // 2, top + (grid.height - image.height) // 2))
    _lines(pen, cell.caption, (left, top + grid.height + grid.gap // 4), grid.text, grid.width, _CAPTION_LINES)


def _say_missing(pen: ImageDraw.ImageDraw, reason: str, grid: _Grid, at: tuple[int, int]) -> None:
    room = grid.width - 2 * grid.gap
    lines = _fitting(reason, grid.text, room, max(1, int((grid.height - grid.gap) / (grid.text * LINE_HEIGHT))))
    y = at[1] + (grid.height - len(lines) * grid.text * LINE_HEIGHT) / 2
    for line in lines:
        x = at[0] + (grid.width - width_of(line, grid.text)) / 2
        write(pen, (x, y), line, grid.text, _WARNING)
        y += grid.text * LINE_HEIGHT

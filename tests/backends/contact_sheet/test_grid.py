"""The measures of a contact sheet, and an image as its cell shows it."""

from collections.abc import Sequence

import pytest
from PIL import Image

from models.backends.contact_sheet import sheet
from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet, shown_in_cell
from models.images.sniff import OversizedImageError
from tests.fakes import image_file

LONG = "one two three four five six seven eight nine ten " * 3


def cells(*sizes: tuple[int, int] | None, caption: str = "a") -> list[SheetCell]:
    return [SheetCell(caption, Image.new("L", size) if size else None) for size in sizes]


SQUARE, WIDE, TALL = (100, 100), (200, 100), (100, 200)


@pytest.mark.parametrize(
    ("shown", "title", "columns", "cell_size", "measures", "size"),
    [
        # Columns, rows, width, height, gap, letters, height of a caption and of the title.
        (cells(SQUARE), "", 0, 200, (1, 1, 200, 200, 10, 10, 19, 0), (220, 239)),
        (cells(SQUARE, caption=""), "", 0, 50, (1, 1, 50, 50, 4, 10, 16, 0), (58, 74)),
        (cells(SQUARE, SQUARE, SQUARE), "", 2, 400, (2, 2, 400, 400, 20, 20, 37, 0), (860, 934)),
        (cells(*[WIDE] * 4), "A title", 0, 400, (2, 2, 400, 200, 20, 20, 37, 51), (860, 585)),
        (cells(TALL, TALL), "", 1, 300, (1, 2, 150, 300, 15, 15, 28, 0), (180, 701)),
        (cells(TALL, TALL, WIDE), "", 5, 96, (3, 1, 48, 96, 5, 10, 16, 0), (164, 122)),
        (cells((1000, 100)), "", 0, 400, (1, 1, 400, 160, 20, 20, 37, 0), (440, 237)),
        (cells((100, 1000)), LONG, 0, 400, (1, 1, 160, 400, 20, 20, 37, 91), (200, 568)),
        (cells(None, SQUARE, caption=LONG), "", 0, 160, (2, 1, 160, 160, 8, 10, 31, 0), (344, 207)),
        (cells(None), "", 0, 500, (1, 1, 500, 500, 25, 25, 47, 0), (550, 597)),
        (cells(*[SQUARE] * 7), LONG, 3, 240, (3, 3, 240, 240, 12, 12, 23, 55), (768, 892)),
    ],
)
def test_the_measures_follow_from_the_images_the_captions_and_the_title(
    shown: Sequence[SheetCell],
    title: str,
    columns: int,
    cell_size: int,
    measures: tuple[int, ...],
    size: tuple[int, int],
) -> None:
    grid = sheet._grid(shown, title, columns, cell_size)
    assert grid == sheet._Grid(*measures)
    assert grid.size == size
    assert drawn_sheet(shown, title, columns, cell_size)[0].size == size


def test_cells_stand_in_rows_below_the_title() -> None:
    grid = sheet._Grid(columns=3, rows=2, width=100, height=80, gap=7, text=10, caption=20, title=50)
    assert [grid.place(number) for number in range(5)] == [(7, 57), (114, 57), (221, 57), (7, 164), (114, 164)]
    assert grid.size == (3 * 107 + 7, 50 + 2 * 107 + 7)


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        (0.5, [1, 2, 3, 4, 5, 3, 4, 4, 5, 5, 6, 6]),
        (0.8, [1, 2, 3, 2, 3, 3, 4, 4, 5, 5, 4, 4]),
        (1.0, [1, 2, 2, 2, 3, 3, 4, 4, 3, 4, 4, 4]),
        (1.4, [1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4]),
        (2.0, [1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]),
    ],
)
def test_the_columns_make_a_sheet_of_a_good_shape_with_few_empty_cells(shape: float, columns: list[int]) -> None:
    assert [sheet._columns(count, shape) for count in range(1, 13)] == columns


@pytest.mark.parametrize(
    ("size", "shown"),
    [((400, 200), (100, 50)), ((20, 40), (50, 100)), ((1000, 3), (100, 1)), ((3, 1000), (1, 100)), ((100, 100), (100, 100))],
)  # fmt: skip
def test_an_image_fills_its_cell_on_its_longer_side(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert shown_in_cell(image_file(*size), 100).size == shown


def test_an_image_of_too_many_pixels_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sheet._LARGEST_IMAGE == 40_000_000
    monkeypatch.setattr(sheet, "_LARGEST_IMAGE", 64 * 48)
    assert shown_in_cell(image_file(), 32).size == (32, 24)
    monkeypatch.setattr(sheet, "_LARGEST_IMAGE", 64 * 48 - 1)
    with pytest.raises(OversizedImageError, match="the image has more than 0 megapixels"):
        shown_in_cell(image_file(), 32)


def test_a_sheet_that_is_too_large_gets_smaller_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = cells(*[SQUARE] * 4)
    whole, used = drawn_sheet(shown, "", 2, 200)
    assert used == 200
    monkeypatch.setattr(sheet, "_LARGEST_SHEET", whole.width * whole.height)
    assert drawn_sheet(shown, "", 2, 200)[1] == 200
    monkeypatch.setattr(sheet, "_LARGEST_SHEET", whole.width * whole.height - 1)
    assert drawn_sheet(shown, "", 2, 200)[1] == 190
    monkeypatch.setattr(sheet, "_LARGEST_SHEET", whole.width * whole.height // 4)
    smaller, used = drawn_sheet(shown, "", 2, 200)
    assert used == 95
    assert smaller.width * smaller.height <= whole.width * whole.height // 4

"""Drawings of the plugin, and how they looked when they were last checked: `tests/fixtures/drawings/<name>.webp`.

After a wanted change `uv run python -m tests.drawings` writes the files anew; look at them before they are kept.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image, ImageChops

from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet, shown_in_cell
from models.backends.preview.drawing import PlaceholderImage, draw
from models.backends.preview.scenes import SceneOrder, scene
from tests.fakes import image_file

FOLDER = Path(__file__).parent / "fixtures" / "drawings"
_ROUNDING = 12  # of 255: another release of the font library may draw edges a little differently
_LONG = "A red fox in the snow, soft light of the morning, 雪地里的红狐，电影感光线。"


def _placeholder(width: int, height: int, **parts: object) -> Image.Image:
    values = {"model": "preview", "prompt": "a red fox", "seed": 7, "width": width, "height": height, **parts}
    return Image.open(io.BytesIO(draw(PlaceholderImage(**values))))  # type: ignore[arg-type]


def _sheet(cells: list[SheetCell], title: str, columns: int, cell_size: int) -> Image.Image:
    return drawn_sheet(cells, title, columns, cell_size)[0]


def _cell(number: int, width: int, height: int, cell_size: int, caption: str) -> SheetCell:
    colours = ((200, 30, 30), (30, 120, 60), (40, 60, 200), (220, 160, 20))
    data = image_file(width, height, colour=colours[number % len(colours)])
    return SheetCell(caption, shown_in_cell(data, cell_size))


def _mixed(cell_size: int) -> list[SheetCell]:
    return [
        _cell(0, 300, 200, cell_size, "Fox"),
        _cell(1, 100, 160, cell_size, "A tall one with a caption that needs two lines or is cut"),
        SheetCell("Lost", missing="the address replied with HTTP 403"),
        _cell(2, 900, 100, cell_size, "茶杯"),
        _cell(3, 64, 64, cell_size, ""),
    ]


_PHOTOS = (image_file(80, 40), image_file(40, 80, colour=(30, 120, 60)))
_MASK = image_file(80, 40, mode="L", colour=255)

DRAWINGS: Mapping[str, Callable[[], Image.Image]] = {
    "placeholder": lambda: _placeholder(320, 240, negative_prompt="blur, noise", images=_PHOTOS),
    "placeholder-masked": lambda: _placeholder(320, 240, images=_PHOTOS[:1], mask=_MASK),
    "placeholder-tall": lambda: _placeholder(120, 300, prompt=_LONG, seed=8),
    "placeholder-wide": lambda: _placeholder(400, 96, prompt=_LONG),
    "placeholder-without-badge": lambda: _placeholder(200, 95),
    "placeholder-tiny": lambda: _placeholder(16, 16),
    "placeholder-cut": lambda: _placeholder(240, 180, prompt=f"{_LONG} " * 20, model="a model with a long name " * 12),
    "placeholder-large": lambda: _placeholder(640, 480, prompt=_LONG).crop((0, 0, 240, 480)),
    "scene": lambda: scene(SceneOrder(prompt="a boat by night", width=90, height=120, seed=3)),
    "scene-beyond-the-drawn-size": lambda: scene(SceneOrder(prompt="wide", width=4000, height=12)),
    "sheet": lambda: _sheet(_mixed(96), "Autumn", 0, 96),
    "sheet-in-columns": lambda: _sheet(_mixed(120), "", 2, 120),
    "sheet-of-wide-images": lambda: _sheet([_cell(n, 300, 100, 160, f"{n}") for n in range(3)], "Wide 宽", 0, 160),
    "sheet-of-tall-images": lambda: _sheet([_cell(n, 100, 300, 100, f"{n}") for n in range(7)], "", 0, 100),
    "sheet-of-one-that-is-missing": lambda: _sheet([SheetCell("1", missing="gone " * 60)], "A title " * 20, 3, 110),
}


def drawn_before(name: str) -> Image.Image:
    return Image.open(FOLDER / f"{name}.webp").convert("RGB")


def look_alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images have one size and no pixel differs by more than rounding."""
    if one.size != other.size:
        return False
    channels = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    return all(max(channel.tobytes()) <= _ROUNDING for channel in channels)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in DRAWINGS.items():
        drawn().convert("RGB").save(FOLDER / f"{name}.webp", lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main()

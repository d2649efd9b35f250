"""Drawings of the plugin, and how they looked when they were last checked: `tests/fixtures/drawings/<name>.webp`.

After a wanted change `uv run python -m tests.drawings` writes the files anew; look at them before they are kept.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet, shown_in_cell
from models.backends.preview.drawing import PlaceholderImage, draw
from models.backends.preview.scenes import SceneOrder, scene
from models.backends.preview.scenes.reading import subjects, table
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


def _photo(width: int, height: int) -> Image.Image:
    """A red ball on a wall, as an input image."""
    photo = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(photo).ellipse((width // 3, height // 3, width * 2 // 3, height * 5 // 6), fill=(200, 40, 40))
    return photo


def _file(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _right_half(width: int, height: int) -> bytes:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (width // 2, 0, width, height))
    return _file(mask)


def _side_by_side(images: Sequence[Image.Image], columns: int = 8) -> Image.Image:
    """Images of about one size in rows."""
    width, height = max(one.width for one in images), max(one.height for one in images)
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (width * columns, height * rows), (128, 128, 128))
    for number, one in enumerate(images):
        canvas.paste(one, (number % columns * width, number // columns * height))
    return canvas


def _scenes(prompts: Sequence[str], size: tuple[int, int] = (72, 54), style: str = "") -> Image.Image:
    orders = (SceneOrder(prompt=one, width=size[0], height=size[1], seed=3, style=style) for one in prompts)
    return _side_by_side([scene(order) for order in orders])


def _words(name: str) -> list[str]:
    listed = subjects() if name == "subjects" else table(name)
    return [str(entry["words"][0]) for entry in listed.values() if entry.get("words")]


def _edits(prompts: Sequence[str], size: tuple[int, int] = (72, 54), mask: bytes | None = None) -> Image.Image:
    images = (_file(_photo(80, 60)),)
    return _side_by_side([_placeholder(*size, prompt=one, images=images, mask=mask) for one in prompts], 6)


_EDITS = (
    *("make it night", "at sunset", "at dawn", "make the ball blue", "add a cat", "add two birds", "in watercolor"),
    *(
        "on a beach",
        "extend the image",
        "snow",
        "rain",
        "fog",
        'write "SALE"',
        "something else",
        "pixel art",
        "a green tree",
    ),
)
_SHAPES = ((160, 40), (40, 120), (96, 96), (16, 16), (300, 24))

DRAWINGS: Mapping[str, Callable[[], Image.Image]] = {
    "placeholder": lambda: _placeholder(320, 240, negative_prompt="blur, noise"),
    "placeholder-tall": lambda: _placeholder(120, 300, prompt=_LONG, seed=8, painter="another"),
    "placeholder-wide": lambda: _placeholder(400, 96, prompt=_LONG),
    "placeholder-without-room": lambda: _placeholder(200, 95),
    "placeholder-tiny": lambda: _placeholder(16, 16),
    "placeholder-cut": lambda: _placeholder(240, 180, prompt=f"{_LONG} " * 20, model="a model with a long name " * 12),
    "placeholder-large": lambda: _placeholder(640, 480, prompt=_LONG).crop((0, 300, 240, 480)),
    "placeholder-of-images": lambda: _placeholder(
        240, 180, prompt="at sunset", images=[_file(_photo(80, 60)), image_file(80, 40), image_file(40, 80)]
    ),
    "placeholder-within-a-mask": lambda: _placeholder(
        240, 180, prompt="a yellow house", images=[_file(_photo(80, 60))], mask=_right_half(80, 60)
    ),
    "scenes-places": lambda: _scenes(_words("places")),
    "scenes-places-with-a-subject": lambda: _scenes(
        [f"two blue boats and a tree, {word}" for word in _words("places")]
    ),
    "scenes-places-at-night": lambda: _scenes([f"{word} at night" for word in _words("places")]),
    "scenes-times": lambda: _scenes([f"{place}, {word}" for place in ("lake", "city") for word in _words("times")]),
    "scenes-weather": lambda: _scenes([f"a house in a village, {word}" for word in _words("weather")]),
    "scenes-weather-indoors": lambda: _scenes([f"mountain and forest, {word}, sunset" for word in _words("weather")]),
    "scenes-styles": lambda: _scenes([f"a fox by a lake at sunset, {word}" for word in _words("styles")]),
    "scenes-styles-of-things": lambda: _scenes([f"a red mug in a studio, {word}" for word in _words("styles")]),
    "scenes-subjects": lambda: _scenes(_words("subjects"), (60, 48)),
    "scenes-several": lambda: _scenes([f"five {word}s" for word in _words("subjects")[::4]]),
    "scenes-colours": lambda: _scenes([f"a {word} balloon" for word in _words("colours")], (40, 40)),
    "scenes-lettering": lambda: _scenes(
        ['"SALE"', 'a cake "Happy birthday to you"', '“你好” "Two"', "nothing known"], (120, 90)
    ),
    "scenes-shapes": lambda: _side_by_side(
        [scene(SceneOrder(prompt="a castle on a hill", width=w, height=h, seed=5)) for w, h in _SHAPES], 2
    ),
    "edits": lambda: _edits(_EDITS),
    "edits-of-another-shape": lambda: _edits(("extend the image", "at night", "a cat"), (108, 54)),
    "edits-within-a-mask": lambda: _edits(
        ("a cat", "night", "remove it", "blue", "watercolor"), (80, 60), _right_half(80, 60)
    ),
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

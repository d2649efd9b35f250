"""Drawings of the plugin, and how they looked when they were last checked: `tests/fixtures/drawings/<name>.webp`.

After a wanted change `uv run python -m tests.drawings` writes the files anew; look at them before they are kept. What a
scene consists of is compared as numbers: see `compositions.py`.
"""

import io
import platform
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet, shown_in_cell
from models.backends.preview.drawing import PlaceholderImage, draw
from models.backends.preview.scenes import SceneOrder, scene
from models.backends.preview.scenes.canvas import Glow, Item, Paint, Shape, box, ellipse
from models.backends.preview.scenes.photo import extended, filled, foreground, in_manner_of, recoloured
from models.backends.preview.scenes.reading import table
from models.backends.preview.scenes.styles import Finishing, painted, style_of
from models.images.lettering import Colour
from models.images.stamps import Layer, LogoStamp, QRStamp, TextStamp
from tests.compositions import keep_compositions, words
from tests.fakes import image_file

FOLDER = Path(__file__).parent / "fixtures" / "drawings"
_ROUNDING = 0 if platform.machine() == "x86_64" else 12  # of 255: other processors round differently
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


def _in_style(name: str, width: int, height: int, over: Image.Image | None = None) -> Image.Image:
    """Shapes of every kind and a glow, painted in a style."""
    low, third = height * 0.6, width / 3
    items: list[Item] = [
        Shape([box(0, 0, width, low)], Paint((120, 180, 230), 1.0 if over is None else 0.4, (230, 220, 200))),
        Shape([box(0, low, width, height - low)], Paint((90, 150, 80), 1.0 if over is None else 0.7), edge=0.5),
        Glow((third * 2, 2.5, width - 1.5, third), (255, 240, 200), 0.9),
        Shape([ellipse(third * 2.5, third / 2, 4, 5.5)], Paint((250, 250, 235))),
        Shape([box(third / 2, height * 0.3, third, height * 0.5, 3)], Paint((200, 60, 50)), edge=1.0),
        Shape([box(third, height / 2, 3, 6.5), ellipse(third * 0.8, height / 2, 2.2, 2.2)], Paint((60, 60, 90), 0.8)),
        Shape([ellipse(third * 1.8, height * 0.7, third / 3, 7)], Paint((70, 90, 190), 1.0, (30, 40, 90)), edge=0.2),
    ]
    return painted(items, width, height, style_of(name), random.Random(5), over)  # noqa: S311 -- a composition


def _on_a_large_image(style: str) -> Image.Image:
    """The last steps of a style on a band near the lower end of a large image."""
    return Finishing(style_of(style), 1400, 1500).band(_photo(64, 48), 1440)


def _ellipse(width: int, height: int, bounds: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse(bounds, fill=255)
    return mask


def _cut_out(background: Colour, colour: Colour, radius: int = 11) -> Image.Image:
    """The mask of a disc in front of a plain background; grey where none is found."""
    image = Image.new("RGB", (60, 50), background)
    ImageDraw.Draw(image).ellipse((30 - radius, 25 - radius, 30 + radius, 25 + radius), fill=colour)
    ImageDraw.Draw(image).rectangle((3, 3, 8, 8), fill=colour)
    return (foreground(image) or Image.new("L", image.size, 128)).convert("RGB")


def _on_grey(width: int, height: int) -> Image.Image:
    """A red box in the middle of a grey image of 80 by 60 pixels."""
    image = Image.new("RGB", (80, 60), (230, 230, 226))
    image.paste(_RED, (40 - width // 2, 30 - height // 2, 40 + width // 2, 30 + height // 2))
    return image


def _of_colours() -> Image.Image:
    """All hues, with the vivid ones above and a red disc in the middle."""
    hues = Image.linear_gradient("L").rotate(90).resize((90, 60))
    strength = Image.linear_gradient("L").rotate(180).resize((90, 60))
    image = Image.merge("HSV", (hues, strength, Image.new("L", (90, 60), 220))).convert("RGB")
    ImageDraw.Draw(image).ellipse((30, 20, 60, 50), fill=_RED)
    return image


def _edits(prompts: Sequence[str], size: tuple[int, int] = (72, 54), mask: bytes | None = None) -> Image.Image:
    images = (_file(_photo(80, 60)),)
    return _side_by_side([_placeholder(*size, prompt=one, images=images, mask=mask) for one in prompts], 6)


def _stamped(width: int, height: int, mode: str = "RGB", **parts: object) -> Image.Image:
    canvas = _photo(width, height).convert(mode)
    Layer(**parts).draw(canvas)  # type: ignore[arg-type]
    return canvas.convert("RGB")


_LOGO = LogoStamp(image_file(30, 20, colour=(20, 140, 70)))
_STAMPS = (TextStamp("© Fox 2026 狐狸"), QRStamp("https://example.com"), _LOGO)
_EDITS = (
    *("make it night", "at sunset", "at dawn", "make the ball blue", "add a cat", "add two birds", "in watercolor"),
    *("on a beach", "extend the image", "snow", "rain", "fog", 'write "SALE"', "something else", "pixel art"),
    "a green tree",
)
_MORE_EDITS = (
    *("at midday", "autumn", "red", "change the red ball to yellow", "make the black ball green", "a ball and a cup"),
    *("put it on a wall", "in a studio, blue", "zoom out, at night, a fox", "line art of a cat", "without the ball"),
    *("add a car and a dog in winter", "a cat at sunset", "a dog as anime", "more of it", "加一只猫", "换成沙滩"),
)
_MASKED = ("a cat", "night", "remove it", "blue", "watercolor")
_MORE_MASKED = (
    "a green tree as anime",
    "remove it and add two cups",
    "forest with a fox",
    "a red wall",
    "去掉",
    "z",
    "a bird",
    "kite",
)
_SHAPES = ((160, 40), (40, 120), (96, 96), (16, 16), (300, 24))

_STYLES = ("", *table("styles"))
_RED, _BLUE, _GREY = (210, 50, 40), (50, 90, 190), (128, 130, 126)
_RECOLOURED = ((_BLUE,), (_GREY,), ((20, 20, 20),), ((250, 250, 250),), (_RED,), (_GREY, _BLUE), (_RED, (60, 170, 80)))
_PRODUCTS = (
    *(((230, 228, 224), _RED), ((30, 30, 34), _BLUE), ((120, 120, 120), (150, 140, 130))),
    *(((255, 255, 255), (0, 0, 0)), ((240, 240, 240), _GREY, 2), ((240, 240, 240), _GREY, 40)),
)

DRAWINGS: Mapping[str, Callable[[], Image.Image]] = {
    "styles": lambda: _side_by_side([_in_style(style, 64, 48) for style in _STYLES]),
    "styles-over-an-image": lambda: _side_by_side(
        [_in_style(style, 40, 60, _photo(40, 60)) for style in ("", "anime", "watercolor", "low-poly", "line-art")]
    ),
    "styles-in-pieces": lambda: _side_by_side(
        [_in_style(style, 600, 40) for style in _STYLES if style_of(style).pieces], 1
    ),
    "styles-on-large-images": lambda: _side_by_side([_on_a_large_image(style) for style in _STYLES]),
    "photos-extended": lambda: _side_by_side(
        [
            extended(_photo(40, 30), *to)[0]
            for to in (((90, 30),), ((40, 96),), ((90, 80), (7, 45)), ((90, 80), (45, 3)))
        ]
    ),
    "photos-filled": lambda: _side_by_side(
        [
            *(filled(_photo(90, 60), _ellipse(90, 60, box)) for box in ((20, 10, 60, 50), (60, 0, 90, 60))),
            filled(_photo(90, 60), _ellipse(90, 60, (-9, -9, 99, 69))),
            filled(_photo(200, 40), _ellipse(200, 40, (40, 5, 170, 36))),
        ]
    ),
    "photos-cut-out": lambda: _side_by_side([_cut_out(*colours) for colours in _PRODUCTS[:3]]),
    "photos-cut-out-or-not": lambda: _side_by_side([_cut_out(*colours) for colours in _PRODUCTS[3:]]),
    "photos-recoloured": lambda: _side_by_side([recoloured(_of_colours(), *colours) for colours in _RECOLOURED]),
    "photos-in-styles": lambda: _side_by_side([in_manner_of(_photo(64, 48), style_of(style)) for style in _STYLES]),
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
    "placeholder-of-many-images": lambda: _placeholder(
        200, 160, prompt="at sunset", images=[_file(_photo(80, 60)), *(image_file(30 + 9 * n, 50) for n in range(8))]
    ),
    "placeholder-within-a-mask": lambda: _placeholder(
        240, 180, prompt="a yellow house", images=[_file(_photo(80, 60))], mask=_right_half(80, 60)
    ),
    "scenes-places": lambda: _scenes(words("places")),
    "scenes-places-with-a-subject": lambda: _scenes([f"two blue boats and a tree, {word}" for word in words("places")]),
    "scenes-places-at-night": lambda: _scenes([f"{word} at night" for word in words("places")]),
    "scenes-times": lambda: _scenes([f"{place}, {word}" for place in ("lake", "city") for word in words("times")]),
    "scenes-weather": lambda: _scenes([f"a house in a village, {word}" for word in words("weather")]),
    "scenes-weather-indoors": lambda: _scenes([f"mountain and forest, {word}, sunset" for word in words("weather")]),
    "scenes-styles": lambda: _scenes([f"a fox by a lake at sunset, {word}" for word in words("styles")]),
    "scenes-styles-of-things": lambda: _scenes([f"a red mug in a studio, {word}" for word in words("styles")]),
    "scenes-subjects": lambda: _scenes(words("subjects"), (60, 48)),
    "scenes-several": lambda: _scenes([f"five {word}s" for word in words("subjects")[::4]]),
    "scenes-colours": lambda: _scenes([f"a {word} balloon" for word in words("colours")], (40, 40)),
    "scenes-lettering": lambda: _scenes(
        ['"SALE"', 'a cake "Happy birthday to you"', '“你好” "Two"', "nothing known"], (120, 90)
    ),
    "scenes-shapes": lambda: _side_by_side(
        [scene(SceneOrder(prompt="a castle on a hill", width=w, height=h, seed=5)) for w, h in _SHAPES], 2
    ),
    "edits": lambda: _edits(_EDITS),
    "edits-more": lambda: _edits(_MORE_EDITS[:8]),
    "edits-still-more": lambda: _edits(_MORE_EDITS[8:]),
    "edits-of-the-same-shape": lambda: _edits(
        ("", "improve it", "a cup", "red", "in rain", "from red to yellow"), (80, 60)
    ),
    "edits-of-a-large-subject": lambda: _side_by_side(
        [_placeholder(80, 60, prompt="on a beach", images=[_file(_on_grey(*size))]) for size in ((66, 30), (24, 52))]
    ),
    "edits-of-another-shape": lambda: _edits(("extend the image", "at night", "a cat"), (108, 54)),
    "edits-within-a-mask": lambda: _edits(_MASKED, (80, 60), _right_half(80, 60)),
    "edits-within-a-mask-more": lambda: _edits(_MORE_MASKED, (80, 60), _file(_ellipse(80, 60, (20, 10, 70, 55)))),
    "stamps": lambda: _side_by_side(
        [
            _stamped(400, 300, stamps=_STAMPS),
            _stamped(300, 400, stamps=_STAMPS[::2], position="top-left", opacity=0.5, label="AI"),
            _stamped(240, 240, "RGBA", stamps=_STAMPS[:2], position="bottom", label="AI generated"),
            _stamped(500, 200, stamps=[TextStamp("A text that needs two lines " * 5)], position="left", label="AI生成"),
        ],
        2,
    ),
    "sheet": lambda: _sheet(_mixed(96), "Autumn", 0, 96),
    "sheet-in-columns": lambda: _sheet(_mixed(120), "", 2, 120),
    "sheet-of-wide-images": lambda: _sheet([_cell(n, 300, 100, 160, f"{n}") for n in range(3)], "Wide 宽", 0, 160),
    "sheet-of-tall-images": lambda: _sheet([_cell(n, 100, 300, 100, f"{n}") for n in range(7)], "", 0, 100),
    "sheet-of-one-that-is-missing": lambda: _sheet([SheetCell("1", missing="gone " * 60)], "A title " * 20, 3, 110),
}


def drawn_before(name: str) -> Image.Image:
    return Image.open(FOLDER / f"{name}.webp").convert("RGB")


def drawings_of(start: str) -> list[str]:
    """The names of the drawings of one kind, for a test of each."""
    return [name for name in DRAWINGS if name.startswith(start)]


def looks_as_before(name: str) -> bool:
    """If a change was meant: `uv run python -m tests.drawings`."""
    return look_alike(DRAWINGS[name](), drawn_before(name))


def look_alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images have one size and no pixel differs by more than rounding."""
    if one.size != other.size:
        return False
    channels = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    return all(max(channel.tobytes()) <= _ROUNDING for channel in channels)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    keep_compositions()
    for name, drawn in DRAWINGS.items():
        drawn().convert("RGB").save(FOLDER / f"{name}.webp", lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main()

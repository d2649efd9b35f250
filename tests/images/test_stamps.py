"""Stamps and the visible label as they are seen: QR codes are decoded, text and label are measured."""

import io
from itertools import pairwise
from typing import get_args

import pytest
import zxingcpp
from PIL import Image, ImageChops

from models.images import stamps
from models.images.lettering import missing
from models.images.stamps import Layer, LogoStamp, QRStamp, TextStamp
from models.marks import Position
from tests.drawings import looks_as_before
from tests.fakes import image_file

LINK = "https://shop.example/item/12345?from=poster&lang=zh"
GROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128), "red": (220, 20, 20)}


def paper(size: tuple[int, int] = (512, 384), colour: object = "white", mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def drawn(layer: Layer, before: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    canvas = before.copy()
    told = layer.draw(canvas)
    return canvas, told


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    box = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("ground", GROUNDS.values(), ids=GROUNDS)
@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (2048, 600)])
def test_a_qr_code_is_read_on_every_ground(ground: object, size: tuple[int, int]) -> None:
    after, told = drawn(Layer((QRStamp(LINK),), opacity=0.3), paper(size, ground))
    assert [code.text for code in zxingcpp.read_barcodes(after)] == [LINK]
    assert told == ()


def test_a_qr_code_is_read_from_noise_in_jpeg() -> None:
    after, _ = drawn(Layer((QRStamp("微信扫一扫"),)), Image.effect_noise((640, 640), 120).convert("RGB"))
    file = io.BytesIO()
    after.save(file, "JPEG", quality=60)
    assert [code.text for code in zxingcpp.read_barcodes(Image.open(file))] == ["微信扫一扫"]


@pytest.mark.parametrize("ground", GROUNDS.values(), ids=GROUNDS)
def test_letters_stand_out_on_every_ground(ground: tuple[int, int, int]) -> None:
    """White letters have a dark outline, so that one of both differs from any ground."""
    before = paper(colour=ground)
    after, _ = drawn(Layer((TextStamp("新品上市 Sale"),)), before)
    difference = ImageChops.difference(before, after).convert("L")
    assert sum(difference.histogram()[70:]) > 400  # pixels


@pytest.mark.parametrize(
    ("position", "column", "row"),
    [
        *(("top-left", 0, 0), ("top", 1, 0), ("top-right", 2, 0), ("left", 0, 1), ("center", 1, 1)),
        *(("right", 2, 1), ("bottom-left", 0, 2), ("bottom", 1, 2), ("bottom-right", 2, 2)),
    ],
)
def test_the_position_is_where_a_stamp_is_put(position: Position, column: int, row: int) -> None:
    before = paper((600, 600))
    left, top, right, bottom = changed(before, drawn(Layer((TextStamp("A"),), position), before)[0])
    assert ((left + right) // 2 // 200, (top + bottom) // 2 // 200) == (column, row)


def test_several_stamps_do_not_cover_each_other() -> None:
    logo = LogoStamp(image_file(300, 100, colour=(255, 0, 0)))
    layer = Layer((logo, TextStamp("Sale"), QRStamp(LINK)), "center", 1.0)
    before = paper((600, 600))
    after, told = drawn(layer, before)
    assert told == ()
    assert [code.text for code in zxingcpp.read_barcodes(after)] == [LINK]
    rows = [ImageChops.difference(before, after).crop((0, y, 600, y + 1)).getbbox() is not None for y in range(600)]
    assert sum(later and not earlier for earlier, later in pairwise(rows)) >= 3


@pytest.mark.parametrize("words", ["AI generated", "AI生成"])
@pytest.mark.parametrize("size", [(1024, 768), (768, 1344), (256, 256), (4000, 400)])
def test_the_letters_of_the_label_have_a_twentieth_of_the_shortest_side(words: str, size: tuple[int, int]) -> None:
    """White on a dark pane: the rows with white pixels of the capital letters are counted."""
    after, _ = drawn(Layer(label=words), paper(size, "black"))
    left, _, right, bottom = changed(paper(size, "black"), after)
    white = after.convert("L").point(lambda value: 255 * (value > 128))
    first_letter = white.crop((left, 0, left + min(size) // 8, bottom)).getbbox()
    assert first_letter is not None
    assert first_letter[3] - first_letter[1] >= 0.05 * min(size)
    assert right <= size[0]


@pytest.mark.parametrize("position", ["bottom-left", "bottom", "bottom-right"])
def test_label_and_stamps_do_not_cover_each_other(position: Position) -> None:
    before = paper((600, 600))
    stamp, _ = drawn(Layer((QRStamp(LINK),), position), before)
    label, _ = drawn(Layer(position=position, label="AI生成"), before)
    both, _ = drawn(Layer((QRStamp(LINK),), position, label="AI生成"), before)
    assert [code.text for code in zxingcpp.read_barcodes(both)] == [LINK]
    left, top, right, bottom = changed(before, label)
    assert ImageChops.difference(both, label).crop((left, top, right, bottom)).getbbox() is None
    del stamp


def test_transparent_ground_stays_transparent() -> None:
    after, _ = drawn(Layer((TextStamp("Sale"),), label="AI生成"), paper(colour=(0, 0, 0, 0), mode="RGBA"))
    assert after.mode == "RGBA"
    assert after.getpixel((5, 5)) == (0, 0, 0, 0)
    assert sum(after.getchannel("A").histogram()[150:]) > 500  # pixels


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (64, 48), (16, 2000), (2000, 16)])
def test_what_has_no_room_is_left_out_and_told(size: tuple[int, int]) -> None:
    layer = Layer((TextStamp("新品上市 " * 20), QRStamp(LINK), LogoStamp(image_file())), label="AI生成")
    after, told = drawn(layer, paper(size))
    assert after.size == size
    assert "has no room for a QR code of 82 pixels; the stamp was left out" in told


def test_stamps_that_do_not_fit_below_each_other_are_left_out_from_the_last() -> None:
    after, told = drawn(Layer((QRStamp(LINK), QRStamp("second"), QRStamp("third"))), paper((260, 200)))
    assert [code.text for code in zxingcpp.read_barcodes(after)] == [LINK, "second"]
    assert len(told) == 1


def test_a_long_text_is_wrapped_and_cut() -> None:
    before = paper((512, 512))
    left, top, right, bottom = changed(before, drawn(Layer((TextStamp("手工采摘 无添加 " * 40),), "center"), before)[0])
    assert right - left <= 0.95 * 512
    assert bottom - top <= 0.3 * 512


def test_characters_without_a_glyph_are_known() -> None:
    """The shipped fonts hold GB 2312; no font has a glyph for a code point that is not assigned."""
    assert missing("AI生成 人工智能 简体繁體 かな 한글 äßçЖΩ") == ""
    assert missing("a\ue123b\U000e0fff") == "\ue123\U000e0fff"
    assert Layer((TextStamp("a\ue123"), QRStamp("\ue123"))).undrawable == "\ue123"


RED_LOGO = LogoStamp(image_file(280, 160, colour=(255, 0, 0)))
FLAT_LOGO = LogoStamp(image_file(300, 10, colour=(255, 0, 0)))


@pytest.mark.parametrize(
    ("size", "position", "stamp", "box"),
    [
        # A margin of 3 % of the shortest side; a code of 24 % with four modules of white around it.
        ((600, 600), "top-left", QRStamp("abc"), (38, 38, 143, 143)),
        ((600, 600), "center", QRStamp("abc"), (247, 247, 352, 352)),
        ((600, 600), "bottom-right", QRStamp("abc"), (457, 457, 562, 562)),
        ((1000, 400), "top", QRStamp("abc"), (468, 24, 531, 87)),
        ((1000, 400), "bottom", QRStamp("abc"), (468, 313, 531, 376)),
        ((100, 80), "left", QRStamp("abc"), (10, 19, 52, 61)),
        # A logo within 28 % by 16 %.
        ((600, 600), "top-left", RED_LOGO, (18, 18, 186, 114)),
        ((600, 600), "bottom", FLAT_LOGO, (216, 576, 384, 582)),
        ((1000, 400), "left", RED_LOGO, (12, 168, 124, 232)),
        ((100, 80), "bottom-right", FLAT_LOGO, (76, 77, 98, 78)),
        # Letters of 5 %, at least 9 pixels.
        ((600, 600), "top-left", TextStamp("Sale"), (19, 21, 80, 50)),
        ((600, 600), "bottom-right", TextStamp("Sale"), (520, 541, 581, 570)),
        ((1000, 400), "center", TextStamp("Sale"), (479, 187, 520, 206)),
        ((100, 80), "left", TextStamp("Sale"), (2, 34, 20, 43)),
    ],
)
def test_a_stamp_has_its_place_and_its_size(
    size: tuple[int, int], position: Position, stamp: QRStamp | LogoStamp | TextStamp, box: tuple[int, int, int, int]
) -> None:
    before = paper(size)
    after, told = drawn(Layer((stamp,), position, 1.0), before)
    assert (changed(before, after), told) == (box, ())


@pytest.mark.parametrize(
    ("size", "position", "label", "both"),
    [
        ((600, 600), "bottom-right", (18, 517, 103, 582), (18, 457, 562, 582)),
        ((600, 600), "bottom-left", (497, 517, 582, 582), (38, 457, 582, 582)),
        ((600, 600), "bottom", (18, 517, 103, 582), (18, 374, 352, 582)),
        ((600, 600), "top", (18, 517, 103, 582), (18, 38, 352, 582)),
        ((1000, 400), "bottom", (12, 344, 69, 388), (12, 257, 531, 388)),
        ((100, 80), "bottom-left", (80, 64, 98, 78), (10, 28, 98, 78)),
        ((100, 80), "bottom", (2, 64, 20, 78), (2, 12, 71, 78)),
    ],
)
def test_the_label_is_opposite_the_stamps_and_below_them_in_the_middle(
    size: tuple[int, int], position: Position, label: tuple[int, int, int, int], both: tuple[int, int, int, int]
) -> None:
    before = paper(size)
    assert changed(before, drawn(Layer(position=position, label="AI"), before)[0]) == label
    assert changed(before, drawn(Layer((QRStamp("abc"),), position, label="AI"), before)[0]) == both


@pytest.mark.parametrize(
    ("text", "size", "tile"),
    [
        ("Sale", (600, 600), (63, 44)),
        ("Sale", (1000, 400), (43, 29)),
        ("Sale", (100, 80), (18, 14)),
        ("one two three four five six seven eight nine ten " * 3, (600, 600), (519, 43)),
        ("one two three four five six seven eight nine ten " * 3, (1000, 400), (874, 20)),
        ("one two three four five six seven eight nine ten " * 3, (100, 80), (85, 50)),
        ("one two three four five six seven eight nine ten " * 3, (4000, 3000), (3499, 210)),
    ],
)
def test_long_texts_get_smaller_letters_down_to_the_half_and_then_lines(
    text: str, size: tuple[int, int], tile: tuple[int, int]
) -> None:
    assert stamps._text_tile(text, size).size == tile


def test_a_label_has_readable_letters_where_they_have_room() -> None:
    """Below 180 pixels a twentieth is less than nine pixels."""
    boxes = [
        changed(paper(size), drawn(Layer(label="AI"), paper(size))[0]) for size in ((100, 100), (179, 179), (14, 100))
    ]
    assert [right - left for left, _, right, _ in boxes] == [18, 26, 14]


@pytest.mark.parametrize(("sizes", "fitting"), [(((58, 58), (58, 100)), True), (((57, 57), (100, 57)), False)])
def test_a_code_needs_two_pixels_for_each_module(sizes: tuple[tuple[int, int], ...], fitting: bool) -> None:
    for size in sizes:
        after, told = drawn(Layer((QRStamp("abc"),), "center"), paper(size))
        assert [code.text for code in zxingcpp.read_barcodes(after)] == (["abc"] if fitting else [])
        assert told == (() if fitting else ("has no room for a QR code of 58 pixels; the stamp was left out",))


@pytest.mark.parametrize("position", get_args(Position.__value__))
def test_a_stamp_as_large_as_its_image_is_inside_it_at_every_position(position: Position) -> None:
    before = paper((58, 58), "black")
    in_the_middle, _ = drawn(Layer((QRStamp("abc"),), "center"), before)
    assert drawn(Layer((QRStamp("abc"),), position), before) == (in_the_middle, ())


def test_a_text_has_room_where_it_fits_exactly() -> None:
    width, height = stamps._text_tile("A", (100, 100)).size
    assert stamps._text_tile("A", (width, height)).size == (width, height)
    for size in ((width - 1, height), (width, height - 1)):
        with pytest.raises(stamps.NoRoomError, match="the text “A”"):
            stamps._text_tile("A", size)


@pytest.mark.parametrize(("height", "fitting"), [(120, 6), (111, 6), (110, 5)])
def test_stamps_below_each_other_need_a_margin_between_them(height: int, fitting: int) -> None:
    """Six logos of 16 pixels, and 3 pixels between two of them."""
    tiles, told = Layer((LogoStamp(image_file(10, 20)),) * 6)._tiles(paper((100, height)))
    assert (len(tiles), len(told)) == (fitting, 6 - fitting)


def test_opacity_counts_for_letters_and_logos() -> None:
    faded = stamps._faded(Image.new("RGBA", (1, 1), (1, 2, 3, 200)), 0.5)
    assert faded.getpixel((0, 0)) == (1, 2, 3, 100)
    half, _ = drawn(Layer((RED_LOGO,), "center", 0.5), paper((600, 600), "black"))
    assert half.getpixel((300, 300)) == (128, 0, 0)
    assert Layer().opacity == 0.8


def test_the_label_stands_on_a_dark_pane_of_three_quarters() -> None:
    after, _ = drawn(Layer(label="AI"), paper((600, 600)))
    assert after.getpixel((60, 519)) == (74, 77, 83)


def test_stamps_look_as_before() -> None:
    assert looks_as_before("stamps")

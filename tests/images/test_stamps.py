"""Stamps and the visible label as they are seen: QR codes are decoded, text and label are measured."""

import io
from itertools import pairwise

import pytest
import zxingcpp
from PIL import Image, ImageChops

from models.images.lettering import missing
from models.images.stamps import Layer, LogoStamp, QRStamp, TextStamp
from models.marks import Position
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

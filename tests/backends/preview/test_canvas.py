"""Shapes as polygons, and how they become pixels."""

import math
from collections.abc import Iterable
from itertools import pairwise

import pytest
from PIL import Image

from models.backends.preview.scenes.art import drawing, paint_of
from models.backends.preview.scenes.canvas import (
    Glow,
    Item,
    Outline,
    Paint,
    Point,
    Shape,
    box,
    curve,
    ellipse,
    rasterised,
    stroke,
)
from models.images.lettering import Colour

WHITE = (255, 255, 255)


def rounded(points: Iterable[Point]) -> list[Point]:
    return [(round(x, 3) + 0.0, round(y, 3) + 0.0) for x, y in points]


def grey(items: Iterable[Item], width: int, height: int, at: int, over: Image.Image | None = None) -> list[int]:
    """One row of the image."""
    image = rasterised(items, width, height, over=over).convert("L")
    return list(image.crop((0, at, width, at + 1)).tobytes())


def test_a_box_has_sharp_or_round_corners() -> None:
    assert box(1, 2, 10, 6) == [(1, 2), (11, 2), (11, 8), (1, 8)]
    corners = rounded(box(1, 2, 10, 6, 2))
    assert len(corners) == 28
    assert [corners[at] for at in (0, 6, 7, 13, 14, 20, 21, 27)] == [
        *((11, 6), (9, 8), (3, 8), (1, 6)),
        *((1, 4), (3, 2), (9, 2), (11, 4)),
    ]
    assert corners[3] == (round(9 + math.sqrt(2), 3), round(6 + math.sqrt(2), 3))
    assert rounded(box(0, 0, 4, 4, 9)) == rounded(box(0, 0, 4, 4, 2)), "no rounder than a circle"
    assert rounded(box(0, 0, 9, 4, 9)) == rounded(box(0, 0, 9, 4, 2))


@pytest.mark.parametrize(("across", "count"), [(0.1, 12), (4, 12), (40, 36), (100, 57), (9000, 180)])
def test_an_ellipse_has_as_many_corners_as_can_be_seen(across: float, count: int) -> None:
    assert len(ellipse(0, 0, across, across / 2)) == count
    assert len(ellipse(0, 0, across / 2, across)) == count


def test_an_ellipse_lies_around_its_middle() -> None:
    points = rounded(ellipse(3, 2, 4, 1))
    assert points[0] == (7, 2)
    assert points[3] == (3, 3)
    assert points[6] == (-1, 2)
    assert points[9] == (3, 1)


def test_a_stroke_has_round_ends_and_a_part_for_each_line() -> None:
    parts = stroke([(0, 0), (3, 4), (3, 4)], 2)
    assert len(parts) == 5
    assert rounded(parts[0]) == rounded(ellipse(0, 0, 1, 1))
    assert rounded(parts[1]) == rounded(ellipse(3, 4, 1, 1))
    assert rounded(parts[3]) == [(0.8, -0.6), (3.8, 3.4), (2.2, 4.6), (-0.8, 0.6)]
    assert rounded(parts[4]) == [(3, 4)] * 4


def test_a_curve_ends_at_its_last_point() -> None:
    quadratic = curve((0, 0), [(8, 0), (8, 8)])
    assert len(quadratic) == 16
    assert (quadratic[7], quadratic[-1]) == ((6, 2), (8, 8))
    cubic = curve((0, 0), [(0, 8), (8, 8), (8, 0)])
    assert (cubic[3], cubic[7], cubic[-1]) == ((1.25, 4.5), (4, 6), (8, 0))


@pytest.mark.parametrize(
    ("size", "edge"),
    [((40, 4), 64), ((1000, 400), 64), ((1001, 400), 85), ((1700, 1000), 85), ((1701, 1000), 128)],
    ids=str,
)
def test_smaller_images_have_finer_edges(size: tuple[int, int], edge: int) -> None:
    """A box that ends a little within a pixel: one of its 4, 3 or 2 columns is filled."""
    shape = Shape([box(-1, 1, 5 + 0.01, 2)], Paint(WHITE))
    assert grey([shape], *size, 1)[:6] == [255, 255, 255, 255, edge, 0]


def test_what_lies_outside_is_not_drawn() -> None:
    outside: list[Item] = [
        *(Shape([box(left, top, 3, 3)], Paint(WHITE, alpha)) for left, top in ((-9, 0), (20, 0)) for alpha in (1, 0.5)),
        *(
            Glow((left, top, left + 3, top + 3), WHITE, 1.0)
            for left, top in ((-9, 0), (20, 0), (0, -9), (0, 20), (-3.05, 0))
        ),
    ]
    assert rasterised(outside, 8, 8).getbbox() is None


def test_opacity_is_a_share_and_below_a_second_colour() -> None:
    over = Image.new("RGB", (8, 8), (100, 100, 100))
    half = Shape([box(2, 0, 4, 8)], Paint((200, 200, 200), 0.5))
    assert grey([half], 8, 8, 3, over=over.copy()) == [*(100, 100, 150, 150, 150, 150, 113, 100)]
    fading = rasterised([Shape([box(0, 2, 8, 4)], Paint((0, 0, 0), 1.0, (160, 80, 40)))], 8, 8, over=over)
    column = [fading.getpixel((4, y)) for y in range(8)]
    assert column == [
        *((100, 100, 100), (100, 100, 100), (15, 8, 4), (55, 28, 14)),
        *((95, 48, 24), (135, 68, 34), (115, 95, 85), (100, 100, 100)),
    ]


def test_the_bands_of_a_large_image_do_not_show() -> None:
    """Of 800 x 480 pixels there are two bands; a colour that fades and a glow cross their border."""
    items: list[Item] = [
        Shape([box(0, 40, 800, 400)], Paint((0, 0, 0), 1.0, (240, 240, 240))),
        Glow((300, 100, 500, 460), (255, 0, 0), 0.9),
        Shape([box(390, 300, 20, 40.5)], Paint((0, 0, 255), 0.5), outline=Outline((0, 255, 0), 2)),
    ]
    tops: list[int] = []

    def noted(band: Image.Image, top: int) -> Image.Image:
        tops.append(top)
        return band

    whole = rasterised(items, 800, 480, noted)
    assert tops == [0, 312]
    column = [whole.getpixel((100, y)) for y in range(480)]
    assert [sum(one) // 3 for one in column if isinstance(one, tuple)][40:440] == pytest.approx(
        [240 * (y + 0.5) / 400 for y in range(400)], abs=1
    )
    middle = [one[0] - one[2] for y in range(300, 330) if isinstance(one := whole.getpixel((360, y)), tuple)]
    assert all(abs(one - other) <= 4 for one, other in pairwise(middle))
    assert middle[0] > 60


def test_a_glow_is_full_in_the_middle_and_gone_at_the_edge() -> None:
    light = grey([Glow((0, 0, 40, 20), WHITE, 0.8)], 40, 20, 10)
    assert max(light) == pytest.approx(183, abs=2)
    assert light == pytest.approx(light[::-1], abs=6)
    assert light[:4] == pytest.approx([0, 1, 3, 5], abs=4)
    assert sorted(light[:20]) == light[:20]
    moved = grey([Glow((10, -5, 50, 15), WHITE, 0.8)], 40, 20, 5)
    assert moved[10:] == pytest.approx(light[:30], abs=8)


def test_an_outline_is_at_least_as_wide_as_can_be_drawn() -> None:
    def framed(width: float) -> list[int]:
        shape = Shape([box(4, 4, 12, 12)], Paint((0, 0, 0)), outline=Outline(WHITE, width))
        return grey([shape], 20, 20, 10)

    assert framed(2.0)[:8] == pytest.approx([0, 0, 0, 255, 255, 0, 0, 0], abs=70)
    assert sum(framed(4.0)) > 1.8 * sum(framed(2.0))
    assert sum(framed(0.01)) > 0


@pytest.mark.parametrize(
    ("line", "box_of_it"),
    [
        ("circle red 10 20 5", (5, 15, 15, 25)),
        ("oval red 10 20 5 2", (5, 18, 15, 22)),
        ("box red 1 2 3 4", (1, 2, 4, 6)),
        ("box red 1 2 3 4 1", (1, 2, 4, 6)),
        ("ring red 10 20 5 2", (4, 14, 16, 26)),
        ("line red 2 10 20 30 20", (9, 19, 31, 21)),
        ("poly red 1 2 3 4 5 0", (1, 0, 5, 4)),
        ("path red M 0 0 L 4 0 Q 8 0 8 4 C 8 8 4 8 0 8", (0, 0, 8, 8)),
    ],
)
def test_every_kind_of_line_draws_its_shape(line: str, box_of_it: tuple[float, ...]) -> None:
    (part,) = drawing(line)
    assert Shape(part.polygons, Paint(WHITE)).box == pytest.approx(box_of_it, abs=0.05)


def test_a_ring_is_open_in_the_middle() -> None:
    (part,) = drawing("ring red 10 10 6 2")
    image = rasterised([Shape(part.polygons, Paint(WHITE))], 20, 20)
    assert [image.getpixel((x, 10)) for x in (10, 4, 15)] == [(0, 0, 0), WHITE, WHITE]


@pytest.mark.parametrize(
    ("text", "paint"),
    [
        ("main", Paint((100, 50, 20))),
        ("main+50", Paint((114, 89, 74))),
        ("main-50", Paint((59, 35, 24))),
        ("main@40", Paint((100, 50, 20), 0.4)),
        ("main!", Paint((200, 100, 40))),
        ("lamp", Paint((20, 40, 60))),
        ("main!~", Paint((200, 100, 40), 1.0, (171, 89, 43))),
    ],
)
def test_a_paint_says_colour_shade_opacity_and_light(text: str, paint: Paint) -> None:
    own: dict[str, Colour] = {"main": (200, 100, 40), "lamp": (20, 40, 60)}
    assert paint_of(text, own, lambda seen: (seen[0] // 2, seen[1] // 2, seen[2] // 2)) == paint

"""Width, height and ratio: what a request means when several of them are given."""

import pytest

from models.parameters import RULES
from models.request.shape import nearest_ratio, settle_shape, size_for_ratio

SIDES = [RULES["width"].narrowed(default=1024), RULES["height"].narrowed(default=768)]
BARE_SIDES = [RULES["width"], RULES["height"]]
ALL = [*SIDES, RULES["aspect_ratio"]]


@pytest.mark.parametrize(
    ("rules", "given", "settled"),
    [
        (SIDES, {}, {"width": 1024, "height": 768}),
        (ALL, {"aspect_ratio": "16:9"}, {"aspect_ratio": "16:9"}),
        (ALL, {"width": 512, "height": 512, "aspect_ratio": "16:9"}, {"width": 512, "height": 512}),
        (ALL, {"width": 1024, "aspect_ratio": "16:9"}, {"width": 1024, "height": 576, "aspect_ratio": "16:9"}),
        (ALL, {"height": 576, "aspect_ratio": "16:9"}, {"width": 1024, "height": 576, "aspect_ratio": "16:9"}),
        (SIDES, {"width": 512}, {"width": 512, "height": 768}),
        (BARE_SIDES, {"height": 512}, {"width": 512, "height": 512}),
        (BARE_SIDES, {"aspect_ratio": "1:1"}, {"width": 1024, "height": 1024}),
        (BARE_SIDES, {"aspect_ratio": "16:9"}, {"width": 1344, "height": 768}),
        ([RULES["aspect_ratio"]], {"width": 512, "height": 512, "aspect_ratio": "1:1"}, {"aspect_ratio": "1:1"}),
    ],
)
def test_the_shape_that_was_meant(rules: object, given: dict[str, object], settled: dict[str, object]) -> None:
    assert settle_shape(rules, given) == settled  # type: ignore[arg-type]


def test_a_size_for_a_ratio_keeps_the_area() -> None:
    assert size_for_ratio("1:1") == (1024, 1024)
    assert size_for_ratio("2:3", pixels=1328 * 1328, multiple=16) == (1088, 1632)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1024, 1024), "1:1"),
        ((1152, 896), "5:4"),
        ((1216, 832), "3:2"),
        ((1792, 1024), "16:9"),
        ((2048, 512), "21:9"),
        ((768, 1344), "9:16"),
    ],
)
def test_the_nearest_ratio(size: tuple[int, int], ratio: str) -> None:
    choices = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
    assert nearest_ratio(*size, choices) == ratio

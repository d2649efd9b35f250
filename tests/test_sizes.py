"""Size and seed rules: the result is always supported, and a supported value is not changed."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sizes import (
    FreeSizes,
    ListedSizes,
    RatioSizes,
    SeedRule,
    Size,
    Wish,
    ratio_of,
    same_shape,
    shaped,
    wished_size,
)

PRESETS = {
    "1:1": (1024, 1024),
    "4:3": (1152, 864),
    "16:9": (1344, 768),
    "3:4": (864, 1152),
    "9:16": (768, 1344),
}
FREE_RULES = (
    FreeSizes(),
    FreeSizes(default=(1024, 1024), min_side=16),
    FreeSizes(multiple=8, min_side=64, max_side=2048),
    FreeSizes(multiple=16, min_area=512 * 512, max_area=2048 * 2048, max_ratio=8),
    FreeSizes(multiple=64, min_side=320, max_side=1536, min_area=262_144, max_area=1_048_576),
    FreeSizes(multiple=32, min_area=655_360, max_area=8_294_400, max_side=3840, max_ratio=3),
    FreeSizes(multiple=8, max_area=1_500_000, max_ratio=2.5, presets=PRESETS),
    FreeSizes(multiple=64, min_area=1_048_576, max_area=1_048_576),
    FreeSizes(multiple=1, min_side=512, max_side=512),
)
LISTED = ListedSizes(sizes=((1024, 1024), (1536, 1024), (1024, 1536), (512, 512)))
SIDES = st.integers(1, 20_000)


def is_legal(rule: FreeSizes, size: Size) -> bool:
    short, long = sorted(size)
    return (
        all(side % rule.multiple == 0 and rule.min_side <= side <= rule.max_side for side in size)
        and rule.min_area <= short * long <= rule.max_area
        and long <= short * rule.max_ratio
    )


@given(st.sampled_from(FREE_RULES), SIDES, SIDES)
def test_the_nearest_size_is_always_supported(rule: FreeSizes, width: int, height: int) -> None:
    assert is_legal(rule, rule.nearest((width, height)))


@given(st.sampled_from(FREE_RULES), st.floats(0.05, 20), st.integers(1000, 2**26))
def test_the_size_for_a_ratio_is_always_supported(rule: FreeSizes, ratio: float, pixels: int) -> None:
    used = rule.for_ratio(ratio, pixels)
    assert is_legal(rule, used) or used in rule.presets.values()


@given(st.sampled_from(FREE_RULES), SIDES, SIDES)
def test_a_supported_size_is_kept(rule: FreeSizes, width: int, height: int) -> None:
    wish = (width - width % rule.multiple, height - height % rule.multiple)
    if min(wish) and is_legal(rule, wish):
        assert rule.nearest(wish) == wish


@given(st.sampled_from(FREE_RULES), SIDES, SIDES)
def test_the_nearest_size_is_idempotent(rule: FreeSizes, width: int, height: int) -> None:
    once = rule.nearest((width, height))
    assert rule.nearest(once) == once


@given(
    multiple=st.sampled_from([1, 8, 16, 64]),
    sides=st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted),
    ratio=st.floats(1, 20),
    wish=st.tuples(SIDES, SIDES),
)
def test_rules_with_few_supported_sizes_find_one(
    multiple: int, sides: list[int], ratio: float, wish: tuple[int, int]
) -> None:
    low, high = sides
    rule = FreeSizes(multiple=multiple, min_side=low * multiple, max_side=high * multiple, max_ratio=ratio)
    assert is_legal(rule, rule.nearest(wish))


@pytest.mark.parametrize(
    ("rule", "wish", "used"),
    [
        (FreeSizes(multiple=8), (1023, 513), (1024, 512)),
        (FreeSizes(max_side=2048), (4096, 2048), (2048, 1024)),
        (FreeSizes(multiple=64, min_side=64), (10, 20), (64, 128)),
        (FreeSizes(max_area=1024 * 1024), (2048, 2048), (1024, 1024)),
        (FreeSizes(multiple=16, max_ratio=2), (2048, 512), (1440, 720)),
        (LISTED, (1600, 900), (1536, 1024)),
        (LISTED, (600, 600), (512, 512)),
        (LISTED, (1000, 1000), (1024, 1024)),
        (RatioSizes(ratios=("1:1", "16:9", "9:16")), (1920, 1080), (1365, 768)),
    ],
)
def test_the_shape_is_kept_before_the_number_of_pixels(rule: FreeSizes | ListedSizes, wish: Size, used: Size) -> None:
    assert rule.nearest(wish) == used


def test_a_ratio_without_a_size_uses_the_preset_of_its_shape() -> None:
    rule = FreeSizes(multiple=8, default=(1024, 1024), presets=PRESETS)
    assert rule.for_ratio(16 / 9, rule.pixels) == (1344, 768)
    assert rule.for_ratio(9 / 16, rule.pixels) == (768, 1344)


def test_a_ratio_with_a_pixel_count_uses_no_preset_of_another_size() -> None:
    rule = FreeSizes(multiple=8, default=(1024, 1024), presets=PRESETS)
    assert rule.for_ratio(16 / 9, 512 * 512) == (680, 384)


@given(st.sampled_from(LISTED.sizes))
def test_a_listed_size_is_kept(size: Size) -> None:
    assert LISTED.nearest(size) == size


@given(st.floats(0.02, 50), st.integers(256, 2**27))
def test_a_size_from_a_ratio_has_about_the_requested_pixels(ratio: float, pixels: int) -> None:
    width, height = shaped(ratio, pixels)
    assert math.prod((width, height)) == pytest.approx(pixels, rel=0.3, abs=200)


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
def test_the_nearest_ratio_is_found(size: Size, ratio: str) -> None:
    choices = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
    assert RatioSizes(ratios=choices).nearest_ratio(size) == ratio


def test_ratios_are_read_as_numbers() -> None:
    assert ratio_of("16:9") == pytest.approx(1.7778, abs=1e-4)
    assert ratio_of("1.91:1") == 1.91
    assert same_shape(ratio_of("16:9"), 1920 / 1080)
    assert not same_shape(1.5, 1.6)


@given(
    rule=st.builds(SeedRule, highest=st.sampled_from([10, 2**32 - 1, 2**64 - 1]), zero_is_random=st.booleans()),
    first=st.integers(1, 10),
    count=st.integers(1, 10),
)
def test_consecutive_seeds_are_in_range(rule: SeedRule, first: int, count: int) -> None:
    seeds = rule.following(first, count)
    assert seeds[0] == first
    assert len(seeds) == count
    assert all(rule.lowest <= seed <= rule.highest for seed in seeds)
    assert all(later == earlier + 1 or later == rule.lowest for earlier, later in pairwise(seeds))


def test_a_service_that_derives_seeds_itself_repeats_the_seed() -> None:
    assert SeedRule(highest=10, step=0).following(7, 3) == (7, 7, 7)


@pytest.mark.parametrize(("rule", "size"), [(FreeSizes(default=(512, 512)), (512, 512)), (None, (1024, 1024))])
def test_a_bare_ratio_means_the_pixels_of_the_rule(rule: FreeSizes | None, size: Size) -> None:
    assert wished_size(Wish(aspect_ratio="1:1"), rule) == size


@pytest.mark.parametrize(
    ("rule", "size", "kept"),
    [
        (FreeSizes(min_side=16), (16, 40), True),
        (FreeSizes(min_side=16), (15, 40), False),
        (FreeSizes(max_side=64), (64, 1), True),
        (FreeSizes(max_side=64), (65, 1), False),
        (FreeSizes(min_area=600), (20, 30), True),
        (FreeSizes(min_area=601), (20, 30), False),
        (FreeSizes(max_area=600), (20, 30), True),
        (FreeSizes(max_area=599), (20, 30), False),
        (FreeSizes(max_ratio=2), (40, 20), True),
        (FreeSizes(max_ratio=2), (41, 20), False),
        (FreeSizes(multiple=8), (16, 24), True),
        (FreeSizes(multiple=8), (16, 25), False),
        (FreeSizes(multiple=8), (17, 24), False),
        (FreeSizes(), (1, 1000), True),
        (FreeSizes(), (1, 1001), False),
        (FreeSizes(), (16_384, 17), True),
        (FreeSizes(), (16_385, 17), False),
    ],
)
def test_a_size_on_a_bound_is_kept_and_one_beyond_it_is_not(rule: FreeSizes, size: Size, kept: bool) -> None:
    for wish in (size, size[::-1]):
        assert (rule.nearest(wish) == wish) is kept


@pytest.mark.parametrize(
    ("rule", "wish", "used"),
    [
        (FreeSizes(min_side=512), (100, 300), (512, 1536)),
        (FreeSizes(min_side=512, max_side=1024), (100, 300), (512, 1024)),
        (FreeSizes(min_area=1_000_000), (500, 500), (1000, 1000)),
        (FreeSizes(max_area=250_000), (2000, 500), (1000, 250)),
        (FreeSizes(max_ratio=4, max_area=250_000), (10_000, 100), (1000, 250)),
        (FreeSizes(multiple=64), (97, 98), (128, 128)),
        (FreeSizes(multiple=64), (30, 30), (64, 64)),
        (FreeSizes(multiple=100, max_side=250), (240, 240), (200, 200)),
        (FreeSizes(multiple=100, max_side=200, min_side=200), (900, 900), (200, 200)),
        (FreeSizes(multiple=100, min_area=40_000, max_area=40_000), (150, 260), (200, 200)),
        (FreeSizes(multiple=100, min_area=40_000, max_area=40_000), (90, 500), (100, 400)),
        (FreeSizes(multiple=100, min_area=210_000, max_area=210_000, max_ratio=3), (4000, 50), (700, 300)),
    ],
)
def test_the_nearest_size_is_on_the_grid_and_within_all_bounds(rule: FreeSizes, wish: Size, used: Size) -> None:
    assert rule.nearest(wish) == used
    assert rule.nearest(wish[::-1]) == used[::-1]


def test_a_listed_size_of_the_same_shape_is_chosen_by_its_area() -> None:
    rule = ListedSizes(sizes=((512, 512), (1024, 1024), (2048, 2048)))
    sides = (100, 809, 810, 1619, 1620, 9000)
    assert [rule.nearest((side, side))[0] for side in sides] == [512, 512, 1024, 1024, 2048, 2048]


@pytest.mark.parametrize(
    ("rule", "pixels"),
    [
        (FreeSizes(), 1_048_576),
        (FreeSizes(default=(20, 30)), 600),
        (FreeSizes(default=(20, 30), area=700), 700),
        (RatioSizes(ratios=("1:1",)), 1_048_576),
    ],
)
def test_the_pixels_of_a_bare_ratio(rule: FreeSizes | RatioSizes, pixels: int) -> None:
    assert rule.pixels == pixels


@pytest.mark.parametrize(("one", "other", "alike"), [(1.0, 1.0009, True), (1.0, 1.0011, False), (1.0011, 1.0, False)])
def test_shapes_differ_from_a_thousandth_on(one: float, other: float, alike: bool) -> None:
    assert same_shape(one, other) is alike
    assert same_shape(1.0, 1.5, 1.5) is False


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        (Wish(width=1000, height=3), (1000, 3)),
        (Wish(width=900, aspect_ratio="3:2"), (900, 600)),
        (Wish(height=600, aspect_ratio="3:2"), (900, 600)),
        (Wish(width=1, aspect_ratio="9:1"), (1, 1)),
        (Wish(height=1, aspect_ratio="1:9"), (1, 1)),
        (Wish(width=900), (900, 900)),
        (Wish(aspect_ratio="4:1", pixels=400), (40, 10)),
        (Wish(aspect_ratio="4:1"), (2048, 512)),
        (Wish(aspect_ratio="100:1", pixels=4), (20, 1)),
    ],
)
def test_the_size_that_a_wish_means_without_a_rule(wish: Wish, size: Size) -> None:
    assert wished_size(wish, None) == size


def test_seeds_go_round_within_the_range() -> None:
    assert SeedRule(highest=10).following(9, 4) == (9, 10, 0, 1)
    assert SeedRule(highest=10, zero_is_random=True).following(9, 4) == (9, 10, 1, 2)
    assert SeedRule(highest=10, step=3).following(8, 3) == (8, 0, 3)
    assert (SeedRule(highest=10).draw, SeedRule(highest=10).lowest) == (True, 0)

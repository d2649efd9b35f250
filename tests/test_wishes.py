"""The resolver of width, height, ratio and seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.sizes import (
    FreeSizes,
    ListedSizes,
    NoSizes,
    RatioSizes,
    SeedRule,
    Size,
    SizeRule,
    Wish,
    area_of,
    same_shape,
    settle_seeds,
    settle_size,
    wish_of,
    wished_size,
)

FREE = FreeSizes(default=(1024, 768), multiple=8)
SDXL = FreeSizes(default=(1024, 1024), multiple=8, presets={"1:1": (1024, 1024), "16:9": (1344, 768)})
LISTED = ListedSizes(default=(1024, 1024), sizes=((1024, 1024), (1536, 1024), (1024, 1536)))
RATIOS = RatioSizes(ratios=("1:1", "16:9", "9:16"))
SEEDS = SeedRule(highest=100)
SIDE = st.none() | st.integers(1, 16_384)
RATIO = st.none() | st.sampled_from(["1:1", "16:9", "9:16", "1.91:1", "21:9"])


@pytest.mark.parametrize(
    ("rule", "wish", "size"),
    [
        (FREE, Wish(), (1024, 768)),
        (None, Wish(), None),
        (FreeSizes(), Wish(), None),
        (None, Wish(aspect_ratio="1:1"), (1024, 1024)),
        (FREE, Wish(width=512, height=512, aspect_ratio="16:9"), (512, 512)),
        (FREE, Wish(width=1024, aspect_ratio="16:9"), (1024, 576)),
        (FREE, Wish(height=576, aspect_ratio="16:9"), (1024, 576)),
        (FREE, Wish(width=512), (512, 384)),
        (FreeSizes(), Wish(height=512), (512, 512)),
        (SDXL, Wish(aspect_ratio="16:9"), (1344, 768)),
        (FREE, Wish(aspect_ratio="1:1", pixels=512 * 512), (512, 512)),
        (LISTED, Wish(width=1024, height=1536), (1024, 1536)),
        (RATIOS, Wish(aspect_ratio="1:1"), (1024, 1024)),
    ],
)
def test_the_requested_size_is_resolved(rule: SizeRule | None, wish: Wish, size: Size | None) -> None:
    assert settle_size(wish, rule, "the-model") == (size, ())


@pytest.mark.parametrize(
    ("rule", "wish", "size", "told"),
    [
        (FREE, Wish(width=1023, height=513), (1024, 512), "The size 1023×513 became 1024×512"),
        (FREE, Wish(width=1001), (1000, 752), "The width 1001 became 1000×752"),
        (FREE, Wish(height=770), (1024, 768), "The height 770 became 1024×768"),
        (LISTED, Wish(aspect_ratio="21:9"), (1536, 1024), "The aspect ratio 21:9 became 1536×1024"),
        (LISTED, Wish(width=640, height=480), (1536, 1024), "The size 640×480 became 1536×1024"),
        (RATIOS, Wish(aspect_ratio="3:2"), (1365, 768), "The aspect ratio 3:2 became 16:9"),
        (RATIOS, Wish(width=1920, height=1080), (1365, 768), "The size 1920×1080 became 16:9"),
    ],
)
def test_an_unsupported_size_becomes_the_nearest_and_both_are_named(
    rule: SizeRule, wish: Wish, size: Size, told: str
) -> None:
    assert settle_size(wish, rule, "the-model") == (size, (f"{told}, the nearest that the-model makes.",))


def test_a_model_without_sizes_gives_a_notice_for_a_size() -> None:
    rule = NoSizes(reason="the image keeps the size of the input image")
    assert settle_size(Wish(), rule, "m") == (None, ())
    told = "The aspect ratio 1:1 was not used: the image keeps the size of the input image."
    assert settle_size(Wish(aspect_ratio="1:1"), rule, "m") == (None, (told,))


@given(st.sampled_from([FREE, SDXL, LISTED, RATIOS, FreeSizes()]), SIDE, SIDE, RATIO)
def test_a_size_is_resolved_or_left_to_the_service_and_changes_give_a_notice(
    rule: FreeSizes | ListedSizes | RatioSizes, width: int | None, height: int | None, ratio: str | None
) -> None:
    wish = Wish(width=width, height=height, aspect_ratio=ratio)
    used, told = settle_size(wish, rule, "m")
    if wish == Wish():
        assert (used, told) == (rule.default, ())
        return
    assert used is not None
    wished = wished_size(wish, rule)
    if not told and (width or height):
        assert (width or used[0], height or used[1]) == used
    if not told:
        assert same_shape(used[0] / used[1], wished[0] / wished[1], 1.05)


@pytest.mark.parametrize(
    ("asked", "rule", "count", "seeds"),
    [
        (7, SEEDS, 3, (7, 8, 9)),
        (100, SEEDS, 2, (100, 0)),
        (0, SEEDS, 1, (0,)),
        (None, None, 2, ()),
        (None, SeedRule(highest=100, draw=False), 2, ()),
        (7, SeedRule(highest=100, step=0), 2, (7, 7)),
    ],
)
def test_there_is_one_seed_for_each_image(
    asked: int | None, rule: SeedRule | None, count: int, seeds: tuple[int, ...]
) -> None:
    assert settle_seeds(asked, rule, count, "The service") == (seeds, ())


def test_a_seed_for_a_service_without_seeds_gives_a_notice() -> None:
    seeds, told = settle_seeds(7, None, 2, "The service")
    assert seeds == ()
    assert told == ("The seed 7 was not used: The service takes none here.",)


def test_a_random_seed_is_within_the_bounds() -> None:
    rule = SeedRule(highest=2**64 - 1, drawn=3, zero_is_random=True)
    drawn = {settle_seeds(None, rule, 1, "The service")[0] for _ in range(200)}
    assert drawn == {(1,), (2,), (3,)}


def test_a_seed_that_the_service_treats_as_random_is_replaced_with_a_notice() -> None:
    (first, second), (told,) = settle_seeds(0, SeedRule(highest=100, zero_is_random=True), 2, "Stability AI")
    assert second == first % 100 + 1
    assert told == f"Seed 0 means random to Stability AI; {first} was used."


@pytest.mark.parametrize("seed", [-2, 101])
def test_a_seed_out_of_bounds_is_refused(seed: int) -> None:
    with pytest.raises(BadRequest, match="Give a number from 0 to 100"):
        settle_seeds(seed, SEEDS, 1, "The service")


def test_a_requested_shape_is_read_from_parameters() -> None:
    assert wish_of({"width": 5, "seed": 7, "steps": 30}, 99) == Wish(width=5, seed=7, pixels=99)
    assert area_of({"width": 20, "height": 10}) == 200
    assert area_of({"width": 20}) is None


@pytest.mark.parametrize(("ratio", "size", "told"), [("1.28:1", (640, 512), False), ("1.36:1", (640, 448), True)])
def test_a_side_that_completes_the_other_may_be_rounded_by_a_twentieth(ratio: str, size: Size, told: bool) -> None:
    used, notices = settle_size(Wish(width=640, aspect_ratio=ratio), FreeSizes(multiple=64), "m")
    assert used == size
    assert bool(notices) is told


def test_a_seed_may_be_the_highest_and_a_drawn_one_too() -> None:
    assert settle_seeds(100, SEEDS, 1, "The service") == ((100,), ())
    assert {settle_seeds(None, SeedRule(highest=2), 1, "The service")[0][0] for _ in range(100)} == {0, 1, 2}
    assert settle_seeds(1, SeedRule(highest=9, zero_is_random=True), 1, "The service") == ((1,), ())

"""Compression to a number of bytes with the least possible loss."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images import codec
from models.images.ai_label import label_of, labelled
from models.images.codec import decode, fit_file, squeezed
from models.images.sniff import Kind
from tests.fakes import image_file, noise

NOISE = decode(noise(300, 300))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("room", "kind", "how"),
    [
        (200_000, "webp", "saved as WebP without loss"),
        (200_000, "png", "compressed again as PNG without loss"),
        (75_000, "webp", "saved as WebP with quality 90"),
        (52_000, "webp", "saved as WebP with quality 65"),
        (68_000, "jpeg", "saved as JPEG with quality 80"),
        (10_000, "webp", "made smaller, 300×300 to"),
    ],
)
def test_each_compression_step_follows_if_the_previous_is_not_enough(room: int, kind: Kind, how: str) -> None:
    data, what = squeezed(NOISE, 124_000 if kind != "jpeg" else 0, room, kind, None)
    assert what.startswith(how)
    assert len(data) <= room


def test_a_very_large_lossless_image_stays_png() -> None:
    image = Image.linear_gradient("L").resize((2400, 2400)).convert("RGB")
    data, what = squeezed(image, 1_000_000, 1_000_000, "webp", None)
    assert (opened(data).format, what) == ("PNG", "compressed again as PNG without loss")


def test_a_quality_is_not_exceeded() -> None:
    _, what = squeezed(NOISE, 0, 1_000_000, "jpeg", 70)
    assert what == "saved as JPEG with quality 65"


def test_an_image_is_scaled_down_if_only_png_is_accepted() -> None:
    data, what = squeezed(NOISE, 0, 20_000, "png", None, lossy="png")
    assert opened(data).format == "PNG"
    assert what.endswith("as PNG")


def test_a_side_over_the_webp_limit_is_scaled_down() -> None:
    data, what = squeezed(Image.new("RGB", (17_000, 3)), 0, 2_000, "webp", None)
    assert opened(data).width < 16_384
    assert what.startswith("made smaller, 17000×3 to")


def test_an_impossible_size_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image fits into 10 bytes"):
        squeezed(NOISE, 0, 10, "webp", None)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.integers(1_000, 50_000),
    st.sampled_from(["png", "jpeg", "webp"]),
    st.none() | st.integers(1, 100),
    st.sampled_from(["RGB", "RGBA"]),
)
def test_the_size_limit_is_always_kept(
    size: tuple[int, int], room: int, kind: Kind, best: int | None, mode: str
) -> None:
    data, _ = squeezed(NOISE.crop((0, 0, *size)).convert(mode), 0, room, kind, best)
    assert len(data) <= room
    opened(data).load()


FLAT = Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize(
    ("size", "kind", "how"),
    [
        (1500, "webp", "saved as WebP without loss"),
        (1501, "webp", "saved as WebP with quality 90"),
        (1500, "png", "compressed again as PNG without loss"),
        (1501, "png", "saved as WebP with quality 90"),
        (1, "webp", "saved as WebP without loss"),
        (0, "webp", "saved as WebP with quality 90"),
        (1000, "jpeg", "saved as JPEG with quality 90"),
    ],
)
def test_a_lossless_copy_is_tried_where_it_may_fit(size: int, kind: Kind, how: str) -> None:
    """It rarely saves more than a third."""
    assert squeezed(FLAT, size, 1000, kind, None)[1] == how


@pytest.mark.parametrize(
    ("best", "quality"), [(None, 90), (100, 90), (90, 90), (89, 80), (80, 80), (79, 65), (65, 65), (64, 50), (50, 50)]
)
def test_the_best_quality_that_was_asked_for_is_the_first(best: int | None, quality: int) -> None:
    assert squeezed(FLAT, 0, 1000, "jpeg", best)[1] == f"saved as JPEG with quality {quality}"


@pytest.mark.parametrize(("best", "quality"), [(None, 80), (95, 80), (80, 80), (79, 79), (49, 49)])
def test_fewer_pixels_have_at_most_quality_80(best: int | None, quality: int) -> None:
    data, how = squeezed(NOISE, 0, 2_000, "jpeg", best)
    size = opened(data).size
    assert how == f"made smaller, 300×300 to {size[0]}×{size[1]}, as JPEG with quality {quality}"


def test_a_limit_that_is_met_exactly_is_met() -> None:
    whole = squeezed(NOISE, 0, 10**9, "jpeg", 90)[0]
    assert squeezed(NOISE, 0, len(whole), "jpeg", 90) == (whole, "saved as JPEG with quality 90")
    assert squeezed(NOISE, 0, len(whole) - 1, "jpeg", 90)[1] == "saved as JPEG with quality 80"
    lossless = codec.encode(NOISE, "webp", lossless=True)
    assert squeezed(NOISE, 1, len(lossless), "webp", 90) == (lossless, "saved as WebP without loss")
    assert squeezed(NOISE, 1, len(lossless) - 1, "webp", 90)[1] == "saved as WebP with quality 90"


@pytest.mark.parametrize(("height", "kind"), [(3000, "WebP"), (3001, "PNG")])
def test_webp_without_loss_ends_at_four_and_a_half_million_pixels(height: int, kind: str) -> None:
    how = squeezed(Image.new("RGB", (1500, height)), 1, 10**6, "webp", None)[1]
    assert how == ("saved as WebP without loss" if kind == "WebP" else "compressed again as PNG without loss")


@pytest.mark.parametrize(("size", "sampled"), [((2047, 3000), False), ((2048, 2048), True), ((3000, 2100), True)])
def test_big_images_are_judged_by_a_mosaic_from_all_over(size: tuple[int, int], sampled: bool) -> None:
    down = Image.linear_gradient("L")
    image = Image.merge("LA", (down, down.transpose(Image.Transpose.TRANSPOSE))).resize(size)
    sample = codec._sample(image)
    assert (sample is not image) is sampled
    if sampled:
        assert sample.size == (1024, 1024)
        corners = [(0, 0), (1023, 0), (0, 1023), (1023, 1023)]
        assert [sample.getpixel(at) for at in corners] == [
            image.getpixel((x and size[0] - 1, y and size[1] - 1)) for x, y in corners
        ]
        assert sample.getpixel((256, 512)) == image.getpixel(((size[0] - 256) // 3, (size[1] - 256) * 2 // 3))


def test_a_prediction_counts_the_share_of_the_sample() -> None:
    sample = Image.new("L", (10, 10))
    assert codec._predicted(Image.new("L", (20, 30)), sample, "png", 90) == 6 * len(codec.encode(sample, "png"))


def labelled_file(kind: str = "PNG", *, animated: bool = False) -> bytes:
    out = io.BytesIO()
    more = [Image.effect_noise((200, 200), 80).convert("RGB")] if animated else []
    NOISE.crop((0, 0, 200, 200)).save(out, kind, **({"save_all": True, "append_images": more} if animated else {}))
    return labelled(out.getvalue(), "Producer", "1", edited=False)[0]


@pytest.mark.parametrize(
    ("kind", "asked", "made"),
    [
        ("PNG", None, "WEBP"),
        ("PNG", "png", "WEBP"),
        ("PNG", "jpeg", "JPEG"),
        ("JPEG", None, "JPEG"),
        ("JPEG", "webp", "WEBP"),
        ("WEBP", None, "WEBP"),
    ],
)
def test_a_file_that_is_made_to_fit_keeps_its_kind_and_its_label(kind: str, asked: str | None, made: str) -> None:
    data, told = codec.fit_file(labelled_file(kind), 12_000, asked, None)
    assert (opened(data).format, len(data) <= 12_000, len(told)) == (made, True, 1)
    assert label_of(data) == label_of(labelled_file(kind))


def test_a_file_without_room_for_its_label_says_so() -> None:
    data, told = codec.fit_file(labelled_file(), 1_500, None, None)
    assert told[0] == "lost its AI label for want of room"
    assert label_of(data) is None


@pytest.mark.parametrize(("room", "kept"), [(0, True), (-1, False)])
def test_a_label_may_take_half_of_the_room(room: int, kept: bool) -> None:
    """With a hundred bytes around its packet."""
    data = labelled_file()
    label = label_of(data)
    assert label is not None
    most = 2 * (len(label.packet) + 100) + room
    made, _ = fit_file(data, most, None, None)
    assert len(made) <= most
    assert label_of(made) == (label if kept else None)


@pytest.mark.parametrize(("mode", "colour", "made"), [("RGB", (1, 2, 3), "JPEG"), ("RGBA", (1, 2, 3, 9), "WEBP")])
def test_a_lossy_file_with_transparency_becomes_webp(mode: str, colour: object, made: str) -> None:
    data, _ = fit_file(image_file(kind="AVIF", mode=mode, colour=colour), 10_000, None, None)
    assert opened(data).format == made


def test_a_strip_that_webp_cannot_hold_stays_png() -> None:
    what = squeezed(Image.new("RGB", (17_000, 3)), 1, 10_000, "webp", None)[1]
    assert what == "compressed again as PNG without loss"


def test_an_animation_that_is_made_to_fit_says_so() -> None:
    data, told = codec.fit_file(labelled_file("WEBP", animated=True), 12_000, None, None)
    assert told[0] == "lost its animation; this is the first frame"
    assert len(told) == 2
    assert not codec.is_animated(opened(data))


def test_a_lossy_image_is_not_saved_without_loss() -> None:
    out = io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(out, "JPEG")
    _, done = fit_file(out.getvalue(), len(out.getvalue()), "webp", None)
    assert done == ("was saved as WebP with quality 90",)


def test_a_big_image_that_fits_keeps_its_pixels() -> None:
    data, what = squeezed(Image.new("RGB", (2048, 2048)), 0, 1_000_000, "jpeg", None)
    assert (opened(data).size, what) == ((2048, 2048), "saved as JPEG with quality 90")

"""Compression to a number of bytes with the least possible loss."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images.codec import decode, squeezed
from models.images.sniff import Kind
from tests.fakes import noise

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

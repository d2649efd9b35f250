"""Files drawn anew: every frame, its time and the number of rounds stay."""

import io
from typing import Any

import pytest
from PIL import Image

from models.images.redraw import DecodedFile, Draw
from tests.fakes import image_file

COLOURS = ("red", "lime", "blue")


def animation(kind: str, **save: Any) -> bytes:
    out = io.BytesIO()
    first, *others = (Image.new("RGB", (48, 32), colour) for colour in COLOURS)
    first.save(out, kind, save_all=True, append_images=others, duration=[50, 200, 70], lossless=True, **save)
    return out.getvalue()


def frames(data: bytes) -> list[tuple[Any, Any]]:
    """The middle of each frame, and the upper left corner, where the tests draw."""
    image = Image.open(io.BytesIO(data))
    seen = []
    for number in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(number)
        frame = image.convert("RGB")
        seen.append((frame.getpixel((24, 16)), frame.getpixel((1, 1))))
    return seen


def dotted(canvas: Image.Image) -> tuple[str, ...]:
    canvas.paste((255, 255, 255, 255), (0, 0, 4, 4))
    return ("a dot was drawn",)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("rounds", [0, 3])
def test_every_frame_of_an_animation_is_drawn_on(kind: str, rounds: int) -> None:
    made, told = DecodedFile.of(animation(kind, loop=rounds)).redrawn(dotted, None)
    image = Image.open(io.BytesIO(made))
    assert told == ("a dot was drawn",)
    assert image.format == kind
    assert image.info["loop"] == rounds
    shown = frames(made)
    assert len(shown) == len(COLOURS)
    for (middle, corner), wanted in zip(shown, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
        assert all(abs(one - other) < 30 for one, other in zip(middle, wanted, strict=True))
        assert min(corner) > 200


def test_an_animation_that_repeats_without_end_goes_on_so() -> None:
    made, _ = DecodedFile.of(animation("WEBP")).redrawn(dotted, None)
    assert Image.open(io.BytesIO(made)).info["loop"] == 0


def test_the_second_image_of_a_camera_file_is_no_frame() -> None:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(
        out, "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32), "lime")]
    )
    opened = DecodedFile.of(out.getvalue())
    assert not opened.animated
    assert opened.kind == "jpeg"


@pytest.mark.parametrize("draw", [None, dotted])
def test_a_variant_has_exactly_its_size_with_or_without_a_drawing(draw: Draw | None) -> None:
    made, told = DecodedFile.of(image_file(64, 48)).cut((30, 20), draw, None)
    assert Image.open(io.BytesIO(made)).size == (30, 20)
    assert told == (("a dot was drawn",) if draw else ())

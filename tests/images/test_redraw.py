"""Files drawn anew: every frame, its time and the number of rounds stay."""

import io
from typing import Any

import pytest
from PIL import Image

from models.images import redraw
from models.images.codec import decode, encode
from models.images.redraw import DecodedFile, Draw, thumbnail
from models.images.sniff import BrokenImageError
from tests.fakes import image_file, noise

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


@pytest.mark.parametrize(("asked", "used"), [(None, 95), (94, 94), (1, 1)])
def test_a_file_that_is_drawn_anew_has_quality_95_unless_another_was_asked_for(asked: int | None, used: int) -> None:
    data = noise(64, 48, kind="JPEG")
    made, _ = DecodedFile.of(data).redrawn(lambda _: (), asked)
    assert made == encode(decode(data), "jpeg", used)
    cut, _ = DecodedFile.of(data).cut((64, 48), None, asked)
    assert cut == encode(decode(data), "jpeg", used)


def test_the_frames_have_quality_95_unless_another_was_asked_for() -> None:
    file = DecodedFile.of(animation("WEBP"))
    usual, best, worst = (file.redrawn(speckled, quality)[0] for quality in (None, 95, 1))
    assert usual == best
    assert len(worst) < len(best)


def speckled(canvas: Image.Image) -> tuple[str, ...]:
    canvas.paste(Image.radial_gradient("L").resize(canvas.size))
    return ()


def test_a_still_of_an_animation_that_was_drawn_anew_is_its_first_frame() -> None:
    file = DecodedFile.of(animation("PNG"))
    file.redrawn(dotted, None)
    assert file.still().getpixel((24, 16)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("kind", "made"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "png"), ("BMP", "png")]
)
def test_the_format_of_a_file_that_is_drawn_anew(kind: str, made: str) -> None:
    assert DecodedFile.of(image_file(kind=kind)).kind == made
    assert DecodedFile.of(animation("GIF")).kind == "webp"


def test_a_still_is_a_copy_that_may_be_drawn_on() -> None:
    file = DecodedFile.of(image_file())
    dotted(file.still())
    assert file.image.getpixel((0, 0)) == (200, 30, 30)
    palette = DecodedFile.of(image_file(mode="P", colour=3))
    assert palette.still().mode == "RGB"


def test_each_frame_keeps_its_time_and_one_without_a_time_has_a_tenth_of_a_second() -> None:
    made, _ = DecodedFile.of(animation("PNG")).redrawn(dotted, None)
    image = Image.open(io.BytesIO(made))
    times = []
    for number in range(3):
        image.seek(number)
        times.append(image.info["duration"])
    assert times == [50, 200, 70]
    out = io.BytesIO()
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(out, "PNG", save_all=True, append_images=[second])
    timeless, _ = DecodedFile.of(out.getvalue()).redrawn(dotted, None)
    assert Image.open(io.BytesIO(timeless)).info["duration"] == 100


def test_an_animation_with_too_many_pixels_is_not_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redraw._MOST_ANIMATED == 33_554_432
    monkeypatch.setattr(redraw, "_MOST_ANIMATED", 48 * 32 * 3)
    DecodedFile.of(animation("PNG")).redrawn(dotted, None)
    monkeypatch.setattr(redraw, "_MOST_ANIMATED", 48 * 32 * 3 - 1)
    with pytest.raises(BrokenImageError, match="the animation is too long to be drawn anew"):
        DecodedFile.of(animation("PNG")).redrawn(dotted, None)


@pytest.mark.parametrize(("side", "size"), [(32, (32, 24)), (64, (64, 48)), (100, (64, 48))])
def test_a_thumbnail_is_a_webp_of_at_most_its_side(side: int, size: tuple[int, int]) -> None:
    made = Image.open(io.BytesIO(thumbnail(image_file(64, 48), side)))
    assert (made.format, made.size) == ("WEBP", size)
    data = noise(64, 48)
    assert thumbnail(data, 64) == encode(decode(data), "webp", 80)

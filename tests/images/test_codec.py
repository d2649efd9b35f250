"""Decoding and encoding."""

import io

import gevent
import pytest
from PIL import Image

from models.images import codec, in_thread
from models.images.codec import decode, encodable, encode, flatten, has_alpha, is_animated, plain
from models.images.sniff import BrokenImageError, Kind
from tests.fakes import image_file, noise


def saved(image: Image.Image, kind: str, **save: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **save)
    return out.getvalue()


def test_other_greenlets_run_while_an_image_is_encoded() -> None:
    """Heartbeats must continue; encoding a large image takes a second."""
    image = decode(noise(900, 900))
    beats = 0

    def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            gevent.sleep(0.001)

    heart = gevent.spawn(beat)
    in_thread(encode, image, "webp", 90)
    heart.kill()
    assert beats > 5


def test_a_damaged_frame_of_an_animation_is_found() -> None:
    frames = [Image.effect_noise((60, 60), 90) for _ in range(3)]
    whole = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decode(whole)
    with pytest.raises(BrokenImageError):
        decode(whole[: len(whole) * 5 // 6])


def test_a_plain_image_is_not_copied() -> None:
    image = decode(image_file())
    assert plain(image) is image


@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("RGBA", (1, 2, 3, 255), "RGB"), ("RGBA", (1, 2, 3, 9), "RGBA")]
)
def test_alpha_counts_only_if_a_pixel_is_transparent(mode: str, colour: object, expected: str) -> None:
    image = decode(image_file(mode=mode, colour=colour))
    assert plain(image).mode == expected
    assert has_alpha(image) == (expected == "RGBA")


def test_an_rgb_profile_is_kept_and_a_cmyk_profile_is_not() -> None:
    profile = b"profile" * 20
    kept = encode(plain(decode(image_file(icc_profile=profile))), "jpeg")
    assert decode(kept).info["icc_profile"] == profile
    inks = image_file(kind="TIFF", mode="CMYK", colour=(0, 0, 0, 0), icc_profile=profile)
    assert not decode(encode(plain(decode(inks)), "jpeg")).info.get("icc_profile")


def test_the_profile_of_an_opaque_image_stays_without_its_alpha() -> None:
    profile = b"profile" * 20
    image = plain(decode(image_file(mode="RGBA", colour=(1, 2, 3, 255), icc_profile=profile)))
    assert (image.mode, image.info["icc_profile"]) == ("RGB", profile)


def test_a_png_is_compressed_by_level_3_and_a_lossless_webp_by_the_fast_method() -> None:
    image = decode(noise(64, 64)).resize((256, 256), Image.Resampling.BICUBIC)
    assert encode(image, "png") == saved(image, "PNG", compress_level=3) != saved(image, "PNG", compress_level=4)
    lossless = saved(image, "WEBP", lossless=True, quality=20, method=0)
    assert encode(image, "webp", lossless=True) == lossless != saved(image, "WEBP", lossless=True, quality=20, method=1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), "the file ends in the middle of the image"),
        (EOFError("no more data"), "the file ends in the middle of the image"),
        (RuntimeError("Invalid image"), "the file is damaged (Invalid image)"),
    ],
)
def test_what_a_decoder_meets_is_damage_or_an_early_end(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(BrokenImageError) as refused:
        decode(image_file())
    assert str(refused.value) == said


def test_an_animation_shows_its_first_frame_after_all_were_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        image = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_so_many_frames_are_read_as_an_image_has_pixels_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third frame is damaged."""
    frames = [Image.effect_noise((60, 60), 90) for _ in range(3)]
    whole = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    damaged = whole[: len(whole) * 5 // 6]
    monkeypatch.setattr(codec, "MAX_PIXELS", 2 * 60 * 60)
    decode(damaged)
    monkeypatch.setattr(codec, "MAX_PIXELS", 3 * 60 * 60)
    with pytest.raises(BrokenImageError):
        decode(damaged)


def test_a_huge_colour_profile_is_dropped() -> None:
    image = plain(decode(image_file(icc_profile=bytes(200_000))))
    assert all(len(encode(image, kind)) < 10_000 for kind in ("png", "jpeg", "webp"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(orientation: int) -> None:
    """The top left corner in a viewer stays the top left corner."""
    upright = Image.new("RGB", (40, 20))
    upright.paste("red", (0, 0, 10, 10))
    stored = upright
    for step in {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, []):
        stored = upright.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = plain(decode(saved(stored, "PNG", exif=exif)))
    assert turned.size == (40, 20)
    assert turned.getpixel((3, 3)) == (255, 0, 0)
    assert turned.getpixel((36, 16)) == (0, 0, 0)


@pytest.mark.parametrize(("kind", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_quality_is_90_where_none_was_asked_for(kind: Kind, name: str) -> None:
    image = decode(noise(64, 64))
    assert encode(image, kind) == encode(image, kind, 90) != encode(image, kind, 91)
    assert encode(image, kind, 1) != encode(image, kind, 2)
    assert Image.open(io.BytesIO(encode(image, kind, 1))).format == name


def test_lossless_webp_keeps_every_pixel() -> None:
    image = decode(noise(64, 64))
    assert decode(encode(image, "webp", lossless=True)).tobytes() == image.tobytes()
    assert decode(encode(image, "webp")).tobytes() != image.tobytes()


@pytest.mark.parametrize(("height", "method"), [(1000, 4), (1001, 0)])
def test_a_big_webp_is_encoded_by_the_fast_method(height: int, method: int) -> None:
    image = Image.radial_gradient("L").resize((1000, height)).convert("RGB")
    assert encode(image, "webp") == saved(image, "WEBP", quality=90, method=method)
    assert encode(image, "webp") != saved(image, "WEBP", quality=90, method=4 - method)


@pytest.mark.parametrize(("length", "kept"), [(64 * 1024, True), (64 * 1024 + 1, False)])
def test_a_profile_of_up_to_64_kib_is_kept(length: int, kept: bool) -> None:
    image = plain(decode(image_file(icc_profile=bytes(length))))
    for kind in ("png", "webp"):
        assert bool(decode(encode(image, kind)).info.get("icc_profile")) is kept


@pytest.mark.parametrize(
    ("kind", "size", "used"),
    [
        ("webp", (16_383, 20), (16_383, 20)),
        ("webp", (16_384, 20), (16_383, 19)),
        ("webp", (10, 20_000), (8, 16_383)),
        ("webp", (1, 20_000), (1, 16_383)),
        ("png", (16_384, 20), (16_384, 20)),
        ("jpeg", (16_384, 20), (16_384, 20)),
    ],
)
def test_only_a_side_that_webp_cannot_hold_is_scaled(kind: Kind, size: tuple[int, int], used: tuple[int, int]) -> None:
    image = Image.new("L", size)
    made = encodable(image, kind)
    assert made.size == used
    assert (made is image) is (size == used)


@pytest.mark.parametrize(("alpha", "transparent"), [(254, True), (255, False), (0, True)])
def test_one_pixel_that_is_not_opaque_is_transparency(alpha: int, transparent: bool) -> None:
    for image in (Image.new("RGBA", (2, 1), (1, 2, 3, 255)), Image.new("LA", (2, 1), (1, 255))):
        image.putpixel((1, 0), (*((1, 2, 3) if image.mode == "RGBA" else (1,)), alpha))
        assert has_alpha(image) is transparent


@pytest.mark.parametrize(
    ("brightest", "other", "expected"), [(65_535, 25_700, 100), (256, 100, 0), (255, 100, 100), (514, 257, 1)]
)
def test_grey_of_more_than_8_bits_is_scaled(brightest: int, other: int, expected: int) -> None:
    for mode in ("I", "F"):
        image = Image.new(mode, (2, 1), brightest)
        image.putpixel((0, 0), other)
        assert plain(image).getpixel((0, 0)) == (expected,) * 3


def test_transparency_becomes_white_on_flat_images() -> None:
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert flatten(image).getpixel((0, 0)) == (255, 255, 255)
    opaque = Image.new("RGB", (1, 1))
    assert flatten(opaque) is opaque


@pytest.mark.parametrize(("kind", "animated"), [("GIF", True), ("PNG", True), ("WEBP", True), ("MPO", False)])
def test_the_second_image_of_a_camera_file_makes_no_animation(kind: str, animated: bool) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert is_animated(decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]))) is animated
    assert not is_animated(decode(image_file(kind=kind)))

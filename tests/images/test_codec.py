"""Decoding and encoding."""

import io

import gevent
import pytest
from PIL import Image

from models.images import in_thread
from models.images.codec import decode, encode, has_alpha, plain
from models.images.sniff import BrokenImageError
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

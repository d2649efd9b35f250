"""Input images: broken files are refused by name, all others are converted for the service."""

import io
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.backends.errors import BadRequest
from models.entities import InputImage
from models.images.inputs import (
    InputLimits,
    cover,
    fit,
    mask_of,
    read_input,
    size_of,
)
from models.images.sniff import Kind
from tests.fakes import image_file, noise

ANY = InputLimits()
FIXTURES = Path(__file__).parents[1] / "fixtures" / "images"


def opened(image: InputImage) -> Image.Image:
    read = Image.open(io.BytesIO(image.data))
    read.load()
    assert Image.MIME[read.format or ""] == image.mime_type
    return read


def saved(image: Image.Image, kind: str, **save: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **save)
    return out.getvalue()


def bomb() -> bytes:
    return saved(Image.new("1", (20_000, 20_000)), "PNG")


NOISE = noise(64, 64)
ANOTHER, AGAIN = "Send a PNG, JPEG or WebP file.", "Send it again, or save it anew as PNG, JPEG or WebP."

BROKEN = {
    "empty.png": (b"", "the file is empty", ANOTHER),
    "cut.png": (noise(64, 64)[:-300], "ends in the middle of the image", AGAIN),
    "cut.jpg": (noise(64, 64, kind="JPEG")[:-300], "ends in the middle of the image", AGAIN),
    "start.png": (image_file()[:20], "the file breaks off or is damaged before the image begins", ANOTHER),
    "damaged.png": (NOISE[:2000] + b"\0" * 500 + NOISE[2500:], "the file is damaged", AGAIN),
    "page.jpg": (b"<!DOCTYPE html><html></html>", "the file is an HTML page", ANOTHER),
    "drawing.png": (
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "SVG drawing",
        "Export it as PNG first.",
    ),
    "paper.png": (b"%PDF-1.7\n%...", "the file is a PDF", ANOTHER),
    "answer.png": (b'{"error": "not found"}', "the file is JSON text", ANOTHER),
    "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "the file is a video", ANOTHER),
    "report.png": (b"PK\x03\x04\x14\0\x06\0", "ZIP archive or an Office document", ANOTHER),
    "notes.png": (b"Dear all,", "the file is not an image in a known format", ANOTHER),
    "bomb.png": (bomb(), "20000×20000 pixels", "Send a smaller image."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(name: str) -> None:
    data, said, advice = BROKEN[name]
    with pytest.raises(BadRequest, match=said) as caught:
        read_input(data, name)
    assert str(caught.value).startswith(f"{name} cannot be used: ")
    assert str(caught.value).endswith(advice)


def test_every_kind_of_broken_file_has_its_own_message() -> None:
    sentences = set()
    for name, (data, _, _) in BROKEN.items():
        with pytest.raises(BadRequest) as caught:
            read_input(data, name)
        sentences.add(caught.value.said)
    assert len(sentences) >= 10


def test_a_file_that_is_too_large_is_not_even_opened() -> None:
    with pytest.raises(BadRequest, match="the file has 200 MB"):
        read_input(b"\x89PNG" + bytes(200_000_000), "big.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_the_type_comes_from_the_bytes(kind: str) -> None:
    assert read_input(image_file(kind=kind), "liar.xyz").mime_type == f"image/{kind.lower()}"


def test_a_heic_photo_is_read() -> None:
    """64×48 as stored by a phone, with an EXIF rotation that moves the bar from the top to the right."""
    photo = read_input((FIXTURES / "phone.heic").read_bytes(), "IMG_0002.HEIC")
    assert photo.mime_type == "image/heic"
    fitted, notices = fit(photo, ANY)
    ready = opened(fitted)
    assert (fitted.mime_type, fitted.filename, notices) == ("image/jpeg", "IMG_0002.jpeg", ())
    assert ready.size == size_of(photo) == (48, 64)
    right = ready.getpixel((45, 30))
    assert isinstance(right, tuple)
    assert right[2] > 150 > right[0]


def test_a_truncated_heic_photo_is_refused() -> None:
    with pytest.raises(BadRequest, match="the file"):
        read_input((FIXTURES / "phone.heic").read_bytes()[:-100], "cut.heic")


def test_a_supported_file_keeps_its_bytes() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        image = read_input(image_file(kind=kind), "a.png")
        assert fit(image, ANY) == (image, ())


def test_a_phone_photo_is_rotated_upright_and_fits() -> None:
    """12 megapixels, stored sideways with an EXIF orientation."""
    photo = Image.radial_gradient("L").resize((4032, 3024)).convert("RGB")
    photo.paste("red", (0, 0, 4032, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_input(saved(photo, "JPEG", exif=exif), "IMG_0001.jpg")
    assert size_of(image) == (3024, 4032)
    fitted, notices = fit(image, InputLimits(max_side=3547, max_bytes=2_000_000))
    ready = opened(fitted)
    assert ready.width < ready.height
    assert max(ready.size) <= 3547
    assert len(fitted.data) <= 2_000_000
    right = ready.getpixel((ready.width - 5, ready.height // 2))
    assert isinstance(right, tuple)
    assert right[0] > 200
    assert right[1] < 50
    assert notices == ("IMG_0001.jpg was scaled from 3024×4032 to 2660×3547, as the service takes no other size",)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "I;16", "I", "F", "RGBA", "YCbCr"])
def test_every_colour_mode_is_converted(mode: str) -> None:
    kind = "TIFF" if mode in {"CMYK", "F", "YCbCr", "I"} else "PNG"
    source = Image.linear_gradient("L").convert(mode) if mode != "I;16" else Image.new("I;16", (256, 256), 30_000)
    fitted, _ = fit(read_input(saved(source, kind), "a"), ANY)
    assert opened(fitted).mode == "RGB"


def test_sixteen_bits_keep_their_brightness() -> None:
    source = Image.new("I;16", (10, 10), 128 * 257)
    fitted, _ = fit(read_input(saved(source, "PNG")), ANY)
    assert opened(fitted).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "AVIF"])
def test_an_unsupported_format_is_converted(kind: str) -> None:
    fitted, notices = fit(read_input(image_file(kind=kind), "a.bin"), InputLimits(formats=("jpeg", "png")))
    assert (fitted.mime_type, fitted.filename) == ("image/jpeg", "a.jpeg")
    assert notices == ()


def test_only_the_services_formats_are_used() -> None:
    for kind in ("png", "jpeg", "webp"):
        fitted, _ = fit(read_input(image_file(kind="GIF")), InputLimits(formats=(kind,)))
        assert fitted.mime_type == f"image/{kind}"


def test_an_animation_gives_its_first_frame_with_a_notice() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    fitted, notices = fit(read_input(data, "dance.gif"), InputLimits(formats=("png",)))
    assert opened(fitted).getpixel((0, 0)) == (255, 0, 0)
    assert notices == ("dance.gif is an animation; its first frame is used",)


def test_transparency_becomes_white_unless_it_is_kept() -> None:
    data = image_file(mode="RGBA", colour=(255, 0, 0, 0))
    fitted, notices = fit(read_input(data, "a.png"), ANY)
    assert opened(fitted).getpixel((0, 0)) == (255, 255, 255)
    assert notices == ("a.png is transparent in places; white is used there",)
    kept, silence = fit(read_input(data, "a.png"), InputLimits(keep_alpha=True))
    assert (kept.data, silence) == (data, ())


def test_kept_alpha_survives_scaling_and_every_byte_limit() -> None:
    source = Image.open(io.BytesIO(noise(300, 300))).convert("RGBA")
    source.putalpha(Image.linear_gradient("L").resize((300, 300)))
    for formats in (("png",), ("png", "webp"), ("jpeg", "png")):
        limits = InputLimits(keep_alpha=True, max_bytes=20_000, formats=formats)
        fitted, notices = fit(read_input(saved(source, "PNG"), "a.png"), limits)
        assert len(fitted.data) <= 20_000
        assert opened(fitted).mode == "RGBA"
        assert len(notices) == 1


def test_compression_comes_before_scaling() -> None:
    fitted, notices = fit(read_input(noise(400, 400), "a.png"), InputLimits(max_bytes=110_000))
    assert opened(fitted).size == (400, 400)
    assert notices == ("a.png was saved as JPEG with quality 80, as the service takes at most 0.1 MB",)


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((100, 50), InputLimits(min_side=384), (768, 384)),
        ((4000, 2000), InputLimits(max_side=3072), (3072, 1536)),
        ((1003, 517), InputLimits(max_side=500), (500, 257)),
        ((20, 20), InputLimits(min_side=64), (64, 64)),
        ((100, 100), InputLimits(min_side=100), (100, 100)),
        ((640, 480), InputLimits(min_side=64, max_side=2048), (640, 480)),
    ],
)
def test_sizes_are_scaled_to_the_limits(size: tuple[int, int], limits: InputLimits, expected: tuple[int, int]) -> None:
    fitted, notices = fit(read_input(image_file(*size), "a.png"), limits)
    assert opened(fitted).size == expected
    assert len(notices) == (size != expected)


def test_a_shape_that_no_scaling_can_fit_is_refused() -> None:
    with pytest.raises(BadRequest, match="4000×20"):
        fit(read_input(image_file(4000, 20), "strip.png"), InputLimits(min_side=384, max_side=3072))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(400, 800),
    st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]),
)
def test_sides_always_hold(width: int, height: int, low: int, high: int, kind: str) -> None:
    assume(max(width, height) * low <= min(width, height) * high)
    fitted, _ = fit(
        read_input(image_file(width, height, kind=kind)), InputLimits(min_side=low, max_side=high, max_bytes=50_000)
    )
    ready = opened(fitted)
    assert low <= min(ready.size) <= max(ready.size) <= high
    assert len(fitted.data) <= 50_000


@pytest.mark.parametrize(
    ("filename", "renamed"),
    [("photo.jpg", "photo.png"), ("a.b.jpg", "a.b.png"), ("photo", "photo.png"), ("", ""), (".jpg", ".png")],
)
def test_a_converted_file_gets_the_end_of_its_kind(filename: str, renamed: str) -> None:
    assert fit(read_input(image_file(kind="GIF"), filename), InputLimits(formats=("png",)))[0].filename == renamed
    assert mask_of(read_input(image_file(), filename)).filename == renamed


def test_a_file_without_a_name_is_the_input_image_and_a_long_name_is_cut() -> None:
    for name, shown in (("", "The input image"), ("n" * 200, "n" * 100)):
        with pytest.raises(BadRequest) as refused:
            read_input(b"", name)
        assert str(refused.value).startswith(f"{shown} cannot be used: the file is empty. ")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_input(image_file(40, 30, kind="JPEG", exif=exif))
    assert size_of(photo) == ((30, 40) if orientation >= 5 else (40, 30))


@pytest.mark.parametrize(
    ("own", "mode", "formats", "made"),
    [
        ("GIF", "RGB", ("png", "jpeg", "webp"), "JPEG"),
        ("GIF", "RGB", ("png", "webp"), "WEBP"),
        ("GIF", "RGB", ("png",), "PNG"),
        ("PNG", "RGB", ("jpeg", "webp"), "WEBP"),
        ("PNG", "RGB", ("jpeg",), "JPEG"),
        ("WEBP", "RGBA", ("png", "jpeg"), "PNG"),
        ("WEBP", "RGBA", ("webp", "jpeg"), "WEBP"),
        ("JPEG", "RGB", ("webp", "jpeg"), "JPEG"),
    ],
)
def test_the_format_is_the_files_own_else_the_best_that_the_service_takes(
    own: str, mode: str, formats: tuple[Kind, ...], made: str
) -> None:
    colour = (1, 2, 3, 9) if mode == "RGBA" else (1, 2, 3)
    limits = InputLimits(formats=formats, max_side=20, keep_alpha=True)
    fitted, _ = fit(read_input(image_file(40, 30, kind=own, mode=mode, colour=colour)), limits)
    assert opened(fitted).format == made


def test_the_words_about_what_was_changed() -> None:
    photo = read_input(image_file(400, 200, mode="RGBA", colour=(1, 2, 3, 9)), "a.png")
    assert fit(photo, InputLimits(max_side=100))[1] == (
        "a.png is transparent in places; white is used there",
        "a.png was scaled from 400×200 to 100×50, as the service takes no other size",
    )
    with pytest.raises(BadRequest) as refused:
        fit(read_input(image_file(400, 20), "a.png"), InputLimits(min_side=64, max_side=300))
    assert str(refused.value) == (
        "a.png cannot be used: its shape of 400×20 cannot be brought to sides between 64 and 300. "
        "Crop it to a less narrow shape."
    )


@pytest.mark.parametrize(("room", "kept"), [(0, True), (-1, False)])
def test_a_file_of_exactly_the_limit_keeps_its_bytes(room: int, kept: bool) -> None:
    photo = read_input(noise(60, 40), "a.png")
    fitted, notices = fit(photo, InputLimits(max_bytes=len(photo.data) + room))
    assert (fitted is photo) is kept
    assert (notices == ()) is kept


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (noise(60, 40, compress_level=0), "compressed again as PNG without loss"),
        (noise(60, 40, kind="WEBP", lossless=True), "saved as WebP with quality 90"),
        (noise(60, 40, kind="JPEG", quality=100), "saved as JPEG with quality 90"),
    ],
)
def test_only_a_png_that_is_too_large_is_saved_without_loss(data: bytes, how: str) -> None:
    _, notices = fit(read_input(data, "a"), InputLimits(max_bytes=len(data) - 1))
    assert notices == (f"a was {how}, as the service takes at most 0.0 MB",)


def test_an_animation_in_a_format_of_the_service_becomes_a_still() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    still, notices = fit(read_input(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), "a.png"), ANY)
    assert not getattr(opened(still), "is_animated", False)
    assert notices == ("a.png is an animation; its first frame is used",)


def test_without_limits_one_pixel_is_enough() -> None:
    image = read_input(image_file(5, 1))
    assert fit(image, ANY) == (image, ())


def test_a_cover_has_exactly_its_size() -> None:
    made = cover(read_input(image_file(40, 30, kind="JPEG"), "a.jpg"), (16, 16))
    assert (opened(made).size, opened(made).format, made.mime_type, made.filename) == (
        (16, 16),
        "PNG",
        "image/png",
        "a.jpg",
    )

"""The stages after a service: broken files are dropped, the others have the requested format."""

import io
import time
import zlib
from collections.abc import Sequence

import gevent
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.backends.errors import ServerUnavailable
from models.entities import GeneratedImage, ImageResult
from models.images import codec, integrity
from models.output.structured import OutputOptions
from models.settings import Settings
from models.stages import after_service, files
from tests.asking import carried
from tests.fakes import image_file, noise
from tests.video_files import EVERY_KIND, mp4

PLAIN = OutputOptions()


def result_of(*images: bytes, **changes: object) -> ImageResult:
    made = tuple(GeneratedImage(image) for image in images)
    return ImageResult(images=made, **{"backend": "preview", "model": "preview", "prompt": "a cat", **changes})  # type: ignore[arg-type]


def passed(options: OutputOptions, *images: bytes) -> ImageResult:
    """The result of a service with these images after all stages."""
    result = result_of(*images)
    for stage in after_service(Settings({}, {})):
        result = stage(result, carried(options))
    return result


def data_of(result: ImageResult) -> list[bytes]:
    return [image.data for image in result.images]


def opened(result: ImageResult) -> list[Image.Image]:
    images: list[Image.Image] = [Image.open(io.BytesIO(data)) for data in data_of(result)]
    for image in images:
        image.load()
    return images


def animation(kind: str, frames: Sequence[Image.Image] | None = None) -> bytes:
    first, *others = frames or [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    first.save(out, kind, save_all=True, append_images=others)
    return out.getvalue()


def test_metadata_is_kept_if_the_file_is_not_converted() -> None:
    info = PngInfo()
    info.add_text("workflow", '{"nodes": []}')
    (image,) = opened(passed(OutputOptions(output_format="png"), image_file(pnginfo=info)))
    assert image.info["workflow"] == '{"nodes": []}'


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_without_a_requested_format_the_file_is_unchanged(kind: str) -> None:
    data = image_file(kind=kind)
    assert data_of(passed(PLAIN, data)) == [data]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_intact_unchanged_file_is_not_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = image_file(kind=kind)
    monkeypatch.setattr(codec, "decode", lambda _: pytest.fail("it was decoded"))
    assert data_of(passed(OutputOptions(output_format=kind.lower()), data)) == [data]


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_formats_that_browsers_do_not_show_become_png(kind: str) -> None:
    (image,) = passed(PLAIN, image_file(kind=kind)).images
    assert image.mime_type == "image/png"


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("asked", ["png", "jpeg", "webp"])
def test_the_requested_format_is_used(source: str, asked: str) -> None:
    (image,) = opened(passed(OutputOptions(output_format=asked), image_file(kind=source)))
    assert (image.format, image.size) == (asked.upper(), (64, 48))


def test_the_requested_quality_is_used() -> None:
    def size(quality: int, kind: str = "PNG") -> int:
        options = OutputOptions(output_format="jpeg", output_quality=quality)
        return len(data_of(passed(options, noise(64, 64, kind=kind)))[0])

    assert size(20) < size(60) < size(95)
    assert size(20, "JPEG") < size(60, "JPEG")


def test_a_quality_without_effect_gives_a_notice() -> None:
    result = passed(OutputOptions(output_quality=50), image_file())
    assert result.notices == ("The image is a PNG, on which `output_quality` has no effect",)
    assert data_of(result) == [image_file()]


def test_a_quality_without_effect_is_told_beside_what_a_conversion_lost() -> None:
    lossless = OutputOptions(output_format="png", output_quality=50)
    assert passed(lossless, image_file(kind="JPEG")).notices == (
        "The image is a PNG, on which `output_quality` has no effect",
    )
    assert passed(lossless, animation("WEBP")).notices == ("The image is an animation and stays in its own format",)
    faint = image_file(mode="RGBA", colour=(200, 30, 30, 0))
    assert passed(OutputOptions(output_format="jpeg", output_quality=50), faint).notices == (
        "The image lost its transparency, as JPEG has none; white shows instead",
    )


def test_a_file_below_the_requested_quality_is_not_re_encoded() -> None:
    data = noise(64, 64, kind="JPEG", quality=20)
    assert data_of(passed(OutputOptions(output_format="jpeg", output_quality=95), data)) == [data]


def test_transparency_becomes_white_in_jpeg_with_a_notice() -> None:
    result = passed(OutputOptions(output_format="jpeg"), image_file(mode="RGBA", colour=(200, 30, 30, 0)))
    (image,) = opened(result)
    assert image.getpixel((5, 5)) == (255, 255, 255)
    assert result.notices == ("The image lost its transparency, as JPEG has none; white shows instead",)


@pytest.mark.parametrize(("kind", "asked"), [("WEBP", "png"), ("GIF", "jpeg"), ("PNG", "webp")])
def test_an_animation_is_kept(kind: str, asked: str) -> None:
    data = animation(kind)
    result = passed(OutputOptions(output_format=asked), data)
    assert data_of(result) == [data]
    assert result.notices == ("The image is an animation and stays in its own format",)


def test_notices_name_the_image_among_several() -> None:
    result = passed(OutputOptions(output_format="jpeg"), image_file(), image_file(mode="RGBA", colour=(0, 0, 0, 0)))
    assert result.notices == ("Image 2 lost its transparency, as JPEG has none; white shows instead",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"<html>502</html>", "HTML page"),
        (image_file()[:20], "breaks off or is damaged before"),
        (noise(64, 64)[:-400], "ends in the middle of the image"),
        (noise(64, 64, kind="JPEG")[:-400], "ends in the middle of the image"),
        (noise(64, 64, kind="WEBP")[:-400], "damaged|ends|breaks off"),
        (noise(64, 64, kind="GIF")[:-400], "ends in the middle of the image"),
        (noise(64, 64, kind="BMP")[:-400], "damaged|ends|breaks off"),
        (noise(64, 64, kind="TIFF")[:-400], "damaged|ends|breaks off"),
        (noise(64, 64, kind="AVIF")[:-400], "damaged|ends|breaks off"),
    ],
)
@pytest.mark.parametrize("asked", [None, "webp"])
def test_a_broken_image_is_never_returned(data: bytes, said: str, asked: str | None) -> None:
    with pytest.raises(ServerUnavailable, match=said) as caught:
        passed(OutputOptions(output_format=asked), data)
    assert caught.value.attempted == "The image of preview cannot be used"


def test_an_svg_from_a_service_is_refused_without_advice_for_input_files() -> None:
    with pytest.raises(ServerUnavailable, match="SVG drawing") as caught:
        passed(PLAIN, b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert "export" not in str(caught.value).lower()


def test_a_broken_image_does_not_affect_the_others() -> None:
    result = passed(PLAIN, b"", image_file(), noise(64, 64)[:-400], image_file())
    assert data_of(result) == [image_file(), image_file()]
    assert result.notices[0] == "Image 1 was left out: the file is empty."
    assert result.notices[1].startswith("Image 3 was left out: the file")


def test_an_unconvertible_image_does_not_affect_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container is intact, but no decoder can read its content."""
    broken = noise(64, 64, kind="JPEG").replace(b"\xff\xc4\x00", b"\xff\xc4\x00\x13\xff\xff\xff", 1)
    monkeypatch.setattr(integrity, "_PROOFS", {"image/jpeg": lambda _: True})
    result = passed(OutputOptions(output_format="png"), broken, image_file())
    assert len(result.images) == 1
    assert result.notices[0].startswith("Image 1 was left out: the file is damaged")


def test_only_broken_images_are_an_error() -> None:
    with pytest.raises(ServerUnavailable, match="Image 2 of preview cannot be used"):
        passed(PLAIN, b"", b"<html>")


def test_a_decompression_bomb_is_refused_by_its_size() -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(ServerUnavailable, match="20000×20000 pixels"):
        passed(PLAIN, bomb.getvalue())


def test_other_greenlets_run_during_the_integrity_check() -> None:
    """64 MB of each kind that is checked by its container, and a file with a million chunks."""
    big = Image.new("RGB", (2, 2))
    out = io.BytesIO()
    big.save(out, "PNG")
    whole = out.getvalue()
    padding = b"\0" * 64_000_000
    text = len(padding).to_bytes(4) + b"teXt" + padding
    crc = zlib.crc32(text[4:]).to_bytes(4)
    tiny = b"\0\0\0\0teXt" + zlib.crc32(b"teXt").to_bytes(4)
    jpeg = noise(64, 64, kind="JPEG")
    images = [
        whole[:33] + text + crc + whole[33:],
        whole[:33] + tiny * 1_000_000 + whole[33:],
        jpeg[:-2] + b"\x11" * 64_000_000 + jpeg[-2:],
        jpeg[:-2] + b"\xff\x00" * 32_000_000 + jpeg[-2:],
    ]
    longest = 0.0

    def beat() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            gevent.sleep(0.005)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    heart = gevent.spawn(beat)
    gevent.sleep(0)
    try:
        for image in images:
            files.proof(result_of(image), carried())
    finally:
        heart.kill()
    assert longest < 0.2, longest


def test_a_placeholder_of_one_pixel_is_no_image() -> None:
    with pytest.raises(ServerUnavailable, match="placeholder of one pixel"):
        passed(PLAIN, image_file(1, 1))
    assert data_of(passed(PLAIN, image_file(1, 1), image_file(2, 1))) == [image_file(2, 1)]


def test_a_video_is_proven_by_its_container_and_not_encoded_again() -> None:
    for data in EVERY_KIND.values():
        assert data_of(passed(PLAIN, data)) == [data]
    result = passed(OutputOptions(output_format="png"), mp4())
    assert data_of(result) == [mp4()]
    assert result.notices == ("The video stays in its own format: videos are not encoded again",)


def test_a_broken_video_is_left_out_and_alone_is_an_error() -> None:
    result = passed(PLAIN, mp4()[:-3], mp4())
    assert data_of(result) == [mp4()]
    assert result.notices == ("Video 1 was left out: the file ends in the middle of the video.",)
    with pytest.raises(ServerUnavailable, match="middle of the video"):
        passed(PLAIN, mp4()[:-3])

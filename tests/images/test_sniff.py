"""Type and size of a file from its first bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.images.sniff import Header, NotAnImageError, describe, sniff
from tests.fakes import image_file

FIXTURES = Path(__file__).parents[1] / "fixtures" / "images"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_type_and_size_come_from_the_bytes(kind: str) -> None:
    assert sniff(image_file(kind=kind)) == Header(f"image/{kind.lower()}", 64, 48)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX"])
def test_unused_decoders_are_disabled(kind: str) -> None:
    with pytest.raises(NotAnImageError):
        sniff(image_file(kind=kind))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML>", "the file is an HTML page, not an image"),
        (b"<svg/>", "the file is an SVG drawing"),
        (b"8BPS\0\1", "the file is a Photoshop document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "the file is a PostScript drawing"),
        (b"\x1a\x45\xdf\xa3webm", "the file is a video, not an image"),
        (b"GIF89a", "the file breaks off or is damaged before the image begins"),
    ],
)
def test_a_file_that_is_not_an_image_is_named_by_type(data: bytes, words: str) -> None:
    with pytest.raises(NotAnImageError, match=f"^{words}$"):
        sniff(data)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b"\x89PNG\r\n\x1a\n" + tail))
def test_any_bytes_are_read_or_described(data: bytes) -> None:
    if (header := _sniffed(data)) is not None:
        assert header.mime_type.startswith("image/")
    else:
        assert describe(data).startswith("the file ")


def _sniffed(data: bytes) -> Header | None:
    try:
        return sniff(data)
    except NotAnImageError:
        return None


def test_an_unexpected_decoder_error_is_handled() -> None:
    """The AVIF decoder raises RuntimeError for some damaged headers."""
    whole = image_file(kind="AVIF")
    for place in range(len(whole)):
        _sniffed(whole[:place] + b"\0" + whole[place + 1 :])


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_every_kind_of_jpeg_tells_its_size(marker: int) -> None:
    data = image_file(64, 48, kind="JPEG").replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    assert (sniff(data).width, sniff(data).height) == (64, 48)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_other_segments_of_a_jpeg_are_not_taken_for_its_size(marker: int) -> None:
    data = image_file(64, 48, kind="JPEG").replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(NotAnImageError, match="damaged before the image begins"):
        sniff(data)


@pytest.mark.parametrize("data", [b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), b"RIFX\x24\0\0\0WEBPVP8 " + bytes(20)])
def test_a_webp_needs_both_of_its_signs(data: bytes) -> None:
    with pytest.raises(NotAnImageError):
        sniff(data)

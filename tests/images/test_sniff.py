"""Type and size of a file from its first bytes."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.images import sniff as sniffing
from models.images.sniff import (
    MAX_BYTES,
    MAX_PIXELS,
    BrokenImageError,
    DrawingError,
    Header,
    NotAnImageError,
    OversizedImageError,
    check_pixels,
    describe,
    is_video,
    jpeg_segments,
    load_pillow,
    openable,
    sniff,
    sniff_within_limits,
)
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


def test_the_most_bytes_and_pixels_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_BYTES, MAX_PIXELS) == (134_217_728, 67_108_864)
    check_pixels(8192, 8192)
    with pytest.raises(OversizedImageError) as refused:
        check_pixels(8192, 8193)
    assert str(refused.value) == "the image has 8192×8193 pixels, more than the 67 megapixels taken"
    with pytest.raises(OversizedImageError, match="the image has 8193×8192 pixels"):
        sniff_within_limits(b"GIF89a" + struct.pack("<HH", 8193, 8192))
    data = image_file()
    monkeypatch.setattr(sniffing, "MAX_BYTES", len(data))
    assert sniff_within_limits(data).pixels == 64 * 48
    with pytest.raises(OversizedImageError, match="the file has 0 MB, more than the 0 MB taken"):
        sniff_within_limits(data + b"\0")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 700, 800)),
        ("gif", b"GIF87a" + struct.pack("<HH", 700, 800)),
        ("webp", b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\xbb\x02\0\x1f\x03\0"),
        ("webp", b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 699 | 799 << 14)),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 700 | 0x4000, 800 | 0x8000)),
        ("jpeg", b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc0\0\x08\x08" + struct.pack(">HH", 800, 700) + b"\0"),
    ],
)  # fmt: skip
def test_the_size_is_read_from_the_header_alone(kind: str, data: bytes) -> None:
    assert sniff(data) == Header(f"image/{kind}", 700, 800)
    with pytest.raises(NotAnImageError):
        sniff(data[:-6])


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0cIHDR" + struct.pack(">II", 7, 8),
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDX" + struct.pack(">II", 7, 8),
        b"GIF89a" + struct.pack("<HH", 0, 8),
        b"GIF89a" + struct.pack("<HH", 8, 0),
        b"GIF88a" + struct.pack("<HH", 8, 8),
        b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2e" + struct.pack("<I", 699 | 799 << 14),
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2b" + struct.pack("<HH", 700, 800),
        b"RIFF\0\0\0\0WEBPVP8Z\0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 700, 800),
        b"\xff\xd8\xff\xda\0\4ab\xff\xc0\0\x08\x08" + struct.pack(">HH", 800, 700) + b"\0",
    ],
)
def test_a_header_with_a_wrong_sign_or_an_empty_side_is_none(data: bytes) -> None:
    with pytest.raises(NotAnImageError, match=r"breaks off or is damaged|not an image in a known format"):
        sniff(data)


def test_the_kind_of_a_header_is_one_that_images_are_made_in() -> None:
    assert [Header(f"image/{name}", 1, 1).kind for name in ("png", "jpeg", "webp", "gif")] == [
        "png",
        "jpeg",
        "webp",
        None,
    ]
    assert Header("image/png", 3, 5).pixels == 15


@pytest.mark.parametrize("data", [b"<svg/>", b"<?xml?><svg>", b"8BPS", b"%!PS", b"\xc5\xd0\xd3\xc6"])
def test_a_drawing_must_be_exported_first(data: bytes) -> None:
    with pytest.raises(DrawingError) as refused:
        sniff(data)
    assert refused.value.advice == "Export it as PNG first"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"error": 1}', "the file is JSON text, not an image"),
        (b"  [1]", "the file is JSON text, not an image"),
        (b"<HTML>", "the file is an HTML page, not an image"),
        (b"%PDF-1.7", "the file is a PDF, not an image"),
        (b"PK\3\4", "the file is a ZIP archive or an Office document, not an image"),
        (b"\0\0\1\xba", "the file is a video, not an image"),
        (b"FLV\1", "the file is a video, not an image"),
        (b"\0\0\0\x18ftypisom", "the file is a video, not an image"),
        (b"\0\0\0\x18ftypavif", "the file breaks off or is damaged before the image begins"),
        (b"\0\0\0\x18ftypheic", "the file breaks off or is damaged before the image begins"),
        (b"x" * 512 + b"<svg", "the file is not an image in a known format (PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, AVIF)"),
        (b"x" * 508 + b"<svg", "the file is an SVG drawing"),
    ],
)  # fmt: skip
def test_what_a_file_looks_like(data: bytes, words: str) -> None:
    assert describe(data) == words
    assert is_video(data) is (words == "the file is a video, not an image" and data[4:8] == b"ftyp")


def test_the_segments_of_a_jpeg() -> None:
    data = b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xfe\0\2\xff\xda\0\3xscan\xff\0\xff\xd0\xff\xd9behind"
    assert list(jpeg_segments(data)) == [(0xE0, 6, 8), (0xFE, 13, 13), (0xDA, 17, 18), (0xD9, 28, 28)]
    assert [marker for marker, _, _ in jpeg_segments(data.replace(b"\0\4ab", b"\0\1ab"))] == []
    for cut in (3, 5, 7, 20, 27):
        with pytest.raises(BrokenImageError, match="the file ends in the middle of the image"):
            list(jpeg_segments(data[:cut]))


@pytest.mark.parametrize(
    ("end", "segments", "whole"),
    [
        (b"", [(0xE0, 6, 6)], False),
        (b"x", [(0xE0, 6, 6)], False),
        (b"\xff", [(0xE0, 6, 6)], False),
        (b"xx", [(0xE0, 6, 6)], True),
        (b"\xff\xe1", [(0xE0, 6, 6)], False),
        (b"\xff\xe1\0\1", [(0xE0, 6, 6)], True),
        (b"\xff\xe1\0\2", [(0xE0, 6, 6), (0xE1, 10, 10)], False),
        (b"\xff\xe1\0\4ab", [(0xE0, 6, 6), (0xE1, 10, 12)], False),
        (b"\xff\xe1\0\4a", [(0xE0, 6, 6)], False),
    ],
)
def test_the_segments_of_a_jpeg_that_ends_too_early_or_otherwise(
    end: bytes, segments: list[tuple[int, int, int]], whole: bool
) -> None:
    read = jpeg_segments(b"\xff\xd8\xff\xe0\0\2" + end)
    assert [next(read) for _ in segments] == segments
    if whole:
        assert list(read) == []
    else:
        with pytest.raises(BrokenImageError, match="the file ends in the middle of the image"):
            next(read)


@pytest.mark.parametrize(("before", "found"), [(1999, True), (2000, False)])
def test_the_size_of_a_jpeg_is_among_its_first_2000_segments(before: int, found: bool) -> None:
    data = b"\xff\xd8" + b"\xff\xe0\0\2" * before + b"\xff\xc0\0\x08\x08\0\x09\0\7\0"
    assert _sniffed(data) == (Header("image/jpeg", 7, 9) if found else None)


def test_only_decoders_that_are_there_and_not_that_of_heic_may_open_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    known = load_pillow().OPEN
    monkeypatch.setitem(known, "HEIF", known["PNG"])
    monkeypatch.delitem(known, "AVIF")
    assert openable() == ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


@pytest.mark.parametrize("length", [0, 1, 999_995, 999_996, 999_997, 999_998, 1_000_000, 2_500_000])
def test_the_end_of_a_scan_is_found_at_every_distance(length: int) -> None:
    data = b"\xff\xd8\xff\xda\0\2" + b"s" * length + b"\xff\xd9"
    assert list(jpeg_segments(data))[-1] == (0xD9, len(data), len(data))

"""Where XMP packets, EXIF blocks and texts stand in a file, byte by byte."""

import struct
import zlib

import pytest
from PIL import ExifTags, Image

from models.images.integrity import check_whole
from models.images.metadata import exif_of, has_credentials, packet_of, png_texts, with_packet
from models.images.sniff import jpeg_segments
from tests.fakes import image_file


def camera() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    return exif


def png_with(kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    data, chunk = image_file(), kind + body
    return data[:33] + struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def jpeg_with(marker: int, body: bytes) -> bytes:
    data = image_file(kind="JPEG")
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def opening(data: bytes) -> list[tuple[int, bytes]]:
    """The markers of a JPEG's first four segments, and how their contents begin."""
    return [(marker, data[start : start + 4]) for marker, start, _ in jpeg_segments(data)][:4]


def test_the_packet_of_a_jpeg_stands_behind_jfif_and_exif() -> None:
    marked = opening(with_packet(image_file(kind="JPEG", exif=camera()), b"<x/>"))
    assert marked[:3] == [(0xE0, b"JFIF"), (0xE1, b"Exif"), (0xE1, b"http")]
    assert marked[3][0] == 0xDB
    assert opening(with_packet(image_file(kind="JPEG"), b"<x/>"))[:2] == [(0xE0, b"JFIF"), (0xE1, b"http")]


def test_the_packet_of_a_png_stands_behind_its_header() -> None:
    made = with_packet(image_file(), b"<x/>")
    assert made[37:41] == b"iTXt"
    assert made[41:67] == b"XML:com.adobe.xmp\0\0\0\0\0<x/>"
    assert made[33:37] == (26).to_bytes(4)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_simple_webp_becomes_an_extended_one_of_its_size(lossless: bool) -> None:
    made = with_packet(image_file(300, 17, kind="WEBP", lossless=lossless), b"abc")
    assert made[12:30] == b"VP8X" + (10).to_bytes(4, "little") + b"\4\0\0\0" + b"\x2b\x01\0" + b"\x10\0\0"
    assert made[-12:] == b"XMP \3\0\0\0abc\0"
    assert int.from_bytes(made[4:8], "little") == len(made) - 8
    assert check_whole(made).pixels == 300 * 17


def test_only_the_block_of_exif_is_one() -> None:
    marked = with_packet(image_file(kind="JPEG"), b"<x/>")
    assert (exif_of(marked), packet_of(marked)) == (b"", b"<x/>")
    assert exif_of(image_file(kind="JPEG", exif=camera())).startswith(b"Exif\0\0")
    for kind in ("PNG", "WEBP"):
        assert b"camera" in exif_of(image_file(kind=kind, exif=camera()))


def test_an_exif_block_is_read_up_to_its_first_256_kib() -> None:
    assert len(exif_of(png_with(b"eXIf", b"x" * 262_145))) == 262_144


def test_only_signed_boxes_are_content_credentials() -> None:
    assert has_credentials(jpeg_with(0xEB, b"JP\0\1"))
    assert not has_credentials(jpeg_with(0xEB, b"HDR_RI"))
    assert not has_credentials(jpeg_with(0xEC, b"JP\0\1"))
    kept = with_packet(jpeg_with(0xEB, b"HDR_RI"), b"<x/>")
    assert b"HDR_RI" in kept


def test_long_keywords_and_texts_of_a_png_are_cut() -> None:
    assert png_texts(png_with(b"tEXt", b"k" * 100 + b"\0text")) == {"k" * 80: "text"}
    packed = zlib.compress(b"t" * 300_000)
    assert png_texts(png_with(b"zTXt", b"key\0\0" + packed)) == {"key": "t" * 262_144}


def test_the_first_packet_that_can_be_read_is_the_files() -> None:
    two = jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0first")
    assert packet_of(with_packet(two, b"second")) == b"second"
    empty = b"\xff\xe1" + struct.pack(">H", 31) + b"http://ns.adobe.com/xap/1.0/\0"
    assert packet_of(two[:2] + empty + two[2:]) == b"first"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_text_in_exif_is_blanked_and_the_rest_stays(kind: str) -> None:
    data = image_file(kind=kind, exif=camera())
    made = with_packet(data, b"<x/>", replaced_exif=b"camera")
    assert exif_of(made) == exif_of(data).replace(b"camera", b"      ")
    assert exif_of(with_packet(data, b"<x/>")) == exif_of(data)
    assert check_whole(made) == check_whole(data)


def test_named_texts_are_left_out() -> None:
    data = png_with(b"tEXt", b"AIGC\0label")
    assert png_texts(with_packet(data, b"<x/>")).keys() == {"AIGC", "XML:com.adobe.xmp"}
    made = with_packet(data, b"<x/>", replaced_texts=frozenset({"AIGC"}))
    assert png_texts(made) == {"XML:com.adobe.xmp": "<x/>"}

"""Which JPEG and WebP files their container proves, and which are decoded as well."""

import pytest

from models.images import codec
from models.images.integrity import check_whole
from models.images.sniff import Header


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are given to a decoder, which takes each of them."""
    files: list[bytes] = []
    monkeypatch.setattr(codec, "decode", files.append)
    return files


SCAN = b"\xff\xda\0\2scan"
FRAME = b"\xff\xc0\0\x07\x08" + b"\0\x09\0\x07"
TABLES = b"\xff\xdb\0\2\xff\xc4\0\2"


@pytest.mark.parametrize(
    ("segments", "proven"),
    [
        (TABLES + FRAME + SCAN + b"\xff\xd9", True),
        (TABLES + FRAME.replace(b"\xc0", b"\xc1") + SCAN + b"\xff\xd9", True),
        (TABLES + FRAME.replace(b"\xc0", b"\xc2") + SCAN + SCAN + b"\xff\xd9", True),
        (TABLES + FRAME.replace(b"\xc0", b"\xc3") + SCAN + b"\xff\xd9", False),
        (TABLES + FRAME.replace(b"\xc0", b"\xc9") + SCAN + b"\xff\xd9", False),
        (TABLES + FRAME + FRAME + SCAN + b"\xff\xd9", False),
        (TABLES + FRAME + b"\xff\xd9", False),
        (TABLES[:4] + FRAME + SCAN + b"\xff\xd9", False),
        (TABLES[4:] + FRAME + SCAN + b"\xff\xd9", False),
        (TABLES + FRAME + SCAN + b"\xff\xe0\0\1", False),
    ],
)
def test_a_jpeg_is_proven_by_one_common_frame_its_tables_a_scan_and_its_end(
    decoded: list[bytes], segments: bytes, proven: bool
) -> None:
    assert check_whole(b"\xff\xd8" + segments) == Header("image/jpeg", 7, 9)
    assert len(decoded) == (not proven)


def webp(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + len(content).to_bytes(4, "little") + content for kind, content in parts)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


KEY_FRAME = (b"VP8 ", b"\0\0\0\x9d\x01\x2a" + b"\7\0\x09\0")
EXTENDED = (b"VP8X", bytes(4) + b"\6\0\0\x08\0\0")
OTHER = (b"ABCD", b"ab")


@pytest.mark.parametrize(
    ("parts", "proven"),
    [
        ((KEY_FRAME,), True),
        ((EXTENDED, KEY_FRAME), True),
        ((EXTENDED, OTHER, KEY_FRAME, OTHER), True),
        ((KEY_FRAME, OTHER), False),
        ((KEY_FRAME, KEY_FRAME), False),
        ((EXTENDED, KEY_FRAME, KEY_FRAME), False),
        ((EXTENDED, (b"ALPH", b"ab"), KEY_FRAME), False),
        ((EXTENDED, OTHER), False),
        ((EXTENDED, (b"VP8L", KEY_FRAME[1])), False),
    ],
)
def test_a_webp_is_proven_by_one_lossy_image(
    decoded: list[bytes], parts: tuple[tuple[bytes, bytes], ...], proven: bool
) -> None:
    assert check_whole(webp(*parts)) == Header("image/webp", 7, 9)
    assert len(decoded) == (not proven)

"""XMP packets and Content Credentials in PNG, JPEG and WebP files: read, written and taken out without decoding a pixel.

- PNG: chunk iTXt `XML:com.adobe.xmp`; Content Credentials in `caBX` (PNG 3rd edition, C2PA 2.2).
- JPEG: segment APP1; Content Credentials in APP11 (XMP part 3; ISO 19566-5).
- WebP: chunk `XMP ` with its flag in `VP8X`; Content Credentials in `C2PA` (WebP container specification).

Every function takes a file that is whole (`integrity`).
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from models.images.integrity import png_chunks, webp_chunks
from models.images.sniff import SOS, Kind, jpeg_segments, sniff

_LARGEST_PACKET = 256 * 1024  # bytes; a larger one is hostile
_LONGEST_SEGMENT = 0xFFFF - 2

_PNG_KEYWORD = b"XML:com.adobe.xmp"
_PNG_TEXTS = frozenset({b"iTXt", b"tEXt", b"zTXt"})
_APP0, _APP1, _APP11 = 0xE0, 0xE1, 0xEB
_JPEG_XMP, _JPEG_EXIF = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0"
_VP8X_XMP, _VP8X_ALPHA = 0x04, 0x10


@dataclass(frozen=True, slots=True)
class _Part:
    """A chunk or segment: its kind, its content and its whole bytes."""

    kind: bytes
    content: memoryview
    whole: memoryview


def packet_of(data: bytes) -> bytes:
    """The XMP packet of a file; empty where it has none, and where its format holds none that is known here."""
    for part in _parts(data):
        if packet := _packet_in(part):
            return packet
    return b""


def exif_of(data: bytes) -> bytes:
    """The beginning of a file's EXIF block; empty where it has none."""
    return next((bytes(part.content[:_LARGEST_PACKET]) for part in _parts(data) if _is_exif(part)), b"")


def with_packet(
    data: bytes, packet: bytes, *, replaced_texts: frozenset[str] = frozenset(), replaced_exif: bytes = b""
) -> bytes:
    """The file with `packet` as its only XMP packet, and without Content Credentials, which the change makes invalid.

    `replaced_texts` are keywords of PNG text chunks to leave out, `replaced_exif` is a text in the EXIF block to blank. Raises ValueError for another format than PNG, JPEG
    and WebP, and for a packet that no JPEG can hold.
    """
    kind = sniff(data).kind
    if kind is None:
        raise ValueError("only PNG, JPEG and WebP files take an XMP packet")
    dropped = {keyword.encode() for keyword in replaced_texts}
    kept = [
        _blanked(part, replaced_exif)
        for part in _parts(data)
        if not (_is_packet(part) or _is_credential(part) or _keyword(part) in dropped)
    ]
    return _WRITERS[kind](data, kept, packet)


def png_texts(data: bytes) -> Mapping[str, str]:
    """The text chunks of a PNG by their keywords; empty for other formats."""
    if not data.startswith(b"\x89PNG"):
        return {}
    return {_keyword(part).decode("latin-1"): _text(part) for part in _parts(data) if part.kind in _PNG_TEXTS}


def has_credentials(data: bytes) -> bool:
    """Whether the file carries signed Content Credentials (C2PA)."""
    return any(map(_is_credential, _parts(data)))


def _parts(data: bytes) -> Iterator[_Part]:
    reader = _READERS.get(sniff(data).kind or "")
    return reader(data, memoryview(data)) if reader else iter(())


def _png_parts(data: bytes, view: memoryview) -> Iterator[_Part]:
    for kind, start, end in png_chunks(data):
        yield _Part(kind, view[start:end], view[start - 8 : end + 4])


def _jpeg_parts(data: bytes, view: memoryview) -> Iterator[_Part]:
    """The segments before the first scan; the last one is the rest of the file."""
    at = 2
    for marker, start, end in jpeg_segments(data):
        if marker == SOS:
            break
        yield _Part(bytes([marker]), view[start:end], view[at:end])
        at = end
    yield _Part(b"", view[at:], view[at:])


def _webp_parts(data: bytes, view: memoryview) -> Iterator[_Part]:
    for kind, start, end in webp_chunks(data):
        yield _Part(kind, view[start:end], view[start - 8 : end])


_READERS: Mapping[str, Callable[[bytes, memoryview], Iterator[_Part]]] = {
    "png": _png_parts,
    "jpeg": _jpeg_parts,
    "webp": _webp_parts,
}


def _is_exif(part: _Part) -> bool:
    in_jpeg = part.kind == bytes([_APP1]) and bytes(part.content[: len(_JPEG_EXIF)]) == _JPEG_EXIF
    return in_jpeg or part.kind in {b"eXIf", b"EXIF"}


def _blanked(part: _Part, text: bytes) -> _Part:
    """The EXIF block with spaces in place of a text: no offset in it changes. Every other part as it is."""
    if not text or not _is_exif(part):
        return part
    content = bytes(part.content).replace(text, b" " * len(text))
    before = len(part.whole) - len(part.content)
    if part.kind == b"eXIf":
        return _Part(part.kind, memoryview(content), memoryview(_png_chunk(part.kind, content)))
    return _Part(part.kind, memoryview(content), memoryview(bytes(part.whole[:before]) + content))


def _keyword(part: _Part) -> bytes:
    """The keyword of a PNG text chunk; empty for every other part."""
    return bytes(part.content[:80]).partition(b"\0")[0] if part.kind in _PNG_TEXTS else b""


def _text(part: _Part) -> str:
    """The text of a PNG text chunk; empty where it cannot be read."""
    body = bytes(part.content).partition(b"\0")[2]
    packed, encoding = part.kind == b"zTXt", "latin-1"
    if part.kind == b"iTXt":
        packed, encoding = body[:1] == b"\1", "utf-8"
        body = body[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        body = body[1:]
    with suppress(zlib.error, UnicodeDecodeError):
        return (zlib.decompressobj().decompress(body, _LARGEST_PACKET) if packed else body).decode(encoding)
    return ""


def _is_packet(part: _Part) -> bool:
    return (
        part.kind == b"XMP "
        or _keyword(part) == _PNG_KEYWORD
        or (part.kind == bytes([_APP1]) and bytes(part.content[: len(_JPEG_XMP)]) == _JPEG_XMP)
    )


def _packet_in(part: _Part) -> bytes:
    if not _is_packet(part) or len(part.content) > _LARGEST_PACKET:
        return b""
    if part.kind in _PNG_TEXTS:
        return _text(part).encode()
    return bytes(part.content).removeprefix(_JPEG_XMP)


def _is_credential(part: _Part) -> bool:
    in_jpeg = part.kind == bytes([_APP11]) and bytes(part.content[:2]) == b"JP"
    return in_jpeg or part.kind in {b"caBX", b"C2PA"}


def _png_with(data: bytes, parts: list[_Part], packet: bytes) -> bytes:
    body = _PNG_KEYWORD + b"\0\0\0\0\0" + packet
    header, *others = (part.whole for part in parts)
    return b"".join((data[:8], header, _png_chunk(b"iTXt", body), *others))


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpeg_with(data: bytes, parts: list[_Part], packet: bytes) -> bytes:
    body = _JPEG_XMP + packet
    if len(body) > _LONGEST_SEGMENT:
        raise ValueError(f"a JPEG holds no XMP packet of {len(packet)} bytes")
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    first = next(place for place, part in enumerate(parts) if not _opens_a_jpeg(part))
    wholes = [part.whole for part in parts]
    return b"".join((data[:2], *wholes[:first], segment, *wholes[first:]))


def _opens_a_jpeg(part: _Part) -> bool:
    return _is_exif(part) or part.kind == bytes([_APP0])


def _webp_with(data: bytes, parts: list[_Part], packet: bytes) -> bytes:
    flags, others = (parts[0].content[0], parts[1:]) if parts[0].kind == b"VP8X" else (_webp_flags(parts[0]), parts)
    header = sniff(data)
    canvas = (header.width - 1).to_bytes(3, "little") + (header.height - 1).to_bytes(3, "little")
    chunks = [
        _riff_chunk(b"VP8X", bytes([flags | _VP8X_XMP, 0, 0, 0]) + canvas),
        *(_riff_chunk(part.kind, part.content) for part in others),
        _riff_chunk(b"XMP ", packet),
    ]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_flags(image: _Part) -> int:
    """The flags of an extended file around the one chunk of a simple one: lossless files say whether they use alpha."""
    return _VP8X_ALPHA if image.kind == b"VP8L" and image.content[4] & 0x10 else 0


def _riff_chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    return kind + struct.pack("<I", len(content)) + bytes(content) + bytes(len(content) % 2)


_WRITERS: Mapping[Kind, Callable[[bytes, list[_Part], bytes], bytes]] = {
    "png": _png_with,
    "jpeg": _jpeg_with,
    "webp": _webp_with,
}

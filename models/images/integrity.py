"""Proof that an image file is whole, from its container alone where that says as much as a complete decode.

- PNG and APNG: the order and checksums of the chunks, the frames' count, the end. Nothing is decoded.
- JPEG: segments and scans up to the end marker. A decoder knows no more: it shows damaged scans without an error.
- WebP: the sizes of the file and its chunks; a lossy still image needs no more, by the same reason.
- GIF: the blocks up to the trailer.

Everything else is decoded: lossless WebP, GIF and animations have no checksums and a decoder notices damage in them;
BMP, TIFF, AVIF and HEIF have no container that could be checked; and a file of any kind whose structure is unusual.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise

from models.images.sniff import (
    EOI,
    JPEG_FRAMES,
    SOS,
    BrokenImageError,
    Header,
    jpeg_segments,
    sniff_within_limits,
    truncated,
)


def check_whole(data: bytes) -> Header:
    """The header of a file that is whole. Call it in a thread.

    Raises NotAnImageError for what is no image, BrokenImageError for one that is damaged, cut off or oversized.
    """
    header = sniff_within_limits(data)
    proven = _PROOFS.get(header.mime_type)
    if proven is None or not proven(data):
        from models.images.codec import decode  # noqa: PLC0415 -- most files are proven without Pillow

        decode(data)
    return header


def _png(data: bytes) -> bool:
    kinds: list[bytes] = []  # of the chunks that make the image; a run of IDAT counts once
    wrong: list[bytes] = []
    compressed, previous = 0, b""
    for kind, start, end in png_chunks(data):
        if zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            wrong.append(kind)
        if kind == b"IDAT":
            if not compressed and not _is_zlib(data[start : start + 2]):
                return False
            compressed += end - start
        if (_is_critical(kind) or kind in _ANIMATED) and not kind == previous == b"IDAT":
            kinds.append(kind)
        previous = kind
        if len(kinds) > _MOST_PARTS:
            return False
    _check_sums(wrong, kinds)
    return not wrong and _png_order(kinds) and _png_frames(data, kinds) and _could_fill(data, kinds, compressed)


def _check_sums(wrong: list[bytes], kinds: list[bytes]) -> None:
    # Decoders show a still image beside damaged metadata.
    damaged = wrong if _ANIMATED.intersection(kinds) else [kind for kind in wrong if _is_critical(kind)]
    if damaged:
        raise BrokenImageError(f"the file is damaged (the checksum of its {damaged[0].decode('ascii', 'replace')})")


_ANIMATED = frozenset({b"acTL", b"fcTL", b"fdAT"})
_MOST_PARTS = 10_000  # a hostile file has millions


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The type of each chunk and where its content begins and ends. Raises BrokenImageError where the file ends too early."""
    at, kind = 8, b""
    while kind != b"IEND":
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4])
        at = end + 4
        if at > len(data):
            raise truncated()
        kind = data[start - 4 : start]
        yield kind, start, end


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20


def _is_zlib(start: bytes) -> bool:
    return len(start) == 2 and start[0] & 15 == 8 and int.from_bytes(start) % 31 == 0  # noqa: PLR2004 -- RFC 1950


def _png_order(kinds: list[bytes]) -> bool:
    """Whether there is one run of image data; the other critical chunks come before it, the palette where needed."""
    critical = [kind for kind in kinds if _is_critical(kind)]
    return critical in ([b"IHDR", b"IDAT", b"IEND"], [b"IHDR", b"PLTE", b"IDAT", b"IEND"])


def _png_frames(data: bytes, kinds: list[bytes]) -> bool:
    if b"acTL" not in kinds:
        return True
    said = next(int.from_bytes(data[start : start + 4]) for kind, start, _ in png_chunks(data) if kind == b"acTL")
    still = b"fcTL" not in kinds or kinds.index(b"fcTL") > kinds.index(b"IDAT")
    drawn = [kind for kind in kinds if kind in {b"fcTL", b"fdAT"}]
    runs = list(pairwise(drawn)).count((b"fcTL", b"fdAT"))
    return said == kinds.count(b"fcTL") == runs + (not still)


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_BEST_DEFLATE = 1032  # bytes out of one; more is impossible


def _could_fill(data: bytes, kinds: list[bytes], compressed: int) -> bool:
    """Whether the header is valid and so much compressed data can hold all pixels."""
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    depth, colour, compression, filtering, interlaced = data[24:29]
    unusual = depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlaced > 1
    if unusual or (colour == 3 and b"PLTE" not in kinds):  # noqa: PLR2004 -- indexed
        return False
    return compressed * _BEST_DEFLATE >= height * (width * depth * _CHANNELS[colour] // 8)


_JPEG_TABLES = {0xDB, 0xC4}  # quantisation, Huffman
_COMMON_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive


def _jpeg(data: bytes) -> bool:
    seen = [marker for marker, _, _ in islice(jpeg_segments(data), _MOST_PARTS)]
    frames = [marker for marker in seen if marker in JPEG_FRAMES]
    complete = len(frames) == 1 and seen[-1] == EOI and SOS in seen
    return complete and frames[0] in _COMMON_FRAMES and _JPEG_TABLES.issubset(seen)


def _webp(data: bytes) -> bool:
    chunks = list(webp_chunks(data))
    images = [chunk for chunk in chunks if chunk[0] in _WEBP_IMAGES]
    if len(images) != 1 or images[0][0] != b"VP8 ":
        return False
    extended = chunks[0][0] == b"VP8X"
    return (extended or len(chunks) == 1) and _vp8(data, images[0])


_WEBP_IMAGES = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The type of each chunk and where its content begins and ends. Raises BrokenImageError where the file ends too early."""
    size = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < size:
        raise truncated()
    at = 12
    while at < size:
        start = at + 8
        end = start + int.from_bytes(data[at + 4 : start], "little")
        if end > size:
            raise truncated()
        yield data[at : at + 4], start, end
        at = end + end % 2


def _vp8(data: bytes, chunk: tuple[bytes, int, int]) -> bool:
    """Whether a chunk begins with a key frame whose first part lies within the chunk."""
    _, start, end = chunk
    tag = int.from_bytes(data[start : start + 3], "little")
    return not tag & 1 and data[start + 3 : start + 6] == b"\x9d\x01\x2a" and start + 10 + (tag >> 5) <= end


def _gif(data: bytes) -> bool:
    """Follow the blocks up to the trailer. They have no checksums, so nothing is proven yet."""
    at = 13 + _colour_table(data, 10)
    while at < len(data):
        match data[at]:
            case 0x00:  # some writers pad
                at += 1
            case 0x21:  # an extension
                at = _after_sub_blocks(data, at + 2)
            case 0x2C:  # a frame
                at = _after_sub_blocks(data, at + 11 + _colour_table(data, at + 9))
            case 0x3B:  # the trailer
                return False
            case _:
                raise BrokenImageError("the file is damaged (no block begins where one should)")
    raise truncated()


def _colour_table(data: bytes, flags_at: int) -> int:
    """Bytes of the colour table that the flags speak of."""
    if flags_at >= len(data):
        raise truncated()
    flags = data[flags_at]
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


_PROOFS: Mapping[str, Callable[[bytes], bool]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/gif": _gif,
}

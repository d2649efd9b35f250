"""Proof and size of a video from its container: MP4 and QuickTime by their boxes, WebM and Matroska by their elements.

Nothing is decoded and nothing is encoded again.
Source: ISO/IEC 14496-12 (boxes `ftyp`, `moov`, `trak`, `tkhd`, `mdat`); RFC 8794 and RFC 9559 (EBML, Matroska).
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from models.images.sniff import EBML, BrokenImageError, Header

EXTENSIONS: Mapping[str, str] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
}
"""The kinds of video that are delivered, and the ends of their files' names."""

_MOST_PARTS = 100_000  # boxes or elements of one level; a hostile file has millions
_SEGMENT, _CLUSTER, _TRACKS, _TAGS = 0x18538067, 0x1F43B675, 0x1654AE6B, 0x1254C367
_DOC_TYPE, _TRACK, _VIDEO_TRACK, _WIDTH, _HEIGHT = 0x4282, 0xAE, 0xE0, 0xB0, 0xBA
_VOID_HEADER = b"\xec\x01"  # an element to be skipped, whose size has seven bytes

type _Part[K] = tuple[K, int, int]
"""The kind of a box or an element, and where its content begins and ends."""


def video_header(data: bytes) -> Header:
    """Type and pixels of a video that is whole. Raises BrokenImageError for one that is cut off or shows nothing."""
    mime_type, size = _matroska(data) if data.startswith(EBML) else _mp4(data)
    if not all(size):
        raise BrokenImageError("the file has no video track")
    return Header(mime_type, *size)


def without_metadata(data: bytes) -> bytes:
    """The same video without the texts in its container, where ComfyUI writes the workflow. Length and frames stay."""
    clean = bytearray(data)
    if data.startswith(EBML):
        for number, start, end in _segment(data):
            if number == _TAGS:
                _blank_element(clean, start, end)
        return bytes(clean)
    for kind in (b"udta", b"meta"):
        for _, start, end in _inside(data, b"moov", kind):
            clean[start - 4 : end] = b"free" + bytes(end - start)
    return bytes(clean)


def _blank_element(data: bytearray, start: int, end: int) -> None:
    """`start` is where the content of a top-level element begins; its size before it has one to eight bytes."""
    begin = data.rindex(_TAGS.to_bytes(4), 0, start)
    data[begin:end] = _VOID_HEADER + (end - begin - 9).to_bytes(7) + bytes(end - begin - 9)


# --- MP4 ---


def _mp4(data: bytes) -> tuple[str, tuple[int, int]]:
    kinds = {kind for kind, start, end in _boxes(data, 0, len(data)) if end > start}
    if not {b"moov", b"mdat"} <= kinds:
        raise BrokenImageError("the file is a video without frames")
    return "video/quicktime" if data[8:12] == b"qt  " else "video/mp4", _mp4_size(data)


def _mp4_size(data: bytes) -> tuple[int, int]:
    """Of the first track that has a size: sound has none."""
    for _, start, end in _inside(data, b"moov", b"trak", b"tkhd"):
        width, height = (int.from_bytes(data[at : at + 4]) >> 16 for at in (end - 8, end - 4))
        if end - start >= 84 and width and height:  # noqa: PLR2004 -- the shorter of the box's two versions
            return width, height
    return 0, 0


def _inside(data: bytes, *path: bytes) -> Iterator[_Part[bytes]]:
    """The boxes at a path from the file's top."""
    level = [(b"", 0, len(data))]
    for name in path:
        level = [box for _, start, end in level for box in _boxes(data, start, end) if box[0] == name]
    yield from level


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Part[bytes]]:
    for _ in range(_MOST_PARTS):
        if at >= end:
            return
        size, kind, start = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16]), at + 16
        stop = end if size == 0 else at + size
        if not start <= stop <= end:
            raise _cut_off()
        yield kind, start, stop
        at = stop
    raise BrokenImageError("the file has too many parts")


# --- Matroska ---


def _matroska(data: bytes) -> tuple[str, tuple[int, int]]:
    _, start, end = next(_elements(data, 0, len(data)))
    kinds = [data[begin:stop] for kind, begin, stop in _elements(data, start, end) if kind == _DOC_TYPE]
    parts = list(_segment(data))
    if not any(kind == _CLUSTER for kind, _, _ in parts):
        raise BrokenImageError("the file is a video without frames")
    mime_type = "video/webm" if kinds and kinds[0].rstrip(b"\0") == b"webm" else "video/x-matroska"
    return mime_type, _matroska_size(data, parts)


def _matroska_size(data: bytes, parts: list[_Part[int]]) -> tuple[int, int]:
    for path in (_TRACKS,), (_TRACK,), (_VIDEO_TRACK,):
        parts = [part for part in parts if part[0] in path]
        parts = [inner for _, start, end in parts for inner in _elements(data, start, end)]
    found = {kind: int.from_bytes(data[start:end]) for kind, start, end in reversed(parts)}
    return found.get(_WIDTH, 0), found.get(_HEIGHT, 0)


def _segment(data: bytes) -> Iterator[_Part[int]]:
    """The elements of the file's segment, up to the first whose length was not known when it was written."""
    for kind, start, end in islice(_elements(data, 0, len(data)), 2):
        if kind == _SEGMENT:
            yield from _elements(data, start, end)


def _elements(data: bytes, at: int, end: int) -> Iterator[_Part[int]]:
    for _ in range(_MOST_PARTS):
        if at >= end:
            return
        kind, at = _number(data, at, marked=True)
        size, start = _number(data, at, marked=False)
        unknown = size == (1 << 7 * (start - at)) - 1  # live recordings do not know their length
        stop = end if unknown else start + size
        if stop > end:
            raise _cut_off()
        yield kind, start, stop
        at = stop
    raise BrokenImageError("the file has too many parts")


def _number(data: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """A number whose first bits tell its length, and where it ends. `marked`: those bits belong to it."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if not first or at + length > len(data):
        raise _cut_off()
    number = int.from_bytes(data[at : at + length])
    return (number if marked else number & ((1 << 7 * length) - 1)), at + length


def _cut_off() -> BrokenImageError:
    return BrokenImageError("the file ends in the middle of the video")

"""Type and size of an image from its first bytes, without decoding it and without trusting any name.

PNG, JPEG, WebP and GIF are read here: nearly every image is one of them, and Pillow takes a tenth of a second to
import. Pillow reads the headers of the other formats.
"""

import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any, ClassVar, Literal

from models.images.heic import heic_size, is_heic

# Formats this plugin understands; Pillow's other decoders (PSD, EPS, PDF ...) stay closed to hostile files.
FORMATS = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with a second image, as phones write them
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}

type Kind = Literal["png", "jpeg", "webp"]
KINDS: Mapping[str, Kind] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
"""The formats that images are made in."""

MAX_PIXELS = 8192 * 8192  # 256 MiB once decoded
MAX_BYTES = 128 * 1024 * 1024

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_MOST_SEGMENTS = 2_000  # before the size of a JPEG; a colour profile takes at most 255


class NotAnImageError(ValueError):
    """The bytes are no image of a known format; the text says what they look like."""

    advice: ClassVar[str] = "Send a PNG, JPEG or WebP file"


class DrawingError(NotAnImageError):
    """The bytes are an image of a kind that must be exported first."""

    advice = "Export it as PNG first"


class BrokenImageError(ValueError):
    """The bytes start like an image and cannot be used; the text says why."""

    advice: ClassVar[str] = "Send it again, or save it anew as PNG, JPEG or WebP"


class OversizedImageError(BrokenImageError):
    """The image has too many bytes or pixels."""

    advice = "Send a smaller image"


@dataclass(frozen=True, slots=True)
class Header:
    mime_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def kind(self) -> Kind | None:
        return KINDS.get(self.mime_type.removeprefix("image/"))


def sniff(data: bytes) -> Header:
    """The header of `data`. Raises NotAnImageError for anything that is not one of FORMATS."""
    header = _read(data)
    if header is None:
        words = describe(data)
        raise (DrawingError if words in _DRAWINGS else NotAnImageError)(words)
    return header


def sniff_within_limits(data: bytes) -> Header:
    """`sniff`, which also raises OversizedImageError for a file that would need too much memory."""
    if (size := len(data)) > MAX_BYTES:
        raise OversizedImageError(f"the file has {size / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB taken")
    header = sniff(data)
    check_pixels(header.width, header.height)
    return header


def check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        most = f"the {MAX_PIXELS / 1e6:.0f} megapixels taken"
        raise OversizedImageError(f"the image has {width}×{height} pixels, more than {most}")


def describe(data: bytes) -> str:
    if not data:
        return "the file is empty"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if words := next((words for sign, words in _LOOKS if start.startswith(sign)), _SVG if b"<svg" in start else ""):
        return words
    if data.startswith(_VIDEO) or is_video(data):
        return "the file is a video, not an image"
    if _is_box(data) or data.startswith(_IMAGES):
        return "the file breaks off or is damaged before the image begins"
    return "the file is not an image in a known format (PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, AVIF)"


def is_video(data: bytes) -> bool:
    """Whether a file begins like MP4, QuickTime, WebM or Matroska."""
    return data.startswith(EBML) or (_is_box(data) and data[8:12] not in _AVIF_BRANDS | _HEIC_BRANDS)


def _is_box(data: bytes) -> bool:
    return data[4:8] == b"ftyp"  # MP4, AVIF and HEIC share one container


_SVG = "the file is an SVG drawing"
_PHOTOSHOP = "the file is a Photoshop document"
_POSTSCRIPT = "the file is a PostScript drawing"
_DRAWINGS = frozenset({_SVG, _PHOTOSHOP, _POSTSCRIPT})
_LOOKS: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    ((b"<!doctype html", b"<html"), "the file is an HTML page, not an image"),
    ((b"{", b"["), "the file is JSON text, not an image"),
    (b"%pdf", "the file is a PDF, not an image"),
    (b"pk\x03\x04", "the file is a ZIP archive or an Office document, not an image"),
    (b"8bps", _PHOTOSHOP),
    ((b"%!ps", b"\xc5\xd0\xd3\xc6"), _POSTSCRIPT),
)
EBML = b"\x1a\x45\xdf\xa3"
"""The first bytes of WebM and Matroska."""
_VIDEO = (b"\x00\x00\x01\xba", b"FLV")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*")


def _read(data: bytes) -> Header | None:
    mime_type = _mime_type(data)
    if mime_type is None:
        return _read_by_pillow(data)
    try:
        width, height = _SIZES[mime_type](data)
    except (struct.error, BrokenImageError):
        return None
    return Header(mime_type, width, height) if width and height else None


def _mime_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def _png_size(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    return (width, height) if kind == b"IHDR" and length == 13 else (0, 0)  # noqa: PLR2004 -- the chunk's length


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width, height = struct.unpack_from("<3s3s", data, 24)
            return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")
        case b"VP8L":
            sign, bits = struct.unpack_from("<BI", data, 20)
            return (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)) if sign == 0x2F else (0, 0)  # noqa: PLR2004
        case b"VP8 ":
            sign, width, height = struct.unpack_from("<3sHH", data, 23)
            return (width & 0x3FFF, height & 0x3FFF) if sign == b"\x9d\x01\x2a" else (0, 0)
        case _:
            return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in islice(jpeg_segments(data), _MOST_SEGMENTS):
        if marker == SOS:
            break
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            return width, height
    return 0, 0


_SIZES = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/gif": _gif_size, "image/webp": _webp_size}

SOS, EOI = 0xDA, 0xD9
JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""The markers whose segment holds the size of the image."""
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed and restart bytes belong to the scan
_WINDOW = 1_000_000  # bytes searched at once; a search holds Python's lock


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment and where its content begins and ends, up to the end of the image.

    Ends early where something else than a segment stands. Raises BrokenImageError where the file ends too early.
    """
    at = 2
    while found := _MARKER.match(data, at):
        marker = found[1][0]
        if marker == EOI:
            yield marker, found.end(), found.end()
            return
        start = found.end() + 2
        at = found.end() + int.from_bytes(data[found.end() : start])
        if at > len(data) or start > len(data):
            raise truncated()
        if at < start:
            return
        yield marker, start, at
        if marker == SOS:
            at = _end_of_scan(data, at)
    if at >= len(data) - 1:
        raise truncated()


def _end_of_scan(data: bytes, at: int) -> int:
    while at < len(data):
        if found := _AFTER_SCAN.search(data, at, at + _WINDOW):
            return found.start()
        at += _WINDOW - 1
    return len(data)


def truncated() -> BrokenImageError:
    return BrokenImageError("the file ends in the middle of the image")


def _read_by_pillow(data: bytes) -> Header | None:
    if not data.startswith((b"BM", b"II", b"MM")) and data[4:8] != b"ftyp":
        return None
    if is_heic(data):
        size = heic_size(data)
        return Header("image/heic", *size) if size else None
    pillow = load_pillow()
    try:
        with pillow.open(io.BytesIO(data), formats=openable()) as image:
            return Header(FORMATS[image.format or ""], image.width, image.height)
    except Exception:  # noqa: BLE001 -- a damaged file may make a decoder meet anything; `describe` says what is told
        return None


@cache
def load_pillow() -> Any:
    """Pillow's module `Image`, with the decoders and encoders of FORMATS registered."""
    from PIL import Image  # noqa: PLC0415 -- see the module's docstring

    # Importing a plugin registers it; `Image.init()` would load forty of them and take a fifth of a second.
    for name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
        import_module(f"PIL.{name}ImagePlugin")
    # Pillow's own guard speaks of pixels only in a warning; every decoder here is asked after `sniff_within_limits`.
    Image.MAX_IMAGE_PIXELS = None
    return Image


def openable() -> list[str]:
    """Names of the formats that Pillow may open in this process; `heic` is for the other one."""
    return [name for name in FORMATS if name != "HEIF" and name in load_pillow().OPEN]

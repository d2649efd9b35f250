"""Type and size of an image from its first bytes, without decoding it and without trusting any name."""

import io
from dataclasses import dataclass
from functools import cache

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

# Pillow's own guard speaks of pixels only in a warning; every decoder here is asked after `sniff`, by callers with a limit.
Image.MAX_IMAGE_PIXELS = None

# Importing a plugin registers it; `Image.init()` would load forty of them and take a fifth of a second.
_PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

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

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


class NotAnImageError(ValueError):
    """The bytes are no image of a known format; the text says what they look like."""


@dataclass(frozen=True, slots=True)
class Header:
    mime_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def sniff(data: bytes) -> Header:
    """Read format, width and height (pixels) from `data`.

    Raises NotAnImageError for empty data and for anything that is not one of FORMATS.
    """
    header = _open(data)
    if header is None:
        raise NotAnImageError(describe(data))
    return header


def describe(data: bytes) -> str:
    """What bytes that are no image look like, in a few words."""
    if not data:
        return "the file is empty"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for sign, words in _LOOKS:
        if start.startswith(sign):
            return words
    if b"<svg" in start:
        return "the file is an SVG drawing; export it as PNG first"
    if data[4:8] == b"ftyp" or data.startswith(_VIDEO):
        return "the file is a video, not an image"
    if data.startswith(_IMAGES):
        return "the file breaks off or is damaged before the image begins"
    return "the file is not an image in a known format (PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, AVIF)"


_LOOKS: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    ((b"<!doctype html", b"<html"), "the file is an HTML page, not an image"),
    ((b"{", b"["), "the file is JSON text, not an image"),
    (b"%pdf", "the file is a PDF, not an image"),
    (b"pk\x03\x04", "the file is a ZIP archive or an Office document, not an image"),
    (b"8bps", "the file is a Photoshop document; export it as PNG first"),
    ((b"%!ps", b"\xc5\xd0\xd3\xc6"), "the file is a PostScript drawing; export it as PNG first"),
)
_VIDEO = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"FLV")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*")


@cache
def _learn_heif() -> None:
    # Loading the library takes 40 ms and is rarely needed, so not before the first HEIC file.
    import pi_heif  # noqa: PLC0415

    pi_heif.register_heif_opener()


def _open(data: bytes) -> Header | None:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        _learn_heif()
    try:
        with Image.open(io.BytesIO(data), formats=openable()) as image:
            return Header(FORMATS[image.format or ""], image.width, image.height)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, KeyError):
        return None


def openable() -> list[str]:
    """Names of the formats that Pillow may open now; HEIF is among them once a HEIC file was seen."""
    return [name for name in FORMATS if name in Image.OPEN]

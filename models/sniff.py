"""Type and size of a picture from its first bytes, without decoding it and without trusting any name."""

import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

# Formats this plugin understands; Pillow's other decoders (PSD, EPS, PDF ...) stay closed to hostile files.
FORMATS = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with a second picture, as phones write them
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}


class NotAnImageError(ValueError):
    """The bytes are no picture of a known format; the text says what they look like."""


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
    """What bytes that are no picture look like, in a few words."""
    if not data:
        return "the file is empty"
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "the file is an HTML page, not a picture"
    if start.startswith((b"{", b"[")):
        return "the file is JSON text, not a picture"
    if start.startswith(b"%pdf"):
        return "the file is a PDF, not a picture"
    if b"<svg" in start:
        return "the file is an SVG drawing; export it as PNG first"
    return "the file is not a picture in a known format (PNG, JPEG, WebP, GIF, BMP, TIFF)"


def _open(data: bytes) -> Header | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are judged by the callers
            with Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
                return Header(FORMATS[image.format or ""], image.width, image.height)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError):
        return None

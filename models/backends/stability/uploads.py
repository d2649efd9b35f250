"""Input pictures as Stability takes them: PNG, JPEG or WebP, within 10 MiB for the whole request."""

import io

from PIL import Image, ImageOps

from models.backends.errors import BadRequest
from models.backends.stability.facts import MAX_REQUEST_BYTES, REQUEST_OVERHEAD_BYTES, UPLOAD_TYPES
from models.backends.stability.shapes import Size
from models.request import InputImage

_MAX_BYTES = MAX_REQUEST_BYTES - REQUEST_OVERHEAD_BYTES


def as_upload(image: InputImage) -> tuple[InputImage, list[str]]:
    """The picture itself where the service takes it, else re-encoded or made smaller, with a notice."""
    if image.mime_type in UPLOAD_TYPES and len(image.data) <= _MAX_BYTES:
        return image, []
    return _encoded(_opened(image), image.filename)


def as_sized_upload(image: InputImage, size: Size) -> tuple[InputImage, list[str]]:
    """The picture in exactly `size`: scaled to cover it and cut around the middle, with a notice."""
    opened = _opened(image)
    if opened.size == size:
        return as_upload(image)
    before = opened.size
    fitted, _ = _encoded(ImageOps.fit(opened, size, Image.Resampling.LANCZOS), image.filename)
    return fitted, [f"The input picture was fitted from {before[0]}×{before[1]} to {size[0]}×{size[1]}."]


def _opened(image: InputImage) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(image.data))
        return ImageOps.exif_transpose(opened).convert("RGBA" if opened.has_transparency_data else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRequest("The input picture cannot be read", str(error), "Save it again as PNG or JPEG") from None


def _encoded(picture: Image.Image, filename: str) -> tuple[InputImage, list[str]]:
    before = picture.size
    while True:
        for kind, options in (("PNG", {}), ("WEBP", {"quality": 92})):
            out = io.BytesIO()
            picture.save(out, kind, **options)
            if out.tell() <= _MAX_BYTES:
                small = InputImage(out.getvalue(), f"image/{kind.lower()}", filename)
                return small, _shrunk_notice(before, picture.size)
        picture = picture.resize((max(64, picture.width * 3 // 4), max(64, picture.height * 3 // 4)))


def _shrunk_notice(before: Size, after: Size) -> list[str]:
    if before == after:
        return []
    limit = MAX_REQUEST_BYTES // 1024**2
    return [
        f"The input picture was made smaller, {before[0]}×{before[1]} to {after[0]}×{after[1]}: the service takes {limit} MiB."
    ]

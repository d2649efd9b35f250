"""Input images as Stability takes them: PNG, JPEG or WebP, within 10 MiB for the whole request."""

from PIL import Image, ImageOps

from models.backends.stability.facts import MAX_REQUEST_BYTES, REQUEST_OVERHEAD_BYTES
from models.backends.stability.shapes import Size
from models.entities import InputImage
from models.images.codec import decode, encode, in_thread, plain
from models.images.inputs import Limits, fit, size_of

LIMITS = Limits(
    formats=("png", "jpeg", "webp"),
    max_bytes=MAX_REQUEST_BYTES - REQUEST_OVERHEAD_BYTES,
    min_side=64,
    max_side=16_384,
    keep_alpha=True,
)


def as_upload(image: InputImage) -> tuple[InputImage, tuple[str, ...]]:
    """The image itself where the service takes it, else changed as little as possible, with notices.

    Raises BadRequest for an image that does not decode or cannot be brought within the limits.
    """
    return fit(image, LIMITS)


def as_sized_upload(image: InputImage, size: Size) -> tuple[InputImage, tuple[str, ...]]:
    """The image in exactly `size`: scaled to cover it and cut around the middle, with a notice. Raises BadRequest."""
    before = size_of(image)
    if before == size:
        return as_upload(image)
    notice = f"The input image was cut and scaled from {before[0]}×{before[1]} to {size[0]}×{size[1]}."
    return in_thread(_cut, image, size), (notice,)


def _cut(image: InputImage, size: Size) -> InputImage:
    covering = ImageOps.fit(plain(decode(image.data)), size, Image.Resampling.LANCZOS)
    return InputImage(encode(covering, "png"), "image/png", image.filename)

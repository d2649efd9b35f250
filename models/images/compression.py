"""Making an image fit into a number of bytes with as little loss as possible."""

import math
from collections.abc import Iterator

from PIL import Image

from models.images.codec import Kind, decode, encodable, encode, has_alpha, is_animated, plain, scaled

QUALITIES = (90, 80, 65, 50)
_SHRUNK_QUALITY = 80  # below this, fewer pixels look better than coarser ones
_LOSSLESS_GAIN = 1.5  # lossless WebP rarely saves more than a third of a PNG
_LOSSY = frozenset({"JPEG", "MPO", "AVIF"})
_MOST_LOSSLESS = 4_500_000  # pixels; WebP's encoder takes 13 bytes of memory for each of them
_SAMPLE_SIDE = 1024
_TILES = 4


def fit_file(
    data: bytes, max_bytes: int, output_format: str | None, quality: int | None
) -> tuple[bytes, tuple[str, ...]]:
    """An image file in at most `max_bytes` bytes, and what was done to it ("was saved as WebP with quality 80").

    `output_format` and `quality` are what the user asked for. Raises BrokenImageError, and ValueError as `squeezed`.
    """
    image = decode(data)
    lossy = image.format in _LOSSY
    wanted = _KINDS.get(output_format or "") or ("jpeg" if lossy and not has_alpha(image) else "webp")
    lossless_size = 0 if lossy or wanted == "jpeg" else len(data)
    smaller, how = squeezed(plain(image), lossless_size, max_bytes, wanted, quality)
    lost = ("lost its animation; this is the first frame",) if is_animated(image) else ()
    return smaller, (*lost, f"was {how}")


def squeezed(
    image: Image.Image, size: int, max_bytes: int, kind: Kind, best: int | None, *, lossy: Kind | None = None
) -> tuple[bytes, str]:
    """A plain image in at most `max_bytes` bytes, and what was done to it ("saved as WebP with quality 80").

    `size` is its present size in bytes (0 if a lossless copy is not worth a try), `kind` the file format to prefer
    and `best` the quality not to exceed. Where nothing lossless helps, the image becomes `lossy`, by default a PNG
    WebP; with `lossy` PNG only the pixels shrink.
    Raises ValueError when not even a single pixel fits.
    """
    if kind != "jpeg" and 0 < size <= max_bytes * _LOSSLESS_GAIN:
        data, how = _lossless(image, kind)
        if len(data) <= max_bytes:
            return data, how
    target: Kind = lossy or ("jpeg" if kind == "jpeg" else "webp")
    return _coarser(image, max_bytes, target, best) or _smaller(image, max_bytes, target, best)


def _lossless(image: Image.Image, kind: Kind) -> tuple[bytes, str]:
    if kind == "png" or image.width * image.height > _MOST_LOSSLESS or encodable(image, "webp") is not image:
        return encode(image, "png"), "compressed again as PNG without loss"
    return encode(image, "webp", lossless=True), "saved as WebP without loss"


def _coarser(image: Image.Image, max_bytes: int, kind: Kind, best: int | None) -> tuple[bytes, str] | None:
    if kind == "png" or encodable(image, kind) is not image:
        return None
    sample = _sample(image)
    for quality in _worth_trying(image, sample, kind, max_bytes, best):
        data = encode(image, kind, quality)
        if len(data) <= max_bytes:
            return data, f"saved as {_format(kind, quality)}"
    return None


def _worth_trying(
    image: Image.Image, sample: Image.Image, kind: Kind, max_bytes: int, best: int | None
) -> Iterator[int]:
    """The qualities that may fit, best first. Encoding all of a big image takes seconds, a sample of it a moment."""
    qualities = [quality for quality in QUALITIES if quality <= (best or 100)]

    def may_fit(quality: int) -> bool:
        return sample is image or _predicted(image, sample, kind, quality) <= max_bytes

    if qualities and may_fit(qualities[-1]):
        yield from (quality for quality in qualities if may_fit(quality))


def _smaller(image: Image.Image, max_bytes: int, kind: Kind, best: int | None) -> tuple[bytes, str]:
    quality = min(best or 100, _SHRUNK_QUALITY)
    small = encodable(image, kind)
    size = _predicted(small, _sample(small), kind, quality)
    while True:
        small = scaled(small, min(0.9, 0.95 * math.sqrt(max_bytes / size)))
        data = encode(small, kind, quality)
        size = len(data)
        if size <= max_bytes:
            how = f"made smaller, {image.width}×{image.height} to {small.width}×{small.height}"
            return data, f"{how}, as {_format(kind, quality)}"
        if small.size == (1, 1):
            raise ValueError(f"no image fits into {max_bytes} bytes")


def _predicted(image: Image.Image, sample: Image.Image, kind: Kind, quality: int) -> float:
    """The size in bytes that the image would have, going by a sample of it."""
    share = (image.width * image.height) / (sample.width * sample.height)
    return len(encode(sample, kind, quality)) * share


def _sample(image: Image.Image) -> Image.Image:
    """A mosaic of tiles from all over a big image."""
    side = _SAMPLE_SIDE // _TILES
    if min(image.size) < 2 * _SAMPLE_SIDE:
        return image
    mosaic = Image.new(image.mode, (_SAMPLE_SIDE, _SAMPLE_SIDE))
    for row in range(_TILES):
        for column in range(_TILES):
            left = (image.width - side) * column // (_TILES - 1)
            top = (image.height - side) * row // (_TILES - 1)
            tile = image.crop((left, top, left + side, top + side))
            mosaic.paste(tile, (column * side, row * side))
    return mosaic


def _format(kind: Kind, quality: int) -> str:
    return "PNG" if kind == "png" else f"{_TITLES[kind]} with quality {quality}"


_TITLES: dict[Kind, str] = {"jpeg": "JPEG", "webp": "WebP"}
_KINDS: dict[str, Kind] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}

"""Decoding, encoding and compression of images. All of it is CPU work: run it in a thread (`threads`)."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from PIL import Image, ImageOps

from models.images.ai_label import carried_over, label_of
from models.images.heic import heic_as_png, is_heic
from models.images.sniff import (
    KINDS,
    MAX_PIXELS,
    BrokenImageError,
    Kind,
    check_pixels,
    load_pillow,
    openable,
    sniff_within_limits,
    truncated,
)
from models.sizes import written

load_pillow()  # encoding needs its plugins as much as decoding

DEFAULT_QUALITY = 90

_WEBP_LONGEST_SIDE = 16383
_BIG = 1_000_000  # pixels from which WebP's thorough settings take long for a tenth of the size
_ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
UPRIGHT = 1
_OTHER_COLOURS = frozenset({"CMYK", "LAB", "YCbCr"})
_LARGEST_PROFILE = 64 * 1024  # an ICC profile above this is a printing press's, or hostile


def decode(data: bytes) -> Image.Image:
    """The image, completely decoded (of an animation: its first frame, after all frames were read).

    Raises NotAnImageError for what is no image, BrokenImageError for what is a damaged or an oversized one.
    """
    image = opened(data)
    with _damage_named():
        image.load()
        _read_frames(image)
    return image


def opened(data: bytes) -> Image.Image:
    """The image with its header read and its pixels not yet decoded. Raises as `decode`."""
    sniff_within_limits(data)
    with _damage_named():
        file = heic_as_png(data) if is_heic(data) else data
        image = Image.open(io.BytesIO(file), formats=openable())
    check_pixels(image.width, image.height)  # the first frame of a GIF may be larger than its header says
    return image


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders raise whatever a damaged file makes them meet
        cut_off = "truncated" in str(error) or isinstance(error, EOFError)
        raise (truncated() if cut_off else BrokenImageError(f"the file is damaged ({error})")) from error


def orientation(image: Image.Image) -> int:
    """How the camera was held, as EXIF counts it. Raises BrokenImageError: a PNG is read to its end for this."""
    with _damage_named():
        return int(image.getexif().get(_ORIENTATION, UPRIGHT))


def is_animated(image: Image.Image) -> bool:
    # The second image of an MPO is a preview, not a frame.
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


def _read_frames(image: Image.Image) -> None:
    if not is_animated(image):
        return
    frames = MAX_PIXELS // (image.width * image.height)
    for number in range(1, min(frames, getattr(image, "n_frames", 1))):
        image.seek(number)
        image.load()
    image.seek(0)
    image.load()


def plain(image: Image.Image) -> Image.Image:
    """The image upright, 8 bits per channel, as RGB or (where anything is transparent) RGBA."""
    # A decoded image may have 256 MiB: it is copied only where something changes.
    turned = image.getexif().get(_ORIENTATION, UPRIGHT) != UPRIGHT
    upright = ImageOps.exif_transpose(image) if turned else image
    flat = _eight_bits(upright)
    if flat is not upright and upright.mode in _OTHER_COLOURS:
        flat.info.pop("icc_profile", None)  # it spoke of the inks that are gone
    return flat


def has_alpha(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    lowest, _ = (image if image.mode == "RGBA" else image.convert("RGBA")).getchannel("A").getextrema()
    return isinstance(lowest, int | float) and lowest < 255  # noqa: PLR2004 -- opaque


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_grey(image).convert("RGB")
    mode = "RGBA" if has_alpha(image) else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _scaled_grey(image: Image.Image) -> Image.Image:
    # Pillow clips 16-bit grey at 255, which turns a scan white.
    _, highest = image.getextrema()
    wide = isinstance(highest, int | float) and highest > 255  # noqa: PLR2004
    return image.convert("F").point(lambda value: value * (1 / 257 if wide else 1)).convert("L")


def flatten(image: Image.Image) -> Image.Image:
    """A plain image on white, without alpha."""
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    paper.info = image.info
    return paper


def encode(image: Image.Image, kind: Kind, quality: int | None = None, *, lossless: bool = False) -> bytes:
    """A plain image as file bytes. `quality` is 1 to 100 (JPEG, WebP); JPEG has no alpha: white shows instead."""
    out = io.BytesIO()
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and len(profile) <= _LARGEST_PROFILE else b""
    match kind:
        case "png":
            # Level 9 takes ten times as long as 3 for a few per cent.
            image.save(out, "PNG", compress_level=3, icc_profile=profile)
        case "jpeg":
            flatten(image).save(out, "JPEG", quality=quality or DEFAULT_QUALITY, icc_profile=profile)
        case "webp" if lossless:
            image.save(out, "WEBP", lossless=True, quality=20, method=0, icc_profile=profile)
        case "webp":
            method = 0 if image.width * image.height > _BIG else 4
            image.save(out, "WEBP", quality=quality or DEFAULT_QUALITY, method=method, icc_profile=profile)
    return out.getvalue()


def encodable(image: Image.Image, kind: Kind) -> Image.Image:
    """The image, shrunk where the file format itself has a longest side."""
    scale = _WEBP_LONGEST_SIDE / max(image.size)
    return _scaled(image, scale) if kind == "webp" and scale < 1 else image


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


QUALITIES = (90, 80, 65, 50)
_SHRUNK_QUALITY = 80  # below this, fewer pixels look better than coarser ones
_LOSSLESS_GAIN = 1.5  # lossless WebP rarely saves more than a third of a PNG
_LOSSY = frozenset({"JPEG", "MPO", "AVIF"})
_MOST_LOSSLESS = 4_500_000  # pixels; WebP's encoder takes 13 bytes of memory for each of them
_SAMPLE_SIDE = 1024
_TILES = 4
_LABEL_FRAME = 100  # bytes around a label's packet in any format
_TITLES: dict[Kind, str] = {"jpeg": "JPEG", "webp": "WebP"}


def fit_file(
    data: bytes, max_bytes: int, output_format: str | None, quality: int | None
) -> tuple[bytes, tuple[str, ...]]:
    """An image file with its AI label in at most `max_bytes` bytes, and what was done to it ("was saved as ...").

    `output_format` and `quality` are what the user asked for. Raises BrokenImageError, and ValueError as `squeezed`.
    """
    image = decode(data)
    lossy = image.format in _LOSSY
    wanted = KINDS.get(output_format or "") or ("jpeg" if lossy and not has_alpha(image) else "webp")
    lossless_size = 0 if lossy else len(data)
    label = label_of(data)
    room = len(label.packet) + _LABEL_FRAME if label else 0
    keeps = room <= max_bytes // 2
    smaller, how = squeezed(plain(image), lossless_size, max_bytes - room if keeps else max_bytes, wanted, quality)
    labelled, lost = carried_over(data, smaller) if keeps else (smaller, ("lost its AI label for want of room",))
    still = ("lost its animation; this is the first frame",) if is_animated(image) else ()
    return labelled, (*still, *lost, f"was {how}")


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
    for quality in (quality for quality in QUALITIES if quality <= (best or 100)):
        # Encoding all of a big image takes seconds, a sample of it a moment.
        if sample is not image and _predicted(image, sample, kind, quality) > max_bytes:
            continue
        data = encode(image, kind, quality)
        if len(data) <= max_bytes:
            return data, f"saved as {_format(kind, quality)}"
    return None


def _smaller(image: Image.Image, max_bytes: int, kind: Kind, best: int | None) -> tuple[bytes, str]:
    quality = min(best or 100, _SHRUNK_QUALITY)
    small = encodable(image, kind)
    size = _predicted(small, _sample(small), kind, quality)
    while True:
        small = _scaled(small, min(0.9, 0.95 * math.sqrt(max_bytes / size)))
        data = encode(small, kind, quality)
        size = len(data)
        if size <= max_bytes:
            how = f"made smaller, {written(image.size)} to {written(small.size)}"
            return data, f"{how}, as {_format(kind, quality)}"
        if small.size == (1, 1):
            raise ValueError(f"no image fits into {max_bytes} bytes")


def _predicted(image: Image.Image, sample: Image.Image, kind: Kind, quality: int) -> float:
    share = (image.width * image.height) / (sample.width * sample.height)
    return len(encode(sample, kind, quality)) * share


def _sample(image: Image.Image) -> Image.Image:
    """A mosaic of tiles from all over a big image; a small one itself."""
    side = _SAMPLE_SIDE // _TILES
    if min(image.size) < 2 * _SAMPLE_SIDE:
        return image
    mosaic = Image.new(image.mode, (_SAMPLE_SIDE, _SAMPLE_SIDE))
    for row, column in product(range(_TILES), repeat=2):
        left, top = (image.width - side) * column // (_TILES - 1), (image.height - side) * row // (_TILES - 1)
        mosaic.paste(image.crop((left, top, left + side, top + side)), (column * side, row * side))
    return mosaic


def _format(kind: Kind, quality: int) -> str:
    return "PNG" if kind == "png" else f"{_TITLES[kind]} with quality {quality}"

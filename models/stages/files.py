"""The stages that look at the files a service made: whether each is whole, and whether it has the asked format.

A broken file costs only itself: the others are made and paid for, and go out with a notice about it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from models.backends.errors import unusable_image
from models.entities import GeneratedImage, ImageResult
from models.images import in_thread
from models.images.integrity import check_whole
from models.images.sniff import KINDS, BrokenImageError, Header, Kind, NotAnImageError, sniff
from models.images.video import video_header
from models.output.structured import OutputOptions
from models.sizes import written
from models.stages.carried import Carried

if TYPE_CHECKING:
    from PIL import Image

_SHOWN_BY_BROWSERS = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})

type _Changed = tuple[GeneratedImage, tuple[str, ...]]
"""An image, and what was done to it ("lost its transparency ...")."""


def proof(result: ImageResult, _: Carried) -> ImageResult:
    """The result without broken images. Raises ServerUnavailable when no image is whole."""
    return _each(result, _proven)


def formatting(result: ImageResult, carried: Carried) -> ImageResult:
    """The result in the asked format and quality, and PNG of what browsers do not show."""
    return _each(result, partial(_formatted, carried.options))


def _each(result: ImageResult, work: Callable[[GeneratedImage], _Changed]) -> ImageResult:
    images: list[GeneratedImage] = []
    notices: list[str] = []
    for number, image in enumerate(result.images):
        name = result.name_of(number)
        try:
            changed, changes = work(image)
        except (NotAnImageError, BrokenImageError) as error:
            if number == len(result.images) - 1 and not images:
                raise unusable_image(name, result.model, str(error)) from None
            notices.append(f"{name} was left out: {error}.")
        else:
            images.append(changed)
            notices += [f"{name} {change}" for change in changes]
    return replace(result, images=tuple(images), notices=(*result.notices, *notices))


def _proven(image: GeneratedImage) -> _Changed:
    if image.is_video:
        in_thread(video_header, image.data)
        return image, ()
    header = in_thread(check_whole, image.data)
    if header.width == header.height == 1:
        raise BrokenImageError("it is a placeholder of one pixel")
    return image, ()


def _formatted(options: OutputOptions, image: GeneratedImage) -> _Changed:
    if image.is_video:
        return image, ("stays in its own format: videos are not encoded again",) if options.output_format else ()
    header, quality = sniff(image.data), options.output_quality
    wanted = _wanted(header, options)
    without_use = ("is a PNG, on which `output_quality` has no effect",) if wanted == "png" and quality else ()
    if wanted is None or (wanted == header.kind and (quality is None or wanted == "png")):
        return image, without_use
    data, changes = in_thread(_converted, image.data, wanted, quality)
    return replace(image, data=data), changes if data is image.data else (*without_use, *changes)


def _wanted(header: Header, options: OutputOptions) -> Kind | None:
    """The format to make: the asked one, else the file's own, else PNG for what browsers do not show."""
    kind = KINDS.get(options.output_format or "", header.kind)
    return "png" if kind is None and header.mime_type not in _SHOWN_BY_BROWSERS else kind


def _converted(data: bytes, wanted: Kind, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    """The file in the wanted format, and what was lost; the file itself where it stays as it is."""
    from models.images import codec  # noqa: PLC0415 -- most images are handed on as they are, without Pillow
    from models.images.ai_label import carried_over  # noqa: PLC0415 -- see the line before

    image, own = codec.decode(data), sniff(data).kind
    if codec.is_animated(image):
        return data, ("is an animation and stays in its own format",) if wanted != own else ()
    ready = codec.encodable(codec.plain(image), wanted)
    converted, lost = carried_over(data, codec.encode(ready, wanted, quality))
    if wanted == own and len(converted) >= len(data):
        return data, ()  # the service's own file is already below the asked quality
    return converted, (*_losses(image, ready, wanted), *lost)


def _losses(image: "Image.Image", ready: "Image.Image", wanted: Kind) -> tuple[str, ...]:
    losses = []
    if wanted == "jpeg" and ready.mode == "RGBA":
        losses.append("lost its transparency, as JPEG has none; white shows instead")
    if max(ready.size) < max(image.size):
        losses.append(
            f"was made smaller, {written(image.size)} to {written(ready.size)}, the largest that the format holds"
        )
    return tuple(losses)

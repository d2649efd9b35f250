"""The owner's limits: for every request, and for the input images and the instruction of every edit.

More images or pixels are refused, a longer `timeout` is lowered. Pixels are those that the request asks for: where a
service chooses the size itself, nothing is known before it is paid. Services have limits of their own, and say so.
"""

from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff
from models.limits import Limits
from models.sizes import ONE_MEGAPIXEL, Size, written
from models.stages.carried import Carried

_ENLARGING = ("hires_scale", "upscale_by", "upscale_factor")
"""Parameters of services that make the image larger than its width and height, or than the input image."""
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`where` names the field that holds the limits."""

    limits: Limits
    where: str

    def __call__(self, request: ImageRequest, _: Carried) -> ImageRequest:
        self._check_images(request)
        self._check_pixels(request)
        if request.images:
            for image in (*request.images, *filter(None, (request.mask,))):
                self._check_format(image)
                self._check_size(image)
            self._check_length(request.prompt)
        most = self.limits.timeout
        return request.lowered(most, "the owner allows no more") if most else request

    def _check_images(self, request: ImageRequest) -> None:
        most = self.limits.images
        if most and request.n > most:
            raise BadRequest(
                f"{request.n} images were asked for; the owner allows at most {most} in one request",
                next_step=f"Set `n` to at most {most}, or let the owner change {self.where}",
            )

    def _check_pixels(self, request: ImageRequest) -> None:
        most, size = self.limits.megapixels, largest(request)
        if most and size and size[0] * size[1] > most * ONE_MEGAPIXEL:
            asked = f"{size[0] * size[1] / ONE_MEGAPIXEL:.3g} megapixels ({written(size)})"
            raise BadRequest(
                f"An image of {asked} was asked for; the owner allows at most {most:g} megapixels",
                next_step=f"Ask for a smaller image, or let the owner change {self.where}",
            )

    def _check_format(self, image: InputImage) -> None:
        allowed = self.limits.formats
        if not allowed or image.mime_type in allowed:
            return
        names, kind = " ".join(map(_short, allowed)), _short(image.mime_type)
        # The entry replaces the defaults, so the sentence names the whole list to write.
        raise _refused_edit(
            f"{_name(image)} is a {kind.upper()} file; only {names.upper().replace(' ', ', ')} may be edited here",
            f"Send it in one of these formats, or let the owner write `formats {names} {kind}` into {self.where}",
        )

    def _check_size(self, image: InputImage) -> None:
        size, most = len(image.data) / _MB, self.limits.input_mb
        if most and size > most:
            raise _refused_edit(
                f"{_name(image)} has {size:.1f} MB; at most {most:g} MB may be edited here",
                f"Send a smaller file, or let the owner change `input {most:g} MB` in {self.where}",
            )

    def _check_length(self, instruction: str) -> None:
        length, most = len(instruction), self.limits.instruction
        if most and length > most:
            raise _refused_edit(
                f"The instruction has {length} characters; at most {most} are allowed here",
                f"Shorten it, or let the owner change `instruction {most}` in {self.where}",
            )


def _refused_edit(what: str, next_step: str) -> BadRequest:
    return BadRequest("The edit was refused", what, next_step)


def _short(mime_type: str) -> str:
    return mime_type.removeprefix("image/")


def _name(image: InputImage) -> str:
    return image.filename[:100] or "The input image"


def largest(request: ImageRequest) -> Size | None:
    """Width and height of the largest image that is asked for; None where the service chooses."""
    asked = (request.extra.get(name) for name in _ENLARGING)
    factor = max((float(value) for value in asked if isinstance(value, (int, float))), default=1.0)
    size = request.size
    if size is None and factor > 1 and request.images:
        header = sniff(request.images[0].data)
        size = (header.width, header.height)
    return (round(size[0] * max(factor, 1)), round(size[1] * max(factor, 1))) if size else None

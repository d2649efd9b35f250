"""The owner's limits for one request: more images or pixels are refused, a longer `timeout` is lowered.

Pixels are those that the request asks for: where a service chooses the size itself, nothing is known before it is paid.
"""

from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ImageRequest
from models.images.sniff import sniff
from models.limits import FIELD, Limits
from models.settings import Settings
from models.sizes import ONE_MEGAPIXEL, Size

_ENLARGING = ("hires_scale", "upscale_by", "upscale_factor")
"""Parameters of services that make the image larger than its width and height, or than the input image."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`where` names the field that holds the limits."""

    limits: Limits
    where: str

    def __call__(self, request: ImageRequest) -> ImageRequest:
        self._check_images(request)
        self._check_pixels(request)
        return self._with_timeout(request)

    def _check_images(self, request: ImageRequest) -> None:
        most = self.limits.images
        if most and request.n > most:
            raise self._refusal(
                f"{request.n} images were asked for; the owner allows at most {most} in one request",
                f"Set `n` to at most {most}",
            )

    def _check_pixels(self, request: ImageRequest) -> None:
        most, size = self.limits.megapixels, largest(request)
        if most and size and size[0] * size[1] > most * ONE_MEGAPIXEL:
            asked = f"{size[0] * size[1] / ONE_MEGAPIXEL:.3g} megapixels ({size[0]}×{size[1]})"
            raise self._refusal(
                f"An image of {asked} was asked for; the owner allows at most {most:g} megapixels",
                "Ask for a smaller image",
            )

    def _with_timeout(self, request: ImageRequest) -> ImageRequest:
        most = self.limits.timeout
        return request.lowered(most, "the owner allows no more") if most else request

    def _refusal(self, what: str, for_user: str) -> BadRequest:
        return BadRequest(what, next_step=f"{for_user}, or let the owner change {self.where}")


def largest(request: ImageRequest) -> Size | None:
    """Width and height of the largest image that is asked for; None where the service chooses."""
    asked = (request.extra.get(name) for name in _ENLARGING)
    factor = max((float(value) for value in asked if isinstance(value, (int, float))), default=1.0)
    size = request.size
    if size is None and factor > 1 and request.images:
        header = sniff(request.images[0].data)
        size = (header.width, header.height)
    return (round(size[0] * max(factor, 1)), round(size[1] * max(factor, 1))) if size else None


def stage(settings: Settings, limits: Limits) -> RequestLimits:
    return RequestLimits(limits, settings.where(FIELD))

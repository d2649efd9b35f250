"""An image as the service hands it out, before it is known to be good: its finish reason decides."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.partial import Made
from models.entities import GeneratedImage
from models.images.sniff import NotAnImageError, sniff

ATTEMPT = "Generating with Stability AI"


@dataclass(frozen=True, slots=True)
class Picture:
    """Bytes, seed and finish reason of one image. A filtered one is blurred: it must never pass as a success."""

    data: bytes
    seed: int
    finish_reason: str

    @property
    def trouble(self) -> ImageError | None:
        """Why the image cannot be handed out; None for a good one."""
        match self.finish_reason:
            case "SUCCESS":
                return _not_an_image(self.data)
            case "CONTENT_FILTERED":
                return filtered()
            case reason:
                return broken_answer(f"the service ended with {reason}")

    def generated(self) -> GeneratedImage:
        return GeneratedImage(self.data, seed=self.seed)


def decoded(text: str) -> bytes:
    """The bytes of an image in a JSON answer. Raises ServerUnavailable."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise broken_answer("the image in the answer is not base64") from None


def filtered() -> BadRequest:
    return BadRequest(
        f"{ATTEMPT} failed",
        "the service's content filter withheld the image",
        "Reword the prompt, or try another seed",
    )


def broken_answer(said: str) -> ServerUnavailable:
    return ServerUnavailable(f"{ATTEMPT} failed", said, "Try again")


def _not_an_image(data: bytes) -> ServerUnavailable | None:
    try:
        sniff(data)
    except NotAnImageError as error:
        return broken_answer(str(error))
    return None


def settle(pictures: Sequence[Picture], ended_by: ImageError | None = None) -> Made:
    """The good images, and what became of the others: what is paid for is never thrown away.

    `ended_by` is the failure that stopped the calls.
    """
    good = tuple(picture.generated() for picture in pictures if picture.trouble is None)
    troubles = (ended_by, *(picture.trouble for picture in pictures))
    return Made(good, tuple(trouble for trouble in troubles if trouble))

"""What Stability's refusals mean: one reading of its two error envelopes, one table of their names, the finish reasons.

Source: Stability REST API: v2beta answers `{id, name, errors[]}`, v1 `{id, name, message}`. Branch on the name, then on
the status; the text is for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ImageError,
    RateLimited,
    ServerUnavailable,
    class_for_status,
)
from models.backends.reply import Explanation, Reply, said_by
from models.backends.stability.models import FAILED_UNCHARGED, LOCKOUT
from models.images.sniff import NotAnImageError, sniff
from models.settings import Access

ATTEMPT = "Generating with Stability AI"
_MAYBE_CHARGED = "The service may have charged for it: look at your balance before you ask again"


class ErrorEnvelope(BaseModel):
    """Either error body; both carry a name."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A refusal's class, the way out (`{key}`, `{url}`: form fields, `{place}`: the form) and whether it may be repeated."""

    error: type[ImageError]
    next_step: str
    retry_after: float | None = None


_KEY = Meaning(
    AuthorizationFailed,
    "Check {key} {place}: copy the key again from your account at platform.stability.ai",
)
_CREDIT = Meaning(
    RateLimited, "Buy credits in your account at platform.stability.ai, or put the key of another account into {key}"
)
_FLAGGED = Meaning(
    BadRequest, "Reword the prompt or use another image; the service's filter refused it and charged nothing"
)
_SIZE = Meaning(BadRequest, "Choose one of the nine sizes of the model, such as 1024x1024 or 1344x768")
_IMAGE = Meaning(BadRequest, "Use another input image: PNG, JPEG or WebP, each side at least 64 pixels")
_FIELD = Meaning(BadRequest, "Change the parameter that the service names, or remove it")
_BUSY = Meaning(
    RateLimited, "The service locks a key out for a minute after too many requests; try again then", LOCKOUT
)
_FAULT = Meaning(ServerUnavailable, "Try again in a few minutes; it is a fault of the service, nothing was charged")
_GONE = Meaning(
    BadRequest, "Choose another Stability model: this one is not served there; with {url} filled, check that address"
)
_DENIED = Meaning(AuthorizationFailed, "Use a key whose account may use this model in {key} {place}")

_BY_NAME: Mapping[str, Meaning] = {
    "content_moderation": _FLAGGED,
    "insufficient_balance": _CREDIT,
    "internal_error": _FAULT,
    "invalid_file_size": Meaning(BadRequest, "Use a smaller input image"),
    "invalid_height_or_width": _SIZE,
    "invalid_image_dimensions": _IMAGE,
    "invalid_language": Meaning(
        BadRequest, "Write the prompt in English, e.g. put an LLM node before this one that translates it"
    ),
    "invalid_mask_image": _IMAGE,
    "invalid_mime_type": _IMAGE,
    "invalid_pixel_count": _SIZE,
    "invalid_prompts": _FLAGGED,
    "invalid_samples": Meaning(BadRequest, "Set `n` to a number from 1 to 10"),
    "invalid_sdxl_v1_dimensions": _SIZE,
    "not_found": _GONE,
    "payload_too_large": Meaning(BadRequest, "Use a smaller input image: a request may have 10 MiB"),
    "payment_required": _CREDIT,
    "permission_denied": _DENIED,
    "public_figure": Meaning(BadRequest, "Use an image that does not show a public figure"),
    "rate_limit_exceeded": _BUSY,
    "server_error": _FAULT,
    "unauthorized": _KEY,
}

_BY_STATUS: Mapping[int, Meaning] = {
    400: _FIELD,
    401: _KEY,
    402: _CREDIT,
    403: _DENIED,
    404: _GONE,
    413: Meaning(BadRequest, "Use a smaller input image: a request may have 10 MiB"),
    429: _BUSY,
    504: Meaning(
        ServerUnavailable,
        "The image may have been made and charged all the same: look at your balance before you ask again",
    ),
}

_NOT_MULTIPART = Meaning(
    BadRequest, "Something between this plugin and the service changes requests; check the proxy, and {url} {place}"
)


def explain(reply: Reply, access: Access) -> Explanation:
    """The refusal in the user's words, with the form fields of `access` in the advice."""
    meaning = _meaning(reply)
    return Explanation(
        error=meaning.error,
        said=said_by(reply),
        next_step=meaning.next_step.format(
            key=access.words("api_key"), url=access.words("base_url"), place=access.place
        ),
        retry_after=_retry_after(reply, meaning),
    )


def _meaning(reply: Reply) -> Meaning:
    if reply.status == 400 and "content-type" in reply.text:  # noqa: PLR2004
        return _NOT_MULTIPART
    named = _BY_NAME.get(_name(reply)) or _BY_STATUS.get(reply.status)
    if named:
        return named
    return _FAULT if class_for_status(reply.status) is ServerUnavailable else _FIELD


def _name(reply: Reply) -> str:
    try:
        return ErrorEnvelope.model_validate_json(reply.body).name
    except ValidationError:
        return ""  # a gateway's HTML page has no name; its status speaks


def _retry_after(reply: Reply, meaning: Meaning) -> float | None:
    if reply.status in FAILED_UNCHARGED:
        return 0.0
    return meaning.retry_after


def failure_of(data: bytes, finish_reason: str) -> ImageError | None:
    """Why an image of a 200 cannot be handed out; None for a good one. A filtered image is blurred."""
    match finish_reason:
        case "SUCCESS":
            return _not_an_image(data)
        case "CONTENT_FILTERED":
            return BadRequest(
                f"{ATTEMPT} failed",
                "the service's content filter withheld the image",
                "Reword the prompt; the service may charge for an image that it withheld",
            )
        case reason:
            return broken_answer(f"the service ended with {reason}")


def broken_answer(said: str) -> ServerUnavailable:
    """The error for a 200 without a usable image."""
    return ServerUnavailable(f"{ATTEMPT} failed", said, _MAYBE_CHARGED)


def _not_an_image(data: bytes) -> ServerUnavailable | None:
    try:
        sniff(data)
    except NotAnImageError as error:
        return broken_answer(str(error))
    return None

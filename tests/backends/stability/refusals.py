"""Every documented refusal of Stability AI, with its error class and a part of the next step."""

from collections.abc import Mapping

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable

FINAL: Mapping[str, tuple[type[ImageError], str]] = {
    "not_multipart": (BadRequest, "check the proxy"),
    "bad_request": (BadRequest, "Change the parameter"),
    "unauthorized": (AuthorizationFailed, "(stability_api_key) in the provider's settings"),
    "payment_required": (RateLimited, "Buy credits"),
    "content_moderation": (BadRequest, "Reword the prompt"),
    "forbidden": (AuthorizationFailed, "(stability_api_key)"),
    "not_found": (BadRequest, "Choose another Stability model"),
    "payload_too_large": (BadRequest, "smaller input image"),
    "invalid_language": (BadRequest, "Write the prompt in English"),
    "public_figure": (BadRequest, "public figure"),
    "v1_bad_request": (BadRequest, "Change the parameter"),
    "invalid_height_or_width": (BadRequest, "nine sizes"),
    "invalid_sdxl_v1_dimensions": (BadRequest, "nine sizes"),
    "invalid_pixel_count": (BadRequest, "nine sizes"),
    "invalid_samples": (BadRequest, "`n`"),
    "invalid_file_size": (BadRequest, "smaller input image"),
    "invalid_mime_type": (BadRequest, "another input image"),
    "invalid_image_dimensions": (BadRequest, "another input image"),
    "invalid_mask_image": (BadRequest, "another input image"),
    "invalid_prompts": (BadRequest, "Reword the prompt"),
    "v1_content_moderation": (BadRequest, "Reword the prompt"),
    "permission_denied": (AuthorizationFailed, "(stability_api_key)"),
    "v1_not_found": (BadRequest, "Choose another Stability model"),
    "insufficient_balance": (RateLimited, "Buy credits"),
    "html_504": (ServerUnavailable, "may have been made and charged"),
}
"""Refusals that are reported at once, by their names in tests.servers.stability."""

REPEATED: Mapping[str, tuple[type[ImageError], str]] = {
    "rate_limit_exceeded": (RateLimited, "locks a key out for a minute"),
    "internal_error": (ServerUnavailable, "Try again in a few minutes"),
    "server_error": (ServerUnavailable, "Try again in a few minutes"),
    "html_502": (ServerUnavailable, "Try again in a few minutes"),
    "html_503": (ServerUnavailable, "Try again in a few minutes"),
}
"""Refusals that are retried first, because nothing was executed or billed."""

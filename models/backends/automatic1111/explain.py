"""What a refusal of the WebUI means and what the user can do (AUTOMATIC1111 API, section errors)."""

from http import HTTPStatus

from pydantic import ValidationError

from models.backends.automatic1111.wire import Refusal
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ImageError,
    ServerUnavailable,
    class_for_status,
)
from models.backends.reply import Explain, Explanation, Reply, said_by
from models.settings import Access

START_WITH_API = "Start the WebUI with `--api` (in webui-user: COMMANDLINE_ARGS=--api)"
_LOOK_AT_LOG = "Look at the WebUI's console for the whole error"
_PROXY = "Raise the timeout of the reverse proxy in front of the WebUI; many cut at 60 seconds while the work goes on"

# Words of a 500 (exception name and text together, lower case) → class and next step. The first match counts.
_FAULTS: tuple[tuple[str, type[ImageError], str], ...] = (
    (
        "out of memory",
        ServerUnavailable,
        "Ask for a smaller size, a smaller `batch_size` or a smaller hires scale, or start the WebUI with --medvram",
    ),
    ("outofmemory", ServerUnavailable, "Ask for a smaller size or a smaller `batch_size`"),
    ("nansexception", ServerUnavailable, "Use another VAE, or start the WebUI with --no-half-vae or --no-half"),
    ("invalid encoded image", BadRequest, "Send the image as PNG, JPEG or WebP"),
    ("could not find upscaler", BadRequest, "Choose an upscaler that the WebUI lists under Extras"),
    ("bad number of images", BadRequest, "Send fewer images at once"),
    ("controlnet", BadRequest, "Check `controlnet_model` and `controlnet_module`: the model must fit the checkpoint"),
)


def explain_for(access: Access) -> Explain:
    """The reading of refusals with the names that the form fields have on `access`."""

    def explain(reply: Reply) -> Explanation:
        said = _said(reply)
        match reply.status:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                return Explanation(error=AuthorizationFailed, said=said, next_step=_login(access))
            case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED if _is_route(reply):
                return Explanation(
                    error=BadRequest, said=said, next_step=f"{START_WITH_API}, and check `{access.field('base_url')}`"
                )
            case HTTPStatus.INTERNAL_SERVER_ERROR:
                return _fault(said)
            case HTTPStatus.GATEWAY_TIMEOUT | 524:
                return Explanation(error=ServerUnavailable, said=said, next_step=_PROXY)
            case HTTPStatus.BAD_GATEWAY | HTTPStatus.SERVICE_UNAVAILABLE:
                return Explanation(
                    error=ServerUnavailable, said=said, next_step="Check that the WebUI is running behind its proxy"
                )
            case _:
                return Explanation(error=class_for_status(reply.status), said=said)

    return explain


def _login(access: Access) -> str:
    if access.api_key:
        return f"Check `{access.field('api_key')}` {access.place}: it is sent as a Bearer token to the proxy before the WebUI"
    return (
        f"Check `{access.field('username')}` and `{access.field('password')}` {access.place}: "
        "the pair that the WebUI was started with (--api-auth user:password)"
    )


def _is_route(reply: Reply) -> bool:
    """A missing route, not a missing thing: "Init image not found" is a 404 too."""
    parsed = reply.json()
    return not isinstance(parsed, dict) or parsed.get("detail") in {None, "Not Found", "Method Not Allowed"}


def _fault(said: str) -> Explanation:
    words = said.lower()
    for sign, error, advice in _FAULTS:
        if sign in words:
            return Explanation(error=error, said=said, next_step=advice)
    return Explanation(error=ServerUnavailable, said=said, next_step=_LOOK_AT_LOG)


def _said(reply: Reply) -> str:
    """The name of the exception and its text, wherever this fork puts it."""
    try:
        refusal = Refusal.model_validate_json(reply.body)
    except ValidationError:
        return said_by(reply)
    text = next(
        (part for part in (refusal.errors, refusal.message, refusal.detail) if isinstance(part, str) and part), ""
    )
    if not refusal.error or refusal.error == "HTTPException":
        return f"HTTP {reply.status}, {text}" if text else said_by(reply)
    return f"HTTP {reply.status}, {refusal.error}" + (f": {text}" if text else "")

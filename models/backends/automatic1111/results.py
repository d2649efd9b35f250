"""The server's answer as images, what it did otherwise than asked, and what a refusal means (AUTOMATIC1111 API, sections
txt2img "answer" and errors)."""

import base64
import binascii
import re
from collections.abc import Iterator
from http import HTTPStatus

from pydantic import JsonValue, ValidationError

from models.backends.automatic1111.names import AUTOMATIC, ResolvedNames
from models.backends.automatic1111.options import Options
from models.backends.automatic1111.wire import Generated, Generation, Info, RefusalBody, ServerSettings
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ImageError,
    ServerUnavailable,
    class_for_status,
)
from models.backends.partial import Partial
from models.backends.reply import Explanation, Reply, said_by
from models.entities import GeneratedImage
from models.images.sniff import NotAnImageError, sniff
from models.settings import Access, field_words

START_WITH_API = "Start the WebUI with `--api` (in webui-user: COMMANDLINE_ARGS=--api)"
_SCHEDULE = re.compile(r"\bSchedule type: ([^,\n]+)")
_ADETAILER = "ADetailer model"


# --- images -----------------------------------------------------------------------------------------------------------


def generated_images(
    generated: Generated, info: Info, body: Generation, attempt: str, *, stopped: ImageError | None = None
) -> Partial:
    """The images proper with their seeds: no grid before them, no control map after them.

    Of a job that was `stopped`, or that made fewer images than asked, the last batch is unfinished and left out.
    Raises the reason where nothing else is there, ServerUnavailable for what is no image.
    """
    first = info.index_of_first_image
    proper = (generated.images or ())[first : first + body.count]
    if 0 < len(proper) < body.count and stopped is None:
        stopped = interrupted(attempt, f"{len(proper)} of {body.count} images came back")
    if stopped is not None:
        proper = proper[: max(0, len(proper) - 1) // body.batch_size * body.batch_size]
        if not proper:
            raise stopped
    seeds = (*info.all_seeds, *[None] * len(proper))
    made = (GeneratedImage(decoded(text, attempt), seed=seed) for text, seed in zip(proper, seeds, strict=False))
    return Partial(tuple(made), (stopped,) if stopped else ())


def interrupted(attempt: str, said: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"{attempt} failed",
        f"{said}: the job was interrupted at the server",
        "Try again; somebody stopped it in the WebUI",
    )


def decoded(text: str, attempt: str) -> bytes:
    """The bytes of a base64 image, with or without a data URI's head. Raises ServerUnavailable for anything else."""
    try:
        data = base64.b64decode(text.rpartition(",")[2], validate=True)
        sniff(data)
    except (binascii.Error, NotAnImageError) as error:
        raise ServerUnavailable(
            f"{attempt} failed", f"the server sent a broken image ({error})", "Try again; see the WebUI's console"
        ) from None
    return data


# --- what the server did otherwise ------------------------------------------------------------------------------------


def check_checkpoint(info: Info, names: ResolvedNames, attempt: str) -> None:
    """Raises ServerUnavailable for an image of another model: servers ignore an override that they do not understand."""
    asked, used = names.checkpoint, info.sd_model_name
    if asked is None or used is None:
        return
    # With a refiner the name may be that of the model which ran last.
    if any(name.means(used) or name.means(info.sd_model_hash) for name in (asked, names.refiner) if name):
        return
    raise ServerUnavailable(
        f"{attempt} failed",
        f"the server used the checkpoint {used} instead of {asked.sent}",
        "Look at the WebUI's console for why it did not load the checkpoint, or leave `checkpoint` empty",
    )


def differences(info: Info, body: Generation, options: Options, names: ResolvedNames) -> Iterator[str]:
    """What the server used instead of what was asked, as far as it says so."""
    if names.checkpoint and info.sd_model_name is None:
        yield f"The server does not say which checkpoint it used; {names.checkpoint.sent} was asked for."
    if body.sampler_name and info.sampler_name and info.sampler_name != body.sampler_name:
        yield f"The server used the sampler {info.sampler_name} instead of {body.sampler_name}."
    used = _schedule(info)
    if used and body.scheduler and body.scheduler.casefold() not in {used.casefold(), AUTOMATIC}:
        yield f"The server used the scheduler {used} instead of {body.scheduler}."
    if options.clip_skip and info.clip_skip and info.clip_skip != options.clip_skip:
        yield f"The server used clip skip {info.clip_skip:g} instead of {options.clip_skip}."
    vae = names.vae_settings.get("sd_vae")
    if info.sd_vae_name and isinstance(vae, str) and vae not in {info.sd_vae_name, "Automatic", "None"}:
        yield f"The server used the VAE {info.sd_vae_name} instead of {vae}."
    if names.adetailer_title and info.infotexts and _ADETAILER not in info.infotexts[0]:
        yield f"ADetailer did not change the image: it did not take the model {options.adetailer_model}."


def kept_settings(
    before: ServerSettings | None, after: ServerSettings | None, body: Generation, names: ResolvedNames
) -> Iterator[str]:
    """What a request left changed for everybody: AUTOMATIC1111 restores only settings that its config.json has."""
    if before is None or after is None:
        return
    for name, asked in _overridden(body).items():
        was, now = getattr(before, name), getattr(after, name)
        respelled = names.checkpoint is not None and names.checkpoint.means(str(was))
        if was != now == asked and not respelled:
            yield (
                f"The server keeps the setting {name} at {now} for everybody (it was {was}): set it back in the WebUI "
                "and press Apply settings; it is restored after each request then."
            )


def _overridden(body: Generation) -> dict[str, JsonValue]:
    overrides = body.override_settings or {}
    return {name: value for name, value in overrides.items() if name in ServerSettings.model_fields}


def _schedule(info: Info) -> str | None:
    found = _SCHEDULE.search(info.infotexts[0]) if info.infotexts else None
    return found[1].strip() if found else None


def infotexts(info: Info) -> tuple[str, ...]:
    """The WebUI's parameter text of each image proper, for those who want to generate it again."""
    return info.infotexts[info.index_of_first_image :]


# --- refusals ---------------------------------------------------------------------------------------------------------

_LOOK_AT_LOG = "Look at the WebUI's console for the whole error"
_PROXY = "Raise the timeout of the reverse proxy in front of the WebUI; many cut at 60 seconds while the work goes on"

_MISFIT = "Choose a `vae`, a `refiner_checkpoint` and a `controlnet_model` of the same model family as the checkpoint"
# What PyTorch says when the files of a request belong to different model families.
_MISFIT_SIGNS = (
    "error(s) in loading state_dict",
    "size mismatch for",
    "channels instead",
    "shapes cannot be multiplied",
    "must match the size of tensor",
)

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
    *((sign, BadRequest, _MISFIT) for sign in _MISFIT_SIGNS),
    ("state dict!", BadRequest, "Name the VAE and the text encoders that this checkpoint needs in `vae`"),
    ("failed to recognize model type", BadRequest, "The server cannot load this checkpoint; choose another one"),
    ("controlnet", BadRequest, "Check `controlnet_model` and `controlnet_module`: the model must fit the checkpoint"),
)


def explained(reply: Reply, access: Access) -> Explanation:
    """The reading of a refusal, with the names that the form fields have on `access`."""
    said = _said(reply)
    match reply.status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Explanation(error=AuthorizationFailed, said=said, next_step=_login(access))
        case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED if _is_route(reply):
            return Explanation(error=BadRequest, said=said, next_step=_missing_route(reply, access))
        case HTTPStatus.NOT_IMPLEMENTED:
            return Explanation(error=BadRequest, said=said, next_step=other_service(access))
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


def _login(access: Access) -> str:
    if access.api_key:
        return f"Check {access.where('api_key')}: it is sent as a Bearer token to the proxy before the WebUI"
    user = field_words(access.field("username"), custom=not access.prefix)
    return (
        f"Check {user} and {access.where('password')}: "
        "the pair that the WebUI was started with (--api-auth user:password)"
    )


def other_service(access: Access) -> str:
    """The advice where the address belongs to something else."""
    return f"Check the address in {access.where('base_url')}: it is the one that opens the WebUI in a browser"


def _missing_route(reply: Reply, access: Access) -> str:
    """The WebUI's own 404 is JSON; a page of HTML comes from something else."""
    if reply.json() is None:
        return other_service(access)
    return f"{START_WITH_API}, and check {access.where('base_url')}"


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
        refusal = RefusalBody.model_validate_json(reply.body)
    except ValidationError:
        return said_by(reply)
    text = next(
        (part for part in (refusal.errors, refusal.message, refusal.detail) if isinstance(part, str) and part), ""
    )
    if not refusal.error or refusal.error == "HTTPException":
        return f"HTTP {reply.status}, {text}" if text else said_by(reply)
    return f"HTTP {reply.status}, {refusal.error}" + (f": {text}" if text else "")

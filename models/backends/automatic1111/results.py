"""The images of a reply, differences from the request, and what a refusal means (AUTOMATIC1111 API, sections txt2img
"answer" and errors)."""

import re
from collections.abc import Iterator
from http import HTTPStatus

from pydantic import BaseModel
from pydantic_core import from_json

from models.backends.automatic1111.build import Generation, Options, ResolvedNames
from models.backends.automatic1111.job import ServerSettings
from models.backends.automatic1111.names import AUTOMATIC, NO_FILE
from models.backends.automatic1111.server_lists import NO_ROUTE
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.images import image_bytes
from models.backends.partial import Partial
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, said_by
from models.entities import GeneratedImage
from models.settings import Access

NO_API = "no_api"
OTHER_SERVICE = "other_service"
_SCHEDULE = re.compile(r"\bSchedule type: ([^,\n]+)")
_ADETAILER = "ADetailer model"


class Info(BaseModel):
    """The JSON text `info` of a generation. Some scripts leave it empty or omit keys, so all have defaults.

    `width` and `height` are left out on purpose: they are those of the request, not of the image.
    """

    all_seeds: tuple[int, ...] = ()
    index_of_first_image: int = 0
    infotexts: tuple[str, ...] = ()
    sampler_name: str | None = None
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    clip_skip: float | None = None
    job_timestamp: str | None = None
    version: str | None = None

    @classmethod
    def read(cls, text: str | None) -> "Info":
        """Never raises: images are delivered even without their `info`."""
        try:
            # A null in one key must not lose the seeds and the model's name.
            return cls.model_validate(
                {key: value for key, value in from_json(text or "{}").items() if value is not None}
            )
        except (ValueError, AttributeError):
            return cls()


class Generated(BaseModel):
    images: tuple[str, ...] | None = ()
    info: str | None = ""


class Upscaled(BaseModel):
    image: str


def generated_images(
    generated: Generated, info: Info, body: Generation, attempt: str, *, stopped: ImageError | None = None
) -> Partial:
    """The images with their seeds, without the grid before and the control maps after them.

    If the job was `stopped` or made fewer images than requested, the unfinished last batch is left out. Raises the
    reason if no image is left, ServerUnavailable for a broken image.
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
    data = (image_bytes(text, attempt=attempt) for text in proper)
    made = tuple(GeneratedImage(one, seed=seed) for one, seed in zip(data, seeds, strict=False))
    return Partial(made, (stopped,) if stopped else ())


def interrupted(attempt: str, said: str) -> ServerUnavailable:
    said = f"{said}: the job was interrupted at the server"
    return ServerUnavailable(f"{attempt} failed", said, "It was stopped in the WebUI: try again")


def check_checkpoint(info: Info, names: ResolvedNames, attempt: str) -> None:
    """Raises ServerUnavailable if another checkpoint was used: servers ignore overrides that they do not support."""
    asked, used = names.checkpoint, info.sd_model_name
    if asked is None or used is None:
        return
    # With a refiner the name may be that of the model which ran last.
    if any(name.means(used) or name.means(info.sd_model_hash) for name in (asked, names.refiner) if name):
        return
    raise ServerUnavailable(
        f"{attempt} failed",
        f"the server used the checkpoint {used} instead of {asked.sent}",
        "See the WebUI's console for why it did not load the checkpoint, or leave `checkpoint` empty",
    )


def differences(info: Info, body: Generation, options: Options, names: ResolvedNames) -> Iterator[str]:
    """Notices about what the server used instead of the requested values, as far as it reports that."""
    if names.checkpoint and info.sd_model_name is None:
        yield f"The server does not report which checkpoint it used; {names.checkpoint.sent} was requested."
    compared = (
        ("the sampler", body.sampler_name, info.sampler_name),
        ("the scheduler", body.scheduler, _schedule(info)),
        ("clip skip", options.clip_skip, f"{info.clip_skip:g}" if info.clip_skip else None),
        ("the VAE", names.vae_settings.get("sd_vae"), info.sd_vae_name),
    )
    for what, asked, used in compared:
        if asked and used and str(asked).casefold() not in {used.casefold(), AUTOMATIC, NO_FILE}:
            yield f"The server used {what} {used} instead of {asked}."
    if names.adetailer_title and info.infotexts and _ADETAILER not in info.infotexts[0]:
        yield f"ADetailer did not change the image: it did not take the model {options.adetailer_model}."


def kept_settings(
    before: ServerSettings, after: ServerSettings, body: Generation, names: ResolvedNames
) -> Iterator[str]:
    """Notices about settings left changed for all users: AUTOMATIC1111 restores only those that its config.json has."""
    for name, asked in (body.override_settings or {}).items():
        was, now = getattr(before, name, None), getattr(after, name, None)
        respelled = names.checkpoint is not None and names.checkpoint.means(str(was))
        if was != now == asked and not respelled:
            yield (
                f"The server's setting {name} stays at {now} for all users (it was {was}): reset it in the WebUI and "
                "press Apply settings; then each request restores it."
            )


def _schedule(info: Info) -> str | None:
    found = _SCHEDULE.search(info.infotexts[0]) if info.infotexts else None
    return found[1].strip() if found else None


def infotexts(info: Info) -> tuple[str, ...]:
    """The WebUI's parameter text of each image, to reproduce it."""
    return info.infotexts[info.index_of_first_image :]


TABLE = RefusalTable.beside(__file__)


def explained(refused: Reply | Fault, access: Access) -> Explanation:
    if isinstance(refused, Reply):
        refused = Fault(said=_said(refused), status=refused.status, codes=_codes(refused))
    return TABLE.explain(refused, access, login=_login(access))


def _login(access: Access) -> str:
    if access.api_key:
        return f"Check {access.where('api_key')}: it is sent as a Bearer token to the proxy in front of the WebUI"
    return (
        f"Check {access.words('username')} and {access.words('password')} {access.place}: "
        "the pair that the WebUI was started with (--api-auth user:password)"
    )


def _codes(reply: Reply) -> tuple[str, ...]:
    """Why a route is missing. The WebUI's own 404 is JSON; "Init image not found" is a 404 too."""
    if reply.status not in {*NO_ROUTE, HTTPStatus.NOT_IMPLEMENTED}:
        return ()
    answer = None if reply.status == HTTPStatus.NOT_IMPLEMENTED else reply.json()
    match answer:
        case None:
            return (OTHER_SERVICE,)
        case {"detail": str(detail)} if detail not in {"Not Found", "Method Not Allowed"}:
            return ()
        case _:
            return (NO_API,)


_WORDS = ("error", "errors", "message", "detail")  # A1111 and SD.Next have `errors`, Forge `message`


def _said(reply: Reply) -> str:
    body = reply.json()
    texts = {key: text for key in _WORDS if isinstance(body, dict) and isinstance(text := body.get(key), str) and text}
    error = texts.pop("error", "").replace("HTTPException", "")
    said = ": ".join(filter(None, (error, next(iter(texts.values()), ""))))
    return f"HTTP {reply.status}, {said}" if said else said_by(reply)

"""The server's answer as images, and what it did otherwise than asked (AUTOMATIC1111 API, section txt2img, answer)."""

import base64
import binascii
import re
from collections.abc import Iterator

from pydantic import JsonValue

from models.backends.automatic1111.options import Options
from models.backends.automatic1111.resolve import Resolved
from models.backends.automatic1111.wire import Generated, Generation, Info, Settings
from models.backends.errors import ServerUnavailable
from models.entities import GeneratedImage
from models.images.sniff import NotAnImageError, sniff

_SCHEDULE = re.compile(r"\bSchedule type: ([^,\n]+)")
_ADETAILER = "ADetailer model"
_AUTOMATIC = "automatic"


def pictures(generated: Generated, info: Info, count: int, attempt: str) -> tuple[GeneratedImage, ...]:
    """The `count` images proper with their seeds: no grid before them, no control map after them.

    Raises ServerUnavailable for fewer images (an interrupted job) and for what is no image.
    """
    first = info.index_of_first_image
    proper = (generated.images or ())[first : first + count]
    if 0 < len(proper) < count:
        raise interrupted(attempt, f"{len(proper)} of {count} images came back")
    seeds = (*info.all_seeds, *[None] * count)
    return tuple(GeneratedImage(decoded(text, attempt), seed=seed) for text, seed in zip(proper, seeds, strict=False))


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


def check_checkpoint(info: Info, names: Resolved, attempt: str) -> None:
    """Raises ServerUnavailable for an image of another model: servers ignore an override that they do not understand."""
    asked, used = names.checkpoint, info.sd_model_name
    if asked is None or used is None:
        return
    # With a refiner the name may be that of the model which painted last.
    if any(name.means(used) or name.means(info.sd_model_hash) for name in (asked, names.refiner) if name):
        return
    raise ServerUnavailable(
        f"{attempt} failed",
        f"the server painted with {used} instead of {asked.sent}",
        "Look at the WebUI's console for why it did not load the checkpoint, or leave `checkpoint` empty",
    )


def differences(info: Info, body: Generation, options: Options, names: Resolved) -> Iterator[str]:
    """What the server used instead of what was asked, as far as it says so."""
    if names.checkpoint and info.sd_model_name is None:
        yield f"The server does not say which checkpoint it painted with; {names.checkpoint.sent} was asked for"
    if body.sampler_name and info.sampler_name and info.sampler_name != body.sampler_name:
        yield f"The server used the sampler {info.sampler_name} instead of {body.sampler_name}"
    used = _schedule(info)
    if used and body.scheduler and body.scheduler.casefold() not in {used.casefold(), _AUTOMATIC}:
        yield f"The server used the scheduler {used} instead of {body.scheduler}"
    if options.clip_skip and info.clip_skip and info.clip_skip != options.clip_skip:
        yield f"The server used clip skip {info.clip_skip:g} instead of {options.clip_skip}"
    vae = names.vae_settings.get("sd_vae")
    if info.sd_vae_name and isinstance(vae, str) and vae not in {info.sd_vae_name, "Automatic", "None"}:
        yield f"The server used the VAE {info.sd_vae_name} instead of {vae}"
    if names.adetailer_title and info.infotexts and _ADETAILER not in info.infotexts[0]:
        yield f"ADetailer left the image alone: it did not take the model {options.adetailer_model}"


def kept_settings(before: Settings | None, after: Settings | None, body: Generation, names: Resolved) -> Iterator[str]:
    """What a request left changed for everybody: AUTOMATIC1111 puts back only settings that its config.json has."""
    if before is None or after is None:
        return
    for name, asked in _overridden(body).items():
        was, now = getattr(before, name), getattr(after, name)
        respelled = names.checkpoint is not None and names.checkpoint.means(str(was))
        if was != now == asked and not respelled:
            yield (
                f"The server keeps the setting {name} at {now} for everybody (it was {was}): set it back in the WebUI "
                "and press Apply settings, then it is put back after each request"
            )


def _overridden(body: Generation) -> dict[str, JsonValue]:
    return {name: value for name, value in (body.override_settings or {}).items() if name in Settings.model_fields}


def _schedule(info: Info) -> str | None:
    found = _SCHEDULE.search(info.infotexts[0]) if info.infotexts else None
    return found[1].strip() if found else None


def infotexts(info: Info) -> tuple[str, ...]:
    """The WebUI's parameter text of each image proper, for those who want to paint it again."""
    return info.infotexts[info.index_of_first_image :]

"""Every name in a request as the server spells it. An unknown name is refused here, because the server would accept it
and use another.

Source: AUTOMATIC1111 API, section "telling the servers apart". AUTOMATIC1111 before 1.9 has no list of schedulers; its
sampler names include the schedule (`DPM++ 2M Karras`). reForge replies like AUTOMATIC1111. SD.Next and reForge are
supported from their code, without a test run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import JsonValue

from models.backends.automatic1111.build import ADETAILER, CONTROLNET, Options, ResolvedNames
from models.backends.automatic1111.server_lists import Name, ServerLists, find, lookup, unknown_name
from models.backends.errors import BadRequest
from models.backends.http import Service
from models.clock import Deadline
from models.entities import ImageRequest

AUTOMATIC = "automatic"
NO_FILE = "none"

_LORA = re.compile(r"<(?:lora|lyco):([^:>]+)")
_WORD = re.compile(r"[^\s,()\[\]:<>|]+")
_PROOFS = {"Forge": "/sdapi/v1/sd-modules", "SD.Next": "/sdapi/v1/version"}  # routes that no other server has


def server_title(service: Service, deadline: Deadline) -> str:
    """The kind of server: AUTOMATIC1111 unless a route of another one exists."""
    for title, path in _PROOFS.items():
        attempt = "Detecting the kind of WebUI"
        if service.request("GET", path, attempt=attempt, deadline=deadline, accept=(HTTPStatus.NOT_FOUND,)).ok:
            return title
    return "AUTOMATIC1111"


@dataclass(frozen=True, slots=True)
class NameResolver:
    lists: ServerLists

    def resolve(self, request: ImageRequest, options: Options, checkpoint: str) -> ResolvedNames:
        """Raises BadRequest for a name or an extension that the server does not have, ImageError if it cannot be reached."""
        self._check_loras(f"{request.prompt}\n{request.negative_prompt}\n{options.adetailer_prompt}")
        sampler, scheduler = self._sampling(request.sampler or "", request.scheduler or "")
        controlnet = self._script(CONTROLNET, options.controlnet_model, "ControlNet")
        module = options.controlnet_module if controlnet else ""
        return ResolvedNames(
            sampler=sampler,
            scheduler=scheduler,
            checkpoint=self.named("checkpoint", checkpoint, "checkpoints"),
            vae_settings=self._vae(_words(options.vae)),
            styles=self._styles(request.style_preset or ""),
            hires_upscaler=self._sent("hires upscaler", options.hires_upscaler, "latent_upscalers", "upscalers"),
            refiner=self.named("refiner checkpoint", options.refiner_checkpoint, "checkpoints"),
            adetailer_title=self._script(ADETAILER, options.adetailer_model, "ADetailer"),
            controlnet_model=self._sent("ControlNet model", options.controlnet_model, "controlnet_models"),
            controlnet_module=self._sent("ControlNet preprocessor", module, "controlnet_modules"),
        )

    def named(self, kind: str, asked: str, *lists: str) -> Name | None:
        """`asked` as the first list that has it spells it; unchecked if the server has no list."""
        if not asked:
            return None
        known = self._known(*lists)
        if known is None:
            return Name(asked)
        return lookup(asked, known) or find(kind, asked, self._known(*lists, fresh=True) or ())

    def unfit_embeddings(self, request: ImageRequest) -> Iterator[str]:
        """A notice for each word of the prompts that is an embedding for another kind of model than the loaded one."""
        words = set(_WORD.findall(f"{request.prompt} {request.negative_prompt}"))
        # Which embeddings fit depends on the loaded model, so a cached list is fetched again.
        if any(name.sent in words for name in self.lists.offered("unfit_embeddings")):
            for name in self.lists.offered("unfit_embeddings", fresh=True):
                if name.sent in words:
                    yield f"The embedding {name.sent} does not fit the loaded model and had no effect."

    def _sent(self, kind: str, asked: str, *lists: str) -> str | None:
        found = self.named(kind, asked, *lists)
        return found.sent if found else None

    def _known(self, *lists: str, fresh: bool = False) -> Sequence[Name] | None:
        found = [self.lists.get(name, fresh=fresh) for name in lists]
        offered = [names for names in found if names is not None]
        return [name for names in offered for name in names] if offered else None

    def _sampling(self, sampler: str, scheduler: str) -> tuple[str | None, str | None]:
        if not sampler and not scheduler:
            return None, None
        samplers, schedulers = self._known("samplers"), self._known("schedulers")
        if schedulers is None:
            return _joined(sampler, scheduler, samplers), None
        if samplers is not None and lookup(sampler, samplers) is None:
            sampler, split = _split(sampler, schedulers)
            scheduler = scheduler or split
        return self._sent("sampler", sampler, "samplers"), self._sent("scheduler", scheduler, "schedulers")

    def _vae(self, words: Sequence[str]) -> Mapping[str, JsonValue]:
        """The VAE setting for one request. Only Forge has modules: a VAE and text encoders."""
        if not words:
            return {}
        forge = self._known("modules") is not None
        if words[0].casefold() in {AUTOMATIC, NO_FILE}:
            files = [words[0].capitalize()]
        else:
            files = [file for word in words if (file := self._sent("VAE", word, "modules" if forge else "vaes"))]
        return {"forge_additional_modules": [*files]} if forge else {"sd_vae": files[0]}

    def _styles(self, asked: str) -> tuple[str, ...]:
        known = self._known("styles") if asked else None
        words = [asked] if known and lookup(asked, known) else _words(asked)
        return tuple(found for word in words if (found := self._sent("style", word, "styles")))

    def _check_loras(self, prompts: str) -> None:
        # The prompt is sent unchanged, and the server matches its names exactly.
        for name in dict.fromkeys(_LORA.findall(prompts)):
            found = self.named("LoRA", name, "loras")
            if found and not found.means(name):
                raise unknown_name("LoRA", name, [found.sent])

    def _script(self, title: str, asked: str, extension: str) -> str | None:
        if not asked:
            return None
        known = self._known("scripts")
        if known is not None and lookup(title, known) is None:
            raise BadRequest(
                f"The server does not have the extension {extension}",
                next_step=f"Install {extension} in the WebUI (Extensions) and restart it, or leave its parameters empty",
            )
        return title


def _joined(sampler: str, scheduler: str, samplers: Sequence[Name] | None) -> str:
    """Servers before 1.9: the schedule is a part of the sampler's name."""
    if not sampler:
        raise BadRequest(
            f"This server has no list of schedulers, so the scheduler {scheduler!r} needs a sampler",
            next_step="Choose a sampler such as `DPM++ 2M Karras`, or update the WebUI to 1.9 or later",
        )
    plain = scheduler.casefold() == AUTOMATIC or sampler.casefold().endswith(scheduler.casefold())
    asked = sampler if plain else f"{sampler} {scheduler}"
    return find("sampler", asked, samplers).sent if samplers is not None else asked


def _split(sampler: str, schedulers: Sequence[Name]) -> tuple[str, str]:
    """`DPM++ 2M Karras` → sampler and scheduler, as servers since 1.9 have them."""
    for scheduler in schedulers:
        for label in (scheduler.sent, *scheduler.known_as):
            if sampler.casefold().endswith(f" {label.casefold()}"):
                return sampler[: -len(label) - 1], scheduler.sent
    return sampler, ""


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]

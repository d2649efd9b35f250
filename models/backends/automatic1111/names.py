"""Every name in a request as the server spells it. An unknown one is refused here, because the server would take it
and use another.

Where the kinds of servers differ (AUTOMATIC1111 API, section "telling the servers apart"): A1111 before 1.9 has no list
of schedulers, samplers have joined names (`DPM++ 2M Karras`); reForge answers like AUTOMATIC1111. SD.Next and reForge
were read, not run.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import JsonValue

from models.backends.automatic1111.options import Options
from models.backends.automatic1111.server_lists import ListName, Name, ServerLists, find, lookup, unknown_name
from models.backends.errors import BadRequest
from models.backends.http import Service
from models.clock import Deadline
from models.entities import ImageRequest

CONTROLNET = "controlnet"
ADETAILER = "adetailer"
AUTOMATIC = "automatic"
_NO_VAE_FILE = (AUTOMATIC, "none")

_LORA = re.compile(r"<(?:lora|lyco):([^:>]+)")
_WORD = re.compile(r"[^\s,()\[\]:<>|]+")


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One kind of server: the route that only it has, and how a VAE is asked for in one request."""

    title: str
    proof: str
    vae_list: ListName
    vae_settings: Callable[[Sequence[str]], Mapping[str, JsonValue]]


def _one_vae(names: Sequence[str]) -> Mapping[str, JsonValue]:
    return {"sd_vae": names[0]}


def _forge_modules(names: Sequence[str]) -> Mapping[str, JsonValue]:
    return {"forge_additional_modules": list(names)}


_FORGE = ServerKind("Forge", "/sdapi/v1/sd-modules", "modules", _forge_modules)
_SD_NEXT = ServerKind("SD.Next", "/sdapi/v1/version", "vaes", _one_vae)
_A1111 = ServerKind("AUTOMATIC1111", "/sdapi/v1/sd-models", "vaes", _one_vae)


def recognise(service: Service, deadline: Deadline) -> ServerKind:
    """Which kind of server answers, by free questions; one that is neither of the others is AUTOMATIC1111."""
    for kind in (_FORGE, _SD_NEXT):
        attempt = "Asking the WebUI for its kind"
        if service.request("GET", kind.proof, attempt=attempt, deadline=deadline, accept=(HTTPStatus.NOT_FOUND,)).ok:
            return kind
    return _A1111


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNames:
    """Names that exist on the server; None where nothing was asked for."""

    sampler: str | None = None
    scheduler: str | None = None
    checkpoint: Name | None = None
    vae_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    hires_upscaler: str | None = None
    refiner: Name | None = None
    controlnet_model: str | None = None
    controlnet_module: str | None = None
    adetailer_title: str | None = None


@dataclass(frozen=True, slots=True)
class NameResolver:
    """The names of one request against the lists of one server."""

    lists: ServerLists
    deadline: Deadline

    def resolve(self, request: ImageRequest, options: Options, checkpoint: str) -> ResolvedNames:
        """Raises BadRequest for a name or an extension that the server does not have, ImageError when it cannot be asked."""
        self._check_loras(f"{request.prompt}\n{request.negative_prompt}\n{options.adetailer_prompt}")
        sampler, scheduler = self._sampling(request.sampler, request.scheduler)
        controlnet = self._script(CONTROLNET, options.controlnet_model, "ControlNet")
        module = options.controlnet_module if controlnet else ""
        return ResolvedNames(
            sampler=sampler,
            scheduler=scheduler,
            checkpoint=self._named("checkpoint", checkpoint, "checkpoints"),
            vae_settings=self._vae(options.vae),
            styles=self._styles(request.style_preset or ""),
            hires_upscaler=_sent(
                self._named("hires upscaler", options.hires_upscaler, "latent_upscalers", "upscalers")
            ),
            refiner=self._named("refiner checkpoint", options.refiner_checkpoint, "checkpoints"),
            adetailer_title=self._script(ADETAILER, options.adetailer_model, "ADetailer"),
            controlnet_model=_sent(self._named("ControlNet model", options.controlnet_model, "controlnet_models")),
            controlnet_module=_sent(self._named("ControlNet preprocessor", module, "controlnet_modules")),
        )

    def upscaler(self, asked: str) -> Name | None:
        return self._named("upscaler", asked, "upscalers")

    def unfit_embeddings(self, request: ImageRequest) -> Iterator[str]:
        """A notice for each word of the prompts that is an embedding for another kind of model than the loaded one."""
        words = set(_WORD.findall(f"{request.prompt} {request.negative_prompt}"))
        if not self._unfit(words, fresh=False):
            return
        for name in self._unfit(words, fresh=True):  # what fits has changed with the model since the list was read
            yield f"The embedding {name} does not fit the loaded model and had no effect."

    def _unfit(self, words: Container[str], *, fresh: bool) -> list[str]:
        unfit = self.lists.offered("unfit_embeddings", self.deadline, fresh=fresh)
        return [name.sent for name in unfit if name.sent in words]

    def _named(self, kind: str, asked: str, *lists: ListName) -> Name | None:
        """`asked` as the first list spells it that has it; unchecked where the server has no list."""
        if not asked:
            return None
        known = self._known(*lists)
        if known is None:
            return Name(asked)
        return lookup(asked, known) or find(kind, asked, self._known(*lists, fresh=True) or ())

    def _known(self, *lists: ListName, fresh: bool = False) -> Sequence[Name] | None:
        found = [self.lists.get(name, self.deadline, fresh=fresh) for name in lists]
        offered = [names for names in found if names is not None]
        return [name for names in offered for name in names] if offered else None

    def _sampling(self, sampler: str | None, scheduler: str | None) -> tuple[str | None, str | None]:
        if not sampler and not scheduler:
            return None, None
        samplers, schedulers = self._known("samplers"), self._known("schedulers")
        if schedulers is None:
            return _joined(sampler, scheduler, samplers), None
        if sampler and samplers is not None and lookup(sampler, samplers) is None:
            sampler, split = _split(sampler, schedulers)
            scheduler = scheduler or split
        return (
            _sent(self._named("sampler", sampler or "", "samplers")),
            _sent(self._named("scheduler", scheduler or "", "schedulers")),
        )

    def _vae(self, asked: str) -> Mapping[str, JsonValue]:
        words = _words(asked)
        if not words:
            return {}
        kind = recognise(self.lists.service, self.deadline)
        if words[0].casefold() in _NO_VAE_FILE:
            return kind.vae_settings([words[0].capitalize()])
        return kind.vae_settings([found.sent for word in words if (found := self._named("VAE", word, kind.vae_list))])

    def _styles(self, asked: str) -> tuple[str, ...]:
        """One style by its whole name, or several separated by commas."""
        if not asked:
            return ()
        known = self._known("styles")
        whole = lookup(asked, known) if known else None
        words = [asked] if whole else _words(asked)
        return tuple(found.sent for word in words if (found := self._named("style", word, "styles")))

    def _check_loras(self, prompts: str) -> None:
        # The prompt goes out as it is written, and the server reads its names to the letter.
        for name in dict.fromkeys(_LORA.findall(prompts)):
            found = self._named("LoRA", name, "loras")
            if found and not found.means(name):
                raise unknown_name("LoRA", name, [found.sent])

    def _script(self, title: str, asked: str, extension: str) -> str | None:
        """The title under which an extension's script runs. Raises BadRequest where the server does not have it."""
        if not asked:
            return None
        known = self._known("scripts")
        if known is not None and lookup(title, known) is None:
            raise BadRequest(
                f"The server does not have the extension {extension}",
                next_step=f"Install {extension} in the WebUI (Extensions) and restart it, or leave its parameters empty",
            )
        return title


def _joined(sampler: str | None, scheduler: str | None, samplers: Sequence[Name] | None) -> str:
    """Servers before 1.9: the schedule is a part of the sampler's name."""
    if not sampler:
        raise BadRequest(
            f"This server has no list of schedulers, so the scheduler {scheduler!r} needs a sampler",
            next_step="Choose a sampler such as `DPM++ 2M Karras`, or update the WebUI to 1.9 or later",
        )
    plain = not scheduler or scheduler.casefold() == AUTOMATIC or sampler.casefold().endswith(scheduler.casefold())
    asked = sampler if plain else f"{sampler} {scheduler}"
    return find("sampler", asked, samplers).sent if samplers is not None else asked


def _split(sampler: str, schedulers: Sequence[Name]) -> tuple[str, str | None]:
    """`DPM++ 2M Karras` → sampler and scheduler, as servers since 1.9 have them."""
    for scheduler in schedulers:
        for label in (scheduler.sent, *scheduler.known_as):
            if sampler.casefold().endswith(f" {label.casefold()}"):
                return sampler[: -len(label) - 1], scheduler.sent
    return sampler, None


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def _sent(name: Name | None) -> str | None:
    return name.sent if name else None

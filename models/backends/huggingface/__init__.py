"""Hugging Face Inference Providers: models of the Hub at other services, behind one token. Each image is one call.

The router passes the provider's own API through, so each provider has its own body; `Provider` says which. Which providers
have a model, and under which name, is asked from the Hub.

Source: huggingface.co/docs/inference-providers, and the vendor's own client (`huggingface_hub`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import override

from pydantic import BaseModel, Field, JsonValue

from models.backends.base import PROBE_SECONDS, Backend, Capabilities
from models.backends.cache import ServerCache
from models.backends.errors import BadRequest
from models.backends.http import NOT_THERE, Service
from models.backends.images import ImageFetcher, parsed
from models.backends.partial import Partial, collected, each, together
from models.backends.refusals import RefusalTable
from models.backends.reply import parse
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import InputLimits, fitted
from models.parameters import RULES, Rule, read_yaml
from models.sizes import FreeSizes, SeedRule, SizeRule

GENERATE = "Generating with Hugging Face"
_HUB = "https://huggingface.co"
_READ_SECONDS = 300.0
_AT_ONCE = 4
_PARAMETERS = (
    *("width", "height", "aspect_ratio", "steps", "cfg_scale", "negative_prompt", "seed", "n"),
    *("output_format", "output_quality", "details", "timeout"),
)
_SIZES = FreeSizes(multiple=16, min_side=256, max_side=2048)


@dataclass(frozen=True, slots=True)
class Provider:
    """How one provider is asked: its path, with `{id}` for its name of the model, and its names of the parameters.

    `fixed` is sent as it is; `inside` wraps the inputs in an object of this name; `size` is how a size is sent; `image`
    is the input for an image, empty where it takes none.
    """

    path: str
    prompt: str = "prompt"
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, JsonValue] = field(default_factory=dict)
    inside: str = ""
    size: str = ""
    image: str = ""
    names_model: bool = False


class Mapped(BaseModel):
    """A provider that has the model: its own name of it."""

    provider: str = ""
    provider_id: str = Field(alias="providerId")
    status: str = "live"
    task: str = ""


class HubModel(BaseModel):
    """`GET /api/models/<id>?expand[]=inferenceProviderMapping`; the mapping comes as an object or as a list."""

    mapping: dict[str, Mapped] | list[Mapped] = Field(default_factory=list, alias="inferenceProviderMapping")

    @property
    def providers(self) -> Mapping[str, Mapped]:
        if isinstance(self.mapping, list):
            return {entry.provider: entry for entry in self.mapping}
        return self.mapping


def _providers() -> Mapping[str, Provider]:
    """`providers.yaml`, in the order in which they are preferred."""
    return {name: Provider(**entry) for name, entry in read_yaml(Path(__file__).with_name("providers.yaml")).items()}


_MODELS: ServerCache[HubModel] = ServerCache(seconds=3600)


class HuggingFace(Backend):
    """`remote_model` is the model's id on the Hub, with `:provider` behind it where one is wanted."""

    name = "huggingface"
    title = "Hugging Face"
    prefix = "huggingface"
    required = ("api_key",)
    home = "https://router.huggingface.co"
    refusals = RefusalTable.beside(__file__)

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=1)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return tuple(RULES[name] for name in _PARAMETERS)

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return _SIZES

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return SeedRule(highest=2**31 - 1)

    @override
    def check_access(self) -> Sequence[str]:
        """The token, and who has the model; whether the token may call providers shows at the first image."""
        attempt, deadline = f"Checking {self.title}", self.within(PROBE_SECONDS)
        self._hub.request("GET", "api/whoami-v2", attempt=attempt, deadline=deadline)
        name, _ = self._route(ImageRequest(model=self.model.name, prompt=""), deadline)
        return [f"{self.model.remote} is served by {name}."]

    @property
    def _hub(self) -> Service:
        """The service at the Hub; a gateway of the owner's has both at its own address."""
        return replace(self.service, base_url=_HUB) if self.address == self.home else self.service

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        request = fitted(request, InputLimits())
        name, mapped = self._route(request, deadline)
        calls = together(
            lambda place: self._call(name, mapped, request, place, deadline), range(request.n), at_once=_AT_ONCE
        )
        return self.result(request, collected(calls), [f"{self.model.remote} was served by {name}."])

    def _call(self, name: str, mapped: str, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        provider, seed, service = _providers()[name], request.seeds[place], self.service
        path = f"{name}/{provider.path.format(id=mapped, form='' if ':' in mapped else f'models/{mapped}/')}"
        body = body_of(provider, mapped, request, seed)
        reply = service.request(
            "POST",
            path,
            attempt=GENERATE,
            deadline=deadline,
            json=body,
            headers={"Prefer": "wait"},
            read_timeout=_READ_SECONDS,
        )
        fetcher = ImageFetcher(service=service, attempt=GENERATE, deadline=deadline)
        return each(lambda image: fetcher.image(image, seed), parsed(reply, GENERATE).images)

    def _route(self, request: ImageRequest, deadline: Deadline) -> tuple[str, str]:
        """The provider to ask, and its name of the model. Raises BadRequest where none of them serves it."""
        model, _, wanted = self.model.remote.partition(":")
        live = {name: one.provider_id for name, one in self._known(model, deadline).items() if one.status != "error"}
        able = [name for name, provider in _providers().items() if provider.image or not request.images]
        usable = [name for name in able if name in live and wanted in {"", name}]
        if not usable:
            names = ", ".join(live)
            raise BadRequest(
                f"{model} cannot be asked {'with input images ' if request.images else ''}at "
                f"{wanted or 'any provider that is supported here'}; "
                f"{f'it is served by {names}' if live else 'no provider serves it'}",
                next_step=f"Choose another model, or write one of {', '.join(able)} behind it, as in {model}:{able[0]}",
            )
        return usable[0], live[usable[0]]

    def _known(self, model: str, deadline: Deadline) -> Mapping[str, Mapped]:
        hub, attempt = self._hub, f"Asking {self.title} for {model}"
        if (known := _MODELS.get(hub, model)) is None:
            params = {"expand[]": "inferenceProviderMapping"}
            path = f"api/models/{model}"
            reply = hub.request("GET", path, attempt=attempt, deadline=deadline, params=params, accept=NOT_THERE)
            known = parse(reply, HubModel, attempt=attempt) if reply.ok else HubModel()
            _MODELS.put(hub, known, model)
        return known.providers


def body_of(provider: Provider, mapped: str, request: ImageRequest, seed: int) -> Mapping[str, JsonValue]:
    """The body of one call, under the provider's own names."""
    words: dict[str, JsonValue] = {
        "steps": request.steps,
        "cfg_scale": request.cfg_scale,
        "negative_prompt": request.negative_prompt or None,
        "seed": seed,
    }
    named = {
        provider.names[word]: value for word, value in words.items() if word in provider.names and value is not None
    }
    image: dict[str, JsonValue] = {provider.image: request.images[0].data_url} if request.images else {}
    inputs = {provider.prompt: request.prompt, **_size(provider, request), **named, **image}
    version: dict[str, JsonValue] = {"version": mapped} if provider.inside and ":" in mapped else {}
    model: dict[str, JsonValue] = {"model": mapped} if provider.names_model else {}
    return {**model, **provider.fixed, **version, **({provider.inside: inputs} if provider.inside else inputs)}


def _size(provider: Provider, request: ImageRequest) -> dict[str, JsonValue]:
    if request.size is None:
        return {}
    width, height = request.size
    match provider.size:
        case "sides":
            return {"width": width, "height": height}
        case "object":
            return {"image_size": {"width": width, "height": height}}
        case "text":
            return {"size": f"{width}x{height}"}
    return {}

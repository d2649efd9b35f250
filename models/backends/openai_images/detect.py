"""Which dialect a server speaks, from its address and from free questions; nothing is generated, nothing is spent.

The signs, in this order:

1. The host: `api.openai.com`, `api.siliconflow.cn`, `api.siliconflow.com`.
2. `GET models` below the API's path, which nearly every server answers:
   - a model `sd-cpp-local` (stable-diffusion.cpp never says anything else; its `/sdcpp/v1/capabilities` names the
     model that is loaded, the samplers and the schedulers);
   - `owned_by: sglang`;
   - `owned_by: vllm` or `vllm-omni`; vLLM-Omni answers with vLLM's own model cards, whose `root` is the model's path;
   - models without `owned_by`, as LocalAI lists them: it is asked for `/.well-known/localai.json`, and older
     versions, which have no such page, for `/readyz`, which none of the others has.
3. Anything else is spoken to in the portable core of the API: the dialect `openai`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import BaseModel, ValidationError

from models.backends.cache import ServerCache
from models.backends.errors import ConnectionFailed, ImageError
from models.backends.http import ONCE, Retries, Service
from models.backends.openai_images.dialects import LOCALAI, OPENAI, SDCPP, SGLANG, SILICONFLOW, VLLM_OMNI, Dialect
from models.backends.openai_images.wire import Address
from models.backends.refusals import Fault
from models.backends.reply import Reply
from models.clock import Deadline

GLANCE_SECONDS = 3.0
GOOD_FOR = 600.0
BAD_FOR = 30.0
_NOT_THERE = (404, 405)
_REFUSALS = tuple(status for status in range(400, 600) if status not in {401, 403, 407})
_SHOWN = 12
_IMAGE_MODEL = re.compile(r"image|dall-?e|diffusion|flux|sdxl|sd-?[123]|kolors", re.IGNORECASE)

HOSTED = {
    "api.openai.com": OPENAI,
    "api.siliconflow.cn": SILICONFLOW,
    "api.siliconflow.com": SILICONFLOW,
}


class ListedModel(BaseModel):
    """One entry of `GET models`. `root` is the path or repository behind an alias, where a server tells it."""

    id: str
    owned_by: str | None = None
    root: str | None = None


class ListedModels(BaseModel):
    data: tuple[ListedModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a server turned out to be, the sign in words, and the models it lists (none: it lists nothing)."""

    dialect: Dialect
    sign: str = ""
    models: tuple[ListedModel, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

    def names_of(self, remote: str) -> tuple[str, ...]:
        """The name of a model and what the server says stands behind it."""
        one_for_all = self.dialect.model_name == "ignored"
        return (remote, *(model.root for model in self.models if model.root and (one_for_all or model.id == remote)))

    @property
    def shown(self) -> str:
        """The models worth naming in a sentence: a list may hold a hundred of other kinds."""
        names = [model.id for model in self.models]
        fitting = [name for name in names if _IMAGE_MODEL.search(name)] or names
        return ", ".join(fitting[:_SHOWN]) + (" …" if len(fitting) > _SHOWN else "")

    def serves(self, remote: str) -> bool:
        return any(model.id == remote for model in self.models)


FINDINGS: ServerCache[Finding] = ServerCache(seconds=GOOD_FOR, limit=256)
SILENT: ServerCache[bool] = ServerCache(seconds=BAD_FOR, limit=256)
"""Servers that did not answer a moment ago: a form does not wait for them again and again."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Asks one server what it is."""

    service: Service
    address: Address

    @property
    def hosted(self) -> Finding | None:
        """The finding for the services that have one address."""
        host = self.address.host
        return Finding(HOSTED[host], f"the address is {host}") if host in HOSTED else None

    @property
    def known(self) -> Finding | None:
        """What needs no question: a known address, or what the server said within the last minutes."""
        return self.hosted or FINDINGS.get(self.service, self.address.api)

    @property
    def is_silent(self) -> bool:
        return bool(SILENT.get(self.service))

    def note_silence(self) -> None:
        SILENT.put(self.service, True)

    def ask(self, deadline: Deadline, retries: Retries = ONCE) -> Finding:
        """Ask the server what it is, and remember it. Raises an ImageError when it cannot be reached or refuses the key;
        failures are not remembered."""
        found = self._asked(deadline, retries)
        FINDINGS.put(self.service, found, self.address.api)
        return found

    def _asked(self, deadline: Deadline, retries: Retries) -> Finding:
        reply = self.service.request(
            "GET",
            self.address.path("models"),
            attempt="Asking the server for its models",
            deadline=deadline,
            params=self.address.query,
            retries=retries,
            accept=_NOT_THERE,
        )
        models = listed(reply)
        hosted = self.hosted
        if hosted:
            return Finding(hosted.dialect, hosted.sign, models)
        if any(model.id == "sd-cpp-local" for model in models):
            return self._sdcpp(deadline)
        return told_by(models) or self._localai(deadline, models) or Finding(OPENAI, "", models)

    def has_endpoint(self, name: str, deadline: Deadline) -> bool:
        """Whether a FastAPI server has a POST endpoint: a GET on one is 405, on nothing 404. Free, generates nothing."""
        reply = self.service.request(
            "GET",
            self.address.path(name),
            attempt="Looking for the images API",
            deadline=deadline,
            params=self.address.query,
            retries=ONCE,
            accept=_NOT_THERE,
        )
        return reply.status != HTTPStatus.NOT_FOUND

    def answers_posts(self, name: str, deadline: Deadline) -> bool:
        """Whether anything takes a POST at an endpoint, for servers that list no models.

        The body is an empty list: it holds neither model nor prompt, so that every server refuses it and generates
        nothing. Raises AuthorizationFailed where the key is refused.
        """
        try:
            reply = self.service.request(
                "POST",
                self.address.path(name),
                attempt="Looking for the images API",
                deadline=deadline,
                params=self.address.query,
                json=[],
                retries=ONCE,
                accept=_REFUSALS,
            )
        except ConnectionFailed:  # it answered a moment ago: this says nothing about the path
            return True
        is_page = "html" in reply.headers.get("content-type", "")
        names_model = any("model" in code.lower() for code in Fault.read(reply).codes)
        return not is_page and (reply.status not in _NOT_THERE or names_model)

    def _sdcpp(self, deadline: Deadline) -> Finding:
        """What stable-diffusion.cpp says about itself; older versions say nothing. It drops unknown samplers silently."""
        page = "sdcpp/v1/capabilities"
        try:
            reply = self.service.request("GET", page, attempt="Asking the server", deadline=deadline, retries=ONCE)
            able = SdcppCapabilities.model_validate_json(reply.body)
        except (ImageError, ValidationError):
            able = SdcppCapabilities()
        models = (ListedModel(id="sd-cpp-local", root=able.model.stem),)
        return Finding(SDCPP, "it serves the model sd-cpp-local", models, able.samplers, able.schedulers)

    def _localai(self, deadline: Deadline, models: tuple[ListedModel, ...]) -> Finding | None:
        if any(model.owned_by for model in models):
            return None
        for page in (".well-known/localai.json", "readyz"):
            if self._answers(page, deadline):
                return Finding(LOCALAI, f"it answers /{page}", models)
        return None

    def _answers(self, page: str, deadline: Deadline) -> bool:
        try:
            reply = self.service.request(
                "GET",
                page,
                attempt="Recognising the server",
                deadline=deadline,
                retries=ONCE,
                read_timeout=GLANCE_SECONDS,
            )
        except ImageError:
            return False
        # A web front end that answers every path with its page is no LocalAI.
        return "html" not in reply.headers.get("content-type", "")


def listed(reply: Reply) -> tuple[ListedModel, ...]:
    """The models of a `GET models`; none where the answer is something else."""
    try:
        return ListedModels.model_validate_json(reply.body).data if reply.ok else ()
    except ValidationError:
        return ()


def told_by(models: Sequence[ListedModel]) -> Finding | None:
    """The dialects that are known by the owner of their models."""
    owners = {model.owned_by for model in models}
    served = tuple(models)
    if "sglang" in owners:
        return Finding(SGLANG, "its models are owned by sglang", served)
    if owners & {"vllm", "vllm-omni"}:
        return Finding(VLLM_OMNI, "its models are owned by vllm", served)
    return None


class SdcppModel(BaseModel):
    """The model that stable-diffusion.cpp was started with."""

    stem: str | None = None


class SdcppCapabilities(BaseModel):
    """`GET /sdcpp/v1/capabilities`, as far as it is read."""

    model: SdcppModel = SdcppModel()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

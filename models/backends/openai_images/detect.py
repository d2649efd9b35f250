"""Which dialect a server speaks, from its address and from free questions; nothing is generated, nothing is spent.

The tells, in this order:

1. The host: `api.openai.com`, `api.siliconflow.cn`, `api.siliconflow.com`.
2. `GET /v1/models`, which every server at hand answers:
   - a model `sd-cpp-local` (stable-diffusion.cpp never says anything else; its `/sdcpp/v1/capabilities` names the
     model that is loaded, the samplers and the schedulers);
   - `owned_by: sglang`;
   - `owned_by: vllm` or `vllm-omni`; vLLM-Omni answers with vLLM's own model cards, whose `root` is the model's path;
   - models without `owned_by`, as LocalAI lists them: it is asked for `/.well-known/localai.json`, and older
     versions, which have no such page, for `/readyz`, which none of the others has.
3. Anything else is spoken to in the portable core of the API: the dialect `openai`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from models.backends.errors import ImageError
from models.backends.http import ONCE, Retries, Service
from models.backends.openai_images.dialects import LOCALAI, OPENAI, SDCPP, SGLANG, SILICONFLOW, VLLM_OMNI, Dialect
from models.backends.reply import Reply
from models.clock import Deadline

PROBE_SECONDS = 3.0
GOOD_FOR = 600.0
BAD_FOR = 30.0
_MOST = 256
_NOT_THERE = (404, 405)
_SHOWN = 12
_PAINTER = re.compile(r"image|dall-?e|diffusion|flux|sdxl|sd-?[123]|kolors", re.IGNORECASE)

HOSTED = {
    "api.openai.com": OPENAI,
    "api.siliconflow.cn": SILICONFLOW,
    "api.siliconflow.com": SILICONFLOW,
}


class ServedModel(BaseModel):
    """One entry of `GET /v1/models`. `root` is the path or repository behind an alias, where a server tells it."""

    id: str
    owned_by: str | None = None
    root: str | None = None


class ModelList(BaseModel):
    data: tuple[ServedModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a server turned out to be, the tell in words, and the models it lists (none: it lists nothing)."""

    dialect: Dialect
    tell: str
    models: tuple[ServedModel, ...] = ()
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
        painters = [name for name in names if _PAINTER.search(name)] or names
        return ", ".join(painters[:_SHOWN]) + (" …" if len(painters) > _SHOWN else "")

    def serves(self, remote: str) -> bool:
        return any(model.id == remote for model in self.models)


def hosted(root: str) -> Finding | None:
    """The finding for the services that have one address."""
    try:
        host = urlsplit(root).hostname or ""
    except ValueError:  # what is no address is reported by the first request
        return None
    return Finding(HOSTED[host], f"the address is {host}") if host in HOSTED else None


def ask(service: Service, deadline: Deadline, retries: Retries = ONCE) -> Finding:
    """Ask a server what it is. Raises an ImageError when it cannot be reached or refuses the key."""
    reply = service.request(
        "GET",
        "v1/models",
        attempt="Asking the server for its models",
        deadline=deadline,
        retries=retries,
        accept=_NOT_THERE,
    )
    models = listed(reply)
    known = hosted(service.base_url)
    if known:
        return Finding(known.dialect, known.tell, models)
    if any(model.id == "sd-cpp-local" for model in models):
        return _sdcpp(service, deadline)
    return _told(models) or _localai(service, deadline, models) or Finding(OPENAI, "", models)


def listed(reply: Reply) -> tuple[ServedModel, ...]:
    """The models of a `GET /v1/models`; none where the answer is something else."""
    try:
        return ModelList.model_validate_json(reply.body).data if reply.ok else ()
    except ValidationError:
        return ()


def _told(models: Sequence[ServedModel]) -> Finding | None:
    owners = {model.owned_by for model in models}
    served = tuple(models)
    if "sglang" in owners:
        return Finding(SGLANG, "its models are owned by sglang", served)
    if owners & {"vllm", "vllm-omni"}:
        return Finding(VLLM_OMNI, "its models are owned by vllm", served)
    return None


class Loaded(BaseModel):
    """The model that stable-diffusion.cpp was started with."""

    stem: str | None = None


class Capabilities(BaseModel):
    """`GET /sdcpp/v1/capabilities`, as far as it is read."""

    model: Loaded = Loaded()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()


def _sdcpp(service: Service, deadline: Deadline) -> Finding:
    """What stable-diffusion.cpp says about itself; older versions say nothing. It drops unknown samplers silently."""
    page = "sdcpp/v1/capabilities"
    try:
        reply = service.request("GET", page, attempt="Asking the server", deadline=deadline, retries=ONCE)
        able = Capabilities.model_validate_json(reply.body)
    except (ImageError, ValidationError):
        able = Capabilities()
    models = (ServedModel(id="sd-cpp-local", root=able.model.stem),)
    return Finding(SDCPP, "it serves the model sd-cpp-local", models, able.samplers, able.schedulers)


def _localai(service: Service, deadline: Deadline, models: tuple[ServedModel, ...]) -> Finding | None:
    if any(model.owned_by for model in models):
        return None
    for page in (".well-known/localai.json", "readyz"):
        if _answers(service, page, deadline):
            return Finding(LOCALAI, f"it answers /{page}", models)
    return None


def _answers(service: Service, page: str, deadline: Deadline) -> bool:
    try:
        reply = service.request(
            "GET", page, attempt="Recognising the server", deadline=deadline, retries=ONCE, read_timeout=PROBE_SECONDS
        )
    except ImageError:
        return False
    # A web front end that answers every path with its page is no LocalAI.
    return "html" not in reply.headers.get("content-type", "")


def has_endpoint(service: Service, path: str, deadline: Deadline) -> bool:
    """Whether a FastAPI server has a POST endpoint: a GET on one is 405, on nothing 404. Free, and paints nothing."""
    reply = service.request(
        "GET", path, attempt="Looking for the images API", deadline=deadline, retries=ONCE, accept=_NOT_THERE
    )
    return reply.status != HTTPStatus.NOT_FOUND


@dataclass
class Findings:
    """What the servers turned out to be, for the whole process: at most 256 of them for ten minutes each.

    They are told apart by address and login, so that no account sees what another one's key may list. A server that
    did not answer is left alone for half a minute, so that a form is not slow again and again.
    """

    kept: dict[str, tuple[float, Finding | ImageError]] = field(default_factory=dict)

    def get(self, service: Service) -> Finding | ImageError | None:
        until, found = self.kept.get(_identity(service), (0.0, None))
        return found if service.clock.monotonic() < until else None

    def keep(self, service: Service, found: Finding | ImageError) -> None:
        self.kept.pop(_identity(service), None)
        while len(self.kept) >= _MOST:
            del self.kept[next(iter(self.kept))]
        age = GOOD_FOR if isinstance(found, Finding) else BAD_FOR
        self.kept[_identity(service)] = (service.clock.monotonic() + age, found)


def _identity(service: Service) -> str:
    login = hashlib.sha256(repr(sorted(service.headers.items())).encode()).hexdigest()
    return f"{service.base_url} {login}"


FINDINGS = Findings()


def recognise(service: Service, deadline: Deadline) -> Finding:
    """The finding for a server, remembered. Raises an ImageError as `ask`; failures are not remembered here."""
    known = hosted(service.base_url) or FINDINGS.get(service)
    if isinstance(known, Finding):
        return known
    found = ask(service, deadline, Retries())
    FINDINGS.keep(service, found)
    return found


def glance(service: Service) -> Finding | None:
    """The finding for a server within three seconds, or None: for forms, which must be quick and never fail."""
    known = hosted(service.base_url) or FINDINGS.get(service)
    if known is None:
        try:
            known = ask(service, Deadline.after(service.clock, PROBE_SECONDS))
        except ImageError as error:
            known = error
        FINDINGS.keep(service, known)
    return known if isinstance(known, Finding) else None

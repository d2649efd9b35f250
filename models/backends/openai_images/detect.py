"""Recognises a server's dialect by its address and by requests that generate and cost nothing.

The signs are in `dialects.yaml`: the host, the models that `GET models` lists, and pages that only one kind of server
has. For any other server the portable core of the API is used.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import AliasPath, BaseModel, Field, ValidationError

from models.backends.base import Model
from models.backends.cache import ServerCache
from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ImageError
from models.backends.http import NOT_THERE, ONCE, Retries, Service
from models.backends.openai_images.models import Dialect, ServedModel, dialects
from models.backends.questions import optional
from models.backends.refusals import Fault
from models.backends.reply import Reply
from models.clock import Deadline

QUICK_SECONDS = 3.0
FINDING_SECONDS = 600.0
_REFUSALS = tuple(status for status in range(400, 600) if status not in {401, 403, 407})
_SHOWN = 12
_IMAGE_MODEL = re.compile(r"image|diffusion|flux|sdxl|sd-?[123]|kolors", re.IGNORECASE)
_ENDPOINT = re.compile(r"/(images(/\w+)?|models|chat/completions|completions|responses|embeddings)$")
_VERSION = re.compile(r"/(v\d+(\.\d+)?((alpha|beta)\d*)?(/.*)?|openai/deployments/[^/]+)$")
_AZURE = re.compile(r"\.azure\.(com|cn|us)$")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the form, as users paste it: with and without the version, or the whole endpoint.

    `root` stands before the API's version, `api` is the path below it (`v1`, `api/v3`), `query` goes with every request.
    """

    root: str
    api: str = "v1"
    query: Mapping[str, str] = field(default_factory=dict)
    host: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """A path with a version is complete, and so is one that names an endpoint; `v1` is added to others."""
        try:
            parts = urlsplit(url)
        except ValueError:  # not a URL: the first request reports it
            return cls(url)
        path = parts.path.rstrip("/")
        above = _ENDPOINT.sub("", path)
        version = _VERSION.search(above)
        before = above[: version.start()] if version else above
        api = version[1] if version else "v1" if above == path else ""
        if _AZURE.search(parts.hostname or "") and path in {"", "/openai"}:
            before = "/openai"  # where its API has the version v1
        root = urlunsplit(parts._replace(path=before, query="", fragment=""))
        return cls(root, api, dict(parse_qsl(parts.query)), parts.hostname or "")

    def path(self, name: str) -> str:
        return f"{self.api}/{name}" if self.api else name

    @property
    def is_deployment(self) -> bool:
        """Whether the address itself names the model (Azure OpenAI and gateways that copy it)."""
        return "deployments/" in self.api

    @property
    def lacks_version(self) -> bool:
        """Whether Azure would refuse it for want of `api-version`; a gateway that copies the path needs none."""
        return self.is_deployment and bool(_AZURE.search(self.host)) and "api-version" not in self.query

    @property
    def wants_api_key_header(self) -> bool:
        """Azure's services read a key from the header `api-key`; `Authorization` is for tokens there."""
        return self.is_deployment or bool(_AZURE.search(self.host))


class ListedModel(BaseModel):
    """One entry of `GET models`. `root` is the path or repository behind an alias, if the server reports it."""

    id: str
    owned_by: str | None = None
    root: str | None = None


class ListedModels(BaseModel):
    data: tuple[ListedModel, ...] = ()


class SdcppCapabilities(BaseModel):
    stem: str | None = Field(default=None, validation_alias=AliasPath("model", "stem"))
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The recognised kind of a server, the sign in words, and the models that it lists."""

    dialect: Dialect
    sign: str = ""
    models: tuple[ListedModel, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

    def names_of(self, remote: str) -> tuple[str, ...]:
        one_for_all = self.dialect.model_name == "ignored"
        return (remote, *(model.root for model in self.models if model.root and (one_for_all or model.id == remote)))

    @property
    def shown(self) -> str:
        """The models worth naming in a sentence: a list may hold a hundred of other kinds."""
        names = [model.id for model in self.models]
        fitting = [name for name in names if _IMAGE_MODEL.search(name)] or names
        return ", ".join(fitting[:_SHOWN]) + (" …" if len(fitting) > _SHOWN else "")


FINDINGS: ServerCache[Finding] = ServerCache(seconds=FINDING_SECONDS, limit=256)


@dataclass(frozen=True, slots=True)
class Detector:
    service: Service
    address: Address

    @property
    def hosted(self) -> Finding | None:
        host = self.address.host
        known = (Finding(row, f"the address is {host}") for row in dialects().values() if row.is_at(host))
        return next(known, None)

    @property
    def known(self) -> Finding | None:
        """The finding without a request: by a known address, or cached."""
        return self.hosted or FINDINGS.get(self.service, self.address.api)

    def ask(self, deadline: Deadline, retries: Retries = ONCE) -> Finding:
        """Ask the server what it is, and remember the answer. Raises ImageError."""
        models = self.models(deadline, retries)
        found = self.hosted or _told_by(models) or self._told_by_pages(models, deadline)
        found = replace(found or Finding(dialects()["openai"]), models=models)
        if found.dialect.about:
            found = self._with_capabilities(found, deadline)
        FINDINGS.put(self.service, found, self.address.api)
        return found

    def models(self, deadline: Deadline, retries: Retries = ONCE) -> tuple[ListedModel, ...]:
        """The models that the server lists; none where it has no list. Raises ImageError."""
        path, attempt = self.address.path("models"), "Asking the server for its models"
        return listed(self._get(path, attempt, deadline, accept=NOT_THERE, retries=retries))

    def ask_quickly(self, deadline: Deadline) -> Finding | None:
        """The finding within a few seconds; a server that does not reply is not asked again for a while."""
        if not self.service.base_url:
            return None
        return optional(self.service, lambda: self.ask(deadline.earlier(QUICK_SECONDS)), None)

    def has_endpoint(self, name: str, deadline: Deadline) -> bool:
        """Whether a FastAPI server has a POST endpoint: a GET on one is 405, on nothing 404. Free, generates nothing."""
        reply = self._get(self.address.path(name), "Looking for the images API", deadline, accept=NOT_THERE)
        return reply.status != HTTPStatus.NOT_FOUND

    def answers_posts(self, name: str, deadline: Deadline) -> bool:
        """Whether anything takes a POST at an endpoint. Raises AuthorizationFailed where the key is refused.

        The body is an empty list, without model and prompt: every server refuses it and generates nothing.
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
        names_model = any("model" in code.lower() for code in Fault.read(reply).codes)
        return not _is_page(reply) and (reply.status not in NOT_THERE or names_model)

    def _with_capabilities(self, found: Finding, deadline: Deadline) -> Finding:
        """The finding with the server's model, samplers and schedulers, which older versions do not report."""
        try:
            reply = self._get(found.dialect.about, "Asking the server", deadline)
            able = SdcppCapabilities.model_validate_json(reply.body)
        except (ImageError, ValidationError):
            able = SdcppCapabilities()
        models = (ListedModel(id=found.dialect.lists, root=able.stem),)
        return replace(found, models=models, samplers=able.samplers, schedulers=able.schedulers)

    def _told_by_pages(self, models: tuple[ListedModel, ...], deadline: Deadline) -> Finding | None:
        if any(model.owned_by for model in models):
            return None
        pages = ((dialect, page) for dialect in dialects().values() for page in dialect.pages)
        answered = (Finding(dialect, f"it answers /{page}") for dialect, page in pages if self._answers(page, deadline))
        return next(answered, None)

    def _answers(self, page: str, deadline: Deadline) -> bool:
        try:
            # A web front end that answers every path with its page is another server.
            return not _is_page(self._get(page, "Recognising the server", deadline.earlier(QUICK_SECONDS)))
        except ImageError:
            return False

    def _get(
        self, path: str, attempt: str, deadline: Deadline, *, accept: tuple[int, ...] = (), retries: Retries = ONCE
    ) -> Reply:
        query = self.address.query
        return self.service.request(
            "GET", path, attempt=attempt, deadline=deadline, params=query, retries=retries, accept=accept
        )


def listed(reply: Reply) -> tuple[ListedModel, ...]:
    try:
        return ListedModels.model_validate_json(reply.body).data if reply.ok else ()
    except ValidationError:
        return ()


def _told_by(models: Sequence[ListedModel]) -> Finding | None:
    names, owners = {model.id for model in models}, {model.owned_by for model in models}
    for dialect in dialects().values():
        if dialect.lists and dialect.lists in names:
            return Finding(dialect, f"it serves the model {dialect.lists}")
        if owners.intersection(dialect.owners):
            return Finding(dialect, f"its models are owned by {dialect.owners[0]}")
    return None


def _is_page(reply: Reply) -> bool:
    return "html" in reply.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class AccessCheck:
    """The check of one model's form, without generating; `deadline` is for all requests together."""

    model: Model
    detector: Detector
    chosen: Dialect | None
    deadline: Deadline

    def finding(self) -> Finding:
        """The recognised server. A restricted key of OpenAI may be allowed to generate but not to list models."""
        try:
            return self.detector.ask(self.deadline)
        except AuthorizationFailed as error:
            known = self.detector.hosted or (Finding(self.chosen) if self.chosen else None)
            if known is None or "missing scopes" not in error.said.lower():
                raise
            return known

    def sentences(self, finding: Finding, served: ServedModel) -> list[str]:
        """Raises BadRequest where the server lacks the API or the model."""
        return [_recognised(self.chosen, finding), *self._model(served, finding), *self._endpoints(served, finding)]

    def _model(self, served: ServedModel, finding: Finding) -> list[str]:
        listed, remote = finding.shown, served.remote
        if served.dialect.model_name == "ignored":
            return []
        if served.dialect.model_name == "deployment":
            name = "The deployment" if self.detector.address.is_deployment else f"The deployment {remote}"
            return [f"{name} is treated as {served.family.name}; name it after its model to change that."]
        if listed and all(model.id != remote for model in finding.models):
            if served.dialect.model_name == "exact":
                raise BadRequest(
                    f"The server has no model {remote!r}",
                    f"it lists {listed}",
                    f"Write one of them into {self.model.access.where('remote_model')}",
                )
            return [f"{remote} is not among the models that the server lists ({listed})."]
        known = [f"{remote} is treated as {served.family.name}."] if served.family.name else []
        return known if listed else [*known, f"No models are listed, so {remote} could not be checked."]

    def _endpoints(self, served: ServedModel, finding: Finding) -> list[str]:
        if served.dialect.fastapi:
            return self._fastapi_endpoints(served)
        path = served.dialect.generate.path
        own_model = self.detector.address.is_deployment
        if (
            finding.models
            or (self.detector.hosted and not own_model)
            or self.detector.answers_posts(path, self.deadline)
        ):
            return []
        raise BadRequest(
            f"No path of {self.detector.service.base_url} replies like the OpenAI images API",
            f"neither /{self.detector.address.path('models')} nor /{self.detector.address.path(path)} exists",
            "Write the address with its version (…/v1, …/api/v3), or the whole endpoint, into "
            f"{self.model.access.where('base_url')}",
        )

    def _fastapi_endpoints(self, served: ServedModel) -> list[str]:
        """A vLLM or SGLang server for text has the same model list, but lacks these endpoints."""
        dialect, path = served.dialect, self.detector.address.path
        generate, edit = dialect.generate.path, dialect.edit.path
        if not self.detector.has_endpoint(generate, self.deadline):
            raise BadRequest(
                f"{self.detector.service.base_url} has no images API",
                f"it looks like {dialect.title}, but /{path(generate)} does not exist",
                "Start the server with an image model (vLLM: `vllm serve <model> --omni`)",
            )
        if served.images and not self.detector.has_endpoint(edit, self.deadline):
            return [f"The server has no /{path(edit)}: it cannot edit images; newer versions can."]
        return []


def _recognised(chosen: Dialect | None, finding: Finding) -> str:
    if chosen:
        other = finding.dialect if finding.sign and finding.dialect is not chosen else None
        doubt = f", although the server looks like {other.title} ({other.name}): {finding.sign}" if other else ""
        return f"The dialect {chosen.name} ({chosen.title}) is used as chosen{doubt}."
    if finding.sign:
        return f"The server was recognised as {finding.dialect.title} ({finding.dialect.name}): {finding.sign}."
    return (
        "The server was not recognised, so only the portable core of the OpenAI images API is used; choose a dialect "
        "for steps, seed and negative prompt."
    )

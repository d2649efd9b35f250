"""Which model answers a request: the asked one, the one that `auto` stands for, or one that `fallback` names after it.

Another model is asked only where the one before surely made nothing that costs money: its service was not reached, refused
for want of credit or capacity, or gave the job up when it was cancelled. The request is settled anew for each model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from pydantic import JsonValue

from models import stages
from models.backends import registry
from models.backends.base import SYNC_LIMIT, Backend, Running
from models.backends.errors import BadRequest, ConnectionFailed, ImageError, RateLimited, ServerUnavailable, names_like
from models.catalog import nameable, service_of
from models.entities import ImageRequest, StrictModel
from models.limits import FIELD, Limits
from models.output.structured import OutputSchema
from models.request.build import Wanted, read_wanted, rules_for, settled_request
from models.request.conversation import Conversation
from models.settings import Settings
from models.translation import TargetModel, translated

if TYPE_CHECKING:
    from models.backends.auto import Auto

_LEARN_SECONDS = 30.0  # in which a server says what a request depends on, before the request is settled
LEAST_SECONDS = 10.0
"""The smallest share of a job's time limit."""
_PREVIEW_SECONDS = 5.0  # `preview` draws at once
_PREVIEW = "preview"
_TROUBLE = (ConnectionFailed, RateLimited, ServerUnavailable)
_SEPARATORS = re.compile(r"[\s,;|，、；]+")


class RoutePlan(StrictModel):
    """The models that are left, as plain JSON for a job's state. `told` are sentences about those that did not answer."""

    wanted: Wanted
    left: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model that may answer, and the request in its form."""

    backend: Backend
    request: ImageRequest


type Admit = Callable[[ModelRequest], ImageRequest]
"""What the owner's settings make of the request for another model. Raises BadRequest."""


def may_go_on(error: ImageError, backend: Backend) -> bool:
    """Whether another model may answer in place of `backend`'s, which failed with `error`."""
    return isinstance(error, _TROUBLE) and (error.undone or not backend.charges)


@dataclass(slots=True)
class ModelRoute:
    """The way of one request through the models. `asked` is the one that the node names."""

    asked: Backend
    settings: Settings
    conversation: Conversation
    schema: OutputSchema | None
    plan: RoutePlan

    @classmethod
    def read(
        cls,
        asked: Backend,
        settings: Settings,
        conversation: Conversation,
        parameters: Mapping[str, object],
        schema: OutputSchema | None,
    ) -> "tuple[ModelRoute, ModelRequest]":
        """The way, and its first model. Raises ImageError where that one cannot be asked."""
        asked.require_access()
        trouble = _trouble_of(asked)
        wanted = read_wanted(asked, conversation, parameters)
        names = _named(str(wanted.values.get("fallback", "")), "fallback", settings)
        if _is_auto(asked):
            wanted = _chosen(asked, wanted, settings, with_images=bool(conversation.images))
        left = tuple(dict.fromkeys((wanted.model, *names)))
        route = cls(asked, settings, conversation, schema, RoutePlan(wanted=wanted, left=left[1:]))
        return route, route.after(trouble, asked, SYNC_LIMIT, _as_it_is) if trouble else route._candidate(left[0])

    @property
    def left(self) -> bool:
        return bool(self.plan.left)

    def share(self, remaining: float) -> float:
        """Seconds of the `remaining` ones for the model in turn: as many as for each later one, at least ten."""
        later = [name for name in self.plan.left if name != _PREVIEW]
        for_preview = _PREVIEW_SECONDS * (len(self.plan.left) - len(later))
        return min(remaining, max(LEAST_SECONDS, (remaining - for_preview) / (len(later) + 1)))

    def after(self, error: ImageError, failed: Backend, remaining: float, admit: Admit) -> ModelRequest:
        """The model that is asked after `failed`, with `remaining` seconds left for all.

        Raises `error`, with what is known of the others, where no other may or can be asked.
        """
        if not self.left or not may_go_on(error, failed):
            raise self._with_others(error)
        self._tell(f"{failed.model.name} did not answer ({error.said or error.attempted}).")
        while self.left:
            name, *rest = self.plan.left
            self.plan = self.plan.model_copy(update={"left": tuple(rest)})
            if not remaining and name != _PREVIEW:
                self._tell(f"{name} was not asked: no time was left.")
                continue
            try:
                return self._in_place(name, admit)
            except ImageError as unfit:
                self._tell(f"{name} was left out: {self._why_left_out(name, unfit)}")
        raise self._with_others(error)

    def _in_place(self, name: str, admit: Admit) -> ModelRequest:
        found = self._candidate(name)
        self.asked.on_progress(Running(f"{name} is asked"))
        told = (*self.plan.told, f"{name} answered in place of {self.plan.wanted.model}.")
        return ModelRequest(found.backend, admit(found).with_notices(*told))

    def _candidate(self, name: str) -> ModelRequest:
        """The model with a request that it can serve, as far as is known. Raises ImageError."""
        backend = backend_of(name, self.asked, self.settings)
        if backend is not self.asked:
            backend.require_access()
            backend.learn(backend.within(_LEARN_SECONDS))
        request = settled_request(backend, self._translated(backend), self.conversation, timeout=SYNC_LIMIT)
        backend.check_inputs(request)
        return ModelRequest(backend, self._promised(backend, request))

    def _translated(self, backend: Backend) -> Wanted:
        wanted, name = self.plan.wanted, backend.model.name
        if backend is self.asked:
            return wanted
        same_service = not self.settings.is_custom and service_of(wanted.model) == backend.name
        target = TargetModel(
            name, backend.name, rules_for(backend), asked=name == wanted.model, same_service=same_service
        )
        values, notices = translated(wanted.values, target)
        return wanted.model_copy(update={"values": values, "notices": (*wanted.notices, *notices)})

    def _promised(self, backend: Backend, request: ImageRequest) -> ImageRequest:
        """With notices about what the node's structured output will miss. Raises BadRequest where it requires that."""
        if not self.schema:
            return request
        name = backend.model.name
        known: dict[str, JsonValue] = {
            "model": self.asked.model.name,
            "backend": backend.name,
            "answered_by": name,
        }
        gives = backend.gives(request) | stages.gives(self.settings, request)
        return request.with_notices(*self.schema.check(gives, known, name))

    def _tell(self, sentence: str) -> None:
        self.plan = self.plan.model_copy(update={"told": (*self.plan.told, sentence)})

    def _why_left_out(self, name: str, unfit: ImageError) -> str:
        if self.settings.is_custom and not registry.is_filled(service_of(name), _provider_form(self.settings)):
            return (
                f"the form of {self.asked.model.name} does not reach the provider's settings, and no environment variable "
                "fills its service."
            )
        return str(unfit)

    def _with_others(self, error: ImageError) -> ImageError:
        if self.plan.told:
            step = f"{error.next_step.rstrip('.')}." if error.next_step else ""
            error.next_step = " ".join(filter(None, (step, *self.plan.told)))
        return error


def backend_of(name: str, asked: Backend, settings: Settings) -> Backend:
    """The backend of a model that answers in place of the asked one, or the asked one. Raises BadRequest for any other name."""
    if name == asked.model.name:
        return asked
    backend = registry.bind(name, _provider_form(settings), asked.clock)
    backend.on_progress, backend.ends = asked.on_progress, asked.ends  # it serves the same call of Dify
    return backend


def _as_it_is(candidate: ModelRequest) -> ImageRequest:
    return candidate.request


def _trouble_of(asked: Backend) -> ImageError | None:
    """Why a server cannot be asked what a request for it depends on. Raises what no other model can help with."""
    try:
        asked.learn(asked.within(_LEARN_SECONDS))
    except _TROUBLE as error:
        error.undone = True  # it was only asked
        return error
    return None


def _is_auto(asked: Backend) -> "TypeGuard[Auto]":
    return asked.name == "auto"  # its class needs Pillow, which most requests do not


def _chosen(auto: "Auto", wanted: Wanted, settings: Settings, *, with_images: bool) -> Wanted:
    """`wanted` of the model that is named, else of the default one."""
    values = {name: value for name, value in wanted.values.items() if name != "model"}
    named = _named(str(wanted.values.get("model", "")), "model", settings)
    if len(named) > 1:
        raise BadRequest(f"`model` names {' and '.join(named)}", next_step="Name one; others belong into `fallback`")
    model = named[0] if named else auto.default_model(with_images=with_images)
    notices = wanted.notices
    if not named:
        why = "the first model whose service is filled" if auto.usable else "as no service is filled"
        notices = (*notices, f"{model} was chosen, {why} {settings.place}.")
    return wanted.model_copy(update={"model": model, "values": values, "notices": notices})


def _named(text: str, parameter: str, settings: Settings) -> tuple[str, ...]:
    """The predefined models that a parameter names. Raises BadRequest for other names and those that are not allowed."""
    return tuple(_checked(name.casefold(), parameter, settings) for name in _SEPARATORS.split(text) if name)


def _checked(name: str, parameter: str, settings: Settings) -> str:
    allowed = Limits.read(settings).models
    if name not in nameable():
        offered = allowed or nameable()
        raise BadRequest(
            f"`{parameter}` names {name[:80]!r}, which is no predefined model",
            next_step=f"Choose from {names_like(name[:80], offered)}",
        )
    if allowed and name not in allowed:
        raise BadRequest(
            f"`{parameter}` names {name}, which is not allowed here",
            next_step=f"Choose from {names_like(name, allowed)}, or let the owner change {settings.where(FIELD)}",
        )
    return name


def _provider_form(settings: Settings) -> Settings:
    """What the provider's form says, as far as it can be known: to a customizable model only its environment is."""
    return Settings({}, settings.environment) if settings.is_custom else settings

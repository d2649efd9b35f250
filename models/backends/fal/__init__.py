"""fal: many vendors' models behind one key, each image a request in the queue.

Source: fal.ai/docs (queue API, model errors), the endpoint types of the vendor's JavaScript client.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import override

from pydantic import BaseModel

from models.backends.any_model import AnyModelBackend, data_urls
from models.backends.base import PROBE_SECONDS, Model, Running
from models.backends.errors import BadRequest
from models.backends.http import NOT_THERE, ONCE, Service
from models.backends.images import ImageFetcher, at_own_host, parsed
from models.backends.model_inputs import ModelForm, inputs_of, schema_form
from models.backends.partial import Partial, each
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, parse
from models.backends.tasks import Task
from models.catalog import card_for
from models.clock import Clock, Deadline
from models.entities import ImageRequest

GENERATE = "Generating with fal"
_LOOK = "Looking at the request at fal"
_KEPT = "a day"
_HEADERS = {"X-Fal-Object-Lifecycle-Preference": json.dumps({"expiration_duration_seconds": 86_400})}
"""Without it the service keeps every image for ever, at an address that needs no key."""
_ENDED = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)  # of a request that cannot be cancelled any more
_FAILURES = tuple(range(400, 600))
_HOSTS = r"queue\.(?:fal\.run|falrun\.com)"


class QueuedRequest(BaseModel):
    """The reply to a new request. The addresses hold a part of the model's name only, so they are used as they come."""

    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


class QueueState(BaseModel):
    """`error_type` stands beside COMPLETED where the platform failed; the result then repeats the failure."""

    status: str
    queue_position: int | None = None
    error_type: str | None = None


class Fal(AnyModelBackend):
    name = "fal"
    title = "fal"
    prefix = "fal"
    required = ("api_key",)
    home = "https://queue.fal.run"
    refusals = RefusalTable.beside(__file__)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        card = card_for(self.name, model.remote)
        self._edit = str(card.facts.get("edit_model") or "") if card else ""
        """The endpoint for requests with input images, where the model has one of its own."""

    @override
    def login(self, user: str, password: str) -> Mapping[str, str]:
        return {"Authorization": f"Key {self.model.access.api_key}"}

    @override
    def explain(self, reply: Reply) -> Explanation:
        fault = Fault.read(reply)
        return self.refusals.explain(replace(fault, codes=(*fault.codes, *_types(reply))), self.model.access)

    @override
    def check_access(self) -> Sequence[str]:
        """The price list needs a key and costs nothing."""
        attempt, params = f"Checking {self.title}", {"endpoint_id": "fal-ai/flux/dev"}
        api = self._at("https://api.fal.ai")
        api.request("GET", "v1/models/pricing", attempt=attempt, deadline=self.within(PROBE_SECONDS), params=params)
        return ()

    @override
    def _read_form(self, deadline: Deadline) -> ModelForm | None:
        attempt, params = f"Asking {self.title} for {self.remote}", {"endpoint_id": self.remote}
        page = replace(self._at("https://fal.ai"), headers={})  # public, and another host than the key's
        path = "api/openapi/queue/openapi.json"
        reply = page.request("GET", path, attempt=attempt, deadline=deadline, params=params, accept=NOT_THERE)
        return _form(reply.json(), self.remote) if reply.ok else None

    def _at(self, host: str) -> Service:
        """The service at another of its hosts; a gateway of the owner's has all of them at its own address."""
        return replace(self.service, base_url=host) if self.address == self.home else self.service

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        seed = request.seeds[place] if request.seeds else None
        body = inputs_of(self.inputs, request, seed, data_urls(request))
        path = self._edit if self._edit and request.images else self.remote
        reply = self.service.request("POST", path, attempt=GENERATE, deadline=deadline, json=body, headers=_HEADERS)
        queued = parse(reply, QueuedRequest, attempt=GENERATE)
        return Task(id=queued.request_id, seed=seed, facts=queued.model_dump(exclude={"request_id"}))

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        reply = self._asked("GET", task, "status_url", _LOOK, deadline)
        state = parse(reply, QueueState, attempt=_LOOK)
        if state.status == "COMPLETED":  # which says nothing about success: the result does
            return self._finished(task, state, deadline)
        if state.status == "IN_QUEUE":
            return Running("queued" if state.queue_position is None else f"queued, {state.queue_position} before it")
        return Running("running")

    def _finished(self, task: Task, state: QueueState, deadline: Deadline) -> Reply:
        """The result of a request that has ended. Raises its failure; only a gateway's own one may pass."""
        reply = self._asked("GET", task, "response_url", GENERATE, deadline, accept=_FAILURES)
        if reply.ok:
            return reply
        passing = reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not (state.error_type or _types(reply))
        raise self.service.failure(GENERATE, self.explain(reply), transient=passing)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        found, body = parsed(reply, GENERATE).images, reply.json()
        seed, flags = (body.get("seed"), body.get("has_nsfw_concepts")) if isinstance(body, dict) else (None, None)
        flagged = flags if isinstance(flags, list) and len(flags) == len(found) else [False] * len(found)
        fetcher = ImageFetcher(service=self.service, attempt=GENERATE, deadline=deadline, kept=_KEPT, retries=ONCE)
        used = seed if isinstance(seed, int) else task.seed
        made = each(
            lambda image: fetcher.image(image, used),
            [image for image, unsafe in zip(found, flagged, strict=True) if not unsafe],
        )
        return made + Partial(failures=tuple(_filtered() for unsafe in flagged if unsafe))

    @override
    def _stop(self, task: Task, deadline: Deadline) -> None:
        self._asked("PUT", task, "cancel_url", f"Cancelling the request at {self.title}", deadline, accept=_ENDED)

    def _asked(
        self, method: str, task: Task, which: str, attempt: str, deadline: Deadline, accept: tuple[int, ...] = ()
    ) -> Reply:
        """Follow one of the task's addresses. Raises ServerUnavailable for a host that must not get the key."""
        host, path = at_own_host(self.service, str(task.facts[which]), _HOSTS, attempt)
        return host.request(method, path, attempt=attempt, deadline=deadline, retries=ONCE, accept=accept)


def _filtered() -> BadRequest:
    return BadRequest(f"{GENERATE} failed", "an image was refused by the model's safety checker", "Change the prompt")


def _types(reply: Reply) -> tuple[str, ...]:
    """The machine-readable types of a model's errors; the words beside them echo the input."""
    match reply.json():
        case {"detail": list(faults)}:
            return tuple(str(fault["type"]) for fault in faults if isinstance(fault, dict) and fault.get("type"))
        case {"error_type": str(kind)}:
            return (kind,)
        case _:
            return ()


def _form(document: object, model: str) -> ModelForm | None:
    """The form from an endpoint's OpenAPI document."""
    match document:
        case {"components": {"schemas": dict(schemas)}, "paths": dict(paths)}:
            operation = paths.get(f"/{model}")
        case _:
            return None
    match operation:
        case {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": str(ref)}}}}}}:
            return schema_form(schemas, ref.rpartition("/")[2])
        case _:
            return None

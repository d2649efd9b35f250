"""Replicate: official and community models behind one key, each image a prediction.

Source: replicate.com/docs/reference/http; the input schema of each model is on its page and in `GET /models/{owner}/{name}`.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import override

from pydantic import BaseModel, JsonValue

from models.backends.any_model import AnyModelBackend, data_urls
from models.backends.base import PROBE_SECONDS, Running
from models.backends.errors import ServerUnavailable
from models.backends.http import NOT_THERE, ONCE, Retries
from models.backends.images import ImageFetcher, parsed
from models.backends.model_inputs import ModelForm, inputs_of, schema_form
from models.backends.partial import Partial, each
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Reply, parse
from models.backends.tasks import Task
from models.clock import Deadline
from models.entities import ImageRequest

GENERATE = "Generating with Replicate"
_LOOK = "Looking at the prediction at Replicate"
_RETRIES = Retries(delays=(7.0, 10.0))  # an account with little credit may start six predictions a minute
_SHORTEST_LIFE = 5
_PROGRESS = re.compile(r"(\d{1,3})%\s*\|[^|]*\|\s*\d+/\d+")
_SEED = re.compile(r"(?i)\bseed[:=]?\s*(\d+)")


class Prediction(BaseModel):
    """One prediction. `output` is an address, a list of them, or null; `error` is the words of a failure."""

    id: str
    status: str
    output: JsonValue = None
    error: str | None = None
    logs: str | None = None


class ModelVersion(BaseModel):
    id: str
    openapi_schema: Mapping[str, JsonValue] = {}


class ReplicateModel(BaseModel):
    """`GET /models/{owner}/{name}`; an empty model has no version."""

    latest_version: ModelVersion | None = None

    @property
    def form(self) -> ModelForm | None:
        match self.latest_version.openapi_schema if self.latest_version else {}:
            case {"components": {"schemas": dict(schemas)}}:
                return schema_form(schemas, "Input")
        return None


class Replicate(AnyModelBackend):
    name = "replicate"
    title = "Replicate"
    prefix = "replicate"
    required = ("api_key",)
    home = "https://api.replicate.com/v1"
    refusals = RefusalTable.beside(__file__)

    @override
    def check_access(self) -> Sequence[str]:
        self.service.request("GET", "account", attempt=f"Checking {self.title}", deadline=self.within(PROBE_SECONDS))
        return ()

    @override
    def _read_form(self, deadline: Deadline) -> ModelForm | None:
        record = self._record(deadline)
        return record.form if record else None

    def _record(self, deadline: Deadline) -> ReplicateModel | None:
        attempt, name = f"Asking {self.title} for {self.remote}", self.remote.partition(":")[0]
        reply = self.service.request("GET", f"models/{name}", attempt=attempt, deadline=deadline, accept=NOT_THERE)
        return parse(reply, ReplicateModel, attempt=attempt) if reply.ok else None

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        seed = request.seeds[place] if request.seeds else None
        body: dict[str, JsonValue] = {"input": inputs_of(self.inputs, request, seed, data_urls(request))}
        # A prediction that nobody waits for any more shall not run on.
        headers = {"Cancel-After": f"{max(_SHORTEST_LIFE, round(deadline.remaining))}s"}
        name, _, version = self.remote.partition(":")
        if not version:
            reply = self._created(f"models/{name}/predictions", body, headers, deadline)
            if reply.ok:
                return self._task(reply, seed)
            record = self._record(deadline)  # a community model is asked by its version
            version = record.latest_version.id if record and record.latest_version else name
        return self._task(self._created("predictions", {"version": version, **body}, headers, deadline), seed)

    def _created(
        self, path: str, body: Mapping[str, JsonValue], headers: Mapping[str, str], deadline: Deadline
    ) -> Reply:
        accept = (HTTPStatus.NOT_FOUND,) if path != "predictions" else ()
        return self.service.request(
            "POST",
            path,
            attempt=GENERATE,
            deadline=deadline,
            json=dict(body),
            headers=headers,
            retries=_RETRIES,
            accept=accept,
        )

    def _task(self, reply: Reply, seed: int | None) -> Task:
        return Task(id=parse(reply, Prediction, attempt=GENERATE).id, seed=seed)

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        reply = self.service.request("GET", f"predictions/{task.id}", attempt=_LOOK, deadline=deadline, retries=ONCE)
        state = parse(reply, Prediction, attempt=_LOOK)
        match state.status:
            case "succeeded":
                return reply
            case "failed":
                fault = Fault(said=state.error or "the prediction failed", status=HTTPStatus.INTERNAL_SERVER_ERROR)
                raise self.service.failure(GENERATE, self.refusals.explain(fault, self.model.access))
            case "canceled" | "aborted":
                raise ServerUnavailable(f"{GENERATE} failed", "the prediction was cancelled there", "Start it again")
        steps = _PROGRESS.findall(state.logs or "")
        waiting = "queued" if state.status == "starting" else "running"
        return Running(f"{waiting}, {steps[-1]}%" if steps else waiting)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        told = _SEED.search(parse(reply, Prediction, attempt=GENERATE).logs or "")
        seed = int(told[1]) if told else task.seed
        fetcher = ImageFetcher(service=self.service, attempt=GENERATE, deadline=deadline, kept="an hour", retries=ONCE)
        return each(lambda image: fetcher.image(image, seed), parsed(reply, GENERATE).images)

    @override
    def _stop(self, task: Task, deadline: Deadline) -> None:
        attempt = f"Cancelling the prediction at {self.title}"
        self.service.request("POST", f"predictions/{task.id}/cancel", attempt=attempt, deadline=deadline)

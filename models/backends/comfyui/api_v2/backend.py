"""The backend `comfyui` for the Comfy API v2: one submission is one job, whose images are assets."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, override
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import JsonValue, TypeAdapter

from models.backends.base import Job, Model, Running
from models.backends.comfyui.api_v2.client import ApiJob, ApiOutput, ComfyAPIClient, parse_job
from models.backends.comfyui.client import Refused, RunError
from models.backends.comfyui.graph import Filled, Graph, Node, RawGraph
from models.backends.comfyui.jobs import queued
from models.backends.comfyui.results import (
    FAILED,
    OutputFiles,
    black_images,
    chosen_files,
    failed_node,
    ordered,
    refusal,
    without_workflow,
)
from models.backends.comfyui.state import secrets_of
from models.backends.comfyui.workflow_backend import WorkflowBackend
from models.backends.errors import ImageError, ServerUnavailable, redact
from models.backends.http import ONCE, Service, with_scheme
from models.backends.images import ImageFetcher
from models.backends.partial import Partial, each
from models.backends.refusals import RefusalTable
from models.backends.reply import Reply
from models.backends.servers import Standing, server_is_gone, split_addresses
from models.backends.tasks import Task, TaskBackend, TaskJob
from models.backends.trail import note_queued
from models.clock import Clock, Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage

_PROBE_SECONDS = 6.0
_HOSTS = re.compile(r"cloud\.comfy\.org|[\w.-]+\.run\.comfy\.app")
_ROUTES = "/api/v2"
_GRAPH: TypeAdapter[RawGraph] = TypeAdapter(RawGraph)


def speaks_v2(addresses: str) -> bool:
    """Whether the first of the form's addresses is one of Comfy's hosts, or ends with the path of this API."""
    parts = _parts(next(iter(split_addresses(addresses)), ""))
    return bool(_HOSTS.fullmatch(parts.hostname or "")) or parts.path.rstrip("/").endswith(_ROUTES)


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(with_scheme(address))
    except ValueError:  # no address: the request reports it
        return urlsplit("")


@dataclass(frozen=True, slots=True)
class MadeFile:
    """An output and whether it stays: previews are told by their node, since the API does not."""

    output: ApiOutput
    saved: bool

    @property
    def filename(self) -> str:
        return self.output.filename


class ComfyAPI(WorkflowBackend, TaskBackend):
    """Input images are sent as assets. The API has no node definitions: a workflow is read without them."""

    title: ClassVar[str] = "Comfy API"
    refusals: ClassVar[RefusalTable] = RefusalTable.beside(__file__)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._filled: Sequence[Filled] = ()

    @property
    @override
    def address(self) -> str:
        """The form's address, with the path of the API."""
        address = super().address.rstrip("/")
        hosted = _HOSTS.fullmatch(_parts(address).hostname or "")
        return f"{urljoin(address, '/').rstrip('/') if hosted else address.removesuffix(_ROUTES)}{_ROUTES}"

    @cached_property
    def client(self) -> ComfyAPIClient:
        return ComfyAPIClient(self.service)

    @cached_property
    def _secrets_in_graphs(self) -> tuple[str, ...]:
        """Keys in the pasted workflows, which a refusal may quote."""
        known = [source.readable for source in self.pasted if source.pasted]
        return tuple(str(value) for one in known if one for _, _, value in secrets_of(one.graph.raw()))

    @property
    @override
    def service(self) -> Service:
        service = super().service
        return replace(service, secrets=(*service.secrets, *self._secrets_in_graphs))

    @override
    def check_access(self) -> Sequence[str]:
        self.client.probe(deadline=self.within(_PROBE_SECONDS))
        self.check_workflows()
        return ("Comfy API v2 (beta); the server is not asked for its nodes and models",)

    @override
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        del request, fresh
        self.client.probe(deadline=deadline)
        return Standing()

    @override
    def interval(self, elapsed: float) -> float:
        # The pace of the vendor's own clients; accounts have rate limits.
        return min(5.0, max(0.5, elapsed / 20))

    @override
    def _upload(self, image: InputImage, deadline: Deadline) -> JsonValue:
        return self.client.upload(image, deadline=deadline).in_graph

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        taken, self._filled = self._fill(request, deadline)
        notices = [*taken.notices, *(notice for one in self._filled for notice in one.notices)]
        if request.extra.get("priority") == "high":
            notices.append("`priority` was not used: the Comfy API runs jobs in its own order")
        job = super()._submit(replace(request, notices=tuple(dict.fromkeys(notices))), deadline)
        return job if isinstance(job, ImageResult) else {**job, "server": self.place}

    @override
    def _task_count(self, request: ImageRequest) -> int:
        return len(self._filled)

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        filled = self._filled[place]
        self.handed_over = True
        job = self.client.submit(filled.graph, account_key=self.account_key, deadline=deadline)
        if isinstance(job, Refused):
            refused = refusal(job, filled.graph, lambda *_: (), self._parameters)
            refused.said, refused.undone = redact(refused.said, self.service.secrets), True
            raise refused
        # Of the graph only what messages and results need: its inputs may hold keys.
        nodes: RawGraph = {node: {**content, "inputs": {}} for node, content in filled.graph.items()}
        keep = request.extra.get("embed_workflow") is True
        facts: dict[str, JsonValue] = {
            "self": job.urls.job,
            "cancel": job.urls.cancel,
            "keep": keep,
            "nodes": dict(nodes),
        }
        return Task(id=job.id, seed=filled.seed, facts=facts)

    @override
    def check(self, job: Job) -> Running | ImageResult:
        if job.get("server") != self.place:
            raise server_is_gone(self)
        return super().check(job)

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        reply = self.client.job(task.id, str(task.facts["self"]), deadline=deadline)
        job = parse_job(reply)
        match job.status:
            case "succeeded":
                return reply
            case "failed" | "canceled" | "expired":
                raise self._failure(task, job)
            case "queued":
                note_queued(self.clock)
                return Running(queued(job.queue_position) if job.queue_position else "queued")
            case "running" if job.progress:
                return Running(job.progress.words)
            case words:  # "canceling", and what later versions say
                return Running(words)

    def _failure(self, task: Task, job: ApiJob) -> ImageError:
        if job.status == "canceled":
            said = "the job was canceled at the service, which also ends jobs at the time limit of a plan"
            return ServerUnavailable(FAILED, said, "Run it again unless it was stopped on purpose")
        if job.status == "expired":
            said = "the service no longer has the job: it was deleted, or ComfyUI restarted"
            return ServerUnavailable(FAILED, said, "Run it again")
        fault = job.error
        error = RunError(
            node_id=fault.node_id if fault else "",
            node_type=fault.class_type if fault else "",
            exception_message=fault.message if fault else "",
            exception_type=fault.code if fault else "",
        )
        failure = failed_node(error, _nodes_of(task))
        failure.said = redact(failure.said, self.service.secrets)
        return failure

    @override
    def _stop(self, task: Task, deadline: Deadline) -> None:
        self.client.cancel(task.id, str(task.facts["cancel"]), deadline=deadline)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        files = _files(task, reply)
        if not files.images:
            said = "; ".join(files.notices) or "the workflow ended without an image or a video"
            next_step = "Give the workflow a Save Image node that its result leads to"
            return Partial(failures=(ServerUnavailable(FAILED, said, next_step),))
        return each(lambda file: self._image(task, file.output, deadline), files.images)

    def _image(self, task: Task, output: ApiOutput, deadline: Deadline) -> GeneratedImage:
        data = self._bytes(output, deadline)
        return GeneratedImage(data if task.facts["keep"] else without_workflow(data), seed=task.seed)

    def _bytes(self, output: ApiOutput, deadline: Deadline) -> bytes:
        """Where its link fails (expired, or built from a name that only the service's own network knows), the asset
        leads to the file."""
        fetcher = ImageFetcher(
            service=self.service,
            attempt=FAILED.removesuffix(" failed"),
            deadline=deadline,
            retries=ONCE,
            what="video" if output.content_type.startswith("video/") else "image",
            redirected=True,
        )
        asset = self.client.content_url(output.id) if output.id else output.url
        if output.url and output.url != asset:
            with suppress(ImageError):  # what becomes of the asset is reported
                return fetcher.fetched(output.url)[0].body
        return fetcher.fetched(asset)[0].body

    @override
    def _result(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> ImageResult:
        notices = list(job.notices)
        for task, reply in succeeded:
            files = _files(task, reply)
            notices += files.notices
            if len(files.images) > 1 and files.one_batch and task.seed is not None:
                notices.append(f"The {len(files.images)} images come from one batch with the seed {task.seed}")
        notices += black_images(made.images)
        return super()._result(job.model_copy(update={"notices": tuple(dict.fromkeys(notices))}), made, succeeded)


def _nodes_of(task: Task) -> RawGraph:
    return _GRAPH.validate_python(task.facts["nodes"])


def _files(task: Task, reply: Reply) -> OutputFiles[MadeFile]:
    """What is delivered of a job's outputs, in the order of the graph."""
    graph, outputs = Graph.of(_nodes_of(task)), parse_job(reply).outputs
    return chosen_files(
        [
            (node, MadeFile(output, saved=not _shows(graph.nodes.get(node))))
            for node in ordered((output.node_id for output in outputs), graph.nodes)
            for output in outputs
            if output.node_id == node
        ]
    )


def _shows(node: Node | None) -> bool:
    return node is not None and (node.meaning.shows or "Preview" in node.class_type)

"""The backend `comfyui` for a ComfyUI server: joins a workflow (`workflow_backend.py`) and the server's own API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, override

from models.backends.affinity import Cookies
from models.backends.base import Backend, Job, Model, Running
from models.backends.cache import ServerCache
from models.backends.comfyui.api_v2 import ComfyAPI, speaks_v2
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.events import EventStream, JobProgress, JobWait, SocketOpener, open_socket
from models.backends.comfyui.graph import Graph, ObjectInfo, Workflow, read_source
from models.backends.comfyui.jobs import REQUEST_SECONDS, JobTracker
from models.backends.comfyui.model_workflow import NodeDefinitions, PastedWorkflow, model_files
from models.backends.comfyui.results import TABLE
from models.backends.comfyui.state import Change, JobState, secrets_of
from models.backends.comfyui.workflow_backend import WorkflowBackend
from models.backends.errors import ImageError
from models.backends.http import Service
from models.backends.partial import Partial
from models.backends.refusals import RefusalTable
from models.backends.servers import Standing, server_is_gone
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, InputImage
from models.settings import Settings

PROBE_SECONDS = 6.0

_LAST_FILES: ServerCache[frozenset[str]] = ServerCache(seconds=3600.0)
"""The model files of the job that this process last submitted to a server: it probably still has them loaded."""


class ComfyUI(WorkflowBackend):
    title: ClassVar[str] = "ComfyUI"
    charges: ClassVar[bool] = False
    refusals: ClassVar[RefusalTable] = TABLE

    def __init__(self, model: Model, clock: Clock) -> None:
        self.cookies: Cookies = {}
        super().__init__(model, clock)
        self.open_socket: SocketOpener = open_socket
        self._events: EventStream | None = None

    @classmethod
    @override
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> Backend:
        """The backend for the API that the form's address speaks."""
        bound = super().bind(name, settings, clock)
        return ComfyAPI(bound.model, bound.clock) if speaks_v2(bound.model.access.base_url) else bound

    @cached_property
    def client(self) -> ComfyUIClient:
        return ComfyUIClient(self.service)

    @cached_property
    @override
    def definitions(self) -> NodeDefinitions:
        return NodeDefinitions(self.client)

    @property
    @override
    def service(self) -> Service:
        return replace(super().service, cookies=self.cookies)

    @override
    def check_access(self) -> Sequence[str]:
        version = self.client.stats(deadline=self.within(PROBE_SECONDS)).comfyui_version
        self.check_workflows()
        return (f"ComfyUI {version}",)

    # One of several servers

    @override
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        waiting = self.client.queue_length(deadline=deadline)
        workflow, request = self._chosen(request, deadline)
        info = self._installed(workflow.classes, deadline, fresh=fresh)
        # Uploaded images have names that no server knows yet; only that there are some counts here.
        images, mask = ["image.png"] * len(request.images), "mask.png" if request.mask else None
        graph = workflow.known(info).filled(replace(request, n=1), images=images, mask=mask).graph
        if info:  # a mask, for example, adds nodes
            info = self._installed(Workflow(Graph.of(graph)).classes, deadline, fresh=False)
        lacking = Workflow(Graph.of(graph, info)).lacking() if info else ()
        return Standing("; ".join(lacking), _LAST_FILES.get(self.service) == model_files(graph), waiting)

    def _installed(self, classes: Sequence[str], deadline: Deadline, *, fresh: bool) -> ObjectInfo | None:
        """None where the server does not say in time; a refused submission then tells what is missing."""
        fetch = self.definitions.refetched if fresh else self.definitions.fetched
        try:
            return fetch(classes, deadline)
        except ImageError:
            return None

    # The job

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job:
        job = self._planned(request, deadline).dump()
        with self._tracked(job) as tracker:
            events = self._event_stream(tracker.state)
            if self.in_one_call:  # before the job exists, so that no event of it can be missed
                events.open()
                events.settle()
            self.handed_over = True
            try:
                tracker.submit(deadline)
                _LAST_FILES.put(self.service, model_files(tracker.state.graph))
            except BaseException:
                events.close()
                raise
        self._events = events
        return job

    @override
    def check(self, job: Job) -> Running | ImageResult:
        with self._tracked(job) as tracker:
            return self._state_or_result(tracker.state, tracker.poll())

    @override
    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        self.begin_watch(until)
        with self._tracked(job) as tracker:
            events = self._events or self._event_stream(tracker.state)
            self._events = None
            wait = JobWait(tracker, events, lambda: self.interval(self.clock.now() - started), self.outage)
            try:
                return self._state_or_result(tracker.state, wait.until(until))
            finally:
                events.close()

    @override
    def finished_part(self, job: Job) -> ImageResult | None:
        with self._tracked(job) as tracker:
            part = tracker.finished()
            return self._result(tracker.state, part) if part.images else None

    @override
    def cancel(self, job: Job) -> None:
        with self._tracked(job) as tracker:
            tracker.cancel()

    @override
    def _upload(self, image: InputImage, deadline: Deadline) -> str:
        return self.client.upload(image, deadline=deadline)

    def _planned(self, asked: ImageRequest, deadline: Deadline) -> JobState:
        request, filled = self._fill(asked, deadline)
        state = JobState.of(
            [(one.graph, one.seed) for one in filled],
            prompt=request.prompt,
            keep_workflow=request.extra.get("embed_workflow") is True,
        )
        state.server, state.version, state.cookies = self.place, self._version_of(asked), dict(self.cookies)
        state.front = request.extra.get("priority") == "high"
        state.add_notices(*request.notices, *(notice for one in filled for notice in one.notices))
        return state

    def _state_or_result(self, state: JobState, seen: Running | Partial) -> Running | ImageResult:
        return seen if isinstance(seen, Running) else self._result(state, seen)

    def _result(self, state: JobState, part: Partial) -> ImageResult:
        count, notices = len(state.ids), tuple(state.notices)
        return self.result(ImageRequest(model=self.model.name, prompt=state.prompt, n=count, notices=notices), part)

    @contextmanager
    def _tracked(self, job: Job) -> Iterator[JobTracker]:
        """Write the submissions back into `job`: the next check must know of resubmitted ones."""
        state = JobState.load(job)
        if state.server != self.place:
            raise server_is_gone(self)
        self.cookies.update(state.cookies)
        source = self.canary if state.version == "canary" else self.workflow
        pasted = source if isinstance(source, PastedWorkflow) and source.pasted else None
        editor = read_source(pasted.text).editor if pasted and state.keep_workflow else None

        def secrets() -> list[Change]:
            return secrets_of(pasted.ready(self.within(REQUEST_SECONDS)).graph.raw()) if pasted else []

        try:
            yield JobTracker(
                state=state,
                client=self.client,
                clock=self.clock,
                within=self.within,
                look=self.look_deadline,
                choices=self._choices,
                parameters=self._parameters,
                secrets=secrets,
                account_key=self.account_key,
                workflow=editor,
            )
        finally:
            state.cookies = dict(self.cookies)
            job.update(state.dump())

    def _choices(self, class_type: str, name: str) -> Sequence[str]:
        return self.definitions.choices(class_type, name, self.within(REQUEST_SECONDS))

    def _event_stream(self, state: JobState) -> EventStream:
        titles = {node.id: node.title or node.class_type for node in Graph.of(state.graph).nodes.values()}
        progress = JobProgress(state.ids, titles, lambda words: self.on_progress(Running(words)))
        return EventStream(self.service, state.client_id, progress, self.open_socket)

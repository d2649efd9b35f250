"""The backend `comfyui`: joins a workflow (`graph/`) and a server (the other modules)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, override

from models.backends.base import Capabilities, Job, JobBackend, Model, Running
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.events import EventStream, JobProgress, JobWait, SocketOpener, open_socket
from models.backends.comfyui.graph import Graph, RawGraph, Workflow, extra_rules, read_source
from models.backends.comfyui.jobs import REQUEST_SECONDS, JobTracker
from models.backends.comfyui.model_workflow import NodeDefinitions, PastedWorkflow, ShippedWorkflows
from models.backends.comfyui.results import TABLE, ParameterNames
from models.backends.comfyui.state import Change, JobState, secrets_of
from models.backends.errors import BadRequest
from models.backends.partial import Partial
from models.backends.refusals import RefusalTable
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import mask_of
from models.parameters import Rule
from models.sizes import SeedRule, SizeRule

# With QUICK_SECONDS in between, a hanging server delays the saving of a form by nine seconds in all.
FINDINGS_SECONDS = 9.0
PROBE_SECONDS = 6.0
CHECK_SECONDS = 30.0


class ComfyUI(JobBackend):
    name: ClassVar[str] = "comfyui"
    title: ClassVar[str] = "ComfyUI"
    prefix: ClassVar[str] = "comfyui"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    charges: ClassVar[bool] = False
    refusals: ClassVar[RefusalTable] = TABLE
    extra_rules: ClassVar[tuple[Rule, ...]] = extra_rules()

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.client = ComfyUIClient(self.service)
        self.definitions = NodeDefinitions(self.client)
        self.open_socket: SocketOpener = open_socket
        self.workflow: PastedWorkflow | ShippedWorkflows = PastedWorkflow(model, self.definitions)
        if model.card and not model.access.workflow:
            self.workflow = ShippedWorkflows(model.card, self.definitions)
        self._events: EventStream | None = None
        self._parameters: ParameterNames = {}

    @override
    def require_access(self) -> None:
        super().require_access()
        if "?" in self.address:
            raise BadRequest(
                f"The address in {self.model.access.where('base_url')} has a query, which {self.title} would not receive",
                next_step=f"Remove what follows the question mark; a token belongs in "
                f"{self.model.access.where('api_key')} and is sent as `Authorization: Bearer`",
            )

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self.workflow.capabilities

    @override
    def check_image_count(self, count: int) -> None:
        if isinstance(self.workflow, ShippedWorkflows) and count > self.capabilities.images:
            raise self.workflow.too_many(count)
        super().check_image_count(count)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self.workflow.rules()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        workflow = self._known_workflow(request)
        return workflow.sizes if workflow else None

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        workflow = self._known_workflow(request)
        return workflow.seeds if workflow else None

    def _known_workflow(self, request: ImageRequest) -> Workflow | None:
        try:
            return self.workflow.choose(request)
        except BadRequest:  # the request itself reports it
            return None

    @override
    def learn(self, deadline: Deadline) -> None:
        if isinstance(self.workflow, PastedWorkflow):
            self.workflow.learn(deadline)

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        return self.workflow.live_rules(deadline)

    @override
    def check_access(self) -> Sequence[str]:
        version = self.client.stats(deadline=self.within(PROBE_SECONDS)).comfyui_version
        if isinstance(self.workflow, PastedWorkflow):
            self.workflow.check(self.within(CHECK_SECONDS))
        return (f"ComfyUI {version}",)

    @override
    def findings(self) -> Sequence[str]:
        if not isinstance(self.workflow, PastedWorkflow) or not self.model.access.workflow:
            return ()
        self.workflow.learn(self.within(FINDINGS_SECONDS))
        return tuple(self.workflow.read().explained())

    # The job

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job:
        job = self._planned(request, deadline).dump()
        with self._tracked(job) as tracker:
            events = self._event_stream(tracker.state)
            if self.in_one_call:  # before the job exists, so that no event of it can be missed
                events.open()
                events.settle()
            try:
                tracker.submit(deadline)
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

    def _planned(self, request: ImageRequest, deadline: Deadline) -> JobState:
        source = self.workflow
        workflow = source.ready(deadline) if isinstance(source, PastedWorkflow) else source.choose(request)
        self._parameters = {
            (place.node, place.input): slot.name for slot in workflow.slots.found.values() for place in slot.places
        }
        images = [self.client.upload(image, deadline=deadline) for image in request.images]
        mask = self.client.upload(mask_of(request.mask), deadline=deadline) if request.mask else None
        known = self.definitions.known(workflow.classes)
        workflow = workflow.known(known) if known.classes and not workflow.info else workflow
        filled = [workflow.filled(one, images=images, mask=mask) for one in _submissions(request, workflow)]
        state = JobState.of(
            [(with_files(one.graph), one.seed) for one in filled],
            prompt=request.prompt,
            keep_workflow=request.extra.get("embed_workflow") is True,
        )
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
        pasted = self.model.access.workflow
        editor = read_source(pasted).editor if pasted and state.keep_workflow else None
        try:
            yield JobTracker(
                state=state,
                client=self.client,
                clock=self.clock,
                within=self.within,
                look=self.look_deadline,
                choices=self._choices,
                parameters=self._parameters,
                secrets=self._secrets,
                workflow=editor,
            )
        finally:
            job.update(state.dump())

    def _secrets(self) -> list[Change]:
        if not isinstance(self.workflow, PastedWorkflow):
            return []
        return secrets_of(self.workflow.ready(self.within(REQUEST_SECONDS)).graph.raw())

    def _choices(self, class_type: str, name: str) -> Sequence[str]:
        return self.definitions.choices(class_type, name, self.within(REQUEST_SECONDS))

    def _event_stream(self, state: JobState) -> EventStream:
        titles = {node.id: node.title or node.class_type for node in Graph.of(state.graph).nodes.values()}
        progress = JobProgress(state.ids, titles, lambda words: self.on_progress(Running(words)))
        return EventStream(self.service, state.client_id, progress, self.open_socket)


def _submissions(request: ImageRequest, workflow: Workflow) -> Sequence[ImageRequest]:
    """One request per submission: a workflow with a batch field makes all images at once, others one at a time with
    seeds that count up, so that each image can be reproduced on its own."""
    found = workflow.slots.found
    if request.n == 1 or "n" in found or "seed" not in found:
        return (request,)
    return tuple(replace(request, n=1, seeds=(seed,)) for seed in request.seeds)


def with_files(graph: RawGraph) -> RawGraph:
    """SaveImageWebsocket sends its images over the socket only and saves no file that a later check could fetch."""
    return {
        key: {**node, "class_type": "PreviewImage"} if node["class_type"] == "SaveImageWebsocket" else node
        for key, node in graph.items()
    }

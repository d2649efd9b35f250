"""The backend `comfyui`: joins a workflow (`graph/`) and a server (the other modules)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import ClassVar, override

from models.backends.affinity import Cookies
from models.backends.base import Capabilities, Job, JobBackend, Model, Running
from models.backends.cache import ServerCache
from models.backends.comfyui.canary import Translation, read_percent, takes_inputs, version_for
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.events import EventStream, JobProgress, JobWait, SocketOpener, open_socket
from models.backends.comfyui.graph import Graph, ObjectInfo, RawGraph, Workflow, extra_rules, read_source
from models.backends.comfyui.jobs import REQUEST_SECONDS, JobTracker
from models.backends.comfyui.model_workflow import NodeDefinitions, PastedWorkflow, ShippedWorkflows, model_files
from models.backends.comfyui.results import TABLE, ParameterNames
from models.backends.comfyui.state import Change, JobState, Version, secrets_of
from models.backends.errors import BadRequest, ImageError
from models.backends.http import Service
from models.backends.partial import Partial
from models.backends.refusals import RefusalTable
from models.backends.servers import PooledBackend, Standing, server_is_gone
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import mask_of
from models.parameters import Rule
from models.sizes import SeedRule, SizeRule

# With QUICK_SECONDS in between, a hanging server delays the saving of a form by nine seconds in all.
FINDINGS_SECONDS = 9.0
PROBE_SECONDS = 6.0
CHECK_SECONDS = 30.0

_LAST_FILES: ServerCache[frozenset[str]] = ServerCache(seconds=3600.0)
"""The model files of the job that this process last submitted to a server: it probably still has them loaded."""


class ComfyUI(PooledBackend, JobBackend):
    name: ClassVar[str] = "comfyui"
    title: ClassVar[str] = "ComfyUI"
    prefix: ClassVar[str] = "comfyui"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    charges: ClassVar[bool] = False
    refusals: ClassVar[RefusalTable] = TABLE
    extra_rules: ClassVar[tuple[Rule, ...]] = extra_rules()

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.cookies: Cookies = {}
        self.client = ComfyUIClient(self.service)
        self.definitions = NodeDefinitions(self.client)
        self.open_socket: SocketOpener = open_socket
        self.workflow: PastedWorkflow | ShippedWorkflows = PastedWorkflow(model, self.definitions)
        if model.card and not model.access.workflow:
            self.workflow = ShippedWorkflows(model.card, self.definitions)
        self.canary: PastedWorkflow | None = None
        if model.access.workflow and model.access.canary_workflow:
            self.canary = PastedWorkflow(model, self.definitions, "canary_workflow")
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
    def service(self) -> Service:
        return replace(super().service, cookies=self.cookies)

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
    def version(self, request: ImageRequest) -> Version | None:
        """Raises BadRequest for a share of requests that is none."""
        return self._version_of(request) if self.canary else None

    def _version_of(self, request: ImageRequest) -> Version:
        return "canary" if self._drawn(request) == "canary" and self._second_takes(request) else "main"

    def _drawn(self, request: ImageRequest) -> Version:
        """The version of the request's user."""
        if self.canary is None:
            return "main"
        return version_for(self.model.name, request.user, read_percent(self.model.access))

    def _second_takes(self, request: ImageRequest) -> bool:
        second = self.canary.readable if self.canary else None
        return second is None or takes_inputs(second, request)

    @override
    def learn(self, deadline: Deadline) -> None:
        if isinstance(self.workflow, PastedWorkflow):
            self.workflow.learn(deadline)
        if self.canary:
            with suppress(ImageError):  # reported by the requests that it would serve
                self.canary.learn(deadline)

    @property
    def _pasted(self) -> Sequence[PastedWorkflow]:
        own = [self.workflow] if isinstance(self.workflow, PastedWorkflow) else []
        return [*own, self.canary] if self.canary else own

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        return self.workflow.live_rules(deadline)

    @override
    def check_access(self) -> Sequence[str]:
        version = self.client.stats(deadline=self.within(PROBE_SECONDS)).comfyui_version
        access = self.model.access
        if read_percent(access) and self.canary is None:
            raise BadRequest(
                f"{self.model.name} has a share of requests for a second workflow, and not both workflows",
                next_step=f"Fill {access.words('workflow')} and {access.where('canary_workflow')}",
            )
        for source in self._pasted:
            source.check(self.within(CHECK_SECONDS))
        return (f"ComfyUI {version}",)

    @override
    def findings(self) -> Sequence[str]:
        if not isinstance(self.workflow, PastedWorkflow) or not self.model.access.workflow:
            return ()
        self.learn(self.within(FINDINGS_SECONDS))
        found = tuple(self.workflow.read().explained())
        second = self.canary.read().explained() if self.canary else ()
        return (*found, *(f"second workflow: {sentence}" for sentence in second))

    # One of several servers

    @override
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        waiting = self.client.queue_length(deadline=deadline)
        workflow, request = self._chosen(request, deadline)
        info = self._installed(workflow.classes, deadline, fresh=fresh)
        # Uploaded images have names that no server knows yet; only that there are some counts here.
        images, mask = ["image.png"] * len(request.images), "mask.png" if request.mask else None
        graph = workflow.known(info).filled(replace(request, n=1), images=images, mask=mask).graph
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

    def _planned(self, request: ImageRequest, deadline: Deadline) -> JobState:
        asked = request
        workflow, request = self._chosen(asked, deadline)
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
        state.server, state.version, state.cookies = self.place, self._version_of(asked), dict(self.cookies)
        state.front = request.extra.get("priority") == "high"
        state.add_notices(*request.notices, *(notice for one in filled for notice in one.notices))
        return state

    def _chosen(self, request: ImageRequest, deadline: Deadline) -> tuple[Workflow, ImageRequest]:
        """The workflow for a request, and the request as that workflow takes it. Raises ImageError."""
        source = self.workflow
        workflow = source.ready(deadline) if isinstance(source, PastedWorkflow) else source.choose(request)
        if self.canary is None or self._drawn(request) == "main":
            return workflow, request
        second = self.canary.ready(deadline)
        if takes_inputs(second, request):
            return second, Translation(workflow, second).of(request)
        notice = "The second workflow was not used: it does not take these input images, this mask or this seed"
        return workflow, request.with_notices(notice)

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

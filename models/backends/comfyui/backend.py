"""ComfyUI: a workflow, shipped or pasted, is the model; a server of the user's own runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

from pydantic import JsonValue

from models.backends.base import Capabilities, Job, JobBackend, Model, Running, no_images
from models.backends.comfyui.client import TITLE, connect
from models.backends.comfyui.definitions import Definitions
from models.backends.comfyui.events import Progress
from models.backends.comfyui.graph.explain import explained
from models.backends.comfyui.graph.fill import Filled
from models.backends.comfyui.graph.graph import Graph, RawGraph
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.own_rules import EXTRA_RULES
from models.backends.comfyui.graph.source import read_source
from models.backends.comfyui.graph.workflow import NeedsObjectInfo, Workflow
from models.backends.comfyui.listening import Ears, Opener
from models.backends.comfyui.packages import package_of
from models.backends.comfyui.shipped import Shipped
from models.backends.comfyui.socket import open_socket
from models.backends.comfyui.state import Change, JobState, secrets_of
from models.backends.comfyui.tracking import LOOK_SECONDS, Made, Tracker
from models.backends.comfyui.uploads import upload, upload_mask
from models.backends.comfyui.variants import EMBED_WORKFLOW, Pasted, Variants, capabilities_of
from models.backends.comfyui.waiting import Wait
from models.backends.errors import BadRequest
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.parameters import Rule

FORM_SECONDS = 3.0
"""How long the form waits for the server: it is asked for often, and shows the workflow's own values without it."""
CHECK_SECONDS = 30.0


class ComfyUIBackend(JobBackend):
    """One workflow at one server. `details` of the reading stand in the modules of this folder."""

    name = "comfyui"
    title = TITLE
    prefix = "comfyui"
    required = ("base_url",)
    extra_rules = (*EXTRA_RULES, EMBED_WORKFLOW)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.server = connect(model.access, clock)
        self.definitions = Definitions(self.server)
        self.opener: Opener = open_socket
        self._ears: Ears | None = None

    # The workflow

    @cached_property
    def variants(self) -> Variants:
        """Raises BadRequest for a model without a workflow, or with one that cannot be read."""
        card = self.model.card
        if card is not None and not self.model.access.workflow:
            return Shipped.of(card.model, card.facts)
        return Pasted(self._pasted)

    @cached_property
    def _pasted(self) -> Workflow:
        text = self.model.access.workflow
        if not text:
            raise BadRequest(
                f"{self.model.name} has no workflow",
                next_step="Export one with Workflow > Export (API) in ComfyUI and paste it into `workflow` "
                "in the model's settings",
            )
        try:
            return Workflow.load(text)
        except NeedsObjectInfo:
            classes = editor_classes(read_source(text).editor)
            return Workflow.load(text, self.definitions.fetched(classes, deadline=self._within(CHECK_SECONDS)))

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.variants)

    def rules(self) -> tuple[Rule, ...]:
        if not self.model.access.workflow:
            return super().rules()
        classes = self._pasted.needs.classes
        info = self.definitions.at_hand(classes, deadline=self._within(FORM_SECONDS))
        return (*self._pasted.rules(info), EMBED_WORKFLOW)

    # The job

    def submit(self, request: ImageRequest) -> Job:
        self.require_access()
        self.check_inputs(request)
        deadline = self.deadline(request)
        state = self._planned(request, deadline)
        self._ears = self._listening_to(state)
        self._ears.open()  # before the job exists, so that no event of it can be missed
        try:
            self._tracker(state).submit(state, deadline=deadline)
        except BaseException:
            self._ears.close()
            raise
        return state.dump()

    def check(self, job: Job) -> Running | ImageResult:
        state = JobState.load(job)
        try:
            return self._told(state, self._tracker(state).look(state, places=True))
        finally:
            state.save(job)

    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        state = JobState.load(job)
        heard_all = self._ears is not None and not self._ears.deaf
        ears = self._ears or self._listening_to(state)
        self._ears = None
        wait = Wait(self._tracker(state), ears, state, self.clock, started, self.interval, self._say)
        try:
            ears.open()
            return self._told(state, wait.until(until, look_first=not heard_all))
        finally:
            ears.close()
            state.save(job)

    def cancel(self, job: Job) -> None:
        state = JobState.load(job)
        self._tracker(state).cancel(state)

    def _planned(self, request: ImageRequest, deadline: Deadline) -> JobState:
        """Upload the images and fill the workflow: everything that is known before the first job exists."""
        workflow = self.variants.choose(request)
        images = [upload(self.server, image, deadline=deadline) for image in request.images]
        mask = upload_mask(self.server, request.mask, deadline=deadline) if request.mask else None
        known = self.definitions.known(workflow.needs.classes)
        info = known if known.classes else None
        filled = _filled(request, workflow, partial(workflow.filled, images=images, mask=mask, info=info))
        state = JobState.of(
            [(with_files(one.graph), one.seed) for one in filled],
            prompt=request.prompt,
            keep_workflow=request.extra.get(EMBED_WORKFLOW.name) is True,
        )
        state.tell(*request.notices, *(notice for one in filled for notice in one.notices))
        return state

    def _told(self, state: JobState, seen: Running | Made) -> Running | ImageResult:
        if isinstance(seen, Running):
            return seen
        if not seen.images:
            raise no_images(self.title)
        return ImageResult(
            images=seen.images,
            backend=self.name,
            model=self.model.name,
            prompt=state.prompt,
            notices=tuple(state.notices),
        )

    def _tracker(self, state: JobState) -> Tracker:
        workflow = self._editor_graph() if state.keep_workflow else None
        return Tracker(self.server, self.clock, self._choices, self._secrets, workflow)

    def _secrets(self) -> list[Change]:
        return secrets_of(self._pasted.graph.raw()) if self.model.access.workflow else []

    def _editor_graph(self) -> JsonValue:
        text = self.model.access.workflow
        return read_source(text).editor if text else None

    def _choices(self, class_type: str, name: str) -> Sequence[str]:
        return self.definitions.choices(class_type, name, deadline=self._within(LOOK_SECONDS))

    def _listening_to(self, state: JobState) -> Ears:
        titles = {node.id: node.title or node.class_type for node in Graph.of(state.graph).nodes.values()}
        return Ears(
            self.server.service, state.client_id, Progress(state.ids, titles, self._say), self.clock, self.opener
        )

    def _say(self, words: str) -> None:
        self.on_progress(Running(words))

    # The form

    def check_access(self) -> Sequence[str]:
        self.require_access()
        deadline = self._within(CHECK_SECONDS)
        version = self.server.stats(deadline=deadline).system.comfyui_version
        if isinstance(self.variants, Pasted):
            self._check_workflow(self.variants.workflow, deadline)
        return (f"{TITLE} {version}",)

    def findings(self) -> Sequence[str]:
        return explained(self._pasted) if self.model.access.workflow else ()

    def _check_workflow(self, workflow: Workflow, deadline: Deadline) -> None:
        workflow.check()
        info = self.definitions.fetched_afresh(workflow.needs.classes, deadline=deadline)
        if lacking := workflow.lacking(info):
            raise BadRequest(
                f"The workflow does not run on this {TITLE}",
                "; ".join(lacking),
                f"Install what is missing{_from_packages(workflow, info)} on the server, or choose what it has and "
                "export the workflow again",
            )

    def _within(self, seconds: float) -> Deadline:
        return Deadline.after(self.clock, seconds)


def _filled(request: ImageRequest, workflow: Workflow, fill: Callable[[ImageRequest], Filled]) -> list[Filled]:
    """One graph per submission: a workflow with a batch field makes all images at once, others one at a time with
    seeds that count up, so that each image can be made again on its own."""
    found = workflow.slots.found
    if request.n == 1 or "n" in found or "seed" not in found:
        return [fill(request)]
    first = fill(replace(request, n=1))
    seeds = range((first.seed or 0) + 1, (first.seed or 0) + request.n)
    return [first, *(fill(replace(request, n=1, seed=seed)) for seed in seeds)]


def _from_packages(workflow: Workflow, info: ObjectInfo) -> str:
    missing = [name for name in workflow.needs.classes if name not in info.classes]
    packages = sorted({package for name in missing if (package := package_of(name))})
    return f" ({', '.join(packages)})" if packages else ""


def with_files(graph: RawGraph) -> RawGraph:
    """SaveImageWebsocket sends its images to the socket alone and leaves no file that a later check could fetch."""
    return {
        key: {**node, "class_type": "PreviewImage"} if node["class_type"] == "SaveImageWebsocket" else node
        for key, node in graph.items()
    }


def editor_classes(editor: Mapping[str, JsonValue] | None) -> list[str]:
    """Every node type of an editor graph, those inside subgraphs included."""
    graph = editor or {}
    nodes, definitions = graph.get("nodes"), graph.get("definitions")
    inner = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    found = (
        [str(node["type"]) for node in nodes if isinstance(node, dict) and "type" in node]
        if isinstance(nodes, list)
        else []
    )
    for subgraph in inner if isinstance(inner, list) else ():
        if isinstance(subgraph, dict):
            found.extend(editor_classes(subgraph))
    return list(dict.fromkeys(found))

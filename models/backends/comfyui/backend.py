"""The backend `comfyui`: joins a workflow (`graph/`) and a server (the other modules)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, override

from pydantic import JsonValue

from models.backends.base import Capabilities, Job, JobBackend, Model, Running
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.definitions import Definitions
from models.backends.comfyui.events import JobProgress, SocketOpener, open_socket
from models.backends.comfyui.failures import explained_reply
from models.backends.comfyui.graph import (
    Graph,
    NeedsObjectInfo,
    RawGraph,
    Workflow,
    extra_rules,
    read_source,
    workflow_rules,
)
from models.backends.comfyui.jobs import LOOK_SECONDS, JobTracker
from models.backends.comfyui.state import Change, JobState, secrets_of
from models.backends.comfyui.variants import Pasted, Shipped, Variants, capabilities_of
from models.backends.comfyui.waiting import EventStream, JobWait
from models.backends.errors import BadRequest
from models.backends.partial import Partial
from models.backends.registry import COMMON_RULES
from models.backends.reply import Explanation, Reply
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult
from models.images.inputs import mask_of
from models.parameters import Rule
from models.sizes import SeedRule, SizeRule

QUICK_SECONDS = 3.0
"""How long node definitions are waited for that only make a form or a reading sharper."""
PROBE_SECONDS = 6.0
"""How long the check waits for a sign of life. With the above, a server that hangs costs whoever saves a form 9 s."""
CHECK_SECONDS = 30.0
_UNREAD = Capabilities(images=1)
"""A workflow that cannot be read yet may well take an image."""


class ComfyUI(JobBackend):
    """One workflow at one server."""

    name: ClassVar[str] = "comfyui"
    title: ClassVar[str] = "ComfyUI"
    prefix: ClassVar[str] = "comfyui"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = extra_rules()

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.client = ComfyUIClient(self.service)
        self.definitions = Definitions(self.client)
        self.open_socket: SocketOpener = open_socket
        self._pasted: Workflow | None = None
        self._events: EventStream | None = None

    @override
    def explain(self, reply: Reply) -> Explanation:
        return explained_reply(reply, self.model.access)

    @override
    def require_access(self) -> None:
        super().require_access()
        if "?" in self.address:
            field, key = (f"`{self.model.access.field(name)}`" for name in ("base_url", "api_key"))
            raise BadRequest(
                f"The address in {field} {self.model.access.place} has a query, which does not reach {self.title}",
                next_step=f"Remove what follows the question mark; a token belongs into {key}, which is sent as "
                "`Authorization: Bearer`",
            )

    # The workflow, as far as it is known

    def _variants(self) -> Variants:
        """Raises BadRequest for a model without a workflow, or with one that cannot be read or not without asking."""
        card = self.model.card
        if card is not None and not self.model.access.workflow:
            return Shipped.of(card.model, card.facts)
        if self._pasted is None:
            self._pasted = Workflow.load(self._text)
        return Pasted(self._pasted)

    @property
    def _text(self) -> str:
        if not self.model.access.workflow:
            raise BadRequest(
                f"{self.model.name} has no workflow",
                next_step="Export one with Workflow > Export (API) in ComfyUI and paste it into `workflow` "
                "in the model's settings",
            )
        return self.model.access.workflow

    def _readable(self) -> Variants | None:
        """The workflows; None where they cannot be read, which the request itself will report."""
        try:
            return self._variants()
        except BadRequest:
            return None

    def _chosen(self, request: ImageRequest) -> Workflow | None:
        """The workflow for `request`; None where there is none, which the request itself will report."""
        try:
            return self._variants().choose(request)
        except BadRequest:
            return None

    @property
    @override
    def capabilities(self) -> Capabilities:
        variants = self._readable()
        return capabilities_of(variants) if variants else _UNREAD

    @override
    def rules(self) -> tuple[Rule, ...]:
        if self.model.card and not self.model.access.workflow:
            return self.model.card.rules
        variants = self._readable()
        return (
            (*variants.workflow.rules(), workflow_rules()["embed_workflow"])
            if isinstance(variants, Pasted)
            else COMMON_RULES
        )

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        workflow = self._chosen(request)
        return workflow.sizes if workflow else None

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        workflow = self._chosen(request)
        return workflow.seeds if workflow else None

    # What asks the server

    @override
    def learn(self, deadline: Deadline) -> None:
        """Read a pasted workflow with the server's node definitions: in the editor's format it cannot be read without.

        In API format they only make the reading sharper, so a server that does not answer soon costs nothing else.
        """
        source = read_source(self._text) if self.model.access.workflow else None
        if source is None:
            return
        classes = source.classes
        if source.api is None:
            self._pasted = self._converted(classes, deadline)
        else:
            info = self.definitions.at_hand(classes, deadline.earlier(QUICK_SECONDS))
            self._pasted = Workflow.load(self._text, info if info.classes else None)

    def _converted(self, classes: Sequence[str], deadline: Deadline) -> Workflow:
        try:
            return Workflow.load(self._text, self.definitions.fetched(classes, deadline))
        except BadRequest:  # what was missing may have been installed since it was asked for
            return Workflow.load(self._text, self.definitions.fetched_afresh(classes, deadline))

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.learn(deadline)
        variants = self._variants()
        if not isinstance(variants, Shipped):
            return self.rules()
        workflows = variants.variants.values()
        info = self.definitions.at_hand((name for one in workflows for name in one.needs.classes), deadline)
        offered = {rule.name: rule.options for one in workflows for rule in one.known(info).rules() if rule.options}
        return tuple(
            rule if rule.options or rule.name not in offered else rule.narrowed(options=offered[rule.name])
            for rule in self.rules()
        )

    @override
    def check_access(self) -> Sequence[str]:
        version = self.client.stats(deadline=self.within(PROBE_SECONDS)).system.comfyui_version
        deadline = self.within(CHECK_SECONDS)
        variants = self._ready(deadline)
        if isinstance(variants, Pasted):
            self._check_workflow(variants.workflow, deadline)
        return (f"ComfyUI {version}",)

    @override
    def findings(self) -> Sequence[str]:
        if not self.model.access.workflow:
            return ()
        self.learn(self.within(QUICK_SECONDS + PROBE_SECONDS))
        variants = self._variants()
        return variants.workflow.explained() if isinstance(variants, Pasted) else ()

    def _ready(self, deadline: Deadline) -> Variants:
        """The workflows, learned now if that was not done yet and they cannot be read without. Raises ImageError."""
        try:
            return self._variants()
        except NeedsObjectInfo:
            self.learn(deadline)
            return self._variants()

    def _check_workflow(self, workflow: Workflow, deadline: Deadline) -> None:
        workflow.check()
        workflow = workflow.known(self.definitions.fetched_afresh(workflow.needs.classes, deadline))
        if lacking := workflow.lacking():
            raise BadRequest(
                "The workflow does not run on this ComfyUI",
                "; ".join(lacking),
                f"Install what is missing{_from_packages(workflow)} on the server, or choose what it has and "
                "export the workflow again",
            )

    # The job

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job:
        state = self._planned(request, deadline)
        self._events = self._listening_to(state)
        self._events.open()  # before the job exists, so that no event of it can be missed
        try:
            self._tracker(state).submit(state, deadline)
        except BaseException:
            self._events.close()
            raise
        return state.dump()

    @override
    def check(self, job: Job) -> Running | ImageResult:
        state = JobState.load(job)
        try:
            return self._delivered(state, self._tracker(state).look(state, places=True))
        finally:
            state.save(job)

    @override
    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        state = JobState.load(job)
        heard_all = self._events is not None and self._events.connected
        events = self._events or self._listening_to(state)
        self._events = None
        wait = JobWait(self._tracker(state), events, state, self.clock, started, self.interval, self._say)
        try:
            events.open()
            return self._delivered(state, wait.until(until, look_first=not heard_all))
        finally:
            events.close()
            state.save(job)

    @override
    def finished_part(self, job: Job) -> ImageResult | None:
        state = JobState.load(job)
        part = self._tracker(state).finished(state)
        return self.result(_told(self.model.name, state), part) if part.images else None

    @override
    def cancel(self, job: Job) -> None:
        state = JobState.load(job)
        self._tracker(state).cancel(state)

    def _planned(self, request: ImageRequest, deadline: Deadline) -> JobState:
        """Upload the images and fill the workflow: everything that is known before the job exists."""
        workflow = self._ready(deadline).choose(request)
        images = [self.client.upload(image, deadline=deadline) for image in request.images]
        mask = self.client.upload(mask_of(request.mask), deadline=deadline) if request.mask else None
        known = self.definitions.known(workflow.needs.classes)
        workflow = workflow.known(known) if known.classes else workflow
        filled = [workflow.filled(one, images=images, mask=mask) for one in _submissions(request, workflow)]
        state = JobState.of(
            [(with_files(one.graph), one.seed) for one in filled],
            prompt=request.prompt,
            keep_workflow=request.extra.get("embed_workflow") is True,
        )
        state.tell(*request.notices, *(notice for one in filled for notice in one.notices))
        return state

    def _delivered(self, state: JobState, seen: Running | Partial) -> Running | ImageResult:
        if isinstance(seen, Running):
            return seen
        return self.result(_told(self.model.name, state), seen if seen.failures else seen.images)

    def _tracker(self, state: JobState) -> JobTracker:
        workflow = self._editor_graph() if state.keep_workflow else None
        return JobTracker(self.client, self.clock, self._choices, self._secrets, workflow)

    def _secrets(self) -> list[Change]:
        if not self.model.access.workflow:
            return []
        variants = self._ready(self.within(LOOK_SECONDS))
        return secrets_of(variants.workflow.graph.raw()) if isinstance(variants, Pasted) else []

    def _editor_graph(self) -> JsonValue:
        text = self.model.access.workflow
        return read_source(text).editor if text else None

    def _choices(self, class_type: str, name: str) -> Sequence[str]:
        return self.definitions.choices(class_type, name, self.within(LOOK_SECONDS))

    def _listening_to(self, state: JobState) -> EventStream:
        titles = {node.id: node.title or node.class_type for node in Graph.of(state.graph).nodes.values()}
        progress = JobProgress(state.ids, titles, self._say)
        return EventStream(self.service, state.client_id, progress, self.clock, self.open_socket)

    def _say(self, words: str) -> None:
        self.on_progress(Running(words))


def _told(model: str, state: JobState) -> ImageRequest:
    """What a result says of its request."""
    return ImageRequest(model=model, prompt=state.prompt, n=len(state.submissions), notices=tuple(state.notices))


def _submissions(request: ImageRequest, workflow: Workflow) -> Sequence[ImageRequest]:
    """One request per submission: a workflow with a batch field makes all images at once, others one at a time with
    seeds that count up, so that each image can be made again on its own."""
    found = workflow.slots.found
    if request.n == 1 or "n" in found or "seed" not in found:
        return (request,)
    return tuple(replace(request, n=1, seeds=(seed,)) for seed in request.seeds)


def _from_packages(workflow: Workflow) -> str:
    packages = workflow.packages()
    return f" ({', '.join(packages)})" if packages else ""


def with_files(graph: RawGraph) -> RawGraph:
    """SaveImageWebsocket sends its images to the socket alone and leaves no file that a later check could fetch."""
    return {
        key: {**node, "class_type": "PreviewImage"} if node["class_type"] == "SaveImageWebsocket" else node
        for key, node in graph.items()
    }

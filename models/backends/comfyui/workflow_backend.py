"""The workflow's half of the backend: a request becomes filled graphs, whichever API of a server runs them."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, override

from pydantic import JsonValue

from models.backends.base import Capabilities, JobBackend, Model
from models.backends.comfyui.canary import Translation, read_percent, takes_inputs, version_for
from models.backends.comfyui.graph import Filled, RawGraph, Workflow, extra_rules
from models.backends.comfyui.model_workflow import NodeDefinitions, PastedWorkflow, ShippedWorkflows
from models.backends.comfyui.results import ParameterNames
from models.backends.comfyui.state import Version
from models.backends.errors import BadRequest, ImageError
from models.backends.servers import PooledBackend
from models.clock import Clock, Deadline
from models.entities import ImageRequest, InputImage
from models.images.inputs import mask_of
from models.parameters import Rule
from models.sizes import SeedRule, SizeRule

# With QUICK_SECONDS in between, a hanging server delays the saving of a form by nine seconds in all.
FINDINGS_SECONDS = 9.0
CHECK_SECONDS = 30.0


class WorkflowBackend(PooledBackend, JobBackend):
    """A model that is a workflow. A subclass stores input images and runs graphs by the API of its server."""

    name: ClassVar[str] = "comfyui"
    prefix: ClassVar[str] = "comfyui"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = extra_rules()

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.workflow: PastedWorkflow | ShippedWorkflows = PastedWorkflow(model, self.definitions)
        if model.card and not model.access.workflow:
            self.workflow = ShippedWorkflows(model.card, self.definitions)
        self.canary: PastedWorkflow | None = None
        if model.access.workflow and model.access.canary_workflow:
            self.canary = PastedWorkflow(model, self.definitions, "canary_workflow")
        self._parameters: ParameterNames = {}

    @property
    def definitions(self) -> NodeDefinitions | None:
        """The server's node definitions; None where its API has none."""
        return None

    @abstractmethod
    def _upload(self, image: InputImage, deadline: Deadline) -> JsonValue:
        """Store an input image at the server; returns what stands for it in a graph. Raises ImageError."""

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
    def account_key(self) -> str:
        """The key of the Comfy account that pays for partner nodes; the shipped workflows have none of these."""
        return self.model.access.comfy_account_api_key if isinstance(self.workflow, PastedWorkflow) else ""

    # What the bound model takes.

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

    # When a form is saved or shown.

    @override
    def learn(self, deadline: Deadline) -> None:
        if isinstance(self.workflow, PastedWorkflow):
            self.workflow.learn(deadline)
        if self.canary:
            with suppress(ImageError):  # reported by the requests that it would serve
                self.canary.learn(deadline)

    @property
    def pasted(self) -> Sequence[PastedWorkflow]:
        own = [self.workflow] if isinstance(self.workflow, PastedWorkflow) else []
        return [*own, self.canary] if self.canary else own

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        return self.workflow.live_rules(deadline)

    def check_workflows(self) -> None:
        """Raises BadRequest for a workflow that would refuse every request, ImageError where the server cannot be asked."""
        access = self.model.access
        if read_percent(access) and self.canary is None:
            raise BadRequest(
                f"{self.model.name} has a share of requests for a second workflow, and not both workflows",
                next_step=f"Fill {access.words('workflow')} and {access.where('canary_workflow')}",
            )
        for source in self.pasted:
            source.check(self.within(CHECK_SECONDS))

    @override
    def findings(self) -> Sequence[str]:
        if not isinstance(self.workflow, PastedWorkflow) or not self.model.access.workflow:
            return ()
        self.learn(self.within(FINDINGS_SECONDS))
        found = tuple(self.workflow.read().explained())
        second = self.canary.read().explained() if self.canary else ()
        return (*found, *(f"second workflow: {sentence}" for sentence in second))

    # The graphs of a request.

    def _fill(self, asked: ImageRequest, deadline: Deadline) -> tuple[ImageRequest, list[Filled]]:
        """The request as its workflow takes it, and the graphs to submit, for which its images were uploaded."""
        workflow, request = self._chosen(asked, deadline)
        self._parameters = {
            (place.node, place.input): slot.name for slot in workflow.slots.found.values() for place in slot.places
        }
        images = [self._upload(image, deadline) for image in request.images]
        mask = self._upload(mask_of(request.mask), deadline) if request.mask else None
        if self.definitions and not workflow.info:
            known = self.definitions.known(workflow.classes)
            workflow = workflow.known(known) if known.classes else workflow
        filled = [workflow.filled(one, images=images, mask=mask) for one in _submissions(request, workflow)]
        return request, [replace(one, graph=with_files(one.graph)) for one in filled]

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

"""A model's workflows, with the server's node definitions where its API has them. Only methods that take a deadline send requests.

A pasted workflow serves every request of its model. A card names the shipped ones (`image_generation: workflows:
{txt2img: sdxl-txt2img.v1, ...}`): per predefined model one graph for each kind of input, in API format, of standard
nodes only, so that it can be loaded into ComfyUI as it is. A changed graph gets a new version in its file name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from models.backends.base import Capabilities, Model
from models.backends.cache import ServerCache
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.graph import ObjectInfo, RawGraph, Workflow, read_source, workflow_rules
from models.backends.errors import BadRequest, ImageError, no_input_image, unsupported
from models.backends.partial import together
from models.backends.questions import optional
from models.backends.registry import COMMON_RULES
from models.catalog import Card
from models.clock import Deadline
from models.entities import ImageRequest
from models.parameters import Rule

QUICK_SECONDS = 3.0  # for node definitions that only make a form or a reading sharper
WORKFLOWS = Path(__file__).parent / "workflows"

type Variant = Literal["txt2img", "img2img", "inpaint"]

_VARIANTS: TypeAdapter[Mapping[Variant, str]] = TypeAdapter(Mapping[Variant, str])
_CLASSES = ServerCache[ObjectInfo](seconds=300.0, limit=2048)  # empty for a class that the server does not have
_AT_ONCE = 8
_OF_EVERY_WORKFLOW = ("embed_workflow", "priority")


@dataclass(frozen=True, slots=True)
class NodeDefinitions:
    """The node classes of one server, fetched class by class and cached for five minutes.

    The whole of `/object_info` is half a megabyte and makes the server scan every model folder.
    """

    client: ComfyUIClient

    def fetched(self, classes: Sequence[str], deadline: Deadline) -> ObjectInfo:
        """The definitions of `classes`; those that the server does not have are absent. Raises ImageError."""
        missing = [name for name in dict.fromkeys(classes) if _CLASSES.get(self.client.service, name) is None]
        for outcome in together(lambda name: self._fetch(name, deadline), missing, at_once=_AT_ONCE):
            if isinstance(outcome, ImageError):
                raise outcome
        return self.known(classes)

    def refetched(self, classes: Sequence[str], deadline: Deadline) -> ObjectInfo:
        """The server's current definitions: what was missing may have been installed a moment ago."""
        for name in classes:
            _CLASSES.drop(self.client.service, name)
        return self.fetched(classes, deadline)

    def known(self, classes: Sequence[str]) -> ObjectInfo:
        """The cached definitions among `classes`, without asking the server."""
        found = [known for name in classes if (known := _CLASSES.get(self.client.service, name))]
        return ObjectInfo({name: node for one in found for name, node in one.classes.items()})

    def available(self, classes: Sequence[str], deadline: Deadline) -> ObjectInfo:
        """The definitions that can be fetched by `deadline`, else only the cached ones. Never raises."""
        found = optional(self.client.service, lambda: self.fetched(classes, deadline), None)
        return found or self.known(classes)

    def choices(self, class_type: str, name: str, deadline: Deadline) -> Sequence[str]:
        """The server's current choices for an input, for a message; empty if they are unknown."""
        try:
            spec = self.refetched([class_type], deadline).spec(class_type, name)
        except ImageError:  # the message is about another error and is complete without the choices
            return ()
        return (spec.choices or ()) if spec else ()

    def _fetch(self, name: str, deadline: Deadline) -> None:
        reply = self.client.node(name, deadline=deadline)
        _CLASSES.put(self.client.service, ObjectInfo.parse({name: reply.get(name)}), name)


@dataclass
class PastedWorkflow:
    """The user's own workflow, from the form's field `source`. Missing or surplus inputs are reported when the graph is
    filled."""

    model: Model
    definitions: NodeDefinitions | None
    source: Literal["workflow", "canary_workflow"] = "workflow"
    _workflow: Workflow | None = field(default=None, init=False)

    @property
    def pasted(self) -> str:
        """The text of the field; empty where there is none."""
        return str(getattr(self.model.access, self.source))

    @property
    def text(self) -> str:
        if self.pasted:
            return self.pasted
        export, where = "Export one with Workflow > Export (API) in ComfyUI", self.model.access.where(self.source)
        raise BadRequest(f"{self.model.name} has no workflow", next_step=f"{export} and paste it into {where}")

    @property
    def capabilities(self) -> Capabilities:
        workflow = self.readable
        if workflow is None:  # it may well take an image
            return Capabilities(images=1)
        images, mask = workflow.images, workflow.takes_mask
        second: Literal["image", "mask"] = "mask" if mask and images == 1 else "image"
        return Capabilities(images=images, min_images=workflow.min_images, mask=mask, second_image=second)

    def rules(self) -> tuple[Rule, ...]:
        workflow = self.readable
        if workflow is None:
            return COMMON_RULES
        own = workflow.rules()
        named = {rule.name for rule in own}
        return (*own, *(workflow_rules()[name] for name in _OF_EVERY_WORKFLOW if name not in named))

    def choose(self, request: ImageRequest) -> Workflow:
        del request
        return self.read()

    def read(self) -> Workflow:
        """Raises BadRequest where there is no workflow or an unreadable one, NeedsObjectInfoError before `learn`."""
        if self._workflow is None:
            self._workflow = Workflow.load(self.text)
        return self._workflow

    def learn(self, deadline: Deadline) -> None:
        """Read the workflow with the server's node definitions. Raises ImageError.

        They are required for the editor's format and if it is unclear which text is the prompt. Otherwise they only
        improve the reading, so a slow server is not waited for.
        """
        if not self.pasted:
            return
        source = read_source(self.text)
        if self.definitions is None:
            self._workflow = Workflow.load(self.text)
            return
        if source.api is None:
            try:
                self._workflow = Workflow.load(self.text, self.definitions.fetched(source.classes, deadline))
            except BadRequest:  # what was missing may have been installed since it was asked for
                self._workflow = Workflow.load(self.text, self.definitions.refetched(source.classes, deadline))
            return
        known = self.definitions.available(source.classes, deadline.earlier(QUICK_SECONDS))
        self._workflow = Workflow.load(self.text, known if known.classes else None)
        if self._workflow.unclear:
            self._workflow = self._workflow.known(self.definitions.fetched(source.classes, deadline))

    def ready(self, deadline: Deadline) -> Workflow:
        """The workflow, read with node definitions if it cannot be used without them. Raises ImageError."""
        workflow = self.readable
        if workflow is None or workflow.unclear:
            self.learn(deadline)
        return self.read()

    def live_rules(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.learn(deadline)
        self.read()
        return self.rules()

    def check(self, deadline: Deadline) -> None:
        """Raises BadRequest where the server lacks what the workflow needs, or every request would be refused."""
        workflow = self.ready(deadline)
        if self.definitions:
            classes = [node.class_type for node in workflow.graph.nodes.values()]
            self._workflow = workflow = workflow.known(self.definitions.refetched(classes, deadline))
        workflow.check()
        if not workflow.output_nodes:
            next_step = "Add a node that saves the image, such as Save Image"
            raise BadRequest("The workflow has no image output", next_step=next_step)
        if lacking := workflow.lacking():
            packages = f" ({', '.join(named)})" if (named := workflow.packages()) else ""
            raise BadRequest(
                "The workflow does not run on this ComfyUI",
                "; ".join(lacking),
                f"Install what is missing{packages} on the server, or use what it has and export the workflow again",
            )

    @property
    def readable(self) -> Workflow | None:
        """The workflow as far as it is known; None where it cannot be read, which the request itself reports."""
        try:
            return self.read()
        except BadRequest:
            return None


@dataclass(frozen=True)
class ShippedWorkflows:
    card: Card
    definitions: NodeDefinitions | None

    @cached_property
    def variants(self) -> Mapping[Variant, Workflow]:
        names = _VARIANTS.validate_python(self.card.facts["workflows"])
        return {variant: load_shipped(name) for variant, name in names.items()}

    @property
    def capabilities(self) -> Capabilities:
        workflows = self.variants.values()
        mask = any(workflow.takes_mask for workflow in workflows)
        most, least = max(one.images for one in workflows), min(one.min_images for one in workflows)
        return Capabilities(images=most, min_images=least, mask=mask, second_image="image", alpha_is_mask=mask)

    def rules(self) -> tuple[Rule, ...]:
        return self.card.rules

    def choose(self, request: ImageRequest) -> Workflow:
        """With `controlnet` the last image is the control image. Raises BadRequest for what none of the workflows takes."""
        control = bool(request.extra.get("controlnet"))
        if control and not request.images:
            next_step = "Send the control image (edges, depth, pose) as the last image, or leave `controlnet` empty"
            raise BadRequest("`controlnet` needs a control image and no image was sent", next_step=next_step)
        count = len(request.images) - control
        if request.mask and not count:
            raise BadRequest("A mask was sent without an image", next_step=_OPAQUE_CONTROL if control else _IMAGE_FIRST)
        variant: Variant = "inpaint" if request.mask else "img2img" if count else "txt2img"
        if variant not in self.variants:
            raise no_input_image(self.card.model)
        workflow = self.variants[variant]
        if count > _plain_images(workflow):
            raise self.too_many(count)
        return workflow

    def too_many(self, count: int) -> BadRequest:
        """The refusal of more input images than the largest workflow takes, control image and mask aside."""
        most, able = max(_plain_images(workflow) for workflow in self.variants.values()), self.capabilities
        mask = " and a mask whose file name contains `mask`" if able.mask else ""
        way_out = f"Send at most {most}{mask}"
        if most < able.images:
            way_out = f"{way_out}; set `controlnet` to send a control image as the last one"
        return unsupported(f"{count} input images", model=self.card.model, way_out=way_out)

    def live_rules(self, deadline: Deadline) -> tuple[Rule, ...]:
        if self.definitions is None:
            return self.rules()
        workflows = self.variants.values()
        classes = [name for one in workflows for name in one.classes]
        info = self.definitions.available(classes, deadline)
        offered = {rule.name: rule.options for one in workflows for rule in one.known(info).rules() if rule.options}
        return tuple(
            rule if rule.options or rule.name not in offered else rule.narrowed(options=offered[rule.name])
            for rule in self.rules()
        )


_IMAGE_FIRST = "Send the image to repaint, then the mask"
_OPAQUE_CONTROL = "Send a control image without transparency, or the image to repaint in front of it"


def _plain_images(workflow: Workflow) -> int:
    return workflow.images - ("controlnet" in workflow.slots.found)


@cache
def load_shipped(name: str) -> Workflow:
    """A shipped workflow by its file name without `.json`; read once per process."""
    return Workflow.load((WORKFLOWS / f"{name}.json").read_text("utf-8"))


_MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx)$", re.IGNORECASE)


def model_files(graph: RawGraph) -> frozenset[str]:
    """The model files that a graph loads: two jobs with the same ones share a loaded model."""
    inputs = (node["inputs"] for node in graph.values())
    values = (value for named in inputs if isinstance(named, dict) for value in named.values())
    return frozenset(value for value in values if isinstance(value, str) and _MODEL_FILE.search(value))

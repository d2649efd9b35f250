"""From a model to its workflows: one pasted by the user, which serves every request, or those that are shipped.

A card names the shipped ones (`image_generation: workflows: {txt2img: sdxl-txt2img.v1, ...}`): per predefined model one
graph for each kind of input, in API format, of standard nodes only, so that it can be loaded into ComfyUI as it is. A
changed graph gets a new version in its file name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict

from models.backends.base import Capabilities
from models.backends.comfyui.graph import Workflow
from models.backends.errors import BadRequest, unsupported
from models.entities import ImageRequest

WORKFLOWS = Path(__file__).parent / "workflows"

type Variant = Literal["txt2img", "img2img", "inpaint"]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    workflows: Mapping[Variant, str]


class Variants(Protocol):
    """What the workflows of one model take together, and which one serves a request."""

    @property
    def capabilities(self) -> Capabilities: ...

    def choose(self, request: ImageRequest) -> Workflow:
        """Raises BadRequest for what none of the workflows takes."""
        ...


@dataclass(frozen=True, slots=True)
class Pasted:
    """The user's own workflow. What a request lacks or brings too much is told when the graph is filled."""

    workflow: Workflow

    @property
    def capabilities(self) -> Capabilities:
        images, mask = self.workflow.images, self.workflow.takes_mask
        return Capabilities(
            images=images,
            # A workflow that shall use an image of its own says so in the loader's title (`fixed: logo`).
            min_images=self.workflow.min_images,
            mask=mask,
            second_image="mask" if mask and images == 1 else "image",
        )

    def choose(self, request: ImageRequest) -> Workflow:
        del request
        return self.workflow


@dataclass(frozen=True, slots=True)
class Shipped:
    """The workflows of one predefined model."""

    model: str
    variants: Mapping[Variant, Workflow]

    @classmethod
    def of(cls, model: str, facts: Mapping[str, object]) -> Self:
        """The workflows that a card's block `image_generation` names."""
        names = _Facts.model_validate(facts).workflows
        return cls(model, {variant: load_shipped(name) for variant, name in names.items()})

    @property
    def capabilities(self) -> Capabilities:
        workflows = self.variants.values()
        mask = any(workflow.takes_mask for workflow in workflows)
        return Capabilities(
            images=max(workflow.images for workflow in workflows),
            min_images=min(workflow.min_images for workflow in workflows),
            mask=mask,
            alpha_is_mask=mask,
        )

    def choose(self, request: ImageRequest) -> Workflow:
        """The workflow for what the request brings along: nothing, images, or an image and a mask.

        With the parameter `controlnet` the last image is the control image. Raises BadRequest for what none of
        the workflows takes.
        """
        control = self._control_images(request)
        count = len(request.images) - control
        variant: Variant = "txt2img" if count == 0 else "img2img"
        if request.mask is not None:
            variant = "inpaint"
        if variant == "inpaint" and count == 0:
            raise BadRequest("A mask came without an image", next_step=_IMAGE_FIRST if not control else _OPAQUE_CONTROL)
        if variant not in self.variants:
            raise self._refusal(variant)
        workflow = self.variants[variant]
        if count > _plain_images(workflow):
            raise self.too_many(count)
        return workflow

    def too_many(self, count: int) -> BadRequest:
        """The refusal of more input images than the largest workflow takes, control image and mask aside."""
        most, able = max(_plain_images(workflow) for workflow in self.variants.values()), self.capabilities
        way_out = f"Send at most {most}" + (" and a mask whose file name contains `mask`" if able.mask else "")
        if most < able.images:
            way_out += "; set `controlnet` to send a control image as the last one"
        return unsupported(f"{count} input images", model=self.model, way_out=way_out)

    def _control_images(self, request: ImageRequest) -> int:
        if not request.extra.get("controlnet"):
            return 0
        if not request.images:
            raise BadRequest(
                "`controlnet` needs a control image and no image was sent",
                next_step="Send the control image (edges, depth, pose) as the last image, or leave `controlnet` empty",
            )
        return 1

    def _refusal(self, variant: Variant) -> BadRequest:
        if variant == "txt2img":
            return BadRequest(
                f"{self.model} edits images and got none",
                next_step="Switch on the node's vision setting and choose an image, or use a text-to-image model",
            )
        feature = "masks" if variant == "inpaint" else "input images"
        return unsupported(feature, model=self.model, way_out="Send text only, or choose another model")


_IMAGE_FIRST = "Send the image to repaint, then the mask"
_OPAQUE_CONTROL = "Send a control image without transparency, or the image to repaint in front of it"


def _plain_images(workflow: Workflow) -> int:
    """How many input images a workflow takes besides a control image."""
    return workflow.images - ("controlnet" in workflow.slots.found)


@cache
def load_shipped(name: str) -> Workflow:
    """A shipped workflow by its file name without `.json`; read once per process."""
    return Workflow.load((WORKFLOWS / f"{name}.json").read_text("utf-8"))

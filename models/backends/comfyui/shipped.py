"""The workflows that come with the plugin: per predefined model one graph for each kind of input.

A card names them (`image_generation: workflows: {txt2img: sdxl-txt2img.v1, ...}`). They are in API format, of standard
nodes only, and can be loaded into ComfyUI as they are. A changed graph gets a new version in its file name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest, unsupported
from models.entities import ImageRequest

WORKFLOWS = Path(__file__).parent / "workflows"

type Variant = Literal["txt2img", "img2img", "inpaint"]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    workflows: Mapping[Variant, str]


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
    def images(self) -> int:
        """How many input images the largest of them takes (`Capabilities.images`)."""
        return max(workflow.images for workflow in self.variants.values())

    @property
    def min_images(self) -> int:
        return min(workflow.min_images for workflow in self.variants.values())

    @property
    def takes_mask(self) -> bool:
        return any(workflow.takes_mask for workflow in self.variants.values())

    def choose(self, request: ImageRequest) -> Workflow:
        """The workflow for what the request brings along: nothing, images, or an image and a mask.

        With the parameter `controlnet` the last image is the control image. Raises BadRequest for what none of
        the workflows takes.
        """
        pictures = len(request.images) - self._control_images(request)
        variant: Variant = "txt2img" if pictures == 0 else "img2img"
        if request.mask is not None:
            variant = "inpaint"
        if variant == "inpaint" and pictures == 0:
            raise BadRequest("A mask came without an image", next_step="Send the image to repaint, then the mask")
        if variant not in self.variants:
            raise self._refusal(variant)
        return self.variants[variant]

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


@cache
def load_shipped(name: str) -> Workflow:
    """A shipped workflow by its file name without `.json`; read once per process."""
    return Workflow.load((WORKFLOWS / f"{name}.json").read_text("utf-8"))

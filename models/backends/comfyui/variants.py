"""From a model to its workflows: one pasted by the user, which serves every request, or those that are shipped."""

from dataclasses import dataclass
from typing import Protocol

from models.backends.base import Capabilities
from models.backends.comfyui.graph.workflow import Workflow
from models.entities import ImageRequest
from models.parameters import Rule, Text

EMBED_WORKFLOW = Rule(
    name="embed_workflow",
    type="boolean",
    label=Text(en_US="Keep the workflow in the image", zh_Hans="在图片中保留工作流"),
    help=Text(
        en_US="The image can be dragged into ComfyUI again; whoever gets it can then read the prompt and the workflow.",
        zh_Hans="图片可重新拖入 ComfyUI；但拿到图片的人也能看到提示词和工作流。",
    ),
    default=False,
)


class Variants(Protocol):
    """What the workflows of one model take together, and which one serves a request."""

    @property
    def images(self) -> int: ...

    @property
    def min_images(self) -> int: ...

    @property
    def takes_mask(self) -> bool: ...

    def choose(self, request: ImageRequest) -> Workflow: ...


@dataclass(frozen=True, slots=True)
class Pasted:
    """The user's own workflow. What a request lacks or brings too much is told when the graph is filled."""

    workflow: Workflow

    @property
    def images(self) -> int:
        return self.workflow.images

    @property
    def min_images(self) -> int:
        # One that is meant to use an image of its own says so in the loader's title (`fixed: logo`).
        return self.workflow.min_images

    @property
    def takes_mask(self) -> bool:
        return self.workflow.takes_mask

    def choose(self, request: ImageRequest) -> Workflow:
        del request
        return self.workflow


def capabilities_of(variants: Variants) -> Capabilities:
    images, mask = variants.images, variants.takes_mask
    return Capabilities(
        images=images,
        min_images=variants.min_images,
        mask=mask,
        second_image="mask" if mask and images == 1 else "image",
    )

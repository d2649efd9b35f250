"""From a model's name to its workflow: pasted by the user, or shipped in up to three variants.

The card of a shipped model names its files: `image_generation: {txt2img: sdxl_txt2img.json, img2img: ..., inpaint:
..., min_images: 0}`. What a request brings decides between them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.backends.base import Capabilities
from models.backends.comfyui.workflow import Workflow
from models.backends.errors import BadRequest
from models.parameters import Rule, Text
from models.request import ImageRequest

FOLDER = Path(__file__).parent / "workflows"

EMBED_WORKFLOW = Rule(
    name="embed_workflow",
    type="boolean",
    label=Text(en_US="Keep the workflow in the picture", zh_Hans="在图片中保留工作流"),
    help=Text(
        en_US="The picture can be dragged into ComfyUI again; whoever gets it can then read the prompt and the workflow.",
        zh_Hans="图片可重新拖入 ComfyUI；但拿到图片的人也能看到提示词和工作流。",
    ),
    default=False,
)


class Facts(BaseModel):
    """The block `image_generation` of a card: file names in the folder `workflows`."""

    model_config = ConfigDict(extra="forbid")

    txt2img: str | None = None
    img2img: str | None = None
    inpaint: str | None = None
    min_images: int = 0


@dataclass(frozen=True, slots=True)
class Variants:
    """The workflows of one model; a pasted one serves every kind of request."""

    txt2img: Workflow | None = None
    img2img: Workflow | None = None
    inpaint: Workflow | None = None
    min_images: int = 0

    def choose(self, request: ImageRequest) -> Workflow:
        """The workflow for what the request brings. Raises BadRequest when the model has none for it."""
        kinds: tuple[Workflow | None, ...]
        if request.mask is not None:
            kinds = (self.inpaint,)
        elif request.images:
            kinds = (self.img2img, self.inpaint)
        else:
            kinds = (self.txt2img,)
        chosen = next(filter(None, kinds), None)
        if chosen is None:
            raise BadRequest(
                f"{request.model} has no workflow for this request",
                next_step="Send an image" if not request.images else "Send the prompt without a mask or images",
            )
        return chosen

    def __iter__(self) -> Iterator[Workflow]:
        return filter(None, (self.txt2img, self.img2img, self.inpaint))

    @property
    def capabilities(self) -> Capabilities:
        images = max((workflow.images for workflow in self), default=0)
        mask = self.inpaint is not None and self.inpaint.takes_mask
        return Capabilities(
            images=images,
            min_images=self.min_images,
            mask=mask,
            second_image="mask" if mask and images == 1 else "image",
        )


def one_for_all(workflow: Workflow) -> Variants:
    return Variants(txt2img=workflow, img2img=workflow, inpaint=workflow)


def shipped(facts: Mapping[str, object]) -> Variants:
    """The workflows that a card names."""
    files = Facts.model_validate(facts)
    return Variants(
        txt2img=_read(files.txt2img),
        img2img=_read(files.img2img),
        inpaint=_read(files.inpaint),
        min_images=files.min_images,
    )


def _read(name: str | None) -> Workflow | None:
    return _load(FOLDER / name) if name else None


@cache
def _load(path: Path) -> Workflow:
    return Workflow.load(path.read_text("utf-8"))

"""The slots of a workflow: which input takes the prompt, the seed, the size ... and what could not be found.

Three ways lead to a slot, the first that names it wins: placeholders in the JSON (`{{prompt}}`), titles on nodes
(`input:style`), and tracing the links from the output nodes upwards. Nothing is guessed: what a trace cannot decide
is reported in `missing` or `ambiguous` with the node that stands in the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.backends.comfyui.graph.graph import Graph, Link, Target
from models.backends.comfyui.graph.images import MaskSlot
from models.backends.comfyui.graph.kinds import Kind, as_kind, kind_at
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.values import value_at
from models.entities import ParameterValue

type By = Literal["placeholder", "title", "trace"]

STANDARD = (
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "cfg_scale",
    "sampler",
    "scheduler",
    "denoising_strength",
    "width",
    "height",
    "n",
)
"""The parameters that every workflow is searched for; each is found, missing or ambiguous."""

MARK_IT = "Write {{%s}} where it belongs, or give the node the title `input:%s`"


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of the workflow.

    `default` is the workflow's own value, None where a placeholder states none. `places` are the inputs that take
    the value, the deciding one first; for a placeholder they are the strings in which it stands.
    """

    name: str
    kind: Kind
    default: ParameterValue | None
    places: tuple[Target, ...]
    by: By


@dataclass(frozen=True)
class Slots:
    """Everything that can be set in one workflow.

    `missing` and `ambiguous` explain, by parameter name, what was not found or could be several things; `notes` are
    remarks on what was found. `latent` is the link from which sampling starts, `from_image` whether an input
    image stands behind it; sizes are multiples of `size_step` pixels.
    """

    found: Mapping[str, Slot]
    images: tuple[Target, ...] = ()
    mask: MaskSlot | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    latent: Link | None = None
    from_image: bool = False
    size_step: int = 8

    def __getitem__(self, name: str) -> Slot:
        return self.found[name]

    def get(self, name: str) -> Slot | None:
        return self.found.get(name)


def slot_at(graph: Graph, info: ObjectInfo | None, name: str, places: Sequence[Target], by: By) -> Slot:
    """The slot of values that stand in the workflow; the first place decides type and default."""
    kind = kind_at(graph, info, name, places[0])
    return Slot(name, kind, as_kind(value_at(graph, places[0]), kind), tuple(places), by)

"""A pasted or shipped workflow, read once: what it can be asked, its form, and the graph for one request.

workflow = Workflow.load(text, info)     # info: ObjectInfo.parse(<GET /object_info>), or None
workflow.rules(info)                     # the form
workflow.lacking(info)                   # sentences about missing nodes and files, for the credential check
filled = workflow.filled(request, images=("dify/a.png",), mask=None)
post({"prompt": filled.graph, ...})
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from models.backends.comfyui.graph.convert import convert
from models.backends.comfyui.graph.ends import output_nodes
from models.backends.comfyui.graph.fill import Filled, fill, require_clear_prompt
from models.backends.comfyui.graph.finding import find_slots
from models.backends.comfyui.graph.form import make_form
from models.backends.comfyui.graph.graph import Graph
from models.backends.comfyui.graph.needs import Needs, find_needs, lacking
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.optional import leave_out
from models.backends.comfyui.graph.slots import Slots
from models.backends.comfyui.graph.source import EXPORT, read_source
from models.backends.errors import BadRequest
from models.entities import ImageRequest
from models.parameters import Rule


class NeedsObjectInfo(BadRequest):
    """The workflow is in editor format: load it again with the server's definitions."""


@dataclass(frozen=True)
class Workflow:
    """One workflow and everything that was found in it. Immutable; safe to keep and share.

    `info` is what it was read with. Every method that takes `info` again uses that one by default.
    """

    graph: Graph
    info: ObjectInfo | None = None

    @classmethod
    def load(cls, text: str | bytes, info: ObjectInfo | None = None) -> Self:
        """Read API format, `{"prompt": {...}}`, editor format, or an image made by ComfyUI (bytes, base64, data URI).

        Raises NeedsObjectInfo for editor format without `info`, BadRequest for what is no workflow or cannot be
        converted, with the way to a file that works.
        """
        source = read_source(text)
        if source.api is not None:
            return cls(Graph.of(source.api), info)
        if info is None:
            raise NeedsObjectInfo(
                "The workflow is in the editor's format", "converting it needs the server's node definitions", EXPORT
            )
        return cls(Graph.of(convert(source.editor or {}, info)), info)

    @cached_property
    def slots(self) -> Slots:
        """What can be set, and what was not found (`slots.missing`, `slots.ambiguous`, `slots.notes`)."""
        return find_slots(self.graph, self.info)

    @cached_property
    def output_nodes(self) -> tuple[str, ...]:
        """Ids of the nodes that give results; those whose files stay come before previews."""
        return output_nodes(self.graph, self.info)

    @cached_property
    def needs(self) -> Needs:
        """Node classes and model files that the workflow uses."""
        return find_needs(self.graph, self.output_nodes)

    @property
    def images(self) -> int:
        """How many input images it takes (`Capabilities.images`)."""
        return len(self.slots.images)

    @cached_property
    def min_images(self) -> int:
        """1 when it cannot do without an input image (`Capabilities.min_images`).

        A workflow that carries an image of its own on purpose says so in the loader's title: `fixed: logo`.
        """
        raw = self.graph.raw()
        try:
            leave_out(raw, self.graph, lambda _: False, self.info)
        except BadRequest:  # said where a request meets it; here every image counts
            raw = self.graph.raw()
        return int(any(place.node in raw for place in self.slots.images))

    @property
    def takes_mask(self) -> bool:
        return self.slots.mask is not None

    def lacking(self, info: ObjectInfo | None = None) -> tuple[str, ...]:
        """A sentence for every node class and file that the server lacks; empty when it has all, or is not known."""
        known = info or self.info
        return lacking(self.graph, self.output_nodes, known) if known else ()

    def check(self) -> None:
        """Raises BadRequest for what would refuse every request: the place to say it is when the model is saved."""
        require_clear_prompt(self.slots)

    def rules(self, info: ObjectInfo | None = None) -> tuple[Rule, ...]:
        """The parameter form; bounds and choices of the server when `info` is known. Never raises."""
        return make_form(self.graph, self.slots, info or self.info)

    def filled(
        self,
        request: ImageRequest,
        *,
        images: Sequence[str] = (),
        mask: str | None = None,
        seed: int | None = None,
        filename_prefix: str | None = None,
        info: ObjectInfo | None = None,
    ) -> Filled:
        """The graph for one request, on a deep copy, with the seed used and notices.

        `images` and `mask` are the server's names of the uploaded images, in the order of `request.images`;
        `request.n` images are made in one run. `seed` is used when the request has none (default: drawn);
        `filename_prefix` overrides the workflow's (another prefix makes a server save a cached image again).
        Raises BadRequest, naming the node, where the workflow cannot take the request.
        """
        return fill(
            self.graph,
            self.slots,
            request,
            images=images,
            mask=mask,
            seed=seed,
            filename_prefix=filename_prefix,
            info=info or self.info,
        )

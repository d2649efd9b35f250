"""The workflow of a model as far as it is known: read at once, or read better with the server's node definitions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.backends.base import Model
from models.backends.comfyui.definitions import NodeDefinitions
from models.backends.comfyui.graph import Workflow, read_source, workflow_rules
from models.backends.comfyui.variants import Pasted, Shipped, Variants
from models.backends.errors import BadRequest
from models.backends.registry import COMMON_RULES
from models.clock import Deadline
from models.entities import ImageRequest
from models.parameters import Rule

QUICK_SECONDS = 3.0
"""How long node definitions are waited for that only make a form or a reading sharper."""


@dataclass
class ModelWorkflow:
    """The pasted workflow of a customizable model, or the shipped ones of a predefined model."""

    model: Model
    definitions: NodeDefinitions
    _pasted: Workflow | None = field(default=None, init=False)

    @property
    def is_pasted(self) -> bool:
        return bool(self.model.access.workflow)

    # Without asking the server

    def variants(self) -> Variants:
        """Raises BadRequest where there is no workflow or an unreadable one, NeedsObjectInfoError before `learn`."""
        card = self.model.card
        if card is not None and not self.is_pasted:
            return Shipped.of(card.model, card.facts)
        if self._pasted is None:
            self._pasted = Workflow.load(self._text())
        return Pasted(self._pasted)

    def readable(self) -> Variants | None:
        """The workflows; None where they cannot be read, which the request itself will report."""
        try:
            return self.variants()
        except BadRequest:
            return None

    def chosen(self, request: ImageRequest) -> Workflow | None:
        """The workflow for `request`; None where there is none, which the request itself will report."""
        try:
            return self.variants().choose(request)
        except BadRequest:
            return None

    def rules(self) -> tuple[Rule, ...]:
        if self.model.card and not self.is_pasted:
            return self.model.card.rules
        variants = self.readable()
        if not isinstance(variants, Pasted):
            return COMMON_RULES
        return (*variants.workflow.rules(), workflow_rules()["embed_workflow"])

    # Asking the server

    def learn(self, deadline: Deadline) -> None:
        """Read a pasted workflow with the server's node definitions. Raises ImageError.

        They are needed for the editor's format and where it is unclear which text is the prompt. Elsewhere they only
        make the reading sharper, so a server that does not answer soon costs nothing else.
        """
        if not self.is_pasted:
            return
        source = read_source(self._text())
        if source.api is None:
            self._pasted = self._converted(source.classes, deadline)
            return
        known = self.definitions.at_hand(source.classes, deadline.earlier(QUICK_SECONDS))
        self._pasted = Workflow.load(self._text(), known if known.classes else None)
        if self._pasted.unclear:
            self._pasted = self._pasted.known(self.definitions.fetched(source.classes, deadline))

    def ready(self, deadline: Deadline) -> Variants:
        """The workflows, learned now where that was not done yet and they cannot be used without. Raises ImageError."""
        variants = self.readable()
        if variants is None or (isinstance(variants, Pasted) and variants.workflow.unclear):
            self.learn(deadline)
        return self.variants()

    def live_rules(self, deadline: Deadline) -> tuple[Rule, ...]:
        """The form with the choices that the server offers at the moment. Raises ImageError."""
        self.learn(deadline)
        variants = self.variants()
        if not isinstance(variants, Shipped):
            return self.rules()
        workflows = variants.variants.values()
        info = self.definitions.at_hand((name for one in workflows for name in one.classes), deadline)
        offered = {rule.name: rule.options for one in workflows for rule in one.known(info).rules() if rule.options}
        return tuple(
            rule if rule.options or rule.name not in offered else rule.narrowed(options=offered[rule.name])
            for rule in self.rules()
        )

    def check(self, deadline: Deadline) -> None:
        """Raises BadRequest where the server lacks what a pasted workflow needs, or every request would be refused."""
        variants = self.ready(deadline)
        if not isinstance(variants, Pasted):
            return
        classes = [node.class_type for node in variants.workflow.graph.nodes.values()]
        self._pasted = variants.workflow.known(self.definitions.fetched_afresh(classes, deadline))
        self._pasted.check()
        if not self._pasted.output_nodes:
            raise BadRequest(
                "The workflow gives no image", next_step="Give it a node that saves its image, such as Save Image"
            )
        if lacking := self._pasted.lacking():
            packages = f" ({', '.join(named)})" if (named := self._pasted.packages()) else ""
            raise BadRequest(
                "The workflow does not run on this ComfyUI",
                "; ".join(lacking),
                f"Install what is missing{packages} on the server, or choose what it has and export the workflow again",
            )

    def _converted(self, classes: Sequence[str], deadline: Deadline) -> Workflow:
        try:
            return Workflow.load(self._text(), self.definitions.fetched(classes, deadline))
        except BadRequest:  # what was missing may have been installed since it was asked for
            return Workflow.load(self._text(), self.definitions.fetched_afresh(classes, deadline))

    def _text(self) -> str:
        if not self.is_pasted:
            raise BadRequest(
                f"{self.model.name} has no workflow",
                next_step="Export one with Workflow > Export (API) in ComfyUI and paste it into "
                f"{self.model.access.where('workflow')}",
            )
        return self.model.access.workflow

"""A pasted or shipped workflow, read once: what it can be asked, its form, and the graph for one request."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Self

from pydantic import JsonValue

from models.backends.comfyui.graph.editor import convert
from models.backends.comfyui.graph.fill import Filled, fill, leave_out, require_clear_prompt
from models.backends.comfyui.graph.graph import Graph, Node, Target, has_placeholder, is_number
from models.backends.comfyui.graph.nodes import InputSpec, ObjectInfo, package_of, workflow_rule, workflow_rules
from models.backends.comfyui.graph.slots import Slot, Slots, find_slots, output_nodes
from models.backends.comfyui.graph.source import EXPORT, FILE_NAME, read_source
from models.backends.errors import BadRequest
from models.entities import ImageRequest
from models.parameters import MAX_SEED, RULES, Rule, Text
from models.sizes import FreeSizes, NoSizes, SeedRule, SizeRule

_DRAWN_SEEDS = 2**31 - 1  # every node takes these, those of partners and extensions too
_SHOWN_CHOICES = 8
_PRECISION = {"float": 2}
_DELIVERY = ("output_format", "output_quality", "details", "timeout")
_STRANGE_PLACEHOLDER = re.compile(r"%\w+%")


class NeedsObjectInfoError(BadRequest):
    """The workflow is in editor format: load it again with the server's definitions."""


@dataclass(frozen=True)
class Workflow:
    """One workflow and everything that was found in it. `notes` are remarks on the conversion of an editor's file."""

    graph: Graph
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, text: str | bytes, info: ObjectInfo | None = None) -> Self:
        """Read API format, `{"prompt": {...}}`, editor format, or an image made by ComfyUI (bytes, base64, data URI).

        Raises NeedsObjectInfoError for editor format without `info`, BadRequest for what is no workflow or cannot be
        converted, with the way to a file that works.
        """
        source = read_source(text)
        if source.api is not None:
            return cls(Graph.of(source.api, info))
        if info is None:
            raise NeedsObjectInfoError(
                "The workflow is in the editor's format", "converting it needs the server's node definitions", EXPORT
            )
        graph, notes = convert(source.editor or {}, info)
        return cls(Graph.of(graph, info), notes)

    def known(self, info: ObjectInfo | None) -> "Workflow":
        return Workflow(Graph(self.graph.nodes, info), self.notes) if info else self

    @property
    def info(self) -> ObjectInfo | None:
        return self.graph.info

    @cached_property
    def slots(self) -> Slots:
        return find_slots(self.graph)

    @cached_property
    def output_nodes(self) -> tuple[str, ...]:
        return output_nodes(self.graph)

    @property
    def unclear(self) -> bool:
        """Whether the server's definitions, which are not at hand, may tell where the prompt belongs."""
        return self.info is None and "prompt" in self.slots.ambiguous

    @property
    def images(self) -> int:
        return len(self.slots.images)

    @cached_property
    def min_images(self) -> int:
        """1 when it cannot do without an input image. One that has its own says so in the loader's title, `fixed: logo`."""
        raw = self.graph.raw()
        try:
            leave_out(raw, self.graph, lambda _: False)
        except BadRequest:  # said where a request meets it; here every image counts
            raw = self.graph.raw()
        return int(any(place.node in raw for place in self.slots.images))

    @property
    def takes_mask(self) -> bool:
        return self.slots.mask is not None

    @property
    def sizes(self) -> SizeRule:
        slots, found = self.slots, self.slots.sizes
        missing = dict.fromkeys(slots.why_not(side) for side in ("width", "height") if side not in slots.found)
        if missing and not found.square:
            return NoSizes(reason="; ".join(missing))
        width, height = slots.own("width"), slots.own("width" if found.square else "height")
        # A width and height of 0 leave the size to the input image until somebody asks for one.
        stated = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
        default = (width, height) if stated else None
        ratio = {"max_ratio": 1.0} if found.square else {}
        return FreeSizes(multiple=found.multiple, min_side=found.multiple, default=default, **ratio)

    @property
    def seeds(self) -> SeedRule:
        """Without a place for a seed none is drawn. The images of one batch share theirs."""
        slot = self.slots.found.get("seed")
        specs = [self.graph.spec(place) for place in slot.places] if slot else []
        highest = min([MAX_SEED, *(int(most) for spec in specs if spec and (most := spec.number("max")))])
        step = 0 if "n" in self.slots.found else 1
        return SeedRule(highest=highest, drawn=min(highest, _DRAWN_SEEDS), draw=slot is not None, step=step)

    def rules(self) -> tuple[Rule, ...]:
        """The parameter form in the vocabulary's order, the workflow's own parameters after the common ones.

        The prompt is not among them: it comes from the messages.
        """
        graph, slots = self.graph, self.slots
        rules = {name: _rule(graph, slot) for name, slot in slots.found.items() if _is_offered(slots, slot)}
        if "width" in rules and "height" in rules:
            rules["aspect_ratio"] = RULES["aspect_ratio"]
        if slots.sizes.latent is not None:
            rules.setdefault("n", RULES["n"])
        if "width" in rules or "steps" in rules:
            rules["draft"] = workflow_rules()["draft"]
        common = [rules.pop(name) for name in RULES if name in rules and name not in _DELIVERY]
        own = [rule for name, rule in rules.items() if name not in _DELIVERY]
        return (*common, *own, *(RULES[name] for name in _DELIVERY))

    def filled(
        self,
        request: ImageRequest,
        *,
        images: Sequence[JsonValue] = (),
        mask: JsonValue = None,
        now: datetime | None = None,
    ) -> Filled:
        """The graph for one request, on a deep copy, with the seed used and notices.

        `images` and `mask` stand for the uploaded images, by the server's names or as its objects, in the order of
        `request.images`;
        `request.n` images are made in one run with the first seed; `now` is for dates in file names.
        Raises BadRequest, naming the node, where the workflow cannot take the request.
        """
        return fill(self.graph, self.slots, request, images, mask, now)

    # For whoever saves a model

    def check(self) -> None:
        """Raises BadRequest for what would refuse every request: the place to say it is when the model is saved."""
        require_clear_prompt(self.slots)
        strange = [
            f"{node.described}: `{name}` is {value!r}"
            for node, name, value in self._texts
            if _STRANGE_PLACEHOLDER.fullmatch(value) and not FILE_NAME.search(name)
        ]
        if strange:
            raise BadRequest(
                "The workflow has placeholders of another program",
                "; ".join(strange),
                "Write {{name|default}} in their place; the name becomes a parameter",
            )

    @cached_property
    def used(self) -> list[Node]:
        """The nodes that run: those that the output nodes depend on."""
        return self.graph.upstream(self.output_nodes)

    @property
    def _texts(self) -> Iterator[tuple[Node, str, str]]:
        values = ((node, name, value) for node in self.used for name, value in node.inputs.items())
        return ((node, name, value) for node, name, value in values if isinstance(value, str))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(node.class_type for node in self.used))

    def lacking(self) -> tuple[str, ...]:
        """A sentence for every node class, file and choice that the server lacks; empty when it is not known."""
        unknown = (
            f"{node.described}: the server has no node class `{node.class_type}`; install the extension that brings it"
            for node in self._unknown_nodes
        )
        choices = (self._unknown_choice(node, name, value) for node, name, value in self._texts if value)
        return tuple(dict.fromkeys((*unknown, *filter(None, choices))))

    def _unknown_choice(self, node: Node, name: str, value: str) -> str:
        spec = self.graph.spec(Target(node.id, name))
        if spec is None or spec.choices is None or spec.is_upload or has_placeholder(value):
            return ""
        if spec.spelled(value) in spec.choices:
            return ""
        more = f" and {rest} more" if (rest := len(spec.choices) - _SHOWN_CHOICES) > 0 else ""
        there = f"it has {', '.join(spec.choices[:_SHOWN_CHOICES])}{more}" if spec.choices else "it has none"
        return f"{node.described}: `{name}` is {value!r}, which the server does not have ({there})"

    def packages(self) -> tuple[str, ...]:
        """The extensions that bring the node classes which the server lacks, as far as they are known."""
        return tuple(sorted({package for node in self._unknown_nodes if (package := package_of(node.class_type))}))

    @property
    def _unknown_nodes(self) -> list[Node]:
        return [node for node in self.used if self.info and self.graph.definition(node) is None]

    def explained(self) -> Iterator[str]:
        """Where each parameter goes, which images are taken, and what was not found or is unclear, with the reason."""
        slots, graph = self.slots, self.graph
        for name, slot in slots.found.items():
            listed = ", ".join(f"{graph.described(place.node)} `{place.input}`" for place in slot.places)
            yield f"`{name}` goes to {listed}"
        for number, place in enumerate(slots.images, start=1):
            yield f"input image {number} goes to {graph.described(place.node)} `{place.input}`"
        if slots.mask is not None:
            yield f"the mask goes to {graph.described(slots.mask.node)}"
        for name, why in slots.ambiguous.items():
            yield f"`{name}` is unclear: {why}"
        for name, why in slots.missing.items():
            yield f"`{name}` was not found: {why}"
        yield from slots.notes
        yield from self.notes
        if partners := [node.described for node in self.used if (known := graph.definition(node)) and known.is_partner]:
            yield (
                f"{', '.join(partners)}: partner nodes, which are paid from a Comfy account; "
                "the server must be logged in, or the key of an account given"
            )


# The parameter form


def _is_offered(slots: Slots, slot: Slot) -> bool:
    if slot.name == "denoising_strength" and slot.by == "trace":
        # On an empty latent a strength below 1 leaves noise in the image, so it is offered only where something is repainted.
        return slots.sizes.from_image or (isinstance(slot.default, (int, float)) and slot.default < 1)
    return slot.name != "prompt"


def _rule(graph: Graph, slot: Slot) -> Rule:
    fresh = Rule(name=slot.name, type=slot.kind, label=Text(en_US=slot.name), precision=_PRECISION.get(slot.kind))
    base = RULES.get(slot.name) or workflow_rule(slot.name) or fresh
    if slot.name == "seed":
        return base
    spec = next((spec for place in slot.places if (spec := graph.spec(place))), None)
    changes = _bounds(base, slot, spec)
    if slot.default not in (None, ""):
        changes["default"] = slot.default
    elif slot.default is None and base.default is None and slot.name != "negative_prompt":
        changes["required"] = True
    if base.type == "string" and spec and spec.choices:
        # The workflow's own file stays choosable when the server lacks it: the server then names it in its refusal.
        own = () if slot.default in (None, "", *spec.choices) else (str(slot.default),)
        changes["options"] = (*own, *spec.choices)
    return base.narrowed(**changes)


def _bounds(base: Rule, slot: Slot, spec: InputSpec | None) -> dict[str, object]:
    """The node class's bounds within the plugin's, wide enough for the workflow's own value."""
    if base.type not in ("int", "float"):
        return {}
    # What counts for the number of images is the plugin's bound: memory grows with a batch.
    low, high = (spec.number("min"), spec.number("max")) if spec and slot.name != "n" else (None, None)
    if high is not None and high > MAX_SEED:
        low, high = None, None  # a value node without bounds of its own
    low, high = base.min if low is None else low, base.max if high is None else high
    own = slot.default
    if is_number(own):
        low, high = None if low is None else min(low, own), None if high is None else max(high, own)
    return {"min": low, "max": high}

"""The slots of a workflow: which input takes the prompt, the seed, the size ... and what could not be found.

Three ways lead to a slot, the first that names it wins: placeholders in the JSON (`{{prompt}}`, `{{style|anime}}`),
titles on nodes (`input:style`; where a node has several values, `input:strength.strength_model`), and following the
links from the output nodes upwards. Nothing is guessed: what cannot be decided is reported in `missing` or `ambiguous`
with the node that stands in the way.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Findings, Graph, Node, Target, has_placeholder, is_number, natural
from models.backends.comfyui.graph.images import MaskSlot, find_images, loads_image
from models.backends.comfyui.graph.nodes import node_knowledge, workflow_rule
from models.backends.comfyui.graph.prompts import find_prompts
from models.backends.comfyui.graph.samplers import find_files, find_samplers, find_settings, first_samplers
from models.backends.comfyui.graph.sizes import Sizes, find_sizes
from models.backends.errors import BadRequest
from models.entities import ParameterValue
from models.parameters import RULES, Rule, RuleType, Text, read_value

type FoundBy = Literal["placeholder", "title", "trace"]

SAMPLING = ("seed", "steps", "cfg_scale", "sampler", "scheduler", "denoising_strength")
STANDARD = ("prompt", "negative_prompt", *SAMPLING, "width", "height", "n")
"""The parameters that every workflow is searched for; each is found, missing or ambiguous."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of the workflow. `default` is the workflow's own value, None where a placeholder states none.

    `places` take the value, the deciding one first; for a placeholder they are the strings in which it stands."""

    name: str
    kind: RuleType
    default: ParameterValue | None
    places: tuple[Target, ...]
    by: FoundBy


@dataclass(frozen=True)
class Slots:
    """Everything that can be set in one workflow, by parameter name, and why something cannot.

    `notes` are remarks on it, among them what is `kept` of the workflow's own at places that a parameter does not reach.
    """

    found: Mapping[str, Slot]
    images: Sequence[Target]
    mask: MaskSlot | None
    missing: Mapping[str, str]
    ambiguous: Mapping[str, str]
    notes: tuple[str, ...]
    kept: Mapping[Target, str]
    sizes: Sizes

    def own(self, name: str) -> ParameterValue | None:
        slot = self.found.get(name)
        return slot.default if slot else None

    def why_not(self, name: str) -> str:
        return self.missing.get(name) or self.ambiguous.get(name) or "the workflow has no place for it"


def find_slots(graph: Graph) -> Slots:
    """Find the slots. The server's definitions sharpen types and sides; everything works without them."""
    outputs = output_nodes(graph)
    named, unclear = _named(graph)
    traced, sizes = _traced(graph, outputs)
    claimed = {(place.node, place.input) for slot in named.values() for place in slot.places}

    def is_free(place: Target) -> bool:
        return (place.node, place.input) not in claimed and not has_placeholder(graph.value_at(place))

    found, missing = dict(named), dict(traced.missing)
    for name, places in traced.places.items():
        if free := [place for place in places if is_free(place)]:
            found.setdefault(name, _slot_at(graph, name, free, "trace"))
        else:
            missing[name] = f"{graph.described(places[0].node)} is filled by other placeholders or titles"
    images, mask, image_notes = find_images(graph, outputs)
    kept = {place: words for place, words in traced.kept.items() if is_free(place)}
    return Slots(
        found=found,
        images=images,
        mask=mask,
        missing={name: why for name, why in missing.items() if name not in {*found, *traced.ambiguous}},
        ambiguous={name: why for name, why in traced.ambiguous.items() if name not in found},
        kept=kept,
        notes=(*kept.values(), *traced.notes, *unclear, *image_notes),
        sizes=sizes,
    )


def _traced(graph: Graph, outputs: Sequence[str]) -> tuple[Findings, Sizes]:
    samplers = find_samplers(graph, outputs)
    first = first_samplers(graph, samplers)
    sizes = find_sizes(graph, outputs, [sampler.latent for sampler in first if sampler.latent])
    ordered = [*first, *(sampler for sampler in samplers if sampler not in first)]
    if samplers:
        found = find_prompts(graph, ordered, first) | find_settings(graph, ordered, first) | sizes.found
    else:
        found = _without_sampler(graph, outputs, sizes.found)
    return _shared_out(graph, found | find_files(graph, outputs, first) | _prefix(graph, outputs)), sizes


def output_nodes(graph: Graph) -> tuple[str, ...]:
    """The ids of the nodes for whose sake the server runs the workflow; files that stay come before previews."""
    found = [node for node in graph.nodes.values() if _is_output(graph, node)]
    if not found:  # nothing known by name: whatever nobody uses
        found = [node for node in graph.nodes.values() if not any(graph.users(node.id)) and node.links()]
    found.sort(key=lambda node: ("Preview" in node.class_type, natural(node.id)))
    return tuple(node.id for node in found)


def _is_output(graph: Graph, node: Node) -> bool:
    known = graph.definition(node)
    guessed = node.meaning.saves or node.meaning.shows or node.class_type.startswith(("Save", "Preview"))
    return known.is_output if known else guessed


def _shared_out(graph: Graph, traced: Findings) -> Findings:
    """A number that stands behind several settings belongs to the first of them; the others say so."""
    owners: dict[tuple[str, str], str] = {}
    places: dict[str, Sequence[Target]] = {}
    missing: dict[str, str] = {}
    for name, group in traced.places.items():
        free = [place for place in group if owners.setdefault((place.node, place.input), name) == name]
        if group[0] in free:
            places[name] = free
        else:
            owner = owners[group[0].node, group[0].input]
            missing[name] = f"{graph.described(group[0].node)} sets it together with `{owner}`"
    return replace(traced, places=places, missing={**traced.missing, **missing})


def _prefix(graph: Graph, outputs: Sequence[str]) -> Findings:
    places = [Target(node, "filename_prefix") for node in outputs]
    texts = graph.alike([place for place in places if isinstance(graph.value_at(place), str)])
    return Findings(places={"filename_prefix": texts} if texts else {})


# Workflows without a sampler: one node does everything (partner nodes), an extension samples in its own way (its
# loader may hold the texts), or there is no model at all.


def _without_sampler(graph: Graph, outputs: Sequence[str], sizes: Findings) -> Findings:
    makers = [(node, name) for node in graph.upstream(outputs) if (name := _prompt_input(node))]
    found = Findings(missing=dict.fromkeys(STANDARD, "the workflow has no sampler that is known")) | sizes
    if len(makers) > 1:
        listed = ", ".join(node.described for node, _ in makers)
        return found | Findings(ambiguous={"prompt": f"the text may belong to {listed}"})
    return found | Findings(places=dict(_own_places(graph, *makers[0])) if makers else {})


def _own_places(graph: Graph, node: Node, prompt: str) -> Iterator[tuple[str, list[Target]]]:
    negative = node.first(node_knowledge().inputs.prompt["negative"]) or "negative"
    held = {"prompt": prompt, "negative_prompt": negative, "seed": "seed", "width": "width", "height": "height"}
    for name, own in held.items():
        place = graph.settle(node, own, text=name == "prompt" or RULES[name].type == "text")
        if place:
            yield name, [place]


def _prompt_input(node: Node) -> str | None:
    if node.meaning.text:
        return node.meaning.text[0]
    if "prompt" in node.links():
        return "prompt"
    texts = ("prompt", *node_knowledge().inputs.prompt["positive"])
    return node.first(name for name in texts if isinstance(node.inputs.get(name), str))


# What the author named


class Placeholder(NamedTuple):
    """One placeholder where it stands. `whole`: the string is nothing else, so that it takes a typed value."""

    name: str
    default: str | None
    place: Target
    whole: bool


PLACEHOLDER = re.compile(r"\{\{\s*(?P<name>\w[\w-]*)\s*(?:\|(?P<default>[^{}]*))?\}\}")
_INPUT_TITLE = re.compile(r"\s*input\s*:\s*(?P<name>[^.:]+?)\s*(?:\.\s*(?P<input>\S+)\s*)?", re.IGNORECASE)


def parameter_name(word: str) -> str:
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return node_knowledge().parameter_names.get(plain, plain)


def read_placeholder(found: re.Match[str]) -> tuple[str, str | None]:
    default = found["default"]
    return parameter_name(found["name"]), default.strip() if default is not None else None


def _named(graph: Graph) -> tuple[dict[str, Slot], list[str]]:
    """The slots that the author of the workflow named, and remarks on titles that name no single value."""
    by_name: dict[str, list[Placeholder]] = {}
    for placeholder in _placeholders(graph):
        by_name.setdefault(placeholder.name, []).append(placeholder)
    slots = {name: _placeholder_slot(graph, name, group) for name, group in by_name.items()}
    titled: dict[str, list[Target]] = {}
    unclear: list[str] = []
    for node in graph.nodes.values():
        found = _INPUT_TITLE.fullmatch(node.title)
        if found is None or loads_image(node):  # images come from the messages, in order
            continue
        name = parameter_name(found["name"])
        place = _titled_place(node, found["input"], name)
        if place is None:
            unclear.append(f"the title of {node.described} does not say which of its values is meant")
        elif name not in slots and not has_placeholder(graph.value_at(place)):
            titled.setdefault(name, []).append(place)
    slots.update({name: _slot_at(graph, name, places, "title") for name, places in titled.items()})
    return {name: slot for name, slot in slots.items() if not _is_image_file(graph, slot)}, unclear


def _placeholders(graph: Graph) -> Iterator[Placeholder]:
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            for text in _strings(value):
                for found in PLACEHOLDER.finditer(text):
                    whole = found[0] == text.strip()
                    yield Placeholder(*read_placeholder(found), Target(node.id, name), whole)


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _titled_place(node: Node, named: str | None, name: str) -> Target | None:
    if named:
        return Target(node.id, named) if named in node.inputs else None
    literals = [key for key, value in node.inputs.items() if isinstance(value, (str, int, float, bool))]
    usual = [key for key in node_knowledge().inputs.value if key in literals]
    meant = [key for key in literals if parameter_name(key) == name] or usual or literals[: len(literals) == 1]
    return Target(node.id, meant[0]) if meant else None


def _is_image_file(graph: Graph, slot: Slot) -> bool:
    # A placeholder in an image loader says nothing that its place does not say.
    return all(loads_image(graph.nodes[place.node]) for place in slot.places)


def _placeholder_slot(graph: Graph, name: str, group: Sequence[Placeholder]) -> Slot:
    whole = next((one for one in group if one.whole), None)
    kind = _kind(graph, name, whole.place if whole else None)
    stated = next((one.default for one in group if one.default is not None), None)
    default = typed(stated, kind) if stated is not None else None
    spec = graph.spec(whole.place) if whole and kind in ("int", "float") else None
    if default is None and spec and isinstance(spec.default, (int, float)):
        default = spec.default
    return Slot(name, kind, default, tuple(dict.fromkeys(one.place for one in group)), "placeholder")


# The type of a parameter

# By the type of an input's definition, or of the value that stands there.
_KINDS: Mapping[str, RuleType] = {
    "int": "int",
    "float": "float",
    "boolean": "boolean",
    "bool": "boolean",
    "combo": "string",
}


def _slot_at(graph: Graph, name: str, places: Sequence[Target], by: FoundBy) -> Slot:
    """The slot of values that stand in the workflow; the first place decides type and default."""
    kind = _kind(graph, name, places[0])
    return Slot(name, kind, _as_kind(graph.value_at(places[0]), kind), tuple(places), by)


def _kind(graph: Graph, name: str, place: Target | None) -> RuleType:
    """The type of the vocabulary or of our own rules, else the node class's, else that of the value that stands there."""
    rule = RULES.get(name) or workflow_rule(name)
    if rule:
        return rule.type
    if name == "prompt" or place is None:
        return "text"
    spec = graph.spec(place)
    kind = spec.kind if spec else type(graph.value_at(place)).__name__
    return _KINDS.get(kind.lower(), "text")


def typed(text: str, kind: RuleType) -> ParameterValue | None:
    """A placeholder's default as the parameter's type; None where it is no such value."""
    if kind in ("text", "string"):
        return text
    try:
        return read_value(Rule(name="default", type=kind, label=Text(en_US="default")), text)
    except BadRequest:
        return None


def _as_kind(own: ParameterValue | None, kind: RuleType) -> ParameterValue | None:
    # Exports write 7.0 as 7, and some programs 20 as 20.0.
    if is_number(own) and kind == "float":
        return float(own)
    return int(own) if is_number(own) and kind == "int" and own == int(own) else own

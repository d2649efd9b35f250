"""The slots of a workflow: which input takes the prompt, the seed, the size ... and what could not be found.

Three ways lead to a slot, the first that names it wins: placeholders in the JSON (`{{prompt}}`), titles on nodes
(`input:style`), and tracing the links from the output nodes upwards. Nothing is guessed: what a trace cannot decide
is reported in `missing` or `ambiguous` with the node that stands in the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from models.backends.comfyui.files import FILE_INPUTS, STRENGTHS, find_files
from models.backends.comfyui.graph import Graph, Link, Node, Target, natural
from models.backends.comfyui.object_info import InputSpec, ObjectInfo
from models.backends.comfyui.pictures import LOAD_IMAGE, LOAD_MASK, MaskSlot, find_pictures
from models.backends.comfyui.placeholders import Placeholder, find_placeholders
from models.backends.comfyui.prompts import ENCODERS, Found, find_texts
from models.backends.comfyui.samplers import Sampler, find_samplers, first_samplers
from models.backends.comfyui.sizes import find_sizes
from models.backends.comfyui.titles import find_titled
from models.backends.comfyui.values import has_placeholder, settle, value_at
from models.parameters import RULES, RuleType
from models.request import ParameterValue

type Kind = RuleType
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
    remarks on what was found. `latent` is the link from which sampling starts, `from_picture` whether an input
    picture stands behind it; sizes are multiples of `size_step` pixels.
    """

    found: Mapping[str, Slot]
    images: tuple[Target, ...] = ()
    mask: MaskSlot | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    latent: Link | None = None
    from_picture: bool = False
    size_step: int = 8

    def __getitem__(self, name: str) -> Slot:
        return self.found[name]

    def get(self, name: str) -> Slot | None:
        return self.found.get(name)


@dataclass(slots=True)
class _Traced:
    """What following the links found, before placeholders and titles have their say."""

    places: dict[str, list[Target]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    latent: Link | None = None
    from_picture: bool = False
    size_step: int = 8


def find_slots(graph: Graph, info: ObjectInfo | None = None) -> Slots:
    """Find the slots. `info` sharpens types and output nodes; everything works without it."""
    outputs = output_nodes(graph, info)
    traced = _trace(graph, outputs)
    named, unclear = _named(graph, info)
    claimed = {(place.node, place.input) for slot in named.values() for place in slot.places}
    found = dict(named)
    for name, places in traced.places.items():
        free = [p for p in places if (p.node, p.input) not in claimed and not has_placeholder(value_at(graph, p))]
        if name in named:
            continue
        if free:
            found[name] = _slot(graph, info, name, free, "trace")
        elif places:
            node = graph.nodes[places[0].node]
            traced.missing[name] = f"{node.described} is filled by other placeholders or titles"
    pictures = find_pictures(graph, outputs, info)
    notes = [*traced.notes, *unclear]
    notes.extend(f"{node.described} keeps its own mask" for node in pictures.further_masks)
    return Slots(
        found=found,
        images=pictures.images,
        mask=pictures.mask,
        missing={name: why for name, why in traced.missing.items() if name not in found},
        ambiguous={name: why for name, why in traced.ambiguous.items() if name not in found},
        notes=tuple(notes),
        latent=traced.latent,
        from_picture=traced.from_picture,
        size_step=traced.size_step,
    )


# Output nodes

_OUTPUT_CLASSES = frozenset({"VHS_VideoCombine", "MaskPreview", "MaskPreview+", "Image Save"})


def output_nodes(graph: Graph, info: ObjectInfo | None = None) -> tuple[str, ...]:
    """The ids of the nodes for whose sake the server runs the workflow; files that stay come before previews."""
    if info:
        found = [node for node in graph.nodes.values() if (c := info.classes.get(node.class_type)) and c.is_output]
    else:
        found = [node for node in graph.nodes.values() if _looks_like_output(node)]
    if not found:  # nothing known by name: whatever nobody uses
        found = [node for node in graph.nodes.values() if not any(graph.users(node.id)) and node.links()]
    found.sort(key=lambda node: ("Preview" in node.class_type, natural(node.id)))
    return tuple(node.id for node in found)


def _looks_like_output(node: Node) -> bool:
    return node.class_type in _OUTPUT_CLASSES or node.class_type.startswith(("Save", "Preview"))


# Placeholders and titles


def _named(graph: Graph, info: ObjectInfo | None) -> tuple[dict[str, Slot], list[str]]:
    """The slots that the author of the workflow named, and remarks on titles that name no single value."""
    by_name: dict[str, list[Placeholder]] = {}
    for placeholder in find_placeholders(graph):
        by_name.setdefault(placeholder.name, []).append(placeholder)
    slots = {name: _placeholder_slot(graph, info, name, all_) for name, all_ in by_name.items()}
    titled: dict[str, list[Target]] = {}
    unclear = []
    for one in find_titled(graph):
        if one.place is None:
            unclear.append(f"the title of {one.node.described} does not say which of its values is meant")
        elif one.name not in slots and not has_placeholder(value_at(graph, one.place)):
            titled.setdefault(one.name, []).append(one.place)
    slots.update({name: _slot(graph, info, name, places, "title") for name, places in titled.items()})
    return {name: slot for name, slot in slots.items() if not _is_file_name(graph, slot)}, unclear


def _is_file_name(graph: Graph, slot: Slot) -> bool:
    # A placeholder in a picture loader says nothing that its place does not say.
    return all(graph.nodes[place.node].class_type in (LOAD_IMAGE, LOAD_MASK) for place in slot.places)


def _placeholder_slot(graph: Graph, info: ObjectInfo | None, name: str, group: Sequence[Placeholder]) -> Slot:
    whole = next((one for one in group if one.whole), None)
    kind = _kind(graph, info, name, whole.place if whole else None)
    stated = next((one.default for one in group if one.default is not None), None)
    default: ParameterValue | None = typed(stated, kind) if stated is not None else None
    if default is None and whole is not None and kind in ("int", "float"):
        spec = _spec(graph, info, whole.place)
        default = _scalar(spec.default) if spec else None
    return Slot(name, kind, default, tuple(dict.fromkeys(one.place for one in group)), "placeholder")


def typed(text: str, kind: Kind) -> ParameterValue | None:
    """A placeholder's default as the parameter's type; None where it is no such value."""
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        return None
    return text.lower() in ("true", "1", "yes", "on") if kind == "boolean" else text


# Types


def _slot(graph: Graph, info: ObjectInfo | None, name: str, places: Sequence[Target], by: By) -> Slot:
    kind = _kind(graph, info, name, places[0])
    return Slot(name, kind, _as_kind(value_at(graph, places[0]), kind), tuple(places), by)


def _as_kind(own: ParameterValue | None, kind: Kind) -> ParameterValue | None:
    # Exports write 7.0 as 7, and some programs 20 as 20.0.
    if isinstance(own, bool) or not isinstance(own, (int, float)):
        return own
    if kind == "float":
        return float(own)
    return int(own) if kind == "int" and own == int(own) else own


_OF_KIND: Mapping[str, Kind] = {"INT": "int", "FLOAT": "float", "BOOLEAN": "boolean", "COMBO": "string"}
_FILES = frozenset(FILE_INPUTS.values()) | {"upscale_model", "clip_vision", "filename_prefix"}
_NUMBERS = frozenset(name for names in STRENGTHS.values() for name in names.values())


def _kind(graph: Graph, info: ObjectInfo | None, name: str, place: Target | None) -> Kind:
    """The vocabulary's type, else the node class's, else that of the value that stands there."""
    if name in RULES or name == "prompt":
        return RULES[name].type if name in RULES else "text"
    stem = name.rstrip("0123456789").rstrip("_")
    if stem in _FILES or stem in _NUMBERS:
        return "string" if stem in _FILES else "float"
    if place is None:
        return "text"
    spec = _spec(graph, info, place)
    if spec:
        return _OF_KIND.get(spec.kind, "text")
    return _kind_of(value_at(graph, place))


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "text"


def _spec(graph: Graph, info: ObjectInfo | None, place: Target) -> InputSpec | None:
    return info.spec(graph.nodes[place.node].class_type, place.input) if info else None


def _scalar(value: JsonValue) -> ParameterValue | None:
    return value if isinstance(value, (str, int, float, bool)) else None


# Tracing


def _trace(graph: Graph, outputs: Sequence[str]) -> _Traced:
    samplers = find_samplers(graph, outputs)
    first = first_samplers(graph, samplers)
    traced = _Traced()
    if samplers:
        _trace_prompts(graph, [*first, *(s for s in samplers if s not in first)], traced)
        _trace_settings(graph, samplers, first, traced)
    else:
        _trace_single_node(graph, outputs, traced)
    _trace_sizes(graph, outputs, first, traced)
    for name, places in find_files(graph, outputs, [sampler.node.id for sampler in first]).items():
        traced.places[name] = places
    prefixes = [Target(node, "filename_prefix") for node in outputs]
    prefixes = _alike(graph, [place for place in prefixes if isinstance(value_at(graph, place), str)])
    if prefixes:
        traced.places["filename_prefix"] = prefixes
    return traced


def _trace_prompts(graph: Graph, samplers: Iterable[Sampler], traced: _Traced) -> None:
    ordered = list(samplers)
    positive = find_texts(graph, (sampler.positive for sampler in ordered), "positive")
    negative = find_texts(graph, (sampler.negative for sampler in ordered), "negative")
    shared = [place for place in negative.places if place in positive.places]
    negative.places = [place for place in negative.places if place not in positive.places]
    traced.notes.extend(positive.notes + negative.notes)
    traced.notes.extend(_replaced_texts(graph, positive.places, "prompt"))
    traced.notes.extend(_replaced_texts(graph, negative.places, "negative prompt"))
    _put(traced, "prompt", positive)
    _put(traced, "negative_prompt", negative)
    if "negative_prompt" in traced.places:
        return
    if shared:
        node = graph.nodes[shared[0].node]
        traced.missing["negative_prompt"] = f"{node.described} gives both sides, so its text is the prompt"
        traced.ambiguous.pop("negative_prompt", None)
    elif negative.zeroed and not negative.unclear:
        traced.missing["negative_prompt"] = f"the negative side is switched off by {negative.zeroed[0]}"
    elif not any(sampler.negative for sampler in ordered):
        traced.missing["negative_prompt"] = "no sampler of this workflow has a negative side"


def _replaced_texts(graph: Graph, places: Sequence[Target], title: str) -> list[str]:
    """A later pass with words of its own takes the same prompt; its author may want to know."""
    own = value_at(graph, places[0]) if places else None
    return [
        f"{graph.nodes[place.node].described} has its own text {str(text)[:60]!r}, which the {title} replaces"
        for place in places[1:]
        if place.node != places[0].node and (text := value_at(graph, place)) != own and text
    ]


def _put(traced: _Traced, name: str, found: Found) -> None:
    if found.places:
        traced.places[name] = found.places
        traced.notes.extend(found.unclear)
    elif found.unclear:
        traced.ambiguous[name] = "; ".join(dict.fromkeys(found.unclear))
    else:
        traced.missing[name] = "no text leads to a sampler on this side"


_SETTINGS: Mapping[str, str] = {
    "steps": "steps",
    "cfg_scale": "cfg",
    "sampler": "sampler",
    "scheduler": "scheduler",
}


def _trace_settings(graph: Graph, samplers: Sequence[Sampler], first: Sequence[Sampler], traced: _Traced) -> None:
    ordered = [*first, *(sampler for sampler in samplers if sampler not in first)]
    if len(first) > 1:
        listed = " and ".join(sampler.node.described for sampler in first)
        traced.notes.append(f"{listed} each make a picture of their own from the same prompt and settings")
    for name, attribute in _SETTINGS.items():
        places = [getattr(sampler, attribute) for sampler in ordered]
        _put_places(traced, name, _alike(graph, [place for place in places if place]), ordered)
    for sampler in ordered:
        if sampler.window and sampler.steps in traced.places.get("steps", ()):
            traced.places["steps"].extend(sampler.window)
    _put_places(traced, "seed", list(dict.fromkeys(s.seed for s in ordered if s.seed)), ordered)
    _put_places(traced, "denoising_strength", _strengths(graph, ordered), ordered)


def _put_places(traced: _Traced, name: str, places: list[Target], samplers: Sequence[Sampler]) -> None:
    if places:
        traced.places[name] = places
    else:
        reasons = dict.fromkeys(why for sampler in samplers for about, why in sampler.why if about == name)
        traced.missing[name] = "; ".join(reasons) or "no sampler has it"


def _alike(graph: Graph, places: Sequence[Target]) -> list[Target]:
    """The first sampler's place, and those of further samplers whose own value is the same: they go together."""
    if not places:
        return []
    own = value_at(graph, places[0])
    return list(dict.fromkeys(place for place in places if value_at(graph, place) == own))


def _strengths(graph: Graph, samplers: Sequence[Sampler]) -> list[Target]:
    """The sampler that repaints something it was given has a strength below 1; else the first one's."""
    places = [sampler.denoise for sampler in samplers if sampler.denoise]
    below = [place for place in places if isinstance(v := value_at(graph, place), (int, float)) and v < 1]
    return (below or places)[:1]


def _trace_sizes(graph: Graph, outputs: Sequence[str], first: Sequence[Sampler], traced: _Traced) -> None:
    latents = [sampler.latent for sampler in first if sampler.latent]
    sizes = find_sizes(graph, outputs, latents)
    traced.latent, traced.from_picture, traced.size_step = sizes.latent, sizes.from_picture, sizes.step
    for name, places in (("width", sizes.width), ("height", sizes.height), ("n", sizes.batch)):
        if places:
            traced.places.setdefault(name, places)
        elif name not in traced.places:
            traced.missing[name] = sizes.why.get(name, "no node of this workflow sets it")


# Workflows without a sampler: one node does everything (partner nodes), or no model at all.


def _trace_single_node(graph: Graph, outputs: Sequence[str], traced: _Traced) -> None:
    makers = [node for node in graph.upstream(outputs) if _prompt_input(node)]
    for name in STANDARD:
        traced.missing[name] = "the workflow has no sampler"
    if len(makers) > 1:
        listed = ", ".join(node.described for node in makers)
        traced.ambiguous["prompt"] = f"the text may belong to {listed}"
        del traced.missing["prompt"]
    if len(makers) == 1:
        own = {
            "prompt": _prompt_input(makers[0]),
            **{name: name for name in ("negative_prompt", "seed", "width", "height")},
        }
        for name, held in own.items():
            place = settle(graph, makers[0], held, text=RULES[name].type == "text" if name in RULES else True)
            if place:
                traced.places[name] = [place]
                del traced.missing[name]


def _prompt_input(node: Node) -> str:
    if node.class_type in ENCODERS:
        return ENCODERS[node.class_type][0]
    return "prompt" if isinstance(node.inputs.get("prompt"), str) or "prompt" in node.links() else ""

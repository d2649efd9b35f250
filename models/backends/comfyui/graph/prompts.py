"""From a sampler's conditioning to the text inputs behind it (ComfyUI server API, section "Prompt text")."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.backends.comfyui.graph.graph import Graph, Link, Node, Target
from models.backends.comfyui.graph.values import has_placeholder, origin, settle, value_at

type Side = Literal["positive", "negative"]

_SHOWN = 6  # candidates in one explanation
_LONGEST = 300  # nodes between a sampler and its text; people have a dozen
_ZERO_OUT = "ConditioningZeroOut"

# Text inputs of the encoders.
ENCODERS: Mapping[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("text",),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl"),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl"),
    "CLIPTextEncodeHiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "CLIPTextEncodeHunyuanDiT": ("bert", "mt5xl"),
    "CLIPTextEncodePixArtAlpha": ("text",),
    "CLIPTextEncodeLumina2": ("user_prompt",),
    "CLIPTextEncodeControlnet": ("text",),
    "TextEncodeQwenImageEdit": ("prompt",),
    "TextEncodeQwenImageEditPlus": ("prompt",),
}

# Where encoders of extensions keep their text, in the order they are looked for.
_TEXT_INPUTS = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "string")


@dataclass(slots=True)
class Found:
    """What a trace found: text inputs in order, or the reason why there is none."""

    places: list[Target] = field(default_factory=list)
    zeroed: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    notes: dict[Target, str] = field(default_factory=dict)

    def take(self, other: "Found") -> None:
        self.places.extend(place for place in other.places if place not in self.places)
        self.zeroed.extend(other.zeroed)
        self.unclear.extend(other.unclear)
        self.notes.update(other.notes)


def find_texts(graph: Graph, links: Iterable[Link | None], side: Side) -> Found:
    """The text inputs of one side, over all samplers."""
    found = Found()
    for link in links:
        if link is not None:
            found.take(_trace(graph, link, side, frozenset()))
    return found


def _trace(graph: Graph, link: Link, side: Side, seen: frozenset[str]) -> Found:
    node = graph.source(link)
    if node is None or node.id in seen or len(seen) > _LONGEST:
        return Found(unclear=[f"the {side} side leads to {origin(graph, link)}"])
    seen |= {node.id}
    if node.class_type == _ZERO_OUT:
        return Found(zeroed=[node.described])
    texts = _text_inputs(node, side)
    if texts:
        return _encoder(graph, node, texts)
    pair = _pair(node, link)
    sources = [pair] if pair else _conditionings(node)
    if sources:
        return _first_with_text(graph, [_trace(graph, source, side, seen) for source in sources])
    return Found(unclear=[f"the {side} side leads to {node.described}, whose text input is not known"])


def _text_inputs(node: Node, side: Side) -> tuple[str, ...]:
    if node.class_type in ENCODERS:
        return tuple(name for name in ENCODERS[node.class_type] if name in node.inputs)
    # One node for both sides: TextEncodeQwenImage21, and the loaders of several extensions.
    both = ("negative_prompt", "negative") if side == "negative" else ("positive_prompt", "positive")
    sided = [name for name in both if name in node.inputs and isinstance(node.inputs[name], str)]
    if sided:
        return (sided[0],)
    if any(name.startswith("conditioning") for name in node.links()):
        return ()
    return tuple(name for name in _TEXT_INPUTS if _may_be_text(node, name))


def _may_be_text(node: Node, name: str) -> bool:
    return name in node.inputs and (
        isinstance(node.inputs[name], str) or ("clip" in node.links() and name in node.links())
    )


def _encoder(graph: Graph, node: Node, names: tuple[str, ...]) -> Found:
    found = Found()
    for name in names:
        place = settle(graph, node, name, text=True)
        if place is not None:
            found.take(Found(places=[place]))
        else:
            found.unclear.append(f"the text of {node.described} is put together {_parts(graph, node.link(name))}")
    return found


def _parts(graph: Graph, link: Link | None) -> str:
    """The node that computes a text, and the nodes with words of their own behind it: the candidates."""
    behind = graph.upstream([link.node] if link else [])
    worded = [node for node in behind if any(isinstance(v, str) and len(v) > 1 for v in node.inputs.values())]
    listed = ", ".join(node.described for node in worded[:_SHOWN])
    return f"by {origin(graph, link)}" + (f" out of the texts of {listed}" if listed else "")


def _pair(node: Node, link: Link) -> Link | None:
    """Nodes that take and give both sides: output 0 came from `positive`, output 1 from `negative`."""
    links = node.links()
    if "positive" in links and "negative" in links and link.slot in (0, 1):
        return links["negative" if link.slot == 1 else "positive"]
    return None


def _conditionings(node: Node) -> list[Link]:
    links = node.links()
    named = [link for name, link in links.items() if name.startswith("cond")]
    # A node with a single input and no name for it passes on what it gets (reroutes of extensions).
    return named or (list(links.values()) if len(links) == 1 else [])


def _first_with_text(graph: Graph, branches: list[Found]) -> Found:
    """Of several conditionings that are joined, the first that carries text takes the prompt; the others keep theirs."""
    filled = [branch for branch in branches if any(_says_something(graph, place) for place in branch.places)]
    chosen = next(iter(filled or [branch for branch in branches if branch.places]), branches[0])
    if len(branches) == 1:
        return chosen
    kept = [
        place for branch in branches if branch is not chosen for place in branch.places if place not in chosen.places
    ]
    notes = {
        place: f"{graph.nodes[place.node].described} keeps its own text: {str(value_at(graph, place))[:60]!r}"
        for place in kept
    }
    return Found(chosen.places, chosen.zeroed, chosen.unclear, chosen.notes | notes)


def _says_something(graph: Graph, place: Target) -> bool:
    value = value_at(graph, place)
    return isinstance(value, str) and (bool(value.strip()) or has_placeholder(value))

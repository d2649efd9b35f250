"""From the samplers' conditioning to the texts behind it (ComfyUI server API, section "Prompt text")."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.backends.comfyui.graph.graph import Findings, Graph, Link, Node, Target
from models.backends.comfyui.graph.nodes import Side, node_knowledge
from models.backends.comfyui.graph.samplers import Sampler

_SHOWN = 6  # candidates in one explanation
_LONGEST = 300  # nodes between a sampler and its text; people have a dozen


@dataclass(frozen=True, slots=True)
class Texts:
    """The text inputs of one side in order, or the reasons why there are none."""

    places: tuple[Target, ...] = ()
    zeroed: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    notes: Mapping[Target, str] = field(default_factory=dict)


def find_prompts(graph: Graph, samplers: Sequence[Sampler], first: Sequence[Sampler]) -> Findings:
    """`first` are the samplers that make the image."""
    positive, negative = _texts(graph, samplers, "positive"), _texts(graph, samplers, "negative")
    own = replace(negative, places=tuple(place for place in negative.places if place not in positive.places))
    shared = [place for place in negative.places if place in positive.places]
    prompt = _side(graph, "prompt", positive, [_texts(graph, [sampler], "positive") for sampler in first])
    other = _side(graph, "negative_prompt", own, [_texts(graph, [sampler], "negative") for sampler in first])
    if "negative_prompt" not in other.places:
        other = _explained(graph, samplers, negative, shared) or other
    return prompt | other


def _side(graph: Graph, name: str, texts: Texts, first: Iterable[Texts]) -> Findings:
    """`first` are the texts of images that are made side by side: where they differ none stands for the others."""
    rivals = list(dict.fromkeys(one.places[0] for one in first if one.places))
    if len({graph.value_at(place) for place in rivals}) > 1:
        listed = ", ".join(graph.described(place.node) for place in rivals)
        return Findings(ambiguous={name: f"several images are made from different texts: {listed}"})
    kept = {**texts.notes, **_replaced(graph, texts.places, name.replace("_", " "))}
    if texts.places:
        return Findings(places={name: texts.places}, notes=texts.unclear, kept=kept)
    if texts.unclear:
        return Findings(ambiguous={name: "; ".join(dict.fromkeys(texts.unclear))}, kept=kept)
    return Findings(missing={name: "no text leads to a sampler on this side"}, kept=kept)


def _explained(graph: Graph, samplers: Iterable[Sampler], negative: Texts, shared: Sequence[Target]) -> Findings | None:
    if shared:
        why = f"{graph.described(shared[0].node)} gives both sides, so its text is the prompt"
    elif negative.zeroed and not negative.unclear:
        why = f"the negative side is switched off by {negative.zeroed[0]}"
    elif not any("negative" in sampler.sides for sampler in samplers):
        why = "no sampler of this workflow has a negative side"
    else:
        return None
    return Findings(missing={"negative_prompt": why})


def _replaced(graph: Graph, places: Sequence[Target], title: str) -> dict[Target, str]:
    """A later pass, or a second encoder, with words of its own takes the same prompt; its author may want to know."""
    own = graph.value_at(places[0]) if places else None
    return {
        place: f"{graph.described(place.node)} has its own `{place.input}` {str(text)[:60]!r}, which the {title} replaces"
        for place in places[1:]
        if (text := graph.value_at(place)) != own and text
    }


# From a link to the texts behind it


def _texts(graph: Graph, samplers: Iterable[Sampler], side: Side) -> Texts:
    links = (sampler.sides.get(side) for sampler in samplers)
    return _joined(_trace(graph, link, side, frozenset()) for link in links if link)


def _joined(parts: Iterable[Texts]) -> Texts:
    parts = list(parts)
    return Texts(
        tuple(dict.fromkeys(place for part in parts for place in part.places)),
        tuple(node for part in parts for node in part.zeroed),
        tuple(why for part in parts for why in part.unclear),
        {place: note for part in parts for place, note in part.notes.items()},
    )


def _trace(graph: Graph, link: Link, side: Side, seen: frozenset[str]) -> Texts:
    node = graph.source(link)
    if node is None or node.id in seen or len(seen) > _LONGEST:
        return Texts(unclear=(f"the {side} side leads to {graph.described(link.node)}",))
    seen |= {node.id}
    if node.meaning.no_text:
        return Texts(zeroed=(node.described,))
    taken = graph.side_of(link) or side
    if names := _text_inputs(node, taken):
        return _joined(_text(graph, node, name) for name in names)
    if _mixes_sides(graph, node, link):
        return Texts(unclear=(f"{node.described} does not say which of its outputs is the {side} side",))
    if sources := _sources(node, graph.passed_on(node, link.slot) or taken, taken):
        return _first_with_text(graph, [_trace(graph, source, side, seen) for source in sources])
    return Texts(unclear=(f"the {side} side leads to {node.described}, whose text input is not known",))


def _text_inputs(node: Node, side: Side) -> tuple[str, ...]:
    if node.meaning.text:
        return tuple(name for name in node.meaning.text if name in node.inputs)
    # One node for both sides: TextEncodeQwenImage21, and the loaders of several extensions.
    known = node_knowledge().inputs
    if sided := node.first(name for name in known.prompt[side] if isinstance(node.inputs.get(name), str)):
        return (sided,)
    passes_on = any(name.startswith("conditioning") for name in node.links())
    return () if passes_on else tuple(name for name in known.text if _may_be_text(node, name))


def _may_be_text(node: Node, name: str) -> bool:
    return isinstance(node.inputs.get(name), str) or {"clip", name} <= set(node.links())


def _text(graph: Graph, node: Node, name: str) -> Texts:
    if place := graph.settle(node, name, text=True):
        return Texts(places=(place,))
    return Texts(unclear=(f"the text of {node.described} is put together {_parts(graph, node.link(name))}",))


def _parts(graph: Graph, link: Link | None) -> str:
    """The node that computes a text, and the nodes with words of their own behind it: the candidates."""
    behind = graph.upstream([link.node] if link else [])
    worded = [node for node in behind if any(isinstance(v, str) and len(v) > 1 for v in node.inputs.values())]
    listed = ", ".join(node.described for node in worded[:_SHOWN])
    joining = graph.described(link.node if link else "")
    return f"by {joining} out of the texts of {listed}" if listed else f"by {joining}"


def _mixes_sides(graph: Graph, node: Node, link: Link) -> bool:
    """Whether it cannot be told which side an output of a node with both sides is.

    Where neither nodes.yaml nor a definition names the outputs, an output is taken for the side that it is used for,
    unless the workflow uses the outputs in an order that contradicts that.
    """
    if graph.side_of(link) or not {"positive", "negative"} <= set(node.links()):
        return False
    positive, negative = graph.slots_into(node.id, "positive"), graph.slots_into(node.id, "negative")
    return bool(positive and negative) and min(positive) >= min(negative)


def _sources(node: Node, wanted: str, side: Side) -> list[Link]:
    """Where the conditioning of one side comes into a node that passes it on, best by the input `wanted`."""
    links = node.links()
    known = node_knowledge().inputs
    if own := links.get(wanted):
        return [own]
    if named := [link for name, link in links.items() if _may_carry(name, side)]:
        return named
    piped = [links[name] for name in known.pipe if name in links]
    # A node with a single input and no name for it passes on what it gets (reroutes of extensions).
    return piped[:1] or (list(links.values()) if len(links) == 1 else [])


_OTHER_SIDE: Mapping[Side, re.Pattern[str]] = {
    "positive": re.compile(r"(?:^|_)neg"),
    "negative": re.compile(r"(?:^|_)pos"),
}


def _may_carry(name: str, side: Side) -> bool:
    return name.startswith(("cond", "pos", "neg")) and not _OTHER_SIDE[side].search(name)


def _first_with_text(graph: Graph, branches: list[Texts]) -> Texts:
    """Of several conditionings that are joined, the first that carries text takes the prompt; the others keep theirs."""
    filled = [branch for branch in branches if any(_says_something(graph, place) for place in branch.places)]
    chosen = next(iter(filled or [branch for branch in branches if branch.places]), branches[0])
    kept = (place for branch in branches if branch is not chosen for place in branch.places)
    notes = {
        place: f"{graph.described(place.node)} keeps its own text: {str(graph.value_at(place))[:60]!r}"
        for place in kept
        if place not in chosen.places
    }
    return Texts(chosen.places, chosen.zeroed, chosen.unclear, {**chosen.notes, **notes})


def _says_something(graph: Graph, place: Target) -> bool:
    value = graph.value_at(place)
    return isinstance(value, str) and bool(value.strip())

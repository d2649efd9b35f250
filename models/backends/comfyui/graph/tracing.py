"""Places found by following the links from the output nodes upwards, and the reasons where there are none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from models.backends.comfyui.graph.files import find_files
from models.backends.comfyui.graph.graph import Graph, Link, Node, Target
from models.backends.comfyui.graph.prompts import ENCODERS, Found, Side, find_texts
from models.backends.comfyui.graph.samplers import Sampler, find_samplers, first_samplers
from models.backends.comfyui.graph.sizes import find_sizes
from models.backends.comfyui.graph.slots import STANDARD
from models.backends.comfyui.graph.values import settle, value_at
from models.parameters import RULES


@dataclass(slots=True)
class Traced:
    """What following the links found, before placeholders and titles have their say."""

    places: dict[str, list[Target]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    own_values: dict[Target, str] = field(default_factory=dict)
    """What becomes of further texts and strengths, unless placeholders or titles name them."""
    latent: Link | None = None
    from_image: bool = False
    size_step: int = 8


def trace(graph: Graph, outputs: Sequence[str]) -> Traced:
    samplers = find_samplers(graph, outputs)
    first = first_samplers(graph, samplers)
    traced = Traced()
    if samplers:
        _trace_prompts(graph, samplers, first, traced)
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
    _share_out(graph, traced)
    return traced


def _share_out(graph: Graph, traced: Traced) -> None:
    """A number that stands behind several settings belongs to the first of them; the others say so."""
    owners: dict[tuple[str, str], str] = {}
    for name, places in list(traced.places.items()):
        free = [place for place in places if owners.setdefault((place.node, place.input), name) == name]
        traced.places[name] = free
        if places[0] not in free:
            owner = owners[places[0].node, places[0].input]
            del traced.places[name]
            traced.missing[name] = f"{graph.nodes[places[0].node].described} sets it together with `{owner}`"


def _trace_prompts(graph: Graph, samplers: Sequence[Sampler], first: Sequence[Sampler], traced: Traced) -> None:
    ordered = [*first, *(sampler for sampler in samplers if sampler not in first)]
    positive = find_texts(graph, (sampler.positive for sampler in ordered), "positive")
    negative = find_texts(graph, (sampler.negative for sampler in ordered), "negative")
    shared = [place for place in negative.places if place in positive.places]
    negative.places = [place for place in negative.places if place not in positive.places]
    _put_texts(graph, traced, "prompt", positive, _rivals(graph, [sampler.positive for sampler in first], "positive"))
    _put_texts(
        graph, traced, "negative_prompt", negative, _rivals(graph, [sampler.negative for sampler in first], "negative")
    )
    if "negative_prompt" not in traced.places:
        _explain_negative(graph, ordered, negative, shared, traced)


def _rivals(graph: Graph, links: Iterable[Link | None], side: Side) -> list[Target]:
    """Texts of images that are made side by side, where they differ: none of them stands for the others."""
    places = [found.places[0] for link in links if (found := find_texts(graph, [link], side)).places]
    texts = {value_at(graph, place) for place in places}
    return list(dict.fromkeys(places)) if len(texts) > 1 else []


def _put_texts(graph: Graph, traced: Traced, name: str, found: Found, rivals: Sequence[Target]) -> None:
    if rivals:
        listed = ", ".join(graph.nodes[place.node].described for place in rivals)
        traced.ambiguous[name] = f"several images are made from different texts: {listed}"
        return
    traced.own_values.update(found.notes | _replaced_texts(graph, found.places, name.replace("_", " ")))
    _put(traced, name, found)


def _explain_negative(
    graph: Graph, samplers: Iterable[Sampler], negative: Found, shared: Sequence[Target], traced: Traced
) -> None:
    if shared:
        node = graph.nodes[shared[0].node]
        traced.missing["negative_prompt"] = f"{node.described} gives both sides, so its text is the prompt"
        traced.ambiguous.pop("negative_prompt", None)
    elif negative.zeroed and not negative.unclear:
        traced.missing["negative_prompt"] = f"the negative side is switched off by {negative.zeroed[0]}"
    elif not any(sampler.negative for sampler in samplers):
        traced.missing["negative_prompt"] = "no sampler of this workflow has a negative side"


def _replaced_texts(graph: Graph, places: Sequence[Target], title: str) -> dict[Target, str]:
    """A later pass, or a second encoder, with words of its own takes the same prompt; its author may want to know."""
    own = value_at(graph, places[0]) if places else None
    return {
        place: f"{graph.nodes[place.node].described} has its own `{place.input}` {str(text)[:60]!r}, which the {title} replaces"
        for place in places[1:]
        if (text := value_at(graph, place)) != own and text
    }


def _put(traced: Traced, name: str, found: Found) -> None:
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


def _trace_settings(graph: Graph, samplers: Sequence[Sampler], first: Sequence[Sampler], traced: Traced) -> None:
    ordered = [*first, *(sampler for sampler in samplers if sampler not in first)]
    if len(first) > 1:
        listed = " and ".join(sampler.node.described for sampler in first)
        traced.notes.append(f"{listed} each make an image of their own with the same settings")
    for name, attribute in _SETTINGS.items():
        places = [getattr(sampler, attribute) for sampler in ordered]
        _put_places(traced, name, _alike(graph, [place for place in places if place]), ordered)
    for sampler in ordered:
        if sampler.window and sampler.steps in traced.places.get("steps", ()):
            traced.places["steps"].extend(sampler.window)
    _put_places(traced, "seed", list(dict.fromkeys(s.seed for s in ordered if s.seed)), ordered)
    strengths = _strengths(graph, ordered)
    _put_places(traced, "denoising_strength", strengths[:1], ordered)
    traced.own_values |= {
        place: f"{graph.nodes[place.node].described} keeps its own strength {value_at(graph, place)}"
        for place in strengths[1:]
    }


def _put_places(traced: Traced, name: str, places: list[Target], samplers: Sequence[Sampler]) -> None:
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
    """Of every sampler that repaints what it was given, which has a strength below 1; else of the first one."""
    places = [sampler.denoise for sampler in samplers if sampler.denoise]
    below = [place for place in places if isinstance(v := value_at(graph, place), (int, float)) and v < 1]
    return list(dict.fromkeys(below)) or places[:1]


def _trace_sizes(graph: Graph, outputs: Sequence[str], first: Sequence[Sampler], traced: Traced) -> None:
    latents = [sampler.latent for sampler in first if sampler.latent]
    sizes = find_sizes(graph, outputs, latents)
    traced.latent, traced.from_image, traced.size_step = sizes.latent, sizes.from_image, sizes.step
    for name, places in (("width", sizes.width), ("height", sizes.height), ("n", sizes.batch)):
        if places:
            traced.places.setdefault(name, places)
        elif name not in traced.places:
            traced.missing[name] = sizes.why.get(name, "no node of this workflow sets it")


# Workflows without a sampler: one node does everything (partner nodes), an extension samples in its own way (its
# loader may hold the texts), or there is no model at all.

_PROMPTS = ("prompt", "positive_prompt", "positive")


def _trace_single_node(graph: Graph, outputs: Sequence[str], traced: Traced) -> None:
    makers = [node for node in graph.upstream(outputs) if _prompt_input(node)]
    for name in STANDARD:
        traced.missing[name] = "the workflow has no sampler that is known"
    if len(makers) > 1:
        listed = ", ".join(node.described for node in makers)
        traced.ambiguous["prompt"] = f"the text may belong to {listed}"
        del traced.missing["prompt"]
    if len(makers) == 1:
        own = {
            "prompt": _prompt_input(makers[0]),
            "negative_prompt": "negative_prompt" if "negative_prompt" in makers[0].inputs else "negative",
            **{name: name for name in ("seed", "width", "height")},
        }
        for name, held in own.items():
            place = settle(graph, makers[0], held, text=RULES[name].type == "text" if name in RULES else True)
            if place:
                traced.places[name] = [place]
                del traced.missing[name]


def _prompt_input(node: Node) -> str:
    if node.class_type in ENCODERS:
        return ENCODERS[node.class_type][0]
    if "prompt" in node.links():
        return "prompt"
    return next((name for name in _PROMPTS if isinstance(node.inputs.get(name), str)), "")

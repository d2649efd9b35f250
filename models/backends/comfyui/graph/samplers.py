"""The samplers of a workflow, their settings, and the model files and strengths that they depend on.

ComfyUI server API, sections "Samplers" and "Models".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from models.backends.comfyui.graph.graph import Findings, Graph, Link, Node, Target, is_number
from models.backends.comfyui.graph.nodes import Side, node_knowledge

_TEXTS = frozenset({"sampler", "scheduler"})  # settings that are words


@dataclass(frozen=True, slots=True)
class Sampler:
    """One sampling node, with the place of each setting, or the reason why it has none, by parameter name.

    `window` are the places of its first and last step, where it does a part of the steps."""

    node: Node
    settings: Mapping[str, Target | str]
    sides: Mapping[Side, Link]
    latent: Link | None
    window: tuple[Target, ...] = ()


def find_samplers(graph: Graph, outputs: Iterable[str]) -> list[Sampler]:
    """Every sampler that the output nodes depend on, nearest to the output first."""
    return [_read(graph, node) for node in graph.upstream(outputs) if _is_sampler(node)]


def first_samplers(graph: Graph, samplers: Sequence[Sampler]) -> list[Sampler]:
    """The samplers that no other sampler feeds: they make the image, the others refine it."""
    ids = {sampler.node.id for sampler in samplers}
    return [
        sampler
        for sampler in samplers
        if sampler.latent is None or not any(node.id in ids for node in graph.upstream([sampler.latent.node]))
    ]


def _is_sampler(node: Node) -> bool:
    """Known by its inputs, so that samplers of extensions count too: a model, or a guider, that denoises something.

    A node that puts seed and steps into a bundle for the sampler behind it counts as one.
    """
    links = node.links()
    if "guider" in links:
        return "sigmas" in links or "latent_image" in links
    known = node_knowledge().inputs
    seeded = node.first(known.settings["seed"]) is not None
    if any(name.startswith("model") for name in links) and ("positive" in links or "conditioning" in links):
        return seeded
    piped = any(name in links for name in known.pipe)
    return piped and seeded and node.first(known.settings["steps"]) is not None


def _read(graph: Graph, node: Node) -> Sampler:
    links = node.links()
    guider = graph.source(links.get("guider")) or node
    sigmas = _with_input(graph, links.get("sigmas"), "steps") or graph.source(links.get("sigmas")) or node
    chooser = _with_input(graph, links.get("sampler"), "sampler_name") or node
    noise = graph.source(links.get("noise")) or node
    timed = dict.fromkeys(("steps", "scheduler", "denoising_strength"), sigmas)
    holders = {"seed": noise, "cfg_scale": guider, **timed, "sampler": chooser}
    settings = {parameter: _setting(graph, holder, parameter) for parameter, holder in holders.items()}
    if node.inputs.get("add_noise") in ("disable", False):
        settings["seed"] = f"{node.described} adds no noise"
    known = node_knowledge().inputs
    latent = next((links[name] for name in (*known.start, *known.pipe) if name in links), None)
    window = tuple(_window(graph, node, settings["steps"]))
    return Sampler(node, settings, dict(_sides(guider)), latent, window)


def _setting(graph: Graph, node: Node, parameter: str) -> Target | str:
    name = node.first(node_knowledge().inputs.settings[parameter])
    if name is None:
        return f"{node.described} has none"
    place = graph.settle(node, name, text=parameter in _TEXTS)
    return place or f"{node.described} computes it from other nodes"


def _with_input(graph: Graph, link: Link | None, name: str) -> Node | None:
    """The nearest node above `link` that has the input: the scheduler behind a SplitSigmas, say."""
    return next((node for node in graph.upstream([link.node] if link else []) if name in node.inputs), None)


def _sides(node: Node) -> Iterator[tuple[Side, Link]]:
    links = node.links()
    known = node_knowledge().inputs
    for side, usual in known.conditioning.items():
        names = usual if "positive" in links else (*usual, *known.pipe)
        if name := next((name for name in names if name in links), None):
            yield side, links[name]


def _window(graph: Graph, node: Node, steps: Target | str) -> Iterator[Target]:
    """First and last step of a sampler that does a part of the way, as shares of all its steps."""
    total = graph.number_at(steps) if isinstance(steps, Target) else None
    for place in (graph.settle(node, name) for name in node.meaning.window):
        value = graph.number_at(place)
        if total and place and value and 0 < value < total:
            yield Target(place.node, place.input, value / total)


# The settings of all samplers together


def find_settings(graph: Graph, samplers: Sequence[Sampler], first: Sequence[Sampler]) -> Findings:
    findings = Findings(notes=_side_by_side(first)) | _find_steps(graph, samplers)
    for name in ("cfg_scale", "sampler", "scheduler"):
        findings |= _found(name, graph.alike(_every(samplers, name)), samplers)
    findings |= _found("seed", _every(samplers, "seed"), samplers)
    return findings | _find_strength(graph, samplers)


def _every(samplers: Iterable[Sampler], name: str) -> list[Target]:
    settings = (sampler.settings[name] for sampler in samplers)
    return list(dict.fromkeys(place for place in settings if isinstance(place, Target)))


def _find_steps(graph: Graph, samplers: Sequence[Sampler]) -> Findings:
    every = _every(samplers, "steps")
    places = graph.alike(every)
    kept = {place: _keeps(graph, place, "`steps`") for place in every if place not in places}
    windows = [place for sampler in samplers if sampler.settings["steps"] in places for place in sampler.window]
    return Findings(kept=kept) | _found("steps", [*places, *windows], samplers)


def _keeps(graph: Graph, place: Target, name: str) -> str:
    return f"{graph.described(place.node)} keeps its own {name} {graph.value_at(place)}"


def _side_by_side(first: Sequence[Sampler]) -> tuple[str, ...]:
    listed = " and ".join(sampler.node.described for sampler in first)
    return (f"{listed} each make an image of their own",) if len(first) > 1 else ()


def _found(name: str, places: Sequence[Target], samplers: Sequence[Sampler]) -> Findings:
    reasons = dict.fromkeys(why for sampler in samplers if isinstance(why := sampler.settings[name], str))
    return Findings.of(name, places or "; ".join(reasons))


def _find_strength(graph: Graph, samplers: Sequence[Sampler]) -> Findings:
    """Of the first sampler that repaints what it was given, which has a strength below 1; else of the first one."""
    places = _every(samplers, "denoising_strength")
    chosen = [place for place in places if (own := graph.number_at(place)) is not None and own < 1] or places[:1]
    kept = {place: _keeps(graph, place, "strength") for place in chosen[1:]}
    return _found("denoising_strength", chosen[:1], samplers) | Findings(kept=kept)


# Model files and strengths


type _Files = dict[str, list[Target]]


def find_files(graph: Graph, outputs: Iterable[str], first: Sequence[Sampler]) -> Findings:
    """Places by parameter name, the first sampler's own files first; a second LoRA is `lora_2`."""
    files: _Files = {}
    near = graph.upstream(sampler.node.id for sampler in first)
    for node in dict.fromkeys(node.id for node in (*near, *graph.upstream(outputs))):
        for name, parameter in _file_parameters(graph.nodes[node]).items():
            place = graph.settle(graph.nodes[node], name, text="_name" in name)
            if place and not any(place in places for places in files.values()):
                _add_file(files, graph.nodes[node], name, parameter, place)
    return Findings(places=files)


def _file_parameters(node: Node) -> dict[str, str]:
    known = {**node_knowledge().inputs.files, **node.meaning.parameters}
    return {name: known[name] for name in node.inputs if name in known}


def _add_file(files: _Files, node: Node, name: str, parameter: str, place: Target) -> None:
    """Add a place under a free name; a LoRA's strength on the text encoder follows an equal one on the model."""
    own = node.inputs.get("strength_model")
    follows = name == "strength_clip" and is_number(own) and node.inputs.get(name) == own
    if follows and (leader := _at(files, node, "strength_model")):
        files[leader].append(Target(node.id, name))
    else:
        files[_free_name(files, parameter, node)] = [place]


def _at(files: _Files, node: Node, name: str) -> str | None:
    return next((parameter for parameter, places in files.items() if places[0] == Target(node.id, name)), None)


def _free_name(files: _Files, parameter: str, node: Node) -> str:
    """The parameter's name, numbered from the second on; a LoRA's strengths have the number of their LoRA."""
    lora = _at(files, node, "lora_name")
    if lora and parameter != "lora":
        return parameter + lora.removeprefix("lora")
    names = (f"{parameter}_{number}" if number > 1 else parameter for number in count(1))
    return next(name for name in names if name not in files)

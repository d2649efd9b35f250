"""The samplers of a workflow and where each keeps its settings (ComfyUI server API, section "Samplers")."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.backends.comfyui.graph.graph import Graph, Link, Node, Target
from models.backends.comfyui.graph.values import settle, value_at

_ADVANCED = "KSamplerAdvanced"


@dataclass(frozen=True, slots=True)
class Sampler:
    """One sampling node, with the nodes (guider, noise, sigmas) that carry its settings resolved.

    A place is None where the sampler has no such setting; `why` says so for the settings that a reader would miss.
    """

    node: Node
    seed: Target | None
    steps: Target | None
    cfg: Target | None
    sampler: Target | None
    scheduler: Target | None
    denoise: Target | None
    positive: Link | None
    negative: Link | None
    latent: Link | None
    model: Link | None
    window: tuple[Target, ...] = ()
    why: tuple[tuple[str, str], ...] = ()


def find_samplers(graph: Graph, outputs: Iterable[str]) -> list[Sampler]:
    """Every sampler that the output nodes depend on, nearest to the output first."""
    return [_read(graph, node) for node in graph.upstream(outputs) if is_sampler(node)]


def is_sampler(node: Node) -> bool:
    """Known by its inputs, so that samplers of extensions count too: a model, or a guider, that denoises something."""
    links = node.links()
    if "guider" in links:
        return "sigmas" in links or "latent_image" in links
    seeded = "seed" in node.inputs or "noise_seed" in node.inputs
    return "model" in links and ("positive" in links or "conditioning" in links) and seeded


def first_samplers(graph: Graph, samplers: Iterable[Sampler]) -> list[Sampler]:
    """The samplers that no other sampler feeds: they make the image, the others refine it."""
    every = list(samplers)
    ids = {sampler.node.id for sampler in every}
    return [
        sampler
        for sampler in every
        if sampler.latent is None or not any(node.id in ids for node in graph.upstream([sampler.latent.node]))
    ]


def _read(graph: Graph, node: Node) -> Sampler:
    links = node.links()
    guider = graph.source(links.get("guider")) or node
    sigmas = _with_input(graph, links.get("sigmas"), "steps") or graph.source(links.get("sigmas")) or node
    chooser = _with_input(graph, links.get("sampler"), "sampler_name") or node
    why: list[tuple[str, str]] = []
    cfg = _place(graph, guider, "cfg_conds" if "cfg_conds" in guider.inputs else "cfg", why, as_name="cfg_scale")
    return Sampler(
        node=node,
        seed=_seed(graph, node, why),
        steps=_place(graph, sigmas, "steps", why),
        cfg=cfg,
        sampler=_place(graph, chooser, "sampler_name", why, text=True, as_name="sampler"),
        scheduler=_place(graph, sigmas, "scheduler", why, text=True),
        denoise=_place(graph, sigmas, "denoise", why, as_name="denoising_strength"),
        positive=_conditioning(guider, "positive", "conditioning", "cond1"),
        negative=_conditioning(guider, "negative"),
        latent=links.get("latent_image") or links.get("latent") or links.get("samples") or links.get("image"),
        model=links.get("model") or guider.links().get("model"),
        window=_window(graph, node),
        why=tuple(why),
    )


def _place(
    graph: Graph, node: Node, name: str, why: list[tuple[str, str]], *, text: bool = False, as_name: str = ""
) -> Target | None:
    place = settle(graph, node, name, text=text)
    if place is None:
        said = f"{node.described} computes it from other nodes" if name in node.inputs else f"{node.described} has none"
        why.append((as_name or name, said))
    return place


def _seed(graph: Graph, node: Node, why: list[tuple[str, str]]) -> Target | None:
    """Where the seed goes, when this sampler adds noise at all."""
    if node.inputs.get("add_noise") in ("disable", False):
        why.append(("seed", f"{node.described} adds no noise"))
        return None
    holder = graph.source(node.link("noise")) or node
    if holder is not node and "noise_seed" not in holder.inputs and "seed" not in holder.inputs:
        why.append(("seed", f"{holder.described} has none"))
        return None
    return _place(graph, holder, "noise_seed" if "noise_seed" in holder.inputs else "seed", why, as_name="seed")


def _with_input(graph: Graph, link: Link | None, name: str) -> Node | None:
    """The nearest node above `link` that has the input: the scheduler behind a SplitSigmas, say."""
    return next((node for node in graph.upstream([link.node] if link else []) if name in node.inputs), None)


def _conditioning(node: Node, *names: str) -> Link | None:
    links = node.links()
    return next((links[name] for name in names if name in links), None)


def _window(graph: Graph, node: Node) -> tuple[Target, ...]:
    """First and last step of a sampler that does a part of the way, as shares of all its steps."""
    steps = settle(graph, node, "steps")
    total = value_at(graph, steps) if steps else None
    if node.class_type != _ADVANCED or not isinstance(total, (int, float)) or total <= 0:
        return ()
    places = (settle(graph, node, name) for name in ("start_at_step", "end_at_step"))
    return tuple(
        Target(place.node, place.input, value / total)
        for place in places
        if place and isinstance(value := value_at(graph, place), (int, float)) and 0 < value < total
    )

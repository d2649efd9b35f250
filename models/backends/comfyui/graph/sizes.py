"""Width, height and number of images: the node that sets them, the nodes that follow, and the sizes that it takes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.backends.comfyui.graph.graph import Findings, Graph, Link, Node, Places, Target, is_number
from models.backends.comfyui.graph.nodes import node_knowledge

type Dimension = Literal["width", "height", "n"]

_USUAL_MULTIPLE, _LATENT_MULTIPLE = 8, 16  # newer models (SD3, FLUX, Qwen-Image) take multiples of 16


@dataclass(frozen=True, slots=True)
class Sizes:
    """What sets the size of the images, in multiples of `multiple` pixels. `square`: one number sets both sides.

    `latent` is what the first sampler starts from, `from_image` whether an input image stands behind it."""

    found: Findings
    latent: Link | None
    from_image: bool
    multiple: int
    square: bool


@dataclass(frozen=True, slots=True)
class _Start:
    """Where an image begins (an empty latent, a loaded image), and the nodes that set its size and number of images."""

    first: Node
    sized: Node | None
    counted: Node | None
    from_image: bool


def find_sizes(graph: Graph, outputs: Iterable[str], latents: Sequence[Link]) -> Sizes:
    ways = [_image_way(graph, output) for output in outputs]
    beginnings = [_image_way(graph, link.node) for link in latents] or ways
    starts = [_start(steps[::-1]) for steps in beginnings if steps]
    width, height = (_side(graph, starts, side, ways) for side in ("width", "height"))
    square = not isinstance(width, str) and not isinstance(height, str) and width[0] == height[0]
    return Sizes(
        found=_as_findings(graph, width, height, square=square) | Findings.of("n", _direct(graph, starts, "n")),
        latent=next(iter(latents), None),
        from_image=any(start.from_image for start in starts),
        multiple=math.lcm(*(_multiple(start.sized) for start in starts)) if starts else _USUAL_MULTIPLE,
        square=square,
    )


def _image_way(graph: Graph, start: str) -> list[Node]:
    """The nodes that an image comes through, from a node upwards, that node first."""
    known = node_knowledge().inputs
    steps: dict[str, Node] = {}
    node = graph.nodes.get(start)
    while node is not None and node.id not in steps:
        steps[node.id] = node
        links = node.links()
        names = (graph.passed_on(node, 0) or "", *known.image, *known.pipe)
        node = next((graph.source(links[name]) for name in names if name in links), None)
    return list(steps.values())


def _start(steps: list[Node]) -> _Start:
    counts = node_knowledge().inputs.count
    batched = next((node for node in steps if node.first(counts)), None)
    return _Start(
        first=steps[0],
        sized=next((node for node in steps if _input(node, "width") and _input(node, "height")), None),
        counted=batched or next((node for node in steps if node.meaning.count), None),
        from_image=not _input(steps[0], "width") and any("pixels" in node.links() for node in steps),
    )


def _input(node: Node, name: Dimension) -> str | None:
    known = node_knowledge().inputs
    usual = {"width": known.width, "height": known.height, "n": known.count}[name]
    return node.first(usual) or (node.meaning.count if name == "n" else None)


def _multiple(sized: Node | None) -> int:
    usual = _LATENT_MULTIPLE if sized and "Latent" in sized.class_type else _USUAL_MULTIPLE
    return (sized and sized.meaning.multiple) or usual


# The places of one side


def _side(graph: Graph, starts: Sequence[_Start], side: Dimension, ways: Iterable[Sequence[Node]]) -> Places | str:
    """The places of width or height, base first, or what stands in the way."""
    places = _direct(graph, starts, side)
    if isinstance(places, str):
        return places
    shared = [places[0], *(_share(graph, place, places[0]) for place in places[1:])]
    return [*shared, *_followers(graph, side, shared, [node for way in ways for node in way])]


def _direct(graph: Graph, starts: Sequence[_Start], name: Dimension) -> list[Target] | str:
    found = [_place(graph, start, name) for start in starts]
    places = list(dict.fromkeys(place for place in found if isinstance(place, Target)))
    return places or str(next(iter(reversed(found)), "no node of this workflow sets it"))


def _place(graph: Graph, start: _Start, name: Dimension) -> Target | str:
    node = start.counted if name == "n" else start.sized
    if node is not None:
        return graph.settle(node, _input(node, name) or "") or f"{node.described} takes it from other nodes"
    if any(isinstance(start.first.inputs.get(key), str) for key in ("image", "video")):
        return f"it comes from the image of {start.first.described}"
    return f"{start.first.described} has no such field that is known"


def _share(graph: Graph, place: Target, base: Target) -> Target:
    """`place` with its share of the base: a second image of another size keeps its proportion to the first."""
    own, whole = graph.number_at(place), graph.number_at(base)
    return Target(place.node, place.input, own / whole) if own is not None and whole and whole >= 1 else place


def _followers(graph: Graph, side: Dimension, places: Places, on_way: Iterable[Node]) -> Iterable[Target]:
    """Every place that repeats or enlarges the size, with its share of it."""
    base, known = places[0], {(place.node, place.input) for place in places}
    if (graph.number_at(base) or 0) < 1:
        return
    resizers = [(node, side) for node in on_way if is_number(node.inputs.get(side)) or side in node.links()]
    repeats = [(node, own) for node in graph.nodes.values() for own in getattr(node.meaning, side)]
    for node, name in [*resizers, *repeats]:
        place = graph.settle(node, name)
        if place is None or (place.node, place.input) in known:
            continue
        if (graph.number_at(place) or 0) > 0:  # 0 tells a resizer to keep the proportions
            known.add((place.node, place.input))
            yield _share(graph, place, base)


def _as_findings(graph: Graph, width: Places | str, height: Places | str, *, square: bool) -> Findings:
    if square and not isinstance(width, str):  # the width takes everything that follows either
        why = f"{graph.described(width[0].node)} sets both sides, so it follows `width`"
        return Findings(places={"width": list(dict.fromkeys([*width, *height]))}, missing={"height": why})
    return Findings.of("width", width) | Findings.of("height", height)

"""Width, height and number of images: the node that sets them and the nodes that must follow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.backends.comfyui.graph.graph import Graph, Link, Node, Target
from models.backends.comfyui.graph.values import is_number, settle, value_at

type Side = Literal["width", "height"]

# The way of the image itself, from the output upwards: through decoders, samplers, latents and resizers.
_WAY = ("images", "image", "samples", "latent_image", "latent", "pixels", "destination", "frames")

# Pixels that one step of a size field has; newer models (SD3, FLUX, Qwen-Image) share 16.
_STEPS = {"EmptyLatentImage": 8, "EmptyImage": 1, "LatentUpscale": 8}
_LATENT_STEP = 16

# Inputs that repeat the size of the image or a share of it, wherever they stand in the graph.
_FOLLOWERS: dict[str, dict[Side, tuple[str, ...]]] = {
    "ModelSamplingFlux": {"width": ("width",), "height": ("height",)},
    "Flux2Scheduler": {"width": ("width",), "height": ("height",)},
    "CLIPTextEncodeSDXLRefiner": {"width": ("width",), "height": ("height",)},
    "CLIPTextEncodeSDXL": {"width": ("width", "target_width"), "height": ("height", "target_height")},
    "ConditioningSetArea": {"width": ("width", "x"), "height": ("height", "y")},
}


@dataclass(slots=True)
class Sizes:
    """`places` per setting, base first; `why` says what stands in the way where there is none."""

    width: list[Target] = field(default_factory=list)
    height: list[Target] = field(default_factory=list)
    batch: list[Target] = field(default_factory=list)
    latent: Link | None = None
    """The latent that the first sampler starts from, where a batch can be made of it."""
    from_image: bool = False
    step: int = 8
    """Sizes must be multiples of this many pixels."""
    why: dict[str, str] = field(default_factory=dict)


def find_sizes(graph: Graph, outputs: Iterable[str], starts: Sequence[Link]) -> Sizes:
    """Sizes of the latents (or images) that sampling starts from; without a sampler, of the image made."""
    ways = [way(graph, output) for output in outputs]
    beginnings = [_beginning(graph, link) for link in starts] or [list(reversed(steps)) for steps in ways]
    sizes = Sizes(latent=next(iter(starts), None))
    for steps in beginnings:
        _read_beginning(graph, steps, sizes)
    for name in ("width", "height"):
        _follow(graph, name, sizes, (node for steps in ways for node in steps))
    if sizes.width and sizes.width[:1] == sizes.height[:1]:
        _make_square(graph, sizes)
    return sizes


def _make_square(graph: Graph, sizes: Sizes) -> None:
    """One number stands behind both sides: the width takes everything that follows either."""
    sizes.width.extend(place for place in sizes.height if place not in sizes.width)
    sizes.height.clear()
    sizes.why["height"] = f"{graph.nodes[sizes.width[0].node].described} sets both sides, so it follows `width`"


def way(graph: Graph, start: str) -> list[Node]:
    """The nodes that the image of an output node comes through, that node first."""
    steps: dict[str, Node] = {}
    node: Node | None = graph.nodes.get(start)
    while node is not None and node.id not in steps:
        steps[node.id] = node
        links = node.links()
        node = next((graph.source(links[name]) for name in _WAY if name in links), None)
    return list(steps.values())


def _beginning(graph: Graph, link: Link) -> list[Node]:
    """From where the way starts (an empty latent, a loaded image) down to the sampler."""
    return list(reversed(way(graph, link.node)))


def _read_beginning(graph: Graph, steps: list[Node], sizes: Sizes) -> None:
    if not steps:
        return
    makes = _size_input(steps[0], "width") is not None
    sizes.from_image |= not makes and any("pixels" in node.links() for node in steps)
    sized = next((node for node in steps if _size_input(node, "width") and _size_input(node, "height")), None)
    sizes.step = _step(sized)
    for side in ("width", "height"):
        name = _size_input(sized, side) if sized else None
        _add(graph, sized, name or side, side, sizes, first=steps[0])
    batched = next((node for node in steps if "batch_size" in node.inputs), None)
    repeated = next((node for node in steps if node.class_type == "RepeatLatentBatch"), None)
    _add(graph, batched or repeated, "batch_size" if batched else "amount", "n", sizes, first=steps[0])


def _size_input(node: Node, side: str) -> str | None:
    return next((name for name in (side, f"empty_latent_{side}") if name in node.inputs), None)


def _step(sized: Node | None) -> int:
    if sized is None:
        return 8
    return _STEPS.get(sized.class_type, _LATENT_STEP if "Latent" in sized.class_type else 8)


def _add(graph: Graph, node: Node | None, name: str, parameter: str, sizes: Sizes, *, first: Node) -> None:
    """Add the place of `node.name`, or say why there is none."""
    places = {"width": sizes.width, "height": sizes.height, "n": sizes.batch}[parameter]
    place = settle(graph, node, name) if node else None
    if place is not None:
        if place not in places:
            places.append(_shared(graph, place, places) if parameter != "n" else place)
    elif node is not None:
        sizes.why[parameter] = f"{node.described} takes it from other nodes"
    elif any(isinstance(first.inputs.get(key), str) for key in ("image", "video")):
        sizes.why[parameter] = f"it comes from the image of {first.described}"
    else:
        sizes.why[parameter] = f"{first.described} has no such field that is known"


def _shared(graph: Graph, place: Target, places: list[Target]) -> Target:
    """A second image of another size keeps its proportion to the first."""
    own, base = value_at(graph, place), value_at(graph, places[0]) if places else None
    if not isinstance(own, (int, float)) or not isinstance(base, (int, float)) or base < 1:
        return place
    return Target(place.node, place.input, own / base)


def _follow(graph: Graph, name: Side, sizes: Sizes, on_way: Iterable[Node]) -> None:
    """Add every place that repeats or enlarges the size, with its share of it."""
    places = sizes.width if name == "width" else sizes.height
    base = value_at(graph, places[0]) if places else None
    if not isinstance(base, (int, float)) or base < 1:
        return
    resizers = [(node, name) for node in on_way if is_number(node.inputs.get(name)) or name in node.links()]
    repeats = [
        (node, own) for node in graph.nodes.values() for own in _FOLLOWERS.get(node.class_type, {}).get(name, ())
    ]
    for node, own in [*resizers, *repeats]:
        place = settle(graph, node, own)
        known = {(target.node, target.input) for target in places}
        if place is None or (place.node, place.input) in known:
            continue
        value = value_at(graph, place)
        if isinstance(value, (int, float)) and value > 0:  # 0 tells a resizer to keep the proportions
            places.append(Target(place.node, place.input, value / base))

"""Width, height and number of pictures: the node that sets them and the nodes that must follow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.backends.comfyui.graph import Graph, Link, Node, Target
from models.backends.comfyui.values import is_number, settle, value_at

type Side = Literal["width", "height"]

# The way of the picture itself, from the output upwards: through decoders, samplers, latents and resizers.
_WAY = ("images", "image", "samples", "latent_image", "latent", "pixels", "destination", "frames")

# Pixels that one step of a size field has; newer models (SD3, FLUX, Qwen-Image) share 16.
_STEPS = {"EmptyLatentImage": 8, "EmptyImage": 1, "LatentUpscale": 8}
_LATENT_STEP = 16

# Inputs that repeat the size of the picture, wherever they stand in the graph.
_FOLLOWERS: dict[str, dict[Side, tuple[str, ...]]] = {
    "ModelSamplingFlux": {"width": ("width",), "height": ("height",)},
    "Flux2Scheduler": {"width": ("width",), "height": ("height",)},
    "CLIPTextEncodeSDXL": {"width": ("width", "target_width"), "height": ("height", "target_height")},
}


@dataclass(slots=True)
class Sizes:
    """`places` per setting, base first; `why` says what stands in the way where there is none."""

    width: list[Target] = field(default_factory=list)
    height: list[Target] = field(default_factory=list)
    batch: list[Target] = field(default_factory=list)
    latent: Link | None = None
    """The latent that the first sampler starts from, where a batch can be made of it."""
    from_picture: bool = False
    step: int = 8
    """Sizes must be multiples of this many pixels."""
    why: dict[str, str] = field(default_factory=dict)


def find_sizes(graph: Graph, outputs: Iterable[str], starts: Sequence[Link]) -> Sizes:
    """Sizes of the latents (or pictures) that sampling starts from; without a sampler, of the picture made."""
    ways = [way(graph, output) for output in outputs]
    beginnings = [_beginning(graph, link) for link in starts] or [list(reversed(steps)) for steps in ways]
    sizes = Sizes(latent=next(iter(starts), None))
    for steps in beginnings:
        _read_beginning(graph, steps, sizes)
    for name in ("width", "height"):
        _follow(graph, name, sizes, (node for steps in ways for node in steps))
    return sizes


def way(graph: Graph, start: str) -> list[Node]:
    """The nodes that the picture of an output node comes through, that node first."""
    steps: dict[str, Node] = {}
    node: Node | None = graph.nodes.get(start)
    while node is not None and node.id not in steps:
        steps[node.id] = node
        links = node.links()
        node = next((graph.source(links[name]) for name in _WAY if name in links), None)
    return list(steps.values())


def _beginning(graph: Graph, link: Link) -> list[Node]:
    """From where the way starts (an empty latent, a loaded picture) down to the sampler."""
    return list(reversed(way(graph, link.node)))


def _read_beginning(graph: Graph, steps: list[Node], sizes: Sizes) -> None:
    if not steps:
        return
    makes = "width" in steps[0].inputs and "height" in steps[0].inputs
    sizes.from_picture |= not makes and any("pixels" in node.links() for node in steps)
    sized = next((node for node in steps if {"width", "height"} <= node.inputs.keys()), None)
    sizes.step = _STEPS.get(sized.class_type, _LATENT_STEP if "Latent" in sized.class_type else 8) if sized else 8
    for name, places in (("width", sizes.width), ("height", sizes.height)):
        sizes.why.update(_add(graph, sized, name, places, as_name=name) or _from_picture(name, steps[0], sized))
    _read_batch(graph, steps, sizes)


def _read_batch(graph: Graph, steps: list[Node], sizes: Sizes) -> None:
    batched = next((node for node in steps if "batch_size" in node.inputs), None)
    repeated = next((node for node in steps if node.class_type == "RepeatLatentBatch"), None)
    holder, name = (batched, "batch_size") if batched else (repeated, "amount")
    sizes.why.update(_add(graph, holder, name, sizes.batch, as_name="n") or _from_picture("n", steps[0], holder))


def _from_picture(name: str, first: Node, holder: Node | None) -> dict[str, str]:
    return {} if holder else {name: f"it comes from the picture of {first.described}"}


def _add(graph: Graph, node: Node | None, name: str, places: list[Target], *, as_name: str) -> dict[str, str]:
    """Add the place of `node.name`; the answer says why there is none."""
    place = settle(graph, node, name) if node else None
    if node and place is None:
        return {as_name: f"{node.described} takes it from other nodes"}
    if place and place not in places:
        places.append(place)
    return {}


def _follow(graph: Graph, name: Side, sizes: Sizes, on_way: Iterable[Node]) -> None:
    """Add every place that repeats or enlarges the size, with its share of it."""
    places = sizes.width if name == "width" else sizes.height
    base = value_at(graph, places[0]) if places else None
    if not isinstance(base, (int, float)) or base <= 0:
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

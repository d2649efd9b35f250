"""Input images and the mask of a workflow (ComfyUI server API, section "Input images")."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from models.backends.comfyui.graph.graph import Graph, Node, Target, natural
from models.backends.comfyui.graph.object_info import ObjectInfo

LOAD_IMAGE = "LoadImage"
LOAD_MASK = "LoadImageMask"
_TO_MASK = "ImageToMask"
_INVERT = "InvertMask"
_IMAGE, _MASK = 0, 1  # output slots of LoadImage


@dataclass(frozen=True, slots=True)
class MaskSlot:
    """Where the mask comes in.

    `file`: a LoadImageMask node reads it from a channel of its own file. `image`: a LoadImage whose colours become
    the mask (`converter` is the ImageToMask node). `alpha`: the mask output of a LoadImage, 1 where the file is
    transparent; `node` may be an image's own loader. `inverted`: the workflow turns the mask round on its way.
    """

    kind: Literal["file", "image", "alpha"]
    node: str
    converter: str = ""
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class ImageSlots:
    """Image inputs in the order in which the user's images fill them, and the mask input."""

    images: tuple[Target, ...] = ()
    mask: MaskSlot | None = None
    further_masks: tuple[Node, ...] = ()


def find_images(graph: Graph, outputs: Iterable[str], info: ObjectInfo | None) -> ImageSlots:
    """The loaders that the output nodes depend on; ordered by a number in the title, else by node id."""
    reached = graph.upstream(outputs)
    live = {node.id for node in reached}
    images: list[tuple[Node, Target]] = []
    masks: list[tuple[Node, MaskSlot]] = []
    for node in reached:
        place = _upload(node, info)
        if place is None:
            continue
        mask = _mask(graph, node, live)
        if mask:
            masks.append((node, mask))
        if not mask or (mask.kind == "alpha" and _uses(graph, node, _IMAGE, live)):
            images.append((node, place))
    images.sort(key=lambda pair: _order(pair[0]))
    masks.sort(key=lambda pair: _order(pair[0]))
    return ImageSlots(
        images=tuple(place for _, place in images),
        mask=masks[0][1] if masks else None,
        further_masks=tuple(node for node, _ in masks[1:]),
    )


def _upload(node: Node, info: ObjectInfo | None) -> Target | None:
    """The input that names a file of the server's input folder, unless the title says that its image is fixed."""
    if node.title.strip().casefold().startswith("fixed"):
        return None
    known = info.classes.get(node.class_type) if info else None
    if known is not None:
        names = [
            s.name for s in known.inputs.values() if s.options.get("image_upload") and "image_folder" not in s.options
        ]
    else:
        names = ["image"] if node.class_type in (LOAD_IMAGE, LOAD_MASK) else []
    return next((Target(node.id, name) for name in names if isinstance(node.inputs.get(name), str)), None)


def _mask(graph: Graph, node: Node, live: set[str]) -> MaskSlot | None:
    """The mask that a loader gives, if it gives one."""
    if node.class_type == LOAD_MASK:
        return MaskSlot("file", node.id, inverted=_inverted(graph, node.id, _IMAGE, live))
    if _uses(graph, node, _MASK, live):
        return MaskSlot("alpha", node.id, inverted=_inverted(graph, node.id, _MASK, live))
    converters = _uses(graph, node, _IMAGE, live)
    if converters and all(user.class_type == _TO_MASK for user in converters):
        converter = converters[0].id
        return MaskSlot("image", node.id, converter, inverted=_inverted(graph, converter, 0, live))
    return None


def _uses(graph: Graph, node: Node, slot: int, live: set[str]) -> list[Node]:
    return [user for user, _ in graph.users(node.id, slot) if user.id in live]


def _inverted(graph: Graph, node: str, slot: int, live: set[str]) -> bool:
    """Whether the mask passes an odd number of InvertMask nodes on its way through mask nodes."""
    seen: set[str] = set()
    turned = False
    while node not in seen:
        seen.add(node)
        users = [user for user, name in graph.users(node, slot) if user.id in live and name in ("mask", "masks")]
        passing = next((user for user in users if "mask" in user.class_type.lower()), None)
        if passing is None or "samples" in passing.inputs:
            break
        turned ^= passing.class_type == _INVERT
        node, slot = passing.id, 0
    return turned


def _order(node: Node) -> tuple[float, list[tuple[int, int, str]]]:
    number = re.search(r"\d+", node.title)
    return (float(number[0]) if number else float("inf"), natural(node.id))

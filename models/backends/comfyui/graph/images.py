"""Input images and the mask of a workflow: where they come in, and the uploaded files put there.

ComfyUI server API, section "Input images".
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Graph, Link, MutableGraph, Node, Target, has_placeholder, natural
from models.backends.errors import BadRequest
from models.entities import InputImage
from models.images.inputs import alpha_mask

_IMAGE, _MASK = 0, 1  # outputs of the nodes that load an image


@dataclass(frozen=True, slots=True)
class MaskSlot:
    """Where the mask comes in, and the `output` out of which it comes. `inverted`: the workflow inverts it on its way.

    `file`: a LoadImageMask node reads it from a channel of its own file. `image`: a LoadImage whose colours become
    the mask in an ImageToMask node. `alpha`: the mask output of a LoadImage, 1 where the file is transparent; `node`
    may be an image's own loader (`takes_image`)."""

    kind: Literal["file", "image", "alpha"]
    node: str
    output: Link
    inverted: bool = False
    takes_image: bool = False


def loads_image(node: Node) -> bool:
    return bool(node.meaning.image or node.meaning.image_base64 or node.meaning.mask)


def base64_input(graph: Graph, node: Node) -> str | None:
    """The input with an image that is written into the workflow, where the node can be exchanged for a LoadImage."""
    if node.meaning.image_base64:
        return node.meaning.image_base64
    known = graph.definition(node)
    if "base64" not in node.class_type.lower() or node.links() or (known and known.outputs[:1] != ("IMAGE",)):
        return None
    texts = [name for name, value in node.inputs.items() if isinstance(value, str)]
    return next((name for name in texts if "base64" in name.lower() or name in ("image", "data")), None)


def find_images(graph: Graph, outputs: Iterable[str]) -> tuple[list[Target], MaskSlot | None, list[str]]:
    """The inputs for images, ordered by a number in the node's title, else by node id; that of the mask; notes."""
    reached = graph.upstream(outputs)
    live = {node.id for node in reached}
    images: list[Target] = []
    masks: list[MaskSlot] = []
    notes: list[str] = []
    for node in sorted(reached, key=_order):
        place = _upload(graph, node)
        if place is None:
            continue
        if base64_input(graph, node) and _users(graph, node, _MASK, live):
            notes.append(f"{node.described} gives a mask, so it keeps its own image: put a LoadImage node in its place")
            continue
        mask = _mask(graph, node, live)
        takes_image = not mask or (mask.kind == "alpha" and bool(_users(graph, node, _IMAGE, live)))
        if mask:
            masks.append(replace(mask, inverted=_inverted(graph, mask.output, live), takes_image=takes_image))
        if takes_image:
            images.append(place)
    notes += [f"{graph.described(mask.node)} keeps its own mask" for mask in masks[1:]]
    return images, masks[0] if masks else None, notes


def _upload(graph: Graph, node: Node) -> Target | None:
    """The input that names a file of the server's input folder, unless the title says that its image is fixed."""
    if node.title.strip().casefold().startswith("fixed"):
        return None
    known, base64 = graph.definition(node), base64_input(graph, node)
    names = [base64 or node.meaning.image or node.meaning.mask]
    if known and not base64:
        uploads = [spec for spec in known.inputs.values() if spec.options.get("image_upload")]
        names = [spec.name for spec in uploads if "image_folder" not in spec.options]
    return next((Target(node.id, name) for name in names if isinstance(node.inputs.get(name), str)), None)


def _mask(graph: Graph, node: Node, live: set[str]) -> MaskSlot | None:
    if node.meaning.mask:
        return MaskSlot("file", node.id, Link(node.id, 0))
    if _users(graph, node, _MASK, live):
        return MaskSlot("alpha", node.id, Link(node.id, _MASK))
    converters = _users(graph, node, _IMAGE, live)
    if converters and all(user.meaning.makes_mask for user in converters):
        return MaskSlot("image", node.id, Link(converters[0].id, 0))
    return None


def _users(graph: Graph, node: Node, slot: int, live: set[str]) -> list[Node]:
    return [user for user, _ in graph.users(node.id, slot) if user.id in live]


def _inverted(graph: Graph, output: Link, live: set[str]) -> bool:
    """Whether the mask passes an odd number of inverting nodes on its way through mask nodes."""
    seen: set[str] = set()
    inverted = False
    while output.node not in seen:
        seen.add(output.node)
        users = [user for user, name in graph.users(output.node, output.slot) if name in ("mask", "masks")]
        passing = next((user for user in users if user.id in live and "mask" in user.class_type.lower()), None)
        if passing is None or "samples" in passing.inputs:
            break
        inverted ^= passing.meaning.inverts_mask
        output = Link(passing.id, 0)
    return inverted


def _order(node: Node) -> tuple[float, list[tuple[int, int, str]]]:
    number = re.search(r"\d+", node.title)
    return (float(number[0]) if number else float("inf"), natural(node.id))


# Putting the uploaded files in


def fill_images(raw: MutableGraph, graph: Graph, slots: Sequence[Target], names: Sequence[JsonValue]) -> list[str]:
    """Set the loaders' files in the order of the slots; returns notices.

    Raises BadRequest for more images than there are loaders left, and for a placeholder without an image.
    """
    places = [place for place in slots if place.node in raw]
    if len(names) > len(places):
        raise BadRequest(
            f"The workflow takes {len(places)} input images and got {len(names)}",
            next_step="Send fewer images, or set the parameter that switches on the node for the further one",
        )
    for place, name in zip(places, names, strict=False):
        if base64_input(graph, graph.nodes[place.node]):
            # The file is uploaded already, and a job's state holds no image.
            raw[place.node].update({"class_type": "LoadImage", "inputs": {"image": name}})
        else:
            raw.inputs(place.node)[place.input] = name
    return [notice for place in places[len(names) :] for notice in _without(raw, graph, place)]


def _without(raw: MutableGraph, graph: Graph, place: Target) -> Iterator[str]:
    """An image that was not given: cut off where its users do without, else the workflow's own stays."""
    users = [(node, name) for node, name, link in raw.links() if link.node == place.node]
    if users and all(_is_optional(graph, node, name) for node, name in users):
        for node, name in users:
            del raw.inputs(node)[name]
        del raw[place.node]
        return
    own = raw.inputs(place.node)[place.input]
    if has_placeholder(own) or not own:
        raise BadRequest(
            f"The workflow needs an image for {graph.described(place.node)}",
            next_step="Send an image with the message",
        )
    yield f"No image was given for {graph.described(place.node)}: the workflow's own {str(own)[:60]!r} was used"


def _is_optional(graph: Graph, node: str, name: str) -> bool:
    spec = graph.spec(Target(node, name))
    return not spec.required if spec else name in graph.nodes[node].meaning.optional


def fill_mask(
    raw: MutableGraph, slot: MaskSlot | None, images: Sequence[InputImage], names: Sequence[JsonValue], mask: JsonValue
) -> None:
    """White repaints. Without a mask of its own the transparent part of the first image is repainted.

    Raises BadRequest for a mask that the workflow cannot take, and where nothing would be repainted.
    """
    if slot is None or slot.node not in raw:
        if mask is not None:
            raise BadRequest(
                "The workflow takes no mask", next_step="Send no mask, or add a LoadImageMask node to the workflow"
            )
    elif mask is not None:
        _set_mask(raw, slot, mask, "red")
    elif names:
        _require_alpha(images)
        if not (slot.kind == "alpha" and slot.takes_image):
            _set_mask(raw, slot, names[0], "alpha")


def _set_mask(raw: MutableGraph, slot: MaskSlot, name: JsonValue, channel: str) -> None:
    if slot.kind == "file":
        raw.inputs(slot.node).update(image=name, channel=channel)
        loaded = slot.output
    else:
        loaded = Link(raw.add("LoadImageMask", "Mask", {"image": name, "channel": channel}), 0)
        raw.rewire(slot.output, loaded)
    if slot.inverted:  # the workflow expects black where to repaint
        raw.insert_after(loaded, "InvertMask", "Mask as the workflow expects it", {"mask": [loaded.node, loaded.slot]})


def _require_alpha(images: Sequence[InputImage]) -> None:
    if images and alpha_mask(images[0]) is None:
        raise BadRequest(
            "The workflow repaints a masked area and got no mask",
            next_step="Send a second image whose name contains `mask` (white = repaint), or an image with transparency",
        )

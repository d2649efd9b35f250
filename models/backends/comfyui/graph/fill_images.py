"""Put the uploaded images and the mask into a graph that is being filled."""

import io
from collections.abc import Iterator, Sequence

from PIL import Image

from models.backends.comfyui.graph.edits import add_node, inputs_of, insert_after, links, prune, rewire
from models.backends.comfyui.graph.graph import Graph, Link, RawGraph, Target
from models.backends.comfyui.graph.images import LOAD_MASK, MaskSlot
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.slots import Slots
from models.backends.comfyui.graph.values import has_placeholder
from models.backends.errors import BadRequest
from models.entities import InputImage

# Image inputs that a node does without, for when the server's definitions are not at hand.
_OPTIONAL = {
    ("TextEncodeQwenImageEdit", "image"),
    ("TextEncodeQwenImageEditPlus", "image1"),
    ("TextEncodeQwenImageEditPlus", "image2"),
    ("TextEncodeQwenImageEditPlus", "image3"),
}


def fill_images(raw: RawGraph, graph: Graph, slots: Slots, names: Sequence[str], info: ObjectInfo | None) -> list[str]:
    """Set the loaders' files in the order of the slots; the answer are notices.

    Raises BadRequest for more images than there are loaders left, and for a placeholder without an image.
    """
    places = [place for place in slots.images if place.node in raw]
    if len(names) > len(places):
        raise BadRequest(
            f"The workflow takes {len(places)} input images and got {len(names)}",
            next_step="Send fewer images, or set the parameter that switches on the node for the further one",
        )
    for place, name in zip(places, names, strict=False):
        inputs_of(raw, place.node)[place.input] = name
    return [said for place in places[len(names) :] for said in _leave_out(raw, graph, place, info)]


def _leave_out(raw: RawGraph, graph: Graph, place: Target, info: ObjectInfo | None) -> Iterator[str]:
    """An image that was not given: cut off where its users do without, else the workflow's own stays."""
    users = [(node, name) for node, name, link in links(raw) if link.node == place.node]
    if users and all(_is_optional(raw, node, name, info) for node, name in users):
        for node, name in users:
            del inputs_of(raw, node)[name]
        prune(raw, place.node)
        return
    loader = graph.nodes[place.node]
    own = inputs_of(raw, place.node)[place.input]
    if has_placeholder(own):
        raise BadRequest(
            f"The workflow needs an image for {loader.described}", next_step="Send an image with the message"
        )
    yield f"No image was given for {loader.described}: the workflow's own {own!r} was used"


def _is_optional(raw: RawGraph, node: str, name: str, info: ObjectInfo | None) -> bool:
    class_type = str(raw[node]["class_type"])
    spec = info.spec(class_type, name) if info else None
    return not spec.required if spec else (class_type, name) in _OPTIONAL


def fill_mask(
    raw: RawGraph, slots: Slots, pictures: Sequence[InputImage], names: Sequence[str], mask: str | None
) -> None:
    """White repaints. Without a mask of its own the transparent part of the first image is repainted.

    Raises BadRequest for a mask that the workflow cannot take, and where nothing would be repainted.
    """
    slot = slots.mask if slots.mask and slots.mask.node in raw else None
    if slot is None:
        if mask is not None:
            raise BadRequest(
                "The workflow takes no mask", next_step="Send no mask, or add a LoadImageMask node to the workflow"
            )
    elif mask is not None:
        _set_mask(raw, slot, mask, "red")
    elif names:
        _require_alpha(pictures)
        if not _reads_alpha_of_an_image(slots, slot):
            _set_mask(raw, slot, names[0], "alpha")


def _reads_alpha_of_an_image(slots: Slots, slot: MaskSlot) -> bool:
    return slot.kind == "alpha" and any(place.node == slot.node for place in slots.images)


def _set_mask(raw: RawGraph, slot: MaskSlot, name: str, channel: str) -> None:
    if slot.kind == "file":
        inputs_of(raw, slot.node).update(image=name, channel=channel)
        loaded = Link(slot.node, 0)
    else:
        former = Link(slot.node, 1) if slot.kind == "alpha" else Link(slot.converter, 0)
        loaded = Link(add_node(raw, LOAD_MASK, "Mask", {"image": name, "channel": channel}), 0)
        rewire(raw, former, loaded)
    if slot.inverted:  # the workflow expects black where to repaint
        insert_after(raw, loaded, "InvertMask", "Mask as the workflow expects it", {"mask": [loaded.node, loaded.slot]})


def _require_alpha(pictures: Sequence[InputImage]) -> None:
    if pictures and not has_alpha(pictures[0]):
        raise BadRequest(
            "The workflow repaints a masked area and got no mask",
            next_step="Send a second image whose name contains `mask` (white = repaint), or an image with transparency",
        )


def has_alpha(image: InputImage) -> bool:
    """Whether the image has transparency, by its header."""
    try:
        with Image.open(io.BytesIO(image.data), formats=["PNG", "WEBP", "GIF", "TIFF"]) as opened:
            return "A" in opened.getbands() or "transparency" in opened.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False

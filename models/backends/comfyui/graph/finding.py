"""The slots of a whole workflow: what its author named, then what following the links finds."""

from models.backends.comfyui.graph.ends import output_nodes
from models.backends.comfyui.graph.graph import Graph, Target
from models.backends.comfyui.graph.images import find_images
from models.backends.comfyui.graph.named import named_slots
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.slots import Slots, slot_at
from models.backends.comfyui.graph.tracing import trace
from models.backends.comfyui.graph.values import has_placeholder, value_at


def find_slots(graph: Graph, info: ObjectInfo | None = None) -> Slots:
    """Find the slots. `info` sharpens types and output nodes; everything works without it."""
    outputs = output_nodes(graph, info)
    traced = trace(graph, outputs)
    named, unclear = named_slots(graph, info)
    claimed = {(place.node, place.input) for slot in named.values() for place in slot.places}

    def is_free(place: Target) -> bool:
        return (place.node, place.input) not in claimed and not has_placeholder(value_at(graph, place))

    found = dict(named)
    for name, places in traced.places.items():
        free = [place for place in places if is_free(place)]
        if name in named:
            continue
        if free:
            found[name] = slot_at(graph, info, name, free, "trace")
        elif places:
            node = graph.nodes[places[0].node]
            traced.missing[name] = f"{node.described} is filled by other placeholders or titles"
    pictures = find_images(graph, outputs, info)
    notes = [*(words for place, words in traced.own_values.items() if is_free(place)), *traced.notes, *unclear]
    notes.extend(f"{node.described} keeps its own mask" for node in pictures.further_masks)
    return Slots(
        found=found,
        images=pictures.images,
        mask=pictures.mask,
        missing={name: why for name, why in traced.missing.items() if name not in found},
        ambiguous={name: why for name, why in traced.ambiguous.items() if name not in found},
        notes=tuple(notes),
        latent=traced.latent,
        from_image=traced.from_image,
        size_step=traced.size_step,
    )

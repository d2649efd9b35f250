"""Slots that the author of a workflow named: by placeholders in its values, or by titles on its nodes."""

from collections.abc import Sequence

from models.backends.comfyui.graph.graph import Graph, Target
from models.backends.comfyui.graph.images import LOAD_IMAGE, LOAD_MASK
from models.backends.comfyui.graph.kinds import kind_at, spec_at, typed
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.placeholders import Placeholder, find_placeholders
from models.backends.comfyui.graph.slots import Slot, slot_at
from models.backends.comfyui.graph.titles import find_titled
from models.backends.comfyui.graph.values import has_placeholder, value_at
from models.entities import ParameterValue


def named_slots(graph: Graph, info: ObjectInfo | None) -> tuple[dict[str, Slot], list[str]]:
    """The slots that the author of the workflow named, and remarks on titles that name no single value."""
    by_name: dict[str, list[Placeholder]] = {}
    for placeholder in find_placeholders(graph):
        by_name.setdefault(placeholder.name, []).append(placeholder)
    slots = {name: _placeholder_slot(graph, info, name, all_) for name, all_ in by_name.items()}
    titled: dict[str, list[Target]] = {}
    unclear = []
    for one in find_titled(graph):
        if one.place is None:
            unclear.append(f"the title of {one.node.described} does not say which of its values is meant")
        elif one.name not in slots and not has_placeholder(value_at(graph, one.place)):
            titled.setdefault(one.name, []).append(one.place)
    slots.update({name: slot_at(graph, info, name, places, "title") for name, places in titled.items()})
    return {name: slot for name, slot in slots.items() if not _is_file_name(graph, slot)}, unclear


def _is_file_name(graph: Graph, slot: Slot) -> bool:
    # A placeholder in an image loader says nothing that its place does not say.
    return all(graph.nodes[place.node].class_type in (LOAD_IMAGE, LOAD_MASK) for place in slot.places)


def _placeholder_slot(graph: Graph, info: ObjectInfo | None, name: str, group: Sequence[Placeholder]) -> Slot:
    whole = next((one for one in group if one.whole), None)
    kind = kind_at(graph, info, name, whole.place if whole else None)
    stated = next((one.default for one in group if one.default is not None), None)
    default: ParameterValue | None = typed(stated, kind) if stated is not None else None
    if default is None and whole is not None and kind in ("int", "float"):
        spec = spec_at(graph, info, whole.place)
        usual = spec.default if spec else None
        default = usual if isinstance(usual, (int, float)) else None
    return Slot(name, kind, default, tuple(dict.fromkeys(one.place for one in group)), "placeholder")

"""Group nodes of older files ("workflow>Name"), turned into subgraphs, which newer files have in their place.

The editor numbers the outer inputs and outputs of a group node by rules of its own: first what is open on the nodes
inside, in their order, then fields that were converted to inputs; outputs that are used inside alone are hidden. The
outer values are those of the fields inside, in the same order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import JsonValue

from models.backends.comfyui.graph.editor_file import (
    EditorLink,
    EditorNode,
    EditorPort,
    GroupNode,
    Subgraph,
    SubgraphOutput,
)
from models.backends.comfyui.graph.editor_values import aligned
from models.backends.comfyui.graph.nodes import InputSpec, ObjectInfo

INPUT_SIDE, OUTPUT_SIDE = "-10", "-20"  # the two ends of a subgraph, as its links name them

type End = tuple[int, int]
"""A node's place in the group and one of its inputs or outputs."""


def group_name(class_type: str) -> str | None:
    """The name of the group that a node stands for."""
    prefix = next((prefix for prefix in ("workflow>", "workflow/") if class_type.startswith(prefix)), None)
    return class_type.removeprefix(prefix) if prefix else None


def unfolded(node: EditorNode, group: GroupNode, info: ObjectInfo) -> Subgraph:
    """The subgraph that a group node stands for where it is used, with the values that are written on it."""
    inner = [end for link in group.links if (end := _ends(link)) is not None]
    links = [_link(str(source[0]), source[1], str(target[0]), target[1]) for source, target in inner]
    opened = list(_open_inputs(group, {target for _, target in inner}))
    links += [_link(INPUT_SIDE, slot, str(place), own) for slot, (place, own) in enumerate(opened)]
    shown = list(_open_outputs(group, {source for source, _ in inner}))
    links += [_link(str(place), own, OUTPUT_SIDE, slot) for slot, (place, own) in enumerate(shown)]
    links = [link.model_copy(update={"id": number}) for number, link in enumerate(links, start=1)]
    names = [port.name for port in node.inputs]
    return Subgraph(
        id=node.type,
        name=group_name(node.type) or node.type,
        nodes=[_connected(member, links) for member in _with_values(node, group, info)],
        links=links,
        inputs=[EditorPort(name=names[slot] if slot < len(names) else f"#{slot}") for slot in range(len(opened))],
        outputs=[
            SubgraphOutput(
                linkIds=[link.id for link in links if (link.target_id, link.target_slot) == (OUTPUT_SIDE, n)]
            )
            for n in range(len(shown))
        ],
    )


def _ends(link: list[JsonValue]) -> tuple[End, End] | None:
    match link:
        case [int(source), int(output), int(target), int(slot), *_]:
            return (source, output), (target, slot)
        case _:
            return None


def _link(origin: str, origin_slot: int, target: str, target_slot: int) -> EditorLink:
    return EditorLink(
        id=0, origin_id=origin, origin_slot=origin_slot, target_id=target, target_slot=target_slot, type="*"
    )


def _open_inputs(group: GroupNode, linked: set[End]) -> Iterator[End]:
    """The inputs that the group node shows, in its order."""
    for converted in (False, True):
        for place, member in enumerate(group.nodes):
            for slot, port in enumerate(member.inputs):
                hidden = group.shows(place, "input", port.name) is False
                if bool(port.widget) == converted and (place, slot) not in linked and not hidden:
                    yield place, slot


def _open_outputs(group: GroupNode, used: set[End]) -> Iterator[End]:
    outside = {(end[0], end[1]) for end in group.external if len(end) > 1 and all(isinstance(n, int) for n in end[:2])}
    for place, member in enumerate(group.nodes):
        for slot in range(len(member.outputs)):
            chosen = group.shows(place, "output", str(slot))
            usual = (place, slot) not in used or (place, slot) in outside
            if usual if chosen is None else chosen:
                yield place, slot


def _connected(member: EditorNode, links: list[EditorLink]) -> EditorNode:
    by_slot = {link.target_slot: link.id for link in links if link.target_id == member.id}
    ports = [port.model_copy(update={"link": by_slot.get(slot)}) for slot, port in enumerate(member.inputs)]
    return member.model_copy(update={"inputs": ports})


def _with_values(node: EditorNode, group: GroupNode, info: ObjectInfo) -> list[EditorNode]:
    """The nodes inside with the values that stand on the group node."""
    outer = node.widgets_values
    if not outer or isinstance(outer, dict):
        return group.nodes
    fields = [field for place, member in enumerate(group.nodes) for field in _fields(place, member, info)]
    named: dict[str, JsonValue] = dict(aligned(fields, outer).named)
    return [_written(member, f"{place} ", named) for place, member in enumerate(group.nodes)]


def _fields(place: int, member: EditorNode, info: ObjectInfo) -> Iterator[InputSpec]:
    converted = {port.name for port in member.inputs if port.widget}
    known = info.classes.get(member.type)
    own = [InputSpec("value", "*", required=True)] if member.type == "PrimitiveNode" else []
    for spec in known.inputs.values() if known else own:
        if (spec.is_widget or not known) and spec.name not in converted:
            options: Mapping[str, JsonValue] = {**spec.options, "control_after_generate": spec.controls_seed}
            yield replace(spec, name=f"{place} {spec.name}", options=options)


def _written(member: EditorNode, prefix: str, named: Mapping[str, JsonValue]) -> EditorNode:
    own = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    if not own:
        return member
    values: list[JsonValue] | dict[str, JsonValue] = [own["value"]] if member.type == "PrimitiveNode" else own
    return member.model_copy(update={"widgets_values": values})

"""A file of ComfyUI's editor ("UI format"), as it lies on disk: nodes with nameless values, links, subgraphs.

Older files have group nodes ("workflow>Name"), which are turned into the subgraphs that newer files have in their place.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import filterfalse
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from models.backends.comfyui.graph.editor_values import ABSENT, Reading, aligned, is_empty
from models.backends.comfyui.graph.nodes import InputSpec, NodeClass, ObjectInfo, meaning_of

INPUT_SIDE, OUTPUT_SIDE = "-10", "-20"  # the two ends of a subgraph, as its links name them

_NESTED = 8  # choices within choices in a prompt

type LinkType = Annotated[str, BeforeValidator(str)]  # old saves write -1 or a list of choices here


class EditorPart(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {key: part for key, part in value.items() if part is not None} if isinstance(value, dict) else value


class EditorLink(EditorPart):
    id: int
    origin_id: str
    origin_slot: int
    target_id: str
    target_slot: int
    type: LinkType = "*"

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        # The main graph writes links as lists, subgraphs as objects.
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return dict(zip(names, value, strict=False)) if isinstance(value, list) else value


class EditorPort(EditorPart):
    name: str = ""
    type: LinkType = "*"
    link: int | None = None
    widget: Mapping[str, JsonValue] | None = None


class EditorNode(EditorPart):
    id: str
    type: str
    mode: int = 0
    title: str | None = None
    inputs: list[EditorPort] = Field(default_factory=list)
    outputs: list[EditorPort] = Field(default_factory=list)
    widgets_values: list[JsonValue] | dict[str, JsonValue] = Field(default_factory=list)
    properties: dict[str, JsonValue] = Field(default_factory=dict)

    def input(self, name: str) -> EditorPort | None:
        return next((port for port in self.inputs if port.name == name), None)


class SubgraphOutput(EditorPart):
    linkIds: list[int] = Field(default_factory=list)  # noqa: N815 -- the file's name


class BroadcastLink(EditorPart):
    """A link that an "Anything Everywhere" node makes."""

    downstream: str
    downstream_slot: int
    upstream: str
    upstream_slot: int
    type: str = "*"


def _without_gaps(links: Any) -> list[Any]:
    return list(filter(None, links)) if isinstance(links, list) else []


class Canvas(EditorPart):
    nodes: list[EditorNode]
    links: Annotated[list[EditorLink], BeforeValidator(_without_gaps)] = []
    broadcasts: list[BroadcastLink] = Field(default_factory=list, validation_alias=AliasPath("extra", "ue_links"))


class Subgraph(Canvas):
    id: str
    name: str = ""
    inputs: list[EditorPort] = Field(default_factory=list)
    outputs: list[SubgraphOutput] = Field(default_factory=list)


def _numbered(nodes: Any) -> list[Any]:
    members = nodes if isinstance(nodes, list) else []
    return [{**node, "id": str(place)} if isinstance(node, dict) else node for place, node in enumerate(members)]


class GroupNode(EditorPart):
    """Several nodes as one, in older files. Links and `external` name the nodes by their place in the list."""

    nodes: Annotated[list[EditorNode], BeforeValidator(_numbered)]
    links: list[list[JsonValue]] = Field(default_factory=list)
    external: list[list[JsonValue]] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)

    def shows(self, place: int, group: str, name: str) -> bool | None:
        """Whether the author shows or hides an input or output of a node; None where nothing was chosen."""
        found: Any = self.config
        for key in (str(place), group, name, "visible"):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, bool) else None


class EditorFile(Canvas):
    subgraphs: list[Subgraph] = Field(default_factory=list, validation_alias=AliasPath("definitions", "subgraphs"))
    groups: dict[str, GroupNode] = Field(default_factory=dict, validation_alias=AliasPath("extra", "groupNodes"))


# Values by name


def read_values(node: EditorNode, known: NodeClass) -> Reading:
    values = node.widgets_values
    if isinstance(values, dict):
        return Reading(named=dict(_by_name(values, known)))
    rows, values = _rows(node.type, values)
    best = aligned([spec for spec in known.inputs.values() if spec.is_widget], values)
    unknown = {port.name: InputSpec(port.name, port.type, required=False) for port in node.inputs if port.widget}
    shown = [known.inputs.get(name, spec) for name, spec in unknown.items()]
    if best.cost >= ABSENT and shown:  # a node saved with other fields than its class has now: the file names them
        best = min(best, aligned(shown, values), key=lambda reading: reading.cost)
    return replace(best, named={**best.named, **rows}, left=tuple(filterfalse(is_empty, best.left)))


def _by_name(values: dict[str, JsonValue], known: NodeClass) -> Iterator[tuple[str, JsonValue]]:
    for spec in known.inputs.values():
        if spec.is_widget:
            yield spec.name, values.get(spec.name, spec.default)
    for name, value in values.items():  # fields that an extension adds by what was chosen in another one
        if name not in known.inputs and isinstance(value, (str, int, float, bool)):
            yield name, value


def _rows(class_type: str, values: list[JsonValue]) -> tuple[dict[str, JsonValue], list[JsonValue]]:
    """The rows of a node whose script lets users add some, as inputs `lora_1`, `lora_2` ..., and the other values."""
    key = meaning_of(class_type).rows
    rows = [value for value in values if key and isinstance(value, dict) and key in value]
    named: dict[str, JsonValue] = {
        f"{key}_{number}": {name: part for name, part in row.items() if part is not None}
        for number, row in enumerate(rows, start=1)
        if isinstance(row, dict)
    }
    return named, [value for value in values if value not in rows]


_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_CHOICES = re.compile(r"(?<!\\)\{((?:[^{}\\]|\\.)*)\}")


def first_choices(text: str) -> str:
    """A prompt as the editor sends it: without comments, and with one of the choices in `{day|night}`.

    The editor chooses at random for each run. Here it is always the first, so that a model stays what it is.
    """
    text = _COMMENT.sub("", text)
    for _ in range(_NESTED):
        text = _CHOICES.sub(lambda found: re.split(r"(?<!\\)\|", found[1])[0], text)
    return re.sub(r"\\([{}|])", r"\1", text)


# Group nodes. The editor numbers the outer inputs and outputs by rules of its own: first what is open on the nodes
# inside, in their order, then fields that were converted to inputs; outputs that are used inside alone are hidden. The
# outer values are those of the fields inside, in the same order.

type End = tuple[int, int]
"""A node's place in the group and one of its inputs or outputs."""


def group_name(class_type: str) -> str | None:
    found = re.match(r"workflow[>/](.+)", class_type)
    return found[1] if found else None


def unfolded(node: EditorNode, group: GroupNode, info: ObjectInfo) -> Subgraph:
    """The subgraph that a group node stands for where it is used, with the values that are written on it."""
    inner = [link[:4] for link in group.links if len(link) > 3 and _are_numbers(link[:4])]  # noqa: PLR2004
    opened = enumerate(_open_inputs(group, {(target, slot) for _, _, target, slot in inner}))
    shown = enumerate(_open_outputs(group, {(source, slot) for source, slot, _, _ in inner}))
    entering: list[list[Any]] = [[INPUT_SIDE, slot, *end] for slot, end in opened]
    leaving: list[list[Any]] = [[*end, OUTPUT_SIDE, slot] for slot, end in shown]
    ends = enumerate((*inner, *entering, *leaving))
    links = [EditorLink.model_validate([number, *end]) for number, end in ends]
    return Subgraph(
        id=node.type,
        name=group_name(node.type) or node.type,
        nodes=[_connected(member, links) for member in _with_values(node, group, info)],
        links=links,
        inputs=[EditorPort(name=port.name) for port in node.inputs],
    )


def _are_numbers(values: list[JsonValue]) -> bool:
    return all(isinstance(value, int) for value in values)


def _open_inputs(group: GroupNode, linked: set[Any]) -> Iterator[End]:
    for converted in (False, True):
        for place, member in enumerate(group.nodes):
            for slot, port in enumerate(member.inputs):
                hidden = group.shows(place, "input", port.name) is False
                if bool(port.widget) == converted and (place, slot) not in linked and not hidden:
                    yield place, slot


def _open_outputs(group: GroupNode, used: set[Any]) -> Iterator[End]:
    outside = {(end[0], end[1]) for end in group.external if len(end) > 1 and _are_numbers(end[:2])}
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
    values = [own["value"]] if member.type == "PrimitiveNode" else own
    return member.model_copy(update={"widgets_values": values})

"""A file of ComfyUI's editor ("UI format"), as it lies on disk: nodes with nameless values, links, subgraphs."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator


class EditorPart(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class EditorLink(EditorPart):
    id: int
    origin_id: str
    origin_slot: int
    target_id: str
    target_slot: int
    type: str = "*"

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        # The main graph writes links as lists, subgraphs as objects.
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return dict(zip(names, value, strict=False)) if isinstance(value, list) else value

    @field_validator("type", mode="before")
    @classmethod
    def _type(cls, value: Any) -> str:
        return str(value)


class EditorPort(EditorPart):
    name: str = ""
    type: str = "*"
    link: int | None = None
    widget: Mapping[str, JsonValue] | None = None

    @field_validator("type", mode="before")
    @classmethod
    def _type(cls, value: Any) -> str:
        return str(value)  # old saves write -1 or a list of choices here


class EditorNode(EditorPart):
    id: str
    type: str
    mode: int = 0
    title: str | None = None
    inputs: list[EditorPort] = Field(default_factory=list)
    outputs: list[EditorPort] = Field(default_factory=list)
    widgets_values: list[JsonValue] | dict[str, JsonValue] = Field(default_factory=list)
    properties: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("inputs", "outputs", "widgets_values", "properties", mode="before")
    @classmethod
    def _absent(cls, value: Any, info: Any) -> Any:
        empty: Any = {} if info.field_name == "properties" else []
        return empty if value is None else value

    def input(self, name: str) -> EditorPort | None:
        return next((port for port in self.inputs if port.name == name), None)


class SubgraphOutput(EditorPart):
    name: str = ""
    linkIds: list[int] = Field(default_factory=list)  # noqa: N815 -- the file's name


class BroadcastLink(EditorPart):
    """A link that an "Anything Everywhere" node makes."""

    downstream: str
    downstream_slot: int
    upstream: str
    upstream_slot: int
    type: str = "*"


class CanvasExtra(EditorPart):
    ue_links: list[BroadcastLink] = Field(default_factory=list)


class Canvas(EditorPart):
    nodes: list[EditorNode]
    links: list[EditorLink] = Field(default_factory=list)
    extra: CanvasExtra = Field(default_factory=CanvasExtra)

    @field_validator("extra", mode="before")
    @classmethod
    def _no_extra(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("links", mode="before")
    @classmethod
    def _entries(cls, value: Any) -> Any:
        return [link for link in value if link] if isinstance(value, list) else []


class Subgraph(Canvas):
    id: str
    name: str = ""
    inputs: list[EditorPort] = Field(default_factory=list)
    outputs: list[SubgraphOutput] = Field(default_factory=list)


class Definitions(EditorPart):
    subgraphs: list[Subgraph] = Field(default_factory=list)


class GroupNode(EditorPart):
    """Several nodes as one, in older files. Links and `external` name the nodes by their place in the list."""

    nodes: list[EditorNode]
    links: list[list[JsonValue]] = Field(default_factory=list)
    external: list[list[JsonValue]] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("nodes", mode="before")
    @classmethod
    def _numbered(cls, value: Any) -> Any:
        nodes = value if isinstance(value, list) else []
        return [{**node, "id": str(place)} if isinstance(node, dict) else node for place, node in enumerate(nodes)]

    def shows(self, place: int, group: str, name: str) -> bool | None:
        """Whether the author shows or hides an input or output of a node; None where nothing was chosen."""
        found: Any = self.config
        for key in (str(place), group, name, "visible"):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, bool) else None


class FileExtra(CanvasExtra):
    groupNodes: dict[str, GroupNode] = Field(default_factory=dict)  # noqa: N815 -- the file's name


class EditorFile(Canvas):
    definitions: Definitions = Field(default_factory=Definitions)
    extra: FileExtra = Field(default_factory=FileExtra)

    @field_validator("definitions", mode="before")
    @classmethod
    def _no_definitions(cls, value: Any) -> Any:
        return {} if value is None else value

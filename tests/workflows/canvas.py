"""A shipped app as Dify's editor sees it: nodes, notes, and the variables that a node may use."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "workflows").glob("*.yml"))
NOTE = "custom-note"

_TEMPLATE = re.compile(r"\{\{#(?P<selector>[\w.]+)#\}\}")
_OUTPUTS = {
    "llm": {"text", "reasoning_content", "usage"},  # not `files`, which exists at run time
    "template-transform": {"output"},
    "http-request": {"body", "status_code", "headers", "files"},
    "human-input": {"__action_id", "__action_value", "__rendered_content"},
    "iteration": {"output"},
}
_SPECIAL = {"sys", "env", "conversation"}


@dataclass(frozen=True)
class Canvas:
    """The graph of an app."""

    app: dict[str, Any]

    @cached_property
    def all_nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.app["workflow"]["graph"]["nodes"]
        return nodes

    @cached_property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes that run, by id."""
        return {node["id"]: node for node in self.all_nodes if node["type"] != NOTE}

    @cached_property
    def notes(self) -> list[dict[str, Any]]:
        return [node for node in self.all_nodes if node["type"] == NOTE]

    @cached_property
    def edges(self) -> list[dict[str, Any]]:
        edges: list[dict[str, Any]] = self.app["workflow"]["graph"]["edges"]
        return edges

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [node for node in self.nodes.values() if node["data"]["type"] == kind]

    def unusable(self, node_id: str) -> list[str]:
        """The variables of a node that the editor's checklist calls invalid."""
        return [".".join(selector) for selector in used(self.nodes[node_id]) if not self._offers(node_id, selector)]

    def _offers(self, node_id: str, selector: list[str]) -> bool:
        source, name, *path = selector
        if source in _SPECIAL:
            return True
        node = self.nodes[node_id]
        if source == node.get("parentId"):
            return name in {"item", "index"}
        if source not in self._before(node_id):
            return False
        return name in outputs(self.nodes[source]) and _has(self.nodes[source], name, path)

    def _before(self, node_id: str) -> set[str]:
        """The nodes that run before, those around an iteration included; an iteration also reads its own nodes."""
        sources = {edge["source"] for edge in self.edges if edge["target"] == node_id}
        parent = self.nodes[node_id].get("parentId")
        inner = {name for name, node in self.nodes.items() if node.get("parentId") == node_id}
        around = self._before(parent) if parent else set()
        return sources.union(inner, around, *(self._before(source) for source in sources))


def load(path: Path) -> Canvas:
    return Canvas(yaml.safe_load(path.read_text("utf-8")))


def outputs(node: dict[str, Any]) -> set[str]:
    """What the editor's variable picker offers of a node."""
    data = node["data"]
    offered = set(_OUTPUTS.get(data["type"], ()))
    match data["type"]:
        case "start":
            offered |= {variable["variable"] for variable in data["variables"]}
        case "code":
            offered |= set(data["outputs"])
        case "human-input":
            offered |= {field["output_variable_name"] for field in data["inputs"]}
        case "llm" if data.get("structured_output_enabled"):
            offered.add("structured_output")
    if data.get("error_strategy"):
        offered |= {"error_message", "error_type"}
    return offered


def used(node: dict[str, Any]) -> list[list[str]]:
    """Every variable that a node's settings refer to, as selector or inside a text."""
    return [*_selectors(node["data"])]


def _selectors(value: object) -> Iterator[list[str]]:
    match value:
        case dict():
            for key, inner in value.items():
                if key.endswith("selector"):
                    yield from [inner] if inner else []
                else:
                    yield from _selectors(inner)
        case list():
            for inner in value:
                yield from _selectors(inner)
        case str():
            yield from (match["selector"].split(".") for match in _TEMPLATE.finditer(value))


def _has(node: dict[str, Any], name: str, path: list[str]) -> bool:
    """Whether a structured output has the property; nothing else has parts here."""
    if not path:
        return True
    return name == "structured_output" and path[0] in node["data"]["structured_output"]["schema"]["properties"]

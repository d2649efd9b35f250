"""ComfyUI's official templates (package `comfyui-workflow-templates-json`): all are read, and no value is shifted.

The definitions of their classes are those recorded from a server; the others are put together from the files, which
name the fields of most nodes themselves.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any

from models.backends.comfyui.graph.editor import convert
from models.backends.comfyui.graph.editor_file import EditorFile, EditorNode, read_values
from models.backends.comfyui.graph.nodes import InputSpec, NodeClass, ObjectInfo, meaning_of
from tests.backends.comfyui.graphs import recorded_info

CONTROLS = ("fixed", "increment", "decrement", "randomize")


@cache
def templates() -> Mapping[str, Any]:
    found = {}
    for entry in sorted(files("comfyui_workflow_templates_json").joinpath("templates").iterdir(), key=str):
        if entry.name.endswith(".json"):
            value = json.loads(entry.read_text("utf-8"))
            if isinstance(value, dict) and isinstance(value.get("nodes"), list):
                found[entry.name] = value
    return found


def nodes_of(name: str) -> Iterator[EditorNode]:
    """The nodes of a template that a server runs."""
    file = EditorFile.model_validate(templates()[name])
    subgraphs = {subgraph.id for subgraph in file.subgraphs}
    for node in chain(file.nodes, *(subgraph.nodes for subgraph in file.subgraphs)):
        if node.type not in subgraphs and not meaning_of(node.type).editor:
            yield node


def labelled(node: EditorNode) -> dict[str, Any] | None:
    """The values of a node by the names that the file itself gives them, where it names them all."""
    names = [port.name for port in node.inputs if port.widget and not port.type.endswith("UPLOAD")]
    values = [value for value in node.widgets_values if value not in (*CONTROLS, "image")]
    if isinstance(node.widgets_values, dict) or not names or len(names) != len(values):
        return None
    return dict(zip(names, values, strict=True))


@cache
def definitions() -> ObjectInfo:
    by_class: dict[str, list[EditorNode]] = defaultdict(list)
    for name in templates():
        for node in nodes_of(name):
            by_class[node.type].append(node)
    made = {name: _definition(name, nodes) for name, nodes in by_class.items()}
    return ObjectInfo({**made, **recorded_info().classes})


def _definition(name: str, nodes: list[EditorNode]) -> NodeClass:
    named = [node for node in nodes if labelled(node) is not None]
    if named:
        model = max(named, key=lambda node: len(node.inputs))
        specs = [InputSpec(port.name, port.type, required=False) for port in model.inputs]
    else:  # its fields are not named anywhere: any value fits
        most = max(len(node.widgets_values) for node in nodes)
        specs = [InputSpec(f"field {n}", "*", required=False, options={"widgetType": "*"}) for n in range(most)]
    outputs = tuple(port.type for port in nodes[0].outputs)
    return NodeClass(
        name, name, {spec.name: spec for spec in specs}, outputs, outputs, is_output=False, is_partner=False
    )


def misread(name: str) -> Iterator[str]:
    """What is wrong with the reading of one template: every node must have its values under their own names."""
    nodes = list(nodes_of(name))
    if nodes and not convert(templates()[name], definitions())[0]:
        yield f"{name}: nothing is left of it"
    for node in nodes:
        read = read_values(node, definitions().classes[node.type])
        expected = labelled(node) or {}
        shifted = {key: read.named.get(key) for key in expected if read.named.get(key) != expected[key]}
        if shifted or read.wrong:
            yield f"{name}: {node.type} ({node.id}) has {shifted} and of the wrong type {read.wrong}"


def test_there_are_hundreds_of_templates() -> None:
    assert len(templates()) > 500
    assert "api_rodin_gen2.json" in templates()


def test_every_template_is_read_and_no_value_is_shifted() -> None:
    """One test, because the definitions are put together from all of them; it reports each failure by name."""
    assert [fault for name in templates() for fault in misread(name)] == []

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

import pytest

from models.backends.comfyui.graph.editor import convert
from models.backends.comfyui.graph.editor_file import EditorFile, EditorNode
from models.backends.comfyui.graph.editor_values import read_values
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


NAMES = list(templates())


def nodes_of(name: str) -> Iterator[EditorNode]:
    """The nodes of a template that a server runs."""
    file = EditorFile.model_validate(templates()[name])
    subgraphs = {subgraph.id for subgraph in file.definitions.subgraphs}
    for node in chain(file.nodes, *(subgraph.nodes for subgraph in file.definitions.subgraphs)):
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
    for name in NAMES:
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


def test_there_are_hundreds_of_templates() -> None:
    assert len(NAMES) > 500
    assert "api_rodin_gen2.json" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_read_and_no_value_is_shifted(name: str) -> None:
    """Every node with its values under their own names."""
    assert convert(templates()[name], definitions()).graph or not list(nodes_of(name))
    for node in nodes_of(name):
        read = read_values(node, definitions().classes[node.type])
        expected = labelled(node)
        if expected is not None:
            assert {key: read.named.get(key) for key in expected} == expected, f"{node.type} ({node.id})"
        assert read.wrong == (), f"{node.type} ({node.id})"

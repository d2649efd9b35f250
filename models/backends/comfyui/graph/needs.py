"""What a workflow needs on a server: node classes and model files, and what of it a given server lacks."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.backends.comfyui.graph.files import FILE_INPUTS
from models.backends.comfyui.graph.graph import Graph, Node
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.values import has_placeholder

_FILE_NAMES = frozenset(FILE_INPUTS) | {"model_name"}
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class FileNeed:
    """One model file that a node names."""

    node: Node
    input: str
    name: str


@dataclass(frozen=True, slots=True)
class Needs:
    """Node classes and model files that the output nodes depend on."""

    classes: tuple[str, ...]
    files: tuple[FileNeed, ...]


def find_needs(graph: Graph, outputs: Iterable[str]) -> Needs:
    nodes = graph.upstream(outputs)
    files = [
        FileNeed(node, name, value)
        for node in nodes
        for name, value in node.inputs.items()
        if name in _FILE_NAMES and isinstance(value, str) and value and not has_placeholder(value)
    ]
    return Needs(tuple(dict.fromkeys(node.class_type for node in nodes)), tuple(files))


def lacking(graph: Graph, outputs: Iterable[str], info: ObjectInfo) -> tuple[str, ...]:
    """One sentence per node class, model file or other choice that the server does not have, naming node and input."""
    nodes = graph.upstream(outputs)
    said = [
        f"{node.described}: the server has no node class `{node.class_type}`; install the extension that brings it"
        for node in nodes
        if node.class_type not in info.classes
    ]
    for node in nodes:
        for name, value in node.inputs.items():
            sentence = _unknown_choice(node, name, value, info) if isinstance(value, str) else ""
            if sentence:
                said.append(sentence)
    return tuple(dict.fromkeys(said))


def _unknown_choice(node: Node, name: str, value: str, info: ObjectInfo) -> str:
    spec = info.spec(node.class_type, name)
    if spec is None or spec.choices is None or spec.is_upload or not value or has_placeholder(value):
        return ""
    if spec.spelled(value) in spec.choices:
        return ""
    shown = ", ".join(spec.choices[:_SHOWN])
    more = f" and {len(spec.choices) - _SHOWN} more" if len(spec.choices) > _SHOWN else ""
    there = f"it has {shown}{more}" if spec.choices else "it has none"
    return f"{node.described}: `{name}` is {value!r}, which the server does not have ({there})"

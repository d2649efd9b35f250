"""The recorded graphs and node definitions, for tests without a server."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from models.backends.comfyui.graph.graph import Graph
from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import Workflow

type NodeOf = tuple[str, dict[str, Any]]
"""The class of a node and its inputs."""

FIXTURES = Path(__file__).parents[2] / "fixtures" / "comfyui"
WORKFLOWS = FIXTURES / "workflows"


def text_of(name: str) -> str:
    return (WORKFLOWS / name).read_text("utf-8")


@cache
def recorded_info() -> ObjectInfo:
    """67 classes of a real server 0.10.0, and a few from its source code (marked in the file)."""
    recorded = json.loads((FIXTURES / "object_info_selected.json").read_text("utf-8"))
    read = json.loads((FIXTURES / "object_info_from_source.json").read_text("utf-8"))
    return ObjectInfo.parse({**recorded, **read["classes"]})


@cache
def case_info() -> ObjectInfo:
    """The classes used by the cases, including extensions."""
    return ObjectInfo.parse(json.loads((FIXTURES / "cases" / "object_info.json").read_text("utf-8")))


def graph_of(info: Any = None, **nodes: NodeOf) -> Graph:
    """A graph of `id=(class, inputs)`; `info` are definitions as a server gives them."""
    raw: Any = {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
    return Graph.of(raw, ObjectInfo.parse(info) if info else None)


def case(name: str, info: ObjectInfo | None = None) -> Workflow:
    """A workflow of `cases`: a published workflow that failed, reduced to the minimum."""
    return Workflow.load(case_text(name), info)


def case_text(name: str) -> str:
    """The file of a case, by its name or leading number."""
    exact = FIXTURES / "cases" / f"{name}.json"
    [path] = [exact] if exact.exists() else (FIXTURES / "cases").glob(f"{name}*.json")
    return path.read_text("utf-8")


def workflow(name: str, info: ObjectInfo | None = None) -> Workflow:
    return Workflow.load(text_of(f"{name}.api.json"), info)

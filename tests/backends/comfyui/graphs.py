"""The recorded graphs and node definitions, for the tests of the pure half."""

import json
from functools import cache
from pathlib import Path

from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import Workflow

FIXTURES = Path(__file__).parents[2] / "fixtures" / "comfyui"
WORKFLOWS = FIXTURES / "workflows"


def text_of(name: str) -> str:
    return (WORKFLOWS / name).read_text("utf-8")


@cache
def recorded_info() -> ObjectInfo:
    """67 classes of a real server 0.10.0, and a few read in its source (marked so in the file)."""
    recorded = json.loads((FIXTURES / "object_info_selected.json").read_text("utf-8"))
    read = json.loads((FIXTURES / "object_info_from_source.json").read_text("utf-8"))
    return ObjectInfo.parse({**recorded, **read["classes"]})


def workflow(name: str, info: ObjectInfo | None = None) -> Workflow:
    return Workflow.load(text_of(f"{name}.api.json"), info)

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


@cache
def case_info() -> ObjectInfo:
    """The classes that the cases use, extensions among them."""
    return ObjectInfo.parse(json.loads((FIXTURES / "cases" / "object_info.json").read_text("utf-8")))


def case(name: str, info: ObjectInfo | None = None) -> Workflow:
    """A workflow of `cases`: what people published and what went wrong with it, as small as possible."""
    return Workflow.load(case_text(name), info)


def case_text(name: str) -> str:
    """The file of a case, by its name or the number that it begins with."""
    exact = FIXTURES / "cases" / f"{name}.json"
    [path] = [exact] if exact.exists() else (FIXTURES / "cases").glob(f"{name}*.json")
    return path.read_text("utf-8")


def workflow(name: str, info: ObjectInfo | None = None) -> Workflow:
    return Workflow.load(text_of(f"{name}.api.json"), info)

"""Every shipped app is valid for Dify's editor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from graphon.dsl import LoadStatus, inspect

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "workflows").glob("*.yml"))


@pytest.fixture(params=APPS, ids=lambda path: path.stem)
def app(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    return loaded


def _nodes(app: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in app["workflow"]["graph"]["nodes"]}


def _selectors(value: object) -> Iterator[list[str]]:
    """Every variable reference inside a node's data."""
    match value:
        case dict():
            for key, inner in value.items():
                if key.endswith("selector") and inner:
                    yield inner
                else:
                    yield from _selectors(inner)
        case list():
            for inner in value:
                yield from _selectors(inner)


def test_there_are_apps() -> None:
    assert APPS


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_the_engine_can_load_it(path: Path) -> None:
    plan = inspect(path.read_text(encoding="utf-8"))
    assert (plan.load_status, plan.load_reason) == (LoadStatus.LOADABLE, None)


def test_it_has_the_dsl_version_of_the_oldest_supported_dify(app: dict[str, Any]) -> None:
    assert (app["kind"], app["version"]) == ("app", "0.6.0")
    assert app["app"]["mode"] in {"workflow", "advanced-chat"}


def test_edges_connect_nodes_and_name_their_types(app: dict[str, Any]) -> None:
    nodes = _nodes(app)
    for edge in app["workflow"]["graph"]["edges"]:
        types = (nodes[edge["source"]]["data"]["type"], nodes[edge["target"]]["data"]["type"])
        assert (edge["data"]["sourceType"], edge["data"]["targetType"]) == types
        assert (edge["type"], edge["targetHandle"]) == ("custom", "target")


def test_nodes_have_a_place_on_the_canvas(app: dict[str, Any]) -> None:
    for node in app["workflow"]["graph"]["nodes"]:
        assert node["position"].keys() == {"x", "y"}
        assert node["data"]["title"]


def test_variables_come_from_nodes_of_the_app_and_are_selectable_in_the_editor(app: dict[str, Any]) -> None:
    """The editor offers no `files` of an LLM node and refuses to publish an app that uses it."""
    nodes = _nodes(app)
    for node in nodes.values():
        for source, *names in _selectors(node["data"]):
            assert source in {*nodes, "sys", "env", "conversation"}
            assert not (source in nodes and nodes[source]["data"]["type"] == "llm" and names[0] == "files")


def test_image_nodes_name_this_plugin_in_full(app: dict[str, Any]) -> None:
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text(encoding="utf-8"))
    provider = f"{manifest['author']}/{manifest['name']}/{manifest['name']}"
    used = {node["data"]["model"]["provider"] for node in _nodes(app).values() if node["data"]["type"] == "llm"}
    assert provider in used

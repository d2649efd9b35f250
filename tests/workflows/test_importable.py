"""Every shipped app is valid for Dify's editor."""

from pathlib import Path

import pytest
import yaml

from sandbox.workflow import _document
from tests.workflows.canvas import APPS, ROOT, Canvas, load


@pytest.fixture(params=APPS, ids=lambda path: path.stem)
def app(request: pytest.FixtureRequest) -> Canvas:
    return load(request.param)


def test_there_are_apps() -> None:
    assert APPS


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_the_engine_can_load_it(path: Path) -> None:
    assert _document(path.read_text("utf-8")).graph_config


def test_it_has_the_dsl_version_of_the_oldest_supported_dify(app: Canvas) -> None:
    assert (app.app["kind"], app.app["version"]) == ("app", "0.6.0")
    assert app.app["app"]["mode"] in {"workflow", "advanced-chat"}


def test_edges_connect_nodes_and_name_their_types(app: Canvas) -> None:
    for edge in app.edges:
        types = tuple(app.nodes[edge[end]]["data"]["type"] for end in ("source", "target"))
        assert (edge["data"]["sourceType"], edge["data"]["targetType"]) == types
        assert (edge["type"], edge["targetHandle"]) == ("custom", "target")


def test_every_branch_leads_on(app: Canvas) -> None:
    """Edges leave by the handles that their node has, and each of these handles has an edge."""
    for name, node in app.nodes.items():
        data = node["data"]
        left = {edge["sourceHandle"] for edge in app.edges if edge["source"] == name}
        match data["type"]:
            case "if-else":
                assert left == {*(case["case_id"] for case in data["cases"]), "false"}
            case "human-input":
                assert left == {action["id"] for action in data["user_actions"]}
            case _ if data.get("error_strategy") == "fail-branch":
                assert left == {"source", "fail-branch"}
            case _:
                assert left <= {"source"}


def test_nodes_have_a_place_on_the_canvas(app: Canvas) -> None:
    ids = [node["id"] for node in app.all_nodes]
    assert len(ids) == len(set(ids))
    for node in app.nodes.values():
        assert node["position"].keys() == {"x", "y"}
        assert node["data"]["title"]


def test_the_editor_offers_every_variable_that_a_node_uses(app: Canvas) -> None:
    """Else its checklist calls the variable invalid and refuses to publish the app."""
    invalid = {name: variables for name in app.nodes if (variables := app.unusable(name))}
    assert invalid == {}


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        (["image", "files"], "an LLM node's files are not offered"),
        (["end", "image"], "the node comes later"),
        (["start", "size"], "the form has no such field"),
        (["image", "structured_output", "seed"], "structured output is off"),
        (["nobody", "text"], "there is no such node"),
    ],
)
def test_an_invalid_variable_is_found(selector: list[str], reason: str) -> None:
    app = load(ROOT / "workflows" / "text_to_image.yml")
    app.nodes["stored"]["data"]["variables"][0]["value_selector"] = selector
    assert app.unusable("stored") == [".".join(selector)], reason


def test_end_nodes_name_their_outputs_once(app: Canvas) -> None:
    names = [output["variable"] for node in app.of_type("end") for output in node["data"]["outputs"]]
    assert len(names) == len(set(names))


def test_a_form_for_a_person_reaches_somebody(app: Canvas) -> None:
    for node in app.of_type("human-input"):
        assert any(method["enabled"] for method in node["data"]["delivery_methods"])
        actions = node["data"]["user_actions"]
        assert all(action["title"] and action["id"].isidentifier() and len(action["id"]) <= 20 for action in actions)


def test_image_nodes_name_this_plugin_in_full(app: Canvas) -> None:
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text(encoding="utf-8"))
    provider = f"{manifest['author']}/{manifest['name']}/{manifest['name']}"
    assert provider in {node["data"]["model"]["provider"] for node in app.of_type("llm")}

"""The conversion of the editor format gives the same graph as the editor."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.backends.comfyui.graph import editor as converting
from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import NeedsObjectInfoError, Workflow
from models.backends.errors import BadRequest
from tests.backends.comfyui.graphs import WORKFLOWS, recorded_info

PAIRS = sorted(path.name.removesuffix(".ui.json") for path in (WORKFLOWS / "ui").glob("*.ui.json"))


def convert(graph: dict[str, Any], info: ObjectInfo) -> dict[str, Any]:
    return dict(converting.convert(graph, info)[0])


def editor(name: str) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads(Path(WORKFLOWS / "ui" / f"{name}.ui.json").read_text("utf-8"))
    return graph


def test_there_are_nine_recorded_pairs() -> None:
    assert len(PAIRS) == 9


@pytest.mark.parametrize("name", PAIRS)
def test_a_recorded_graph_converts_exactly_as_the_editor_converts_it(name: str) -> None:
    api = json.loads((WORKFLOWS / "ui" / f"{name}.api.json").read_text("utf-8"))
    assert convert(editor(name), recorded_info()) == api


def test_an_unknown_node_class_is_named_with_the_next_step() -> None:
    graph = editor("plain_sd15_txt2img")
    graph["nodes"][0]["type"] = "FancySampler"
    with pytest.raises(BadRequest) as refusal:
        convert(graph, recorded_info())
    assert "FancySampler (node " in str(refusal.value)
    assert "Export (API)" in str(refusal.value)


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"cnr_id": "fancy-pack"}, "Install fancy-pack"),
        ({"aux_id": "who/fancy"}, "Install who/fancy"),
        ({}, "extensions"),
    ],
)
def test_the_extension_named_in_the_file_is_reported(properties: dict[str, Any], named: str) -> None:
    graph = editor("plain_sd15_txt2img")
    graph["nodes"][0].update(type="FancySampler", properties=properties)
    with pytest.raises(BadRequest, match=named):
        convert(graph, recorded_info())


def test_editor_format_without_definitions_is_refused() -> None:
    with pytest.raises(NeedsObjectInfoError, match="node definitions"):
        Workflow.load(json.dumps(editor("plain_sd15_txt2img")))


def small(nodes: list[Any], links: list[Any], **more: Any) -> dict[str, Any]:
    return {"nodes": nodes, "links": links, "version": 0.4, **more}


SAVE: dict[str, Any] = {
    "id": 9,
    "type": "SaveImage",
    "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
    "widgets_values": ["out"],
}


def test_values_may_be_stored_by_name() -> None:
    graph = small([{"id": 1, "type": "EmptyImage", "widgets_values": {"width": 64, "height": 32}}], [])
    inputs = convert(graph, recorded_info())["1"]["inputs"]
    assert inputs == {"width": 64, "height": 32, "batch_size": 1, "color": 0}


def test_values_missing_in_an_old_file_get_the_defaults() -> None:
    graph = small([{"id": 1, "type": "ImageScaleToTotalPixels", "widgets_values": ["lanczos", 1.0]}], [])
    assert convert(graph, recorded_info())["1"]["inputs"] == {
        "upscale_method": "lanczos",
        "megapixels": 1.0,
        "resolution_steps": 1,
    }


def test_a_list_value_is_wrapped_and_not_read_as_a_link() -> None:
    graph = small([{"id": 1, "type": "PrimitiveString", "widgets_values": [["a", 0]]}], [])
    assert convert(graph, recorded_info())["1"]["inputs"] == {"value": {"__value__": ["a", 0]}}


def test_the_choice_of_a_dynamic_combo_adds_its_values() -> None:
    info = ObjectInfo.parse(
        {
            "Resize": {
                "input": {
                    "required": {
                        "mode": [
                            "COMFY_DYNAMICCOMBO_V3",
                            {
                                "options": [
                                    {
                                        "key": "by size",
                                        "inputs": {"required": {"width": ["INT", {}], "height": ["INT", {}]}},
                                    },
                                    {"key": "by factor", "inputs": {"required": {"factor": ["FLOAT", {}]}}},
                                ]
                            },
                        ],
                        "crop": ["COMBO", {"options": ["no", "centre"]}],
                    }
                }
            }
        }
    )
    graph = small([{"id": 1, "type": "Resize", "widgets_values": ["by size", 640, 480, "centre"]}], [])
    assert convert(graph, info)["1"]["inputs"] == {
        "mode": "by size",
        "mode.width": 640,
        "mode.height": 480,
        "crop": "centre",
    }


def test_promoted_values_of_a_subgraph_override_inner_values_except_null() -> None:
    inner = {
        "id": "sub",
        "name": "Make",
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "widgets_values": [64, 64, 1, 0],
                "inputs": [
                    {"name": "width", "type": "INT", "link": 5, "widget": {"name": "width"}},
                    {"name": "height", "type": "INT", "link": 6, "widget": {"name": "height"}},
                ],
            }
        ],
        "links": [
            {"id": 5, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "INT"},
            {"id": 6, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1, "type": "INT"},
            {"id": 7, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
        "inputs": [{"name": "width", "type": "INT"}, {"name": "height", "type": "INT"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "linkIds": [7]}],
    }
    outer: dict[str, Any] = {
        "id": 3,
        "type": "sub",
        "widgets_values": [128, None],
        "properties": {"proxyWidgets": [["-1", "width"], ["-1", "height"]]},
    }
    graph = small([outer, SAVE], [[1, 3, 0, 9, 0, "IMAGE"]], definitions={"subgraphs": [inner]})
    converted = convert(graph, recorded_info())
    assert converted["9"]["inputs"] == {"filename_prefix": "out", "images": ["3:1", 0]}
    assert converted["3:1"]["inputs"] == {"width": 128, "height": 64, "batch_size": 1, "color": 0}


def promoting(values: list[Any], shown: list[str]) -> dict[str, Any]:
    """A subgraph around an EmptyImage: an image's input, then `width` and `height` of its fields."""
    fields = [
        {"name": name, "type": "INT", "link": 5 + n, "widget": {"name": name}}
        for n, name in enumerate(("width", "height"))
    ]
    inner = {
        "id": "sub",
        "name": "Make",
        "nodes": [
            {"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0], "inputs": fields},
            {"id": 2, "type": "ImageInvert", "inputs": [{"name": "image", "type": "IMAGE", "link": 4}]},
        ],
        "links": [
            {"id": 4, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"},
            {"id": 5, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 0, "type": "INT"},
            {"id": 6, "origin_id": -10, "origin_slot": 2, "target_id": 1, "target_slot": 1, "type": "INT"},
        ],
        "inputs": [
            {"name": "image", "type": "IMAGE"},
            {"name": "width", "type": "INT"},
            {"name": "height", "type": "INT"},
        ],
        "outputs": [],
    }
    outside = [{"name": name, "type": "INT", "link": None, "widget": {"name": name}} for name in shown]
    outer = {"id": 3, "type": "sub", "widgets_values": values, "inputs": outside}
    return small([outer], [], definitions={"subgraphs": [inner]})


@pytest.mark.parametrize("shown", [["height"], []])
def test_a_newer_editor_stores_the_values_of_all_inner_fields(shown: list[str]) -> None:
    """Templates of editors after 1.37: no `proxyWidgets`, and one value per promoted field."""
    inputs = convert(promoting([128, 96], shown), recorded_info())["3:1"]["inputs"]
    assert (inputs["width"], inputs["height"]) == (128, 96)


def test_fewer_values_belong_to_the_promoted_fields() -> None:
    inputs = convert(promoting([96], ["height"]), recorded_info())["3:1"]["inputs"]
    assert (inputs["width"], inputs["height"]) == (64, 96)


@pytest.mark.parametrize("values", [[None, None], [None, None, None], []])
def test_promoted_values_that_are_all_null_keep_the_inner_ones(values: list[Any]) -> None:
    inputs = convert(promoting(values, ["height"]), recorded_info())["3:1"]["inputs"]
    assert (inputs["width"], inputs["height"]) == (64, 64)


def test_ambiguous_values_are_refused() -> None:
    with pytest.raises(BadRequest, match="values of the subgraph 'Make'"):
        convert(promoting([1, 2, 3], ["height"]), recorded_info())


def test_links_into_nested_subgraphs_are_followed() -> None:
    deepest = {
        "id": "turn",
        "nodes": [{"id": 2, "type": "ImageInvert", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}]}],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
        "inputs": [{"name": "image", "type": "IMAGE"}],
        "outputs": [{"name": "IMAGE", "linkIds": [2]}],
    }
    middle = {
        "id": "twice",
        "nodes": [{"id": 7, "type": "turn", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}]}],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
        "inputs": [{"name": "in", "type": "IMAGE"}],
        "outputs": [{"name": "out", "linkIds": [2]}],
    }
    graph = small(
        [
            {"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0]},
            {"id": 5, "type": "twice", "inputs": [{"name": "in", "type": "IMAGE", "link": 2}]},
            SAVE,
        ],
        [[2, 1, 0, 5, 0, "IMAGE"], [1, 5, 0, 9, 0, "IMAGE"]],
        definitions={"subgraphs": [deepest, middle]},
    )
    converted = convert(graph, recorded_info())
    assert converted["5:7:2"]["inputs"] == {"image": ["1", 0]}
    assert converted["9"]["inputs"]["images"] == ["5:7:2", 0]


def test_a_bypassed_node_prefers_the_input_of_the_same_slot() -> None:
    graph = small(
        [
            {"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0]},
            {"id": 2, "type": "EmptyImage", "widgets_values": [32, 32, 1, 0]},
            {
                "id": 3,
                "type": "ImageBatch",
                "mode": 4,
                "inputs": [
                    {"name": "image1", "type": "IMAGE", "link": 2},
                    {"name": "image2", "type": "IMAGE", "link": 3},
                ],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            },
            SAVE,
        ],
        [[2, 1, 0, 3, 0, "IMAGE"], [3, 2, 0, 3, 1, "IMAGE"], [1, 3, 0, 9, 0, "IMAGE"]],
    )
    assert convert(graph, recorded_info())["9"]["inputs"]["images"] == ["1", 0]


def test_cyclic_reroutes_and_recursive_subgraphs_end() -> None:
    ring = small(
        [
            {"id": 1, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 2}]},
            {"id": 2, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 3}]},
            SAVE,
        ],
        [[2, 2, 0, 1, 0, "*"], [3, 1, 0, 2, 0, "*"], [1, 1, 0, 9, 0, "IMAGE"]],
    )
    assert "images" not in convert(ring, recorded_info())["9"]["inputs"]
    itself = {"id": "sub", "name": "Own tail", "nodes": [{"id": 1, "type": "sub"}], "links": []}
    with pytest.raises(BadRequest, match="Own tail"):
        convert(small([{"id": 1, "type": "sub"}], [], definitions={"subgraphs": [itself]}), recorded_info())


@pytest.mark.parametrize("source", [[1, 77, 0, 9, 0, "IMAGE"], [1, -10, 0, 9, 0, "IMAGE"]])
def test_a_link_from_nowhere_is_left_out(source: list[Any]) -> None:
    assert "images" not in convert(small([SAVE], [source]), recorded_info())["9"]["inputs"]


@pytest.mark.parametrize(("mode", "given"), [(0, {"image": "said"}), (2, {})])
def test_a_muted_subgraph_gives_no_value(mode: int, given: dict[str, str]) -> None:
    inner = {
        "id": "sub",
        "nodes": [{"id": 1, "type": "PrimitiveNode", "widgets_values": ["said"]}],
        "links": [{"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0}],
        "outputs": [{"linkIds": [1]}],
    }
    invert = {"id": 9, "type": "ImageInvert", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}]}
    outer = {"id": 3, "type": "sub", "mode": mode}
    graph = small([outer, invert], [[1, 3, 0, 9, 0, "IMAGE"]], definitions={"subgraphs": [inner]})
    assert convert(graph, recorded_info())["9"]["inputs"] == given


@pytest.mark.parametrize("nodes", [[{"id": 1}], [3], [{"type": "SaveImage"}]])
def test_a_broken_file_is_refused_with_a_sentence(nodes: list[Any]) -> None:
    with pytest.raises(BadRequest, match="cannot be converted"):
        convert({"nodes": nodes, "links": []}, recorded_info())

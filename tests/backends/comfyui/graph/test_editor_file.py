"""A file of the editor as it lies on disk: values, rows of extensions, group nodes."""

from typing import Any

import pytest

from models.backends.comfyui.graph.editor import convert
from models.backends.comfyui.graph.editor_file import EditorNode, GroupNode, first_choices, group_name, read_values
from models.backends.comfyui.graph.nodes import NodeClass, ObjectInfo
from models.backends.errors import BadRequest

INFO = ObjectInfo.parse(
    {
        "Make": {
            "input": {"required": {"width": ["INT", {"default": 64}], "seed": ["INT", {"default": 0}]}},
            "output": ["IMAGE", "MASK"],
        },
        "Use": {"input": {"required": {"image": ["IMAGE"], "text": ["STRING", {"default": ""}]}}, "output": ["IMAGE"]},
        "Power Lora Loader (rgthree)": {"input": {"optional": {"model": ["MODEL"]}}, "output": ["MODEL"]},
    }
)
MAKE, USE = INFO.classes["Make"], INFO.classes["Use"]


def node(**parts: Any) -> EditorNode:
    return EditorNode.model_validate({"id": 1, "type": "Make", **parts})


def named(known: NodeClass = MAKE, **parts: Any) -> dict[str, Any]:
    return dict(read_values(node(**parts), known).named)


def test_values_by_name_keep_plain_ones_that_an_extension_adds() -> None:
    values = {"width": 8, "added": "x", "flag": True, "part": 0.5, "count": 3, "list": [1], "image": "no field"}
    assert named(widgets_values=values) == {
        "width": 8,
        "seed": 0,
        "added": "x",
        "flag": True,
        "part": 0.5,
        "count": 3,
        "image": "no field",
    }
    assert named(USE, widgets_values={"image": "a link", "text": "t"}) == {"text": "t"}


def test_a_node_without_a_mode_always_runs() -> None:
    assert node().mode == 0


def test_odd_lists_of_links_and_nodes_are_empty() -> None:
    graph, _ = convert({"nodes": [{"id": 1, "type": "Make"}], "links": 5}, INFO)
    assert list(graph) == ["1"]
    assert GroupNode.model_validate({"nodes": 5}).nodes == []


def test_a_group_with_an_odd_node_is_refused() -> None:
    file: dict[str, Any] = {"nodes": [], "links": [], "extra": {"groupNodes": {"Mine": {"nodes": [5]}}}}
    with pytest.raises(BadRequest, match=r"groupNodes\.Mine\.nodes\.0: "):
        convert(file, INFO)


@pytest.mark.parametrize("values", [None, [], {}])
def test_a_node_without_values_has_the_defaults(values: Any) -> None:
    assert named(widgets_values=values) == {"width": 64, "seed": 0}


def test_a_node_saved_with_other_fields_is_read_by_the_names_in_the_file() -> None:
    ports = [
        {"name": "seed", "type": "INT", "widget": {"name": "seed"}},
        {"name": "mode", "type": "STRING", "widget": {"name": "mode"}},
    ]
    read = read_values(node(widgets_values=[7, "fixed", "fast"], inputs=ports), MAKE)
    assert (dict(read.named), read.left, read.wrong) == ({"seed": 7, "mode": "fast"}, (), ())
    fits = read_values(node(widgets_values=[8, 7], inputs=ports), MAKE)
    assert dict(fits.named) == {"width": 8, "seed": 7}
    links = [{"name": "seed", "type": "INT"}]
    short = read_values(node(widgets_values=[7], inputs=ports[:1]), MAKE)
    assert dict(short.named) == {"width": 7, "seed": 0}
    part = {"name": "part", "type": "FLOAT", "widget": {"name": "part"}}
    other = read_values(node(widgets_values=[5.5, 7], inputs=[part, ports[0]]), MAKE)
    assert dict(other.named) == {"part": 5.5, "seed": 7}
    lost = read_values(node(widgets_values=["x", "y"], inputs=links), MAKE)
    assert (dict(lost.named), lost.left) == ({"width": 64, "seed": 0}, ("x", "y"))


def test_empty_values_without_a_field_are_not_told() -> None:
    assert read_values(node(widgets_values=[8, 7, "", None, "mine", []]), MAKE).left == ("mine",)


def test_rows_that_users_add_are_numbered() -> None:
    rows = [{"lora": "a", "strength": 1, "two": None}, {}, {"type": "heading"}, {"lora": "b"}, None, ""]
    read = read_values(
        node(type="Power Lora Loader (rgthree)", widgets_values=rows), INFO.classes["Power Lora Loader (rgthree)"]
    )
    assert dict(read.named) == {"lora_1": {"lora": "a", "strength": 1}, "lora_2": {"lora": "b"}}
    assert read.left == ()


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a {b|c} d", "a b d"),
        ("a {b} d", "a b d"),
        ("{a|{b|c}}", "a"),
        ("{{a|b}|c}", "a"),
        (r"\{a\|b\}", "{a|b}"),
        (r"{a\|b|c}", "a|b"),
        ("a // rest", "a "),
        ("a /* x\ny */ b", "a  b"),
        ("{}", ""),
        ("{|a}", ""),
        ("{" * 8 + "a" + "}" * 8, "a"),
        ("{" * 9 + "a" + "}" * 9, "{a}"),
    ],
)
def test_the_first_of_the_choices_in_a_prompt_is_sent(text: str, sent: str) -> None:
    assert first_choices(text) == sent


@pytest.mark.parametrize(
    ("kind", "name"),
    [("workflow>Mine", "Mine"), ("workflow/Mine", "Mine"), ("workflow", None), ("my workflow>x", None)],
)
def test_a_group_node_is_known_by_its_class(kind: str, name: str | None) -> None:
    assert group_name(kind) == name


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({}, None),
        ({"0": {"input": {"a": {"visible": False}}}}, False),
        ({"0": {"input": {"a": {"visible": True}}}}, True),
        ({"0": {"input": {"a": {"visible": "no"}}}}, None),
        ({"0": {"input": {"b": {"visible": False}}}}, None),
        ({"1": {"input": {"a": {"visible": False}}}}, None),
        ({"0": {"input": []}}, None),
    ],
)
def test_what_the_author_of_a_group_hides_is_read(config: Any, shown: bool | None) -> None:
    assert GroupNode.model_validate({"nodes": [], "config": config}).shows(0, "input", "a") is shown


# Group nodes


def port(name: str, kind: str = "IMAGE", link: int | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **more}


FIRST = {"type": "Make", "widgets_values": [64, 1], "inputs": [], "outputs": [port("IMAGE"), port("MASK", "MASK")]}
SECOND = {
    "type": "Use",
    "widgets_values": ["own"],
    "inputs": [port("image"), port("text", "STRING", widget={"name": "text"})],
    "outputs": [port("IMAGE")],
}
INSIDE = [[0, 0, 1, 0, 5, "IMAGE"]]


def grouped(group: dict[str, Any], links: list[Any] = [], *, slot: int = 0, **outer: Any) -> dict[str, Any]:  # noqa: B006
    """The inputs of all nodes: a group, a text for it, an image for it, and a node that takes its output."""
    file: Any = {
        "nodes": [
            {"id": 3, "type": "PrimitiveNode", "widgets_values": ["said"]},
            {"id": 4, "type": "Make"},
            {"id": 5, "type": "workflow>Mine", **outer},
            {"id": 9, "type": "Use", "inputs": [port("image", link=1)]},
        ],
        "links": [[1, 5, slot, 9, 0, "IMAGE"], [2, 3, 0, 5, 0, "STRING"], [3, 4, 0, 5, 0, "IMAGE"], *links],
        "extra": {"groupNodes": {"Mine": {"nodes": [FIRST, SECOND], "links": INSIDE, **group}}},
    }
    graph, _ = convert(file, INFO)
    return {key: value["inputs"] for key, value in graph.items()}


def test_links_inside_a_group_stay_and_its_open_output_leads_out() -> None:
    found = grouped({})
    assert found["5:1"]["image"] == ["5:0", 0]
    assert found["5:0"] == {"width": 64, "seed": 1}
    assert found["9"] == {"image": ["5:0", 1], "text": ""}, "output 0 of the first node is used inside alone"
    assert grouped({}, slot=1)["9"]["image"] == ["5:1", 0]
    assert grouped({"links": [[0, 0, 1, 0]]})["5:1"]["image"] == ["5:0", 0]


def test_broken_links_inside_a_group_leave_its_input_open() -> None:
    found = grouped({"links": [["a", 0, 1, 0], [0, 0, 1]]}, inputs=[port("image", link=3)])
    assert found["5:1"]["image"] == ["4", 0]


def test_an_output_that_is_used_inside_is_shown_where_the_group_says_so() -> None:
    assert grouped({"external": [[0, 0, "IMAGE"]]})["9"]["image"] == ["5:0", 0]
    assert grouped({"external": [[0, 0]]})["9"]["image"] == ["5:0", 0]
    assert grouped({"external": [[0], ["a", 0], [[], 0]]})["9"]["image"] == ["5:0", 1]
    hidden = {"0": {"output": {"1": {"visible": False}}}}
    assert grouped({"config": hidden})["9"]["image"] == ["5:1", 0]
    shown = {"0": {"output": {"0": {"visible": True}}}}
    assert grouped({"config": shown})["9"]["image"] == ["5:0", 0]


def test_fields_that_were_made_inputs_come_behind_the_open_ones() -> None:
    text = [port("text", "STRING", link=2)]
    assert grouped({}, inputs=text)["5:1"]["text"] == "said"
    both = [port("image", link=3), port("text", "STRING", link=2)]
    found = grouped({"links": []}, inputs=both)
    assert (found["5:1"]["image"], found["5:1"]["text"]) == (["4", 0], "said")
    hidden = {"1": {"input": {"image": {"visible": False}}}}
    found = grouped({"links": [], "config": hidden}, inputs=text)
    assert (found["5:1"].get("image"), found["5:1"]["text"]) == (None, "said")


def test_the_values_on_a_group_are_those_of_its_fields_in_order() -> None:
    found = grouped({}, widgets_values=[8, 7, "fixed"])
    assert found["5:0"] == {"width": 8, "seed": 7}
    assert found["5:1"]["text"] == "own", "a field that was made an input has no value outside"
    plain = {**SECOND, "inputs": [port("image")]}
    found = grouped({"nodes": [FIRST, plain]}, widgets_values=[8, 7, "fixed", "outer"])
    assert (found["5:0"]["seed"], found["5:1"]["text"]) == (7, "outer")
    assert grouped({}, widgets_values={"width": 8})["5:0"]["width"] == 64


def test_a_primitive_inside_a_group_has_its_value_outside() -> None:
    holder = {"type": "PrimitiveNode", "widgets_values": ["own"], "inputs": [], "outputs": [port("STRING", "STRING")]}
    taking = {**SECOND, "inputs": [port("image"), port("text", "STRING", widget={"name": "text"})]}
    group = {"nodes": [holder, taking], "links": [[0, 0, 1, 1, 5, "STRING"], [0, 0], ["a", 0, 1, 0]]}
    assert grouped(group)["5:1"]["text"] == "own"
    assert grouped(group, widgets_values=["outer"])["5:1"]["text"] == "outer"
    unused = {**holder, "inputs": [port("value", "STRING", widget={"name": "value"})]}
    assert grouped({**group, "nodes": [unused, taking]}, widgets_values=["outer"])["5:1"]["text"] == "own"


def test_a_node_of_the_editor_inside_a_group_has_no_value_outside() -> None:
    plain = {**SECOND, "inputs": [port("image")]}
    group = {"nodes": [{"type": "Note", "widgets_values": ["a note"]}, plain], "links": []}
    assert grouped(group, widgets_values=["outer"])["5:1"]["text"] == "outer"


def test_a_group_without_a_name_is_used_by_no_node() -> None:
    file: Any = {
        "nodes": [{"id": 4, "type": "Make"}],
        "links": [],
        "extra": {"groupNodes": {"": {"nodes": [FIRST, FIRST]}}},
    }
    assert list(convert(file, INFO)[0]) == ["4"]

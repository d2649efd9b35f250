"""Links of an editor's file through everything that does not execute."""

from typing import Any

import pytest

from models.backends.comfyui.graph.editor import _agree, convert
from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.errors import BadRequest

INFO = ObjectInfo.parse(
    {
        "Make": {
            "display_name": "Makes it",
            "input": {"required": {"width": ["INT", {"default": 64}], "name": ["STRING", {"dynamicPrompts": True, "default": ""}]}},
            "output": ["IMAGE", "MASK"],
        },
        "Use": {"input": {"required": {"image": ["IMAGE"]}, "optional": {"mask": ["MASK"]}}, "output": ["IMAGE"]},
        "PreviewAny": {"input": {"required": {"source": ["*"]}}, "output": [], "output_node": True},
        "ImageScaleBy": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"image": ["IMAGE"]}}, "output": [], "output_node": True},
    }
)  # fmt: skip
MAKE: dict[str, Any] = {"id": 1, "type": "Make", "widgets_values": [64, "a"]}


def port(name: str, link: int | None = None, kind: str = "IMAGE", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **more}


def use(link: int | None = 1, **more: Any) -> dict[str, Any]:
    return {"id": 9, "type": "Use", "inputs": [port("image", link)], **more}


def converted(*nodes: dict[str, Any], links: Any = (), **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    graph, notes = convert({"nodes": list(nodes), "links": list(links), **more}, INFO)
    return dict(graph), notes


def image(*nodes: dict[str, Any], links: Any = (), **more: Any) -> Any:
    """What node 9 takes as its image."""
    return converted(MAKE, *nodes, links=links, **more)[0]["9"]["inputs"].get("image")


def refused(*nodes: dict[str, Any], links: Any = (), **more: Any) -> str:
    with pytest.raises(BadRequest) as refusal:
        converted(*nodes, links=links, **more)
    assert refusal.value.attempted == "The workflow cannot be converted from the editor's format"
    return f"{refusal.value.said} | {refusal.value.next_step}"


@pytest.mark.parametrize(
    "link",
    [
        [1, 1, 0, 9, 0, "IMAGE"],
        [1, "1", 0, "9", 0],
        {"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 9, "target_slot": 0, "type": ["a", "b"]},
        {"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 9, "target_slot": 0, "type": None},
    ],
)
def test_both_ways_to_write_a_link_are_read(link: Any) -> None:
    assert image(use(), links=[link, None]) == ["1", 0]


@pytest.mark.parametrize("link", [None, 7])
def test_an_input_without_a_link_is_left_out(link: int | None) -> None:
    assert image(use(link), links=[[1, 1, 0, 9, 0, "IMAGE"]]) is None


@pytest.mark.parametrize("mode", [2, 4])
def test_a_node_that_is_switched_off_is_not_sent(mode: int) -> None:
    graph, notes = converted({**MAKE, "mode": mode}, use(), links=[[1, 1, 0, 9, 0, "IMAGE"]])
    assert graph.keys() == {"9"}
    assert graph["9"]["inputs"] == {}
    assert notes == ()


@pytest.mark.parametrize("mode", [0, 1, 3])
def test_other_modes_run(mode: int) -> None:
    assert image({**use(), "mode": mode}, links=[[1, 1, 0, 9, 0, "IMAGE"]]) == ["1", 0]


REROUTED = [[2, 1, 0, 5, 0, "IMAGE"], [1, 5, 0, 9, 0, "IMAGE"]]


@pytest.mark.parametrize(
    ("between", "source"),
    [
        ({"type": "Reroute", "inputs": [port("", 2, "*")]}, ["1", 0]),
        ({"type": "Reroute", "inputs": []}, None),
        ({"type": "Reroute", "inputs": [port("", None, "*")]}, None),
        ({"type": "PrimitiveNode", "widgets_values": [5, "fixed"]}, 5),
        ({"type": "PrimitiveNode", "widgets_values": [[1, 2]]}, {"__value__": [1, 2]}),
        ({"type": "PrimitiveNode", "widgets_values": []}, None),
        ({"type": "PrimitiveNode", "widgets_values": {"a": 1}}, None),
        ({"type": "SetNode", "widgets_values": ["x"], "inputs": [port("IMAGE", 2)]}, ["1", 0]),
        ({"type": "GetNode", "widgets_values": ["nobody"]}, None),
        ({"type": "Note", "inputs": [port("", 2, "*")]}, None),
        ({"type": "Use", "inputs": [port("image", 2)], "outputs": [port("IMAGE")]}, ["5", 0]),
        ({"type": "Use", "mode": 2, "inputs": [port("image", 2)], "outputs": [port("IMAGE")]}, None),
        ({"type": "Use", "mode": 4, "inputs": [port("image", 2)], "outputs": [port("IMAGE")]}, ["1", 0]),
        ({"type": "Use", "mode": 4, "inputs": [port("image", 2)], "outputs": []}, ["1", 0]),
        ({"type": "Use", "mode": 4, "inputs": [port("mask", 2, "MASK")], "outputs": [port("IMAGE")]}, None),
        ({"type": "Use", "mode": 4, "inputs": [], "outputs": [port("IMAGE")]}, None),
    ],
)
def test_a_link_is_followed_through_a_node(between: dict[str, Any], source: Any) -> None:
    assert image({"id": 5, **between}, use(), links=REROUTED) == source


def test_a_value_is_got_by_the_name_it_was_set_under() -> None:
    links = [[2, 1, 0, 5, 0, "IMAGE"], [1, 6, 0, 9, 0, "IMAGE"]]
    other = {"id": 4, "type": "SetNode", "widgets_values": ["y"], "inputs": []}
    setter = {"id": 5, "type": "SetNode", "widgets_values": ["x"], "inputs": [port("IMAGE", 2)]}
    assert image(other, setter, {"id": 6, "type": "GetNode", "widgets_values": ["x"]}, use(), links=links) == ["1", 0]
    titled = {**setter, "widgets_values": [], "title": "x"}
    assert image(titled, {"id": 6, "type": "GetNode", "title": "x"}, use(), links=links) == ["1", 0]
    assert image(titled, {"id": 6, "type": "GetNode", "title": "y"}, use(), links=links) is None
    assert image(setter, {"id": 6, "type": "GetNode", "widgets_values": ["y"]}, use(), links=links) is None


def test_of_several_inputs_of_a_bypassed_node_the_exact_type_is_taken() -> None:
    def taken(*ports: dict[str, Any], slot: int = 0) -> Any:
        links = [[2, 1, 0, 5, 0, "*"], [3, 1, 1, 5, 1, "*"], [1, 5, slot, 9, 0, "IMAGE"]]
        outputs = [port("a", kind="IMAGE"), port("b", kind="IMAGE")]
        return image({"id": 5, "type": "Use", "mode": 4, "inputs": list(ports), "outputs": outputs}, use(), links=links)

    assert taken(port("a", 2, "IMAGE"), port("b", 3, "IMAGE")) == ["1", 0]
    assert taken(port("a", 2, "IMAGE"), port("b", 3, "IMAGE"), slot=1) == ["1", 1]
    assert taken(port("a", 2, "MASK"), port("b", 3, "IMAGE")) == ["1", 1]
    assert taken(port("a", 2, "MASK"), port("b", 3, "IMAGE,MASK")) == ["1", 1]
    assert taken(port("a", 2, "*"), port("b", 3, "IMAGE"), slot=1) == ["1", 1]
    assert taken(port("a", 2, "MASK"), port("b", 3, "LATENT")) is None
    assert taken(port("c", None, "MASK"), port("a", 2, "*"), port("b", 3, "IMAGE")) == ["1", 1]
    mixed = {"id": 5, "type": "Use", "mode": 4, "outputs": [port("MASK", kind="MASK")]}
    for kind in ("MASK", "IMAGE,LATENT"):
        assert image({**mixed, "inputs": [port("a", 2, kind)]}, use(), links=REROUTED) is None


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "image", True),
        ("IMAGE", "MASK", False),
        ("IMAGE, MASK", "MASK", True),
        ("*", "MASK", True),
        ("MASK", "*", True),
        ("", "MASK", True),
        ("MASK", "0", True),
        ("IMAGE,LATENT", "MASK,MODEL", False),
    ],
)
def test_types_agree_where_one_of_them_does(one: str, other: str, agree: bool) -> None:
    assert _agree(one, other) is agree


@pytest.mark.parametrize(("length", "found"), [(200, True), (201, False)])
def test_a_link_through_very_many_reroutes_is_refused(length: int, found: bool) -> None:
    count = length
    links = [[1, 100, 0, 9, 0, "*"]]
    nodes = []
    for number in range(count):
        source = 100 + number + 1 if number + 1 < count else 1
        nodes.append({"id": 100 + number, "type": "Reroute", "inputs": [port("", 1000 + number, "*")]})
        links.append([1000 + number, source, 0, 100 + number, 0, "*"])
    if found:
        assert image(*nodes, use(), links=links) == ["1", 0]
    else:
        assert "a link runs through too many reroutes and subgraphs" in refused(MAKE, *nodes, use(), links=links)


# Subgraphs


def subgraph(**more: Any) -> dict[str, Any]:
    """A Use inside, with its image from outside."""
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0},
        {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0},
    ]
    return {
        "id": "sub",
        "name": "Mine",
        "nodes": [{"id": 2, "type": "Use", "inputs": [port("image", 1)]}],
        "links": links,
        "inputs": [port("in")],
        "outputs": [{"name": "out", "linkIds": [2]}],
        **more,
    }


OUTER = {"id": 5, "type": "sub", "inputs": [port("in", 2)], "outputs": [port("out")]}


@pytest.mark.parametrize("outputs", [[{"linkIds": [2]}], [{"linkIds": []}], [{"linkIds": [77]}], []])
def test_a_link_goes_into_a_subgraph_and_out_of_it(outputs: Any) -> None:
    graph, _ = converted(MAKE, OUTER, use(), links=REROUTED, definitions={"subgraphs": [subgraph(outputs=outputs)]})
    assert graph["9"]["inputs"] == {"image": ["5:2", 0]}
    assert graph["5:2"]["inputs"] == {"image": ["1", 0]}


def test_the_links_that_a_subgraphs_output_names_come_first() -> None:
    inside = subgraph()
    inside["nodes"].append({"id": 3, "type": "Use", "inputs": []})
    inside["links"].append({"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0})
    inside["outputs"] = [{"linkIds": [3]}]
    graph, _ = converted(MAKE, OUTER, use(), links=REROUTED, definitions={"subgraphs": [inside]})
    assert graph["9"]["inputs"] == {"image": ["5:3", 0]}


def test_an_output_that_a_subgraph_does_not_have_is_none() -> None:
    wrong = [[2, 1, 0, 5, 0, "IMAGE"], [1, 5, 1, 9, 0, "IMAGE"]]
    graph, _ = converted(MAKE, OUTER, use(), links=wrong, definitions={"subgraphs": [subgraph()]})
    assert graph["9"]["inputs"] == {}


def test_an_input_that_a_subgraph_does_not_have_is_none() -> None:
    graph, _ = converted(MAKE, OUTER, use(), links=REROUTED, definitions={"subgraphs": [subgraph(inputs=[])]})
    assert graph["5:2"]["inputs"] == {}


def test_a_setter_outside_is_heard_inside() -> None:
    inside = subgraph()
    inside["nodes"].append({"id": 3, "type": "GetNode", "widgets_values": ["x"]})
    inside["links"][0] = {"id": 1, "origin_id": 3, "origin_slot": 0, "target_id": 2, "target_slot": 0}
    setter = {"id": 6, "type": "SetNode", "widgets_values": ["x"], "inputs": [port("IMAGE", 3)]}
    links = [*REROUTED, [3, 1, 1, 6, 0, "IMAGE"]]
    graph, _ = converted(MAKE, OUTER, setter, use(), links=links, definitions={"subgraphs": [inside]})
    assert graph["5:2"]["inputs"] == {"image": ["1", 1]}


@pytest.mark.parametrize(("levels", "runs"), [(20, True), (21, False)])
def test_subgraphs_within_subgraphs_are_followed_so_far(levels: int, runs: bool) -> None:
    defined: list[dict[str, Any]] = [
        {"id": f"s{n}", "nodes": [{"id": 1, "type": f"s{n + 1}" if n + 1 < levels else "Make"}]} for n in range(levels)
    ]
    file: Any = {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": defined}}
    if runs:
        assert list(convert(file, INFO)[0]) == [":".join("1" * (levels + 1))]
    else:
        assert "the subgraph 's20' contains itself" in refused(*file["nodes"], definitions=file["definitions"])


FIELDS = {
    "id": "sub",
    "name": "Mine",
    "nodes": [
        {
            "id": 1,
            "type": "Make",
            "widgets_values": [64, "a"],
            "inputs": [port("width", 5, "INT", widget={"name": "x"}), port("name", 6, "STRING", widget={"name": "x"})],
        }
    ],
    "links": [
        {"id": 5, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
        {"id": 6, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1},
    ],
    "inputs": [port("w", kind="INT"), port("n", kind="STRING")],
}


@pytest.mark.parametrize(
    ("outer", "width", "name"),
    [
        ({"widgets_values": [8, "b"]}, 8, "b"),
        ({"widgets_values": {"w": 8}}, 8, "a"),
        ({"widgets_values": [None, "b"]}, 64, "b"),
        ({"widgets_values": []}, 64, "a"),
        ({"widgets_values": [8], "inputs": [port("w", widget={"name": "x"})]}, 8, "a"),
        ({"widgets_values": ["b", 8], "properties": {"proxyWidgets": [["-1", "n"], ["-1", "w"]]}}, 8, "b"),
        ({"widgets_values": ["b"], "properties": {"proxyWidgets": [[-1, "n"], ["7", "w"]]}}, 64, "b"),
        ({"widgets_values": ["b"], "properties": {"proxyWidgets": [["-1", "$$x"], ["-1", "n"], "odd", ["-1"]]}}, 64, "b"),
        ({"widgets_values": ["b"], "properties": {"proxyWidgets": [["7", "w"], ["-1", "n"]]}}, 64, "b"),
        ({"widgets_values": [8, "b"], "properties": {"proxyWidgets": "odd"}}, 8, "b"),
    ],
)  # fmt: skip
def test_values_on_the_outside_of_a_subgraph_win(outer: dict[str, Any], width: int, name: str) -> None:
    graph, _ = converted({"id": 3, "type": "sub", **outer}, definitions={"subgraphs": [FIELDS]})
    assert graph["3:1"]["inputs"] == {"width": width, "name": name}


def test_values_that_cannot_be_told_apart_are_refused() -> None:
    outer = {"id": 3, "type": "sub", "widgets_values": [8]}
    said = refused(outer, definitions={"subgraphs": [FIELDS]})
    assert said.startswith("the values of the subgraph 'Mine' (node 3) cannot be told apart | ")
    nameless = refused(outer, definitions={"subgraphs": [{**FIELDS, "name": ""}]})
    assert "subgraph 'sub'" in nameless


# What is left out, told and refused


@pytest.mark.parametrize(
    ("links", "alone"),
    [([], True), ([[1, 7, 0, 9, 0, "IMAGE"]], False), ([[1, 1, 0, 7, 0, "IMAGE"]], False)],
)
def test_an_unknown_node_may_stand_alone(links: Any, alone: bool) -> None:
    label = {"id": 7, "type": "Button", "properties": {}}
    if alone:
        graph, notes = converted(MAKE, label, use(), links=links)
        assert graph.keys() == {"1", "9"}
        assert notes == ("node 7 (Button) is not known to the server and stands alone: left out",)
    else:
        assert refused(MAKE, label, use(), links=links) == (
            "the server has no definition of Button (node 7) | Install the extensions that bring them on the server, "
            "or remove these nodes and paste what Workflow > Export (API) gives"
        )


@pytest.mark.parametrize(
    ("kind", "properties", "install"),
    [
        ("Button", {"cnr_id": "pack"}, "Install pack on the server"),
        ("Button", {"cnr_id": "", "aux_id": "who/pack"}, "Install who/pack on the server"),
        ("Button", {"cnr_id": 5, "aux_id": "who/pack"}, "Install who/pack on the server"),
        ("VHS_Load", {}, "Install ComfyUI-VideoHelperSuite on the server"),
        ("VHS_Load", {"cnr_id": "pack"}, "Install pack on the server"),
    ],
)
def test_the_extension_of_an_unknown_node_is_named(kind: str, properties: dict[str, Any], install: str) -> None:
    node = {"id": 7, "type": kind, "properties": properties}
    assert install in refused(MAKE, node, links=[[1, 1, 0, 7, 0, "IMAGE"]])


def test_a_group_node_whose_parts_are_missing_is_refused() -> None:
    for kind in ("workflow>Mine", "workflow/Mine"):
        said = refused({"id": 7, "type": kind}, use(), links=[[1, 7, 0, 9, 0, "IMAGE"]])
        assert said.startswith(f"node 7 ({kind}) is a group node whose parts the file does not hold; turn it into")


SENDER: dict[str, Any] = {"id": 4, "type": "Anything Everywhere"}
SENT = {"downstream": 9, "downstream_slot": 0, "upstream": 1, "upstream_slot": 0, "type": "IMAGE"}


@pytest.mark.parametrize(
    ("change", "source"),
    [
        ({}, ["1", 0]),
        ({"upstream_slot": 1}, ["1", 1]),
        ({"downstream": 8}, None),
        ({"downstream_slot": 1}, None),
        ({"type": "MASK"}, None),
        ({"type": "*"}, ["1", 0]),
    ],
)
def test_a_broadcast_reaches_the_input_it_names(change: dict[str, Any], source: Any) -> None:
    assert image(SENDER, use(None), extra={"ue_links": [{**SENT, **change}]}) == source


def test_a_link_wins_over_a_broadcast() -> None:
    assert image(SENDER, use(), links=[[1, 1, 1, 9, 0, "IMAGE"]], extra={"ue_links": [SENT]}) == ["1", 1]


def test_broadcasts_that_the_file_does_not_hold_are_refused() -> None:
    assert refused(MAKE, SENDER, use(None)).startswith(
        "node 4 (Anything Everywhere) makes links that the file does not hold | "
    )
    assert image({**SENDER, "mode": 2}, use(None)) is None


def test_values_that_fit_no_field_are_refused() -> None:
    said = refused({"id": 1, "type": "Make", "widgets_values": [["x" * 60], "a"]})
    assert said.startswith(
        f"the values of node 1 (Make) do not fit its definition: `width` would be {str(['x' * 60])[:40]!r} | "
    )


def test_values_without_a_name_are_told() -> None:
    _, notes = converted({"id": 1, "type": "Make", "widgets_values": [64, "a", "y" * 60, 5]})
    told = "node 1 (Make) has values that its definition does not name, they were left out"
    assert notes == (f"{told}: {'y' * 40}, 5",)


@pytest.mark.parametrize(("kind", "told"), [("PreviewAny", False), ("ImageScaleBy", True), ("Save", True)])
def test_the_text_that_a_node_showed_last_is_not_told(kind: str, told: bool) -> None:
    assert bool(converted({"id": 2, "type": kind, "widgets_values": ["old"]})[1]) is told


@pytest.mark.parametrize(
    ("text", "sent", "told"),
    [("a {b|c}", "a b", True), ("a {b}", "a b", False), ("{{x|y}} {b|c}", "{{x|y}} {b|c}", False), ("a", "a", False)],
)
def test_choices_in_braces_are_told(text: str, sent: str, told: bool) -> None:
    graph, notes = converted({"id": 1, "type": "Make", "widgets_values": [64, text]})
    assert graph["1"]["inputs"]["name"] == sent
    assert notes == (("`name` of node 1 (Make) has choices in braces: the first of each is used",) if told else ())


@pytest.mark.parametrize(
    ("node", "title"),
    [
        ({}, "Makes it"),
        ({"title": "Mine"}, "Mine"),
        ({"properties": {"Node name for S&R": "Other"}}, "Other"),
        ({"properties": {"Node name for S&R": "Make"}}, "Makes it"),
        ({"title": "Mine", "properties": {"Node name for S&R": "Other"}}, "Mine"),
    ],
)
def test_a_node_has_its_title_or_the_name_that_tokens_use(node: dict[str, Any], title: str) -> None:
    assert converted({**MAKE, **node})[0]["1"]["_meta"] == {"title": title}


def test_a_broken_file_is_refused_with_the_place() -> None:
    assert refused({"type": "Make"}).startswith("nodes.0.id: ")

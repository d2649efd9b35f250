"""Nodes, links, and the way from an input to the place of its value."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Findings, Graph, Link, Node, Target, as_link, has_placeholder, natural
from tests.backends.comfyui.graphs import graph_of


@pytest.mark.parametrize(
    ("title", "described"),
    [
        ("", "node 6 (CLIPTextEncode)"),
        ("CLIPTextEncode", "node 6 (CLIPTextEncode)"),
        ("Positive", 'node 6 (CLIPTextEncode "Positive")'),
    ],
)
def test_a_title_is_named_where_it_differs_from_the_class(title: str, described: str) -> None:
    assert Node("6", "CLIPTextEncode", {}, title).described == described


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (["4", 0], Link("4", 0)),
        (["4", 1], Link("4", 1)),
        (["4", True], None),
        ([4, 0], None),
        (["4", "0"], None),
        (["4"], None),
        (["4", 0, 1], None),
        ("4", None),
        (None, None),
    ],
)
def test_a_link_is_a_node_id_and_an_output(value: Any, link: Link | None) -> None:
    assert as_link(value) == link


def test_ids_are_sorted_by_their_numbers() -> None:
    ids = ["10", "9", "65:10", "65:2", "a", "", "a2", "a10", "b"]
    assert sorted(ids, key=natural) == ["", "9", "10", "65:2", "65:10", "a", "a2", "a10", "b"]


@pytest.mark.parametrize(("text", "found"), [("{{a}}", True), ("{{a", False), ("a}}", False), ("", False), (3, False)])
def test_a_placeholder_has_both_braces(text: Any, found: bool) -> None:
    assert has_placeholder(text) is found


def test_a_graph_goes_back_to_json_as_it_came() -> None:
    raw: Any = {
        "1": {"class_type": "A", "inputs": {"list": [1, {"x": 2}]}, "_meta": {"title": "First"}},
        "2": {"class_type": "B", "inputs": {}},
    }
    graph = Graph.of(raw)
    again: Any = graph.raw()
    assert again == raw
    again["1"]["inputs"]["list"][1]["x"] = 3
    assert graph.nodes["1"].inputs["list"] == [1, {"x": 2}]


@pytest.mark.parametrize("broken", [{}, {"inputs": None}, {"inputs": [], "_meta": []}, {"_meta": {"title": 5}}])
def test_a_node_with_odd_parts_has_no_inputs_and_no_title(broken: dict[str, Any]) -> None:
    assert Graph.of({"1": {"class_type": "A", **broken}}).nodes["1"] == Node("1", "A", {}, "")


def test_graphs_of_the_same_nodes_are_equal_whatever_their_order_and_definitions() -> None:
    nodes: dict[str, Any] = {"1": ("A", {}), "2": ("B", {"x": ["1", 0]}), "3": ("C", {"x": ["1", 0]})}
    graph, turned = graph_of(**nodes), graph_of({"A": {}}, **dict(reversed(nodes.items())))
    assert graph == turned
    assert repr(turned) == f"Graph(nodes={turned.nodes!r})"


CHAIN = graph_of(
    load=("Loader", {}),
    left=("Pass", {"a": ["load", 0], "b": ["load", 1]}),
    right=("Pass", {"a": ["load", 0], "b": ["gone", 0]}),
    end=("Save", {"x": ["left", 0], "y": ["right", 0], "z": ["left", 0]}),
)


def test_upstream_is_each_node_once_nearest_first() -> None:
    assert [node.id for node in CHAIN.upstream(["end", "nowhere"])] == ["end", "left", "right", "load"]
    assert CHAIN.upstream(["nowhere"]) == []


def test_a_loop_of_links_ends() -> None:
    ring = graph_of(a=("Pass", {"x": ["b", 0]}), b=("Pass", {"x": ["a", 0]}))
    assert [node.id for node in ring.upstream(["a"])] == ["a", "b"]
    assert ring.settle(ring.nodes["a"], "x") is None


def test_users_are_those_of_an_output_or_of_all() -> None:
    assert [(node.id, name) for node, name in CHAIN.users("load")] == [("left", "a"), ("left", "b"), ("right", "a")]
    assert [(node.id, name) for node, name in CHAIN.users("load", 0)] == [("left", "a"), ("right", "a")]
    assert [(node.id, name) for node, name in CHAIN.users("load", 1)] == [("left", "b")]
    assert list(CHAIN.users("end")) == []
    assert CHAIN.slots_into("load", "b") == {1}
    assert CHAIN.slots_into("load", "c") == set()
    assert CHAIN.source(None) is None
    assert CHAIN.source(Link("gone", 0)) is None
    assert CHAIN.described("gone") == "a node that is not in the workflow"


@pytest.mark.parametrize(
    ("holder", "place"),
    [
        (("PrimitiveInt", {"value": 7}), Target("held", "value")),
        (("PrimitiveInt", {"value": 7, "control": "fixed"}), Target("held", "value")),
        (("Anything", {"odd name": 7}), Target("held", "odd name")),
        (("Anything", {"one": 7, "two": 8}), None),
        (("Anything", {"one": 7, "two": 8, "number": 9}), Target("held", "number")),
        (("Anything", {"steps": 7, "cfg": 8.0}), Target("held", "steps")),
        (("Anything", {"width": 7, "height": 8}), None),
        (("Anything", {"value": "seven"}), None),
        (("Anything", {"value": True}), None),
        (("Anything", {"value": "{{steps}}"}), Target("held", "value")),
        (("Anything", {}), None),
    ],
)
def test_a_number_is_found_in_the_node_that_holds_it(holder: tuple[str, dict[str, Any]], place: Target | None) -> None:
    graph = graph_of(held=holder, sampler=("KSampler", {"steps": ["held", 0]}))
    assert graph.settle(graph.nodes["sampler"], "steps") == place


@pytest.mark.parametrize(
    ("holder", "place"),
    [
        ({"width": 64, "height": 48}, Target("held", "width")),
        ({"width": 64, "height": 48, "batch_size": 1}, Target("held", "width")),
        ({"width": 64, "height": 48, "depth": 8}, None),
        ({"width": 64, "height": 48, "value": 8}, Target("held", "value")),
    ],
)
def test_a_node_of_sizes_alone_holds_each_of_them(holder: dict[str, Any], place: Target | None) -> None:
    graph = graph_of(held=("Sizes", holder), latent=("Latent", {"width": ["held", 0]}))
    assert graph.settle(graph.nodes["latent"], "width") == place


@pytest.mark.parametrize(
    ("between", "place"),
    [
        ({"any": ["text", 0]}, Target("text", "value")),
        ({"text": ["text", 0], "text_0": "shown last time"}, Target("text", "value")),
        ({"a": ["text", 0], "b": "words of its own"}, None),
        ({"a": ["text", 0], "b": ["other", 0]}, None),
        ({"a": ["text", 0], "pipe": ["other", 0]}, Target("other", "value")),
        ({"a": ["text", 0], "b": 5}, Target("text", "value")),
        ({"a": ["gone", 0]}, None),
    ],
)
def test_a_text_is_followed_through_a_node_that_only_passes_it_on(
    between: dict[str, Any], place: Target | None
) -> None:
    graph = graph_of(
        text=("PrimitiveString", {"value": "a fox"}),
        other=("PrimitiveString", {"value": "a hare"}),
        between=("Between", between),
        encode=("CLIPTextEncode", {"text": ["between", 0]}),
    )
    assert graph.settle(graph.nodes["encode"], "text", text=True) == place


@pytest.mark.parametrize(("text", "place"), [(True, Target("6", "text")), (False, None)])
def test_a_literal_counts_where_it_is_of_the_kind(text: bool, place: Target | None) -> None:
    graph = graph_of(**{"6": ("CLIPTextEncode", {"text": "a fox"})})
    assert graph.settle(graph.nodes["6"], "text", text=text) == place
    assert graph.settle(graph.nodes["6"], "nothing", text=text) is None


def test_a_node_that_joins_texts_holds_none() -> None:
    graph = graph_of(joined=("StringReplace", {"string": "a fox"}), end=("CLIPTextEncode", {"text": ["joined", 0]}))
    assert graph.settle(graph.nodes["end"], "text", text=True) is None


@pytest.mark.parametrize(
    ("decides", "place"),
    [(True, "on"), (False, "off"), (["yes", 0], "on"), (["no", 0], "off"), (["gone", 0], None), ("yes", None)],
)
def test_a_switch_passes_on_the_side_that_is_chosen(decides: Any, place: str | None) -> None:
    graph = graph_of(
        yes=("PrimitiveBoolean", {"value": True}),
        no=("PrimitiveBoolean", {"value": False}),
        on=("PrimitiveInt", {"value": 30}),
        off=("PrimitiveInt", {"value": 8}),
        choice=("ComfySwitchNode", {"switch": decides, "on_false": ["off", 0], "on_true": ["on", 0]}),
        end=("KSampler", {"steps": ["choice", 0]}),
    )
    assert graph.settle(graph.nodes["end"], "steps") == (Target(place, "value") if place else None)


@pytest.mark.parametrize(("slot", "name"), [(-1, None), (0, "model"), (1, "clip"), (2, None)])
def test_what_an_output_passes_on_is_known_by_its_number(slot: int, name: str | None) -> None:
    graph = graph_of(lora=("LoraLoader", {}))
    assert graph.passed_on(graph.nodes["lora"], slot) == name


@pytest.mark.parametrize(
    ("link", "side"),
    [
        (Link("known", 0), "positive"),
        (Link("known", 1), "negative"),
        (Link("known", 2), None),
        (Link("known", -1), None),
        (Link("defined", 0), None),
        (Link("defined", 1), "negative"),
        (Link("plain", 0), None),
        (Link("gone", 0), None),
    ],
)
def test_the_side_of_an_output_is_that_of_our_list_or_of_the_definition(link: Link, side: str | None) -> None:
    info = {"Extension": {"input": {}, "output": ["MODEL", "CONDITIONING"], "output_name": ["model", "NEG"]}}
    graph = graph_of(info, known=("ControlNetApplyAdvanced", {}), defined=("Extension", {}), plain=("Other", {}))
    assert graph.side_of(link) == side


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [("i", 5, 5), ("f", 0.5, 0.5), ("b", True, None), ("s", "x", None), ("l", None, None), ("m", None, None)],
)
def test_only_plain_values_are_values(name: str, value: object, number: object) -> None:
    graph = graph_of(a=("A", {"i": 5, "f": 0.5, "b": True, "s": "x", "l": ["b", 0], "m": {}}))
    assert graph.value_at(Target("a", name)) == value
    assert graph.number_at(Target("a", name)) == number
    assert graph.value_at(Target("gone", name)) is None
    assert graph.number_at(None) is None


def test_places_with_the_value_of_the_first_are_set_together() -> None:
    graph = graph_of(a=("A", {"x": 5, "y": 6, "z": 5}))
    x, y, z = (Target("a", name) for name in "xyz")
    assert graph.alike([x, y, z, x]) == [x, z]
    assert graph.alike([]) == []


def test_an_added_node_has_an_id_of_its_own_and_stands_before_all_users() -> None:
    raw = CHAIN.raw()
    assert raw.add("Note", "Mine", {}) == "added:1"
    assert graph_of().raw().add("Note", "Mine", {}) == "added:1"
    raw.insert_after(Link("load", 0), "Repeat", "Twice", {"samples": ["load", 0]})
    assert raw["added:2"] == {"inputs": {"samples": ["load", 0]}, "class_type": "Repeat", "_meta": {"title": "Twice"}}
    assert raw.inputs("left") == {"a": ["added:2", 0], "b": ["load", 1]}
    assert raw.inputs("right") == {"a": ["added:2", 0], "b": ["gone", 0]}


def test_findings_are_joined_and_the_later_ones_win() -> None:
    place, other = Target("1", "a"), Target("2", "a")
    first = Findings({"x": [place]}, {"y": "no"}, {"z": "which"}, ("one",), {place: "kept"})
    second = Findings({"x": [other]}, {"w": "none"}, {"v": "what"}, ("two",), {other: "too"})
    assert first | second == Findings(
        {"x": [other]},
        {"y": "no", "w": "none"},
        {"z": "which", "v": "what"},
        ("one", "two"),
        {place: "kept", other: "too"},
    )
    assert Findings.of("x", [place]) == Findings({"x": [place]})
    assert Findings.of("x", "why") == Findings(missing={"x": "why"})

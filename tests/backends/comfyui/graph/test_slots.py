"""Slots: every fixture workflow has a file with its expected slots and missing slots."""

import json
from typing import Any

import pytest
import yaml

from models.backends.comfyui.graph.graph import Graph, Target
from models.backends.comfyui.graph.slots import STANDARD, Slot, Slots, find_slots, output_nodes, typed
from models.backends.comfyui.graph.workflow import Workflow
from tests.backends.comfyui.graphs import WORKFLOWS, graph_of, recorded_info, text_of, workflow

NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.glob("*.api.json"))


def place(target: Target) -> str:
    scale = f" x{target.scale:g}" if target.scale != 1 else ""
    return f"{target.node}.{target.input}{scale}"


def summary(found: Workflow) -> dict[str, Any]:
    """The slots in the notation of the expectation files: `6.text`, `30.width x2`."""
    slots = found.slots
    mask = slots.mask
    said: dict[str, Any] = {
        "slots": {
            slot.name: {
                "places": [place(target) for target in slot.places],
                "default": slot.default,
                "type": slot.kind,
                **({"by": slot.by} if slot.by != "trace" else {}),
            }
            for slot in slots.found.values()
        },
        "images": [place(target) for target in slots.images],
        "mask": f"{mask.kind} {mask.node}{' inverted' if mask.inverted else ''}" if mask else None,
        "outputs": list(found.output_nodes),
        "missing": dict(slots.missing),
        "ambiguous": dict(slots.ambiguous),
        "notes": list(slots.notes),
    }
    return {key: value for key, value in said.items() if value}


def expected(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text_of(f"{name}.slots.yaml"))
    return read


def test_there_are_at_least_thirty_workflows_with_their_slots() -> None:
    assert len(NAMES) >= 30


@pytest.mark.parametrize("link", ["conditioning", "conditioning_to", "conditioning_1"])
def test_a_text_of_a_node_that_passes_conditioning_on_is_not_the_prompt(link: str) -> None:
    """Extensions label such nodes, or let them name an area, in an input called `text`."""
    graph: dict[str, Any] = json.loads(text_of("sd15_txt2img.api.json"))
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    encoder, slot = sampler["inputs"]["positive"]
    graph["90"] = {"class_type": "ConditioningByExtension", "inputs": {link: [encoder, slot], "text": "a label"}}
    sampler["inputs"]["positive"] = ["90", 0]
    found = Workflow.load(json.dumps(graph)).slots.found["prompt"]
    assert [place(target) for target in found.places] == [f"{encoder}.text"]


@pytest.mark.parametrize("name", NAMES)
def test_the_slots_are_the_expected_ones(name: str) -> None:
    assert summary(workflow(name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_servers_definitions_change_no_slot(name: str) -> None:
    """Slots are found with the server offline; definitions only refine types."""
    with_info, without = workflow(name, recorded_info()).slots, workflow(name).slots
    assert {n: slot.places for n, slot in with_info.found.items()} == {n: s.places for n, s in without.found.items()}
    assert (with_info.images, with_info.mask) == (without.images, without.mask)


@pytest.mark.parametrize("name", NAMES)
def test_every_common_parameter_is_found_or_explained(name: str) -> None:
    slots = workflow(name).slots
    silent = [n for n in STANDARD if n not in slots.found and n not in slots.missing and n not in slots.ambiguous]
    assert silent == []
    assert not set(slots.found) & (set(slots.missing) | set(slots.ambiguous))


@pytest.mark.parametrize("name", NAMES)
def test_no_input_belongs_to_two_slots_and_none_is_a_link(name: str) -> None:
    found = workflow(name)
    places = [(p.node, p.input) for slot in found.slots.found.values() if slot.by == "trace" for p in slot.places]
    assert len(places) == len(set(places))
    assert not any(isinstance(found.graph.nodes[node].inputs[name], list) for node, name in places)


@pytest.mark.parametrize("name", NAMES)
def test_renumbered_nodes_in_another_order_have_the_same_slots(name: str) -> None:
    """File order and ids affect only the order of equivalent nodes."""
    raw = json.loads(text_of(f"{name}.api.json"))
    renamed = {f"65:{key}": node for key, node in reversed(raw.items())}
    for node in renamed.values():
        node["inputs"] = {k: [f"65:{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    there, here = Workflow.load(json.dumps(renamed)).slots, workflow(name).slots
    assert {n: {f"{p.node}.{p.input}" for p in s.places} for n, s in there.found.items()} == {
        n: {f"65:{p.node}.{p.input}" for p in s.places} for n, s in here.found.items()
    }
    assert [p.node for p in there.images] == [f"65:{p.node}" for p in here.images]


# Output nodes


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ({"1": ("SaveImage", {}), "2": ("PreviewImage", {}), "10": ("SaveWhatever", {})}, ("1", "10", "2")),
        ({"1": ("PreviewBridge", {}), "2": ("Image Save", {})}, ("2", "1")),
        ({"1": ("LoadImage", {}), "2": ("Unknown", {"x": ["1", 0]}), "3": ("Note", {})}, ("2",)),
        ({"1": ("A", {"x": ["2", 0]}), "2": ("B", {"x": ["1", 0]})}, ()),
    ],
)
def test_files_that_stay_come_before_previews(nodes: dict[str, Any], outputs: tuple[str, ...]) -> None:
    assert output_nodes(graph_of(**nodes)) == outputs


@pytest.mark.parametrize("is_output", [True, False])
def test_the_servers_definition_says_what_an_output_is(is_output: bool) -> None:
    info = {"SaveImage": {"output_node": is_output}, "Other": {"output_node": not is_output}}
    graph = graph_of(info, **{"1": ("SaveImage", {}), "2": ("Other", {})})
    assert output_nodes(graph) == (("1",) if is_output else ("2",))


# Workflows without a sampler


def slots_of(info: Any = None, **nodes: Any) -> Slots:
    return find_slots(graph_of(info, **{"o": ("SaveImage", {"images": ["x", 0], "filename_prefix": "out"}), **nodes}))


def places_of(slots: Slots) -> dict[str, list[str]]:
    return {name: [place(target) for target in slot.places] for name, slot in slots.found.items()}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (("Partner", {"prompt": "a", "negative_prompt": "b", "seed": 5}), {"prompt": ["x.prompt"], "negative_prompt": ["x.negative_prompt"], "seed": ["x.seed"]}),
        (("Partner", {"positive_prompt": "a", "negative": "b"}), {"prompt": ["x.positive_prompt"], "negative_prompt": ["x.negative"]}),
        (("Partner", {"prompt": ["t", 0], "seed": "no number"}), {"prompt": ["t.value"]}),
        (("Partner", {"prompt": 5}), {}),
        (("CLIPTextEncodeLumina2", {"user_prompt": "a", "prompt": "b"}), {"prompt": ["x.user_prompt"]}),
    ],
)  # fmt: skip
def test_one_node_may_do_everything(node: Any, expected: dict[str, list[str]]) -> None:
    slots = slots_of(x=node, t=("PrimitiveString", {"value": "a"}))
    assert places_of(slots) == {**expected, "filename_prefix": ["o.filename_prefix"]}
    reason = "the workflow has no sampler that is known"
    assert slots.missing["steps"] == reason
    assert ("prompt" in slots.missing) is ("prompt" not in expected)


def test_two_nodes_that_take_a_prompt_are_not_guessed_between() -> None:
    slots = slots_of(x=("A", {"prompt": "a", "in": ["y", 0]}), y=("B", {"prompt": "b"}))
    assert slots.ambiguous == {"prompt": "the text may belong to node x (A), node y (B)"}
    assert slots.why_not("prompt") == slots.ambiguous["prompt"]
    assert slots.why_not("nothing of the kind") == "the workflow has no place for it"


# What the author named


def named(title: str, inputs: dict[str, Any], kind: str = "Mine", info: dict[str, Any] | None = None) -> Slots:
    graph = graph_of(info, x=(kind, inputs))
    raw = graph.raw()
    raw["x"]["_meta"] = {"title": title}
    return find_slots(Graph.of(raw, graph.info))


@pytest.mark.parametrize(
    ("title", "inputs", "expected"),
    [
        ("input:style", {"value": "anime"}, {"style": "x.value"}),
        (" INPUT : My Style ", {"value": "anime"}, {"my_style": "x.value"}),
        ("input:my-style", {"odd": 5}, {"my_style": "x.odd"}),
        ("input:strength.b", {"a": 1.0, "b": 2.0}, {"strength": "x.b"}),
        ("input:strength. b ", {"a": 1.0, "b": 2.0}, {"strength": "x.b"}),
        ("input:steps", {"cfg": 1.0, "steps": 2}, {"steps": "x.steps"}),
        ("input:positive", {"a": "b", "positive": "c"}, {"prompt": "x.positive"}),
        ("input:style", {"a": 1, "text": "b"}, {"style": "x.text"}),
        ("input:flag", {"a": True}, {"flag": "x.a"}),
        ("input:style.gone", {"a": 1}, {}),
        ("input:style", {"a": 1, "b": 2}, {}),
        ("input:style", {"a": ["y", 0]}, {}),
        ("the input:style", {"value": "anime"}, {}),
    ],
)
def test_a_title_names_a_value(title: str, inputs: dict[str, Any], expected: dict[str, str]) -> None:
    slots = named(title, inputs)
    assert {name: place(slot.places[0]) for name, slot in slots.found.items()} == expected
    assert all(slot.by == "title" for slot in slots.found.values())
    unclear = title.startswith("input") and not expected
    told = f'the title of node x (Mine "{title}") does not say which of its values is meant'
    assert slots.notes == ((told,) if unclear else ())


def test_the_title_of_a_loader_names_no_parameter() -> None:
    slots = named("input:style", {"image": "a.png"}, kind="LoadImage")
    assert (slots.found, slots.notes) == ({}, ())


def test_a_text_with_other_braces_is_not_replaced() -> None:
    slots = slots_of(x=("Partner", {"prompt": "{{a b}}"}))
    assert slots.missing["prompt"] == "node x (Partner) is filled by other placeholders or titles"


def test_a_number_behind_two_settings_belongs_to_the_first() -> None:
    sampler = {"model": ["m", 0], "positive": ["p", 0], "seed": ["v", 0], "steps": ["v", 0], "cfg": ["v", 0]}
    slots = slots_of(x=("KSampler", sampler), p=("CLIPTextEncode", {"text": "a"}), v=("PrimitiveInt", {"value": 8}))
    assert places_of(slots) == {"prompt": ["p.text"], "steps": ["v.value"], "filename_prefix": ["o.filename_prefix"]}
    told = "node v (PrimitiveInt) sets it together with `steps`"
    assert (slots.missing["seed"], slots.missing["cfg_scale"]) == (told, told)


@pytest.mark.parametrize(
    ("second", "places"),
    [("out", ["o.filename_prefix", "q.filename_prefix"]), ("other", ["o.filename_prefix"]), (5, ["o.filename_prefix"])],
)
def test_outputs_with_the_same_prefix_are_named_together(second: object, places: list[str]) -> None:
    slots = slots_of(x=("Partner", {}), q=("SaveImage", {"images": ["x", 0], "filename_prefix": second}))
    assert places_of(slots) == {"filename_prefix": places}


def test_a_placeholder_wins_over_a_title() -> None:
    graph = graph_of(x=("Mine", {"value": "{{style|ink}}"}), y=("Mine", {"value": "anime"}))
    raw = graph.raw()
    raw["x"]["_meta"] = {"title": "input:other"}
    raw["y"]["_meta"] = {"title": "input:style"}
    slots = find_slots(Graph.of(raw))
    assert {name: (slot.by, slot.default) for name, slot in slots.found.items()} == {"style": ("placeholder", "ink")}


@pytest.mark.parametrize(
    ("info", "value", "kind", "default"),
    [
        (None, 5, "int", 5),
        (None, 5.0, "float", 5.0),
        (None, True, "boolean", True),
        (None, "words", "text", "words"),
        (["FLOAT"], 5, "float", 5.0),
        (["INT"], 5.0, "int", 5),
        (["INT"], 5.5, "int", 5.5),
        (["BOOLEAN"], True, "boolean", True),
        (["STRING"], "words", "text", "words"),
        ([["a", "b"]], "a", "string", "a"),
        (["MODEL"], "a", "text", "a"),
    ],
)
def test_a_named_value_has_the_type_of_its_definition_or_its_own(
    info: Any, value: Any, kind: str, default: object
) -> None:
    definition = {"Mine": {"input": {"required": {"value": info}}}} if info else None
    slot = named("input:thing", {"value": value}, info=definition).found["thing"]
    assert (slot.kind, slot.default, type(slot.default)) == (kind, default, type(default))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "int", 5),
        ("five", "int", None),
        ("0.5", "float", 0.5),
        ("true", "boolean", True),
        ("x", "boolean", None),
        ("5", "text", "5"),
        ("5", "string", "5"),
    ],
)
def test_the_default_of_a_placeholder_has_the_parameters_type(text: str, kind: Any, value: object) -> None:
    found = typed(text, kind)
    assert (found, type(found)) == (value, type(value))


def placeholder(text: str, kind: str = "INT", **options: Any) -> Slot:
    info = {"Mine": {"input": {"required": {"value": [kind, options]}}}}
    return next(iter(find_slots(graph_of(info, x=("Mine", {"value": text}))).found.values()))


@pytest.mark.parametrize(
    ("text", "kind", "options", "expected"),
    [
        ("{{thing|5}}", "INT", {"default": 9}, ("int", 5)),
        ("{{thing}}", "INT", {"default": 9}, ("int", 9)),
        ("{{thing|x}}", "INT", {"default": 9}, ("int", 9)),
        ("{{thing}}", "INT", {}, ("int", None)),
        ("{{thing}}", "STRING", {"default": 9}, ("text", None)),
        ("a {{thing}}", "INT", {"default": 9}, ("text", None)),
        ("a {{steps}}", "INT", {"default": 9}, ("int", None)),
        (" {{ thing | a b }} ", "STRING", {}, ("text", "a b")),
        ("{{thing}}{{thing|b}}", "STRING", {}, ("text", "b")),
    ],
)
def test_a_placeholder_without_a_default_takes_the_servers(
    text: str, kind: str, options: Any, expected: tuple[str, object]
) -> None:
    slot = placeholder(text, kind, **options)
    assert (slot.kind, slot.default) == expected
    assert slot.places == (Target("x", "value"),)


def test_placeholders_inside_lists_and_objects_are_found() -> None:
    slots = find_slots(graph_of(x=("Mine", {"rows": [{"a": "{{one}}"}, ["{{two}}"], 5]})))
    assert set(slots.found) == {"one", "two"}


@pytest.mark.parametrize("text", ["{{a b}}", "{ {a}}", "{{}}", "{{-a}}", "{{a|{b}}}"])
def test_other_braces_are_no_placeholders(text: str) -> None:
    assert find_slots(graph_of(x=("Mine", {"value": text}))).found == {}

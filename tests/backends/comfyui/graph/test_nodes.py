"""nodes.yaml matches the recorded node definitions and its own header."""

from collections.abc import Iterator
from typing import Any

import pytest

from models.backends.comfyui.graph.nodes import (
    InputSpec,
    NodeClass,
    NodeMeaning,
    ObjectInfo,
    extra_rules,
    folder_of,
    meaning_of,
    node_knowledge,
    package_of,
    side_in,
    workflow_rule,
)
from models.parameters import RULES
from tests.backends.comfyui.graphs import FIXTURES, case_info, recorded_info

CLASSES = sorted(node_knowledge().classes)
RECORDED = {**case_info().classes, **recorded_info().classes}


def named_inputs(meaning: NodeMeaning) -> Iterator[str]:
    """Every input that an entry names."""
    for names in (
        meaning.text,
        meaning.switch,
        meaning.window,
        meaning.width,
        meaning.height,
        meaning.optional,
        meaning.parameters,
    ):
        yield from names
    yield from (name for name in meaning.passes if name)
    yield from (
        name for name in (meaning.custom_size, meaning.count, meaning.image, meaning.image_base64, meaning.mask) if name
    )


@pytest.mark.parametrize("name", [name for name in CLASSES if name in RECORDED])
def test_every_recorded_class_has_the_named_inputs(name: str) -> None:
    recorded, meaning = RECORDED[name], meaning_of(name)
    assert set(named_inputs(meaning)) <= set(recorded.inputs)
    assert len(meaning.passes) <= len(recorded.outputs)
    for output, given in zip(meaning.passes, recorded.outputs, strict=False):
        assert not output or recorded.inputs[output].kind == given
    for side, output in zip(meaning.outputs, recorded.output_names, strict=False):
        assert side == (side_in(output) or "other")
    assert recorded.is_output or not (meaning.saves or meaning.shows)
    optional = {spec.name for spec in recorded.inputs.values() if not spec.required}
    assert set(meaning.optional) <= optional


def test_most_named_classes_are_recorded() -> None:
    """Otherwise the test above would check too few classes."""
    servers = [name for name in CLASSES if not meaning_of(name).editor]
    assert sum(name in RECORDED for name in servers) >= len(servers) / 2


def test_every_usual_input_name_occurs_in_a_recorded_class() -> None:
    known = node_knowledge().inputs
    names = {name for spec in RECORDED.values() for name in spec.inputs}
    lists = [*known.settings.values(), known.start, known.width, known.height, known.count, known.text, known.value]
    for usual in lists:
        assert names & set(usual), usual
    assert "positive" in known.conditioning["positive"]


def test_every_parameter_has_a_rule() -> None:
    known = node_knowledge()
    named = {*known.inputs.files.values(), *(p for m in known.classes.values() for p in m.parameters.values())}
    assert [name for name in named if name not in RULES and workflow_rule(name) is None] == []
    assert set(known.inputs.settings) <= set(RULES)


def test_the_header_explains_every_field() -> None:
    text = (FIXTURES.parents[2] / "models" / "backends" / "comfyui" / "nodes.yaml").read_text("utf-8")
    header = text[: text.index("\ninputs:")]
    assert [field for field in NodeMeaning.model_fields if f" {field}" not in header] == []


def test_an_unlisted_class_has_no_role() -> None:
    assert meaning_of("NeverHeardOf") == NodeMeaning()


def test_workflow_parameters_have_distinct_names() -> None:
    names = [rule.name for rule in extra_rules()]
    assert len(names) == len(set(names))
    assert not set(names) & set(RULES)
    assert "lora_strength_2" in names


# Definitions


def defined(entry: Any) -> NodeClass:
    return ObjectInfo.parse({"A": entry}).classes["A"]


def spec_of(entry: Any) -> InputSpec:
    return defined({"input": {"required": {"x": entry}}}).inputs["x"]


def test_a_definition_is_read_in_the_order_of_the_editor() -> None:
    found = defined(
        {
            "display_name": "The A",
            "input": {"required": {"b": ["INT"], "a": ["FLOAT", {"min": 1}]}, "optional": {"c": ["MODEL"]}, "hidden": {"d": []}},
            "input_order": {"required": ["a", "b", "gone", 5]},
            "output": ["IMAGE", "MASK"],
            "output_name": ["image", "mask"],
            "output_node": True,
            "api_node": True,
        }
    )  # fmt: skip
    assert (found.name, found.title, found.outputs, found.output_names) == (
        "A",
        "The A",
        ("IMAGE", "MASK"),
        ("image", "mask"),
    )
    assert (found.is_output, found.is_partner) == (True, True)
    assert list(found.inputs) == ["a", "b", "c"]
    assert found.inputs["a"] == InputSpec("a", "FLOAT", required=True, options={"min": 1})
    assert found.inputs["c"] == InputSpec("c", "MODEL", required=False)


@pytest.mark.parametrize("entry", [{}, {"display_name": "", "input": [], "output": "IMAGE", "output_node": 1}])
def test_a_definition_without_its_parts_is_empty(entry: Any) -> None:
    found = defined(entry)
    assert found == NodeClass("A", "A", {}, (), (), is_output=False, is_partner=False)
    assert ObjectInfo.parse({"A": entry, "B": []}).classes.keys() == {"A"}


def test_outputs_without_names_are_named_by_their_types() -> None:
    assert defined({"output": ["IMAGE"]}).output_names == ("IMAGE",)


@pytest.mark.parametrize(
    ("entry", "kind", "choices", "options"),
    [
        (["INT"], "INT", None, {}),
        (["INT", {"min": 1}], "INT", None, {"min": 1}),
        (["INT", "odd"], "INT", None, {}),
        ("INT", "INT", None, {}),
        ([], "", None, {}),
        ([["a", 5]], "COMBO", ("a", "5"), {}),
        ([["a"], {"default": "a"}], "COMBO", ("a",), {"default": "a"}),
        (["COMBO", {"options": ["a"]}], "COMBO", ("a",), {"options": ["a"]}),
        (["COMBO", {"remote": {}}], "COMBO", None, {"remote": {}}),
        (["STRING", {"options": ["a"]}], "STRING", None, {"options": ["a"]}),
    ],
)
def test_both_spellings_of_an_input_are_read(entry: Any, kind: str, choices: Any, options: Any) -> None:
    assert spec_of(entry) == InputSpec("x", kind, required=True, choices=choices, options=options)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (["INT"], True),
        (["STRING", {}], True),
        ([["a"]], True),
        (["MODEL"], False),
        (["MODEL", {"widgetType": "STRING"}], True),
        (["INT", {"forceInput": True}], False),
        (["INT", {"forceInput": False}], True),
    ],
)
def test_the_editor_shows_a_field_for_values(entry: Any, shown: bool) -> None:
    assert spec_of(entry).is_widget is shown


@pytest.mark.parametrize(
    ("entry", "default"),
    [
        (["INT", {"default": 5}], 5),
        (["INT", {"default": None}], None),
        (["INT"], None),
        ([["a", "b"]], "a"),
        ([["a", "b"], {"default": "b"}], "b"),
        ([[]], None),
    ],
)
def test_a_fresh_node_has_the_default_or_the_first_choice(entry: Any, default: object) -> None:
    assert spec_of(entry).default == default


@pytest.mark.parametrize("options", [None, "odd", [], [5, {"key": "b", "inputs": {"required": {"x": ["INT"]}}}]])
def test_a_choice_that_is_not_listed_brings_no_inputs(options: Any) -> None:
    combo = InputSpec("mode", "COMFY_DYNAMICCOMBO_V3", required=True, options={"options": options})
    assert combo.inner("a") == ()


@pytest.mark.parametrize(("value", "number"), [(5, 5.0), (0.5, 0.5), (True, None), ("5", None), (None, None)])
def test_a_bound_is_a_number(value: Any, number: float | None) -> None:
    assert spec_of(["INT", {"max": value}]).number("max") == number
    assert spec_of(["INT"]).number("max") is None


@pytest.mark.parametrize("key", ["image_upload", "video_upload", "audio_upload"])
def test_a_file_of_the_input_folder_is_an_upload(key: str) -> None:
    assert spec_of([["a"], {key: True}]).is_upload
    assert not spec_of([["a"], {key: False}]).is_upload
    assert not spec_of([["a"]]).is_upload


@pytest.mark.parametrize(
    ("asked", "spelled"), [("a\\b", "a\\b"), ("a/b", "a\\b"), ("c/d", "c/d"), ("c\\d", "c/d"), ("e", "e")]
)
def test_a_value_is_written_as_the_server_lists_it(asked: str, spelled: str) -> None:
    assert spec_of([["a\\b", "c/d"]]).spelled(asked) == spelled
    assert spec_of(["COMBO", {}]).spelled(asked) == asked
    assert spec_of([["a/b", "a\\b", "c\\d", "c/d", "e"]]).spelled(asked) == asked, "listed as it is"


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("positive", "positive"),
        (" Positive ", "positive"),
        ("pos", "positive"),
        ("CONDITIONING+", "positive"),
        ("negative", "negative"),
        ("neg", "negative"),
        ("CONDITIONING-", "negative"),
        ("the negative one", "negative"),
        ("+", None),
        ("-", None),
        ("position", None),
        ("model", None),
        ("", None),
    ],
)
def test_an_outputs_name_tells_its_side(name: str, side: str | None) -> None:
    assert side_in(name) == side


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("lora", "LoRA"),
        ("lora_2", "LoRA 2"),
        ("lora_strength_12", "LoRA strength 12"),
        ("checkpoint_2", "Checkpoint 2"),
    ],
)
def test_a_further_file_has_the_rule_of_the_first_one(name: str, label: str) -> None:
    found = workflow_rule(name)
    assert found is not None
    assert (found.name, found.label.en_US) == (name, label)


@pytest.mark.parametrize("name", ["steps", "anything", "anything_2", "_2", "2"])
def test_other_parameters_have_no_rule_of_a_workflow(name: str) -> None:
    assert workflow_rule(name) is None


@pytest.mark.parametrize(
    ("kind", "name", "folder"),
    [
        ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
        ("CLIPVisionLoader", "clip_name", "clip_vision"),
        ("CLIPLoader", "clip_name", "text_encoders"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
        ("KSampler", "steps", ""),
    ],
)
def test_a_model_file_has_its_folder(kind: str, name: str, folder: str) -> None:
    assert folder_of(kind, name) == folder


@pytest.mark.parametrize(
    ("kind", "package"),
    [("VHS_Anything", "ComfyUI-VideoHelperSuite"), ("Any Switch (rgthree)", "rgthree-comfy"), ("KSampler", "")],
)
def test_an_extension_is_known_by_its_classes(kind: str, package: str) -> None:
    assert package_of(kind) == package

"""nodes.yaml matches the recorded node definitions and its own header."""

from collections.abc import Iterator

import pytest

from models.backends.comfyui.graph.nodes import (
    NodeMeaning,
    extra_rules,
    meaning_of,
    node_knowledge,
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

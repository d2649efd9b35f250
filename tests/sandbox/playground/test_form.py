"""From a model's schema to the fields of the page and back."""

import pytest
from pydantic import JsonValue

from sandbox.parameters import Schema
from sandbox.playground.form import fields, parameters
from sandbox.playground.variants import variants

WIDTH = {
    "name": "width",
    "type": "int",
    "default": 1024,
    "min": 64,
    "max": 2048,
    "label": {"en_US": "Width", "zh_Hans": "宽度"},
    "help": {"en_US": "In pixels.", "zh_Hans": "单位为像素。"},
}
SEED = {"name": "seed", "type": "int", "default": -1, "min": -1, "max": 2**53}
CFG = {"name": "cfg_scale", "type": "float", "min": 1, "max": 10, "precision": 1, "default": 7}
STYLE = {"name": "style", "type": "string", "options": ["oil", "ink"]}
HD = {"name": "hd", "type": "boolean"}
TEXT = {"name": "negative_prompt", "type": "text"}
DETAILS = {"name": "details", "type": "boolean", "default": False}


def schema(*rules: object, model: str = "m") -> Schema:
    return Schema.model_validate({"model": model, "parameter_rules": rules})


def test_each_kind_of_parameter_has_its_field() -> None:
    found = fields([schema(WIDTH, SEED, CFG, STYLE, HD, TEXT, DETAILS)], chinese=False)
    assert [(field.name, field.kind) for field in found] == [
        ("width", "slider"),
        ("seed", "number"),
        ("cfg_scale", "slider"),
        ("style", "choice"),
        ("hd", "switch"),
        ("negative_prompt", "text"),
    ]
    assert (found[0].minimum, found[0].maximum, found[0].step, found[2].step) == (64, 2048, 1, 0.1)


def test_labels_and_helps_are_in_the_language_of_the_page() -> None:
    (english,), (chinese,) = (fields([schema(WIDTH)], chinese=which) for which in (False, True))
    assert (english.label, english.help) == ("Width", "In pixels.")
    assert (chinese.label, chinese.help) == ("宽度", "单位为像素。")


def test_several_models_share_one_form() -> None:
    wide = {**WIDTH, "max": 4096}
    more = {**STYLE, "options": ["ink", "photo"]}
    found = {field.name: field for field in fields([schema(WIDTH, STYLE), schema(wide, more, HD)], chinese=False)}
    assert found["width"].maximum == 4096
    assert found["style"].choices == ("oil", "ink", "photo")
    assert found["hd"].label == "hd *"  # not of every chosen model


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({"width": 1024, "seed": -1, "style": "", "hd": False, "negative_prompt": None}, {}),
        (
            {"width": 512.0, "seed": 7, "style": "ink", "hd": True},
            {"width": 512, "seed": 7, "style": "ink", "hd": True},
        ),
        ({"width": 9000, "style": "photo", "steps": 3}, {}),  # values that only another model of the form allows
    ],
)
def test_only_what_was_changed_and_fits_is_sent(values: dict[str, JsonValue], sent: dict[str, JsonValue]) -> None:
    assert parameters(schema(WIDTH, SEED, STYLE, HD, TEXT, DETAILS), values) == {**sent, "details": True}
    assert "details" not in parameters(schema(WIDTH), values)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a bicycle", ["a bicycle"]),
        ("a {red|blue} bicycle", ["a red bicycle", "a blue bicycle"]),
        ("{a|the} {fox|owl}", ["a fox", "a owl", "the fox", "the owl"]),
        ("{|big }fox", ["fox", "big fox"]),
        ("{fox|fox}", ["fox"]),
        ('a sign {"text": 1} and {{#start.x#}}', ['a sign {"text": 1} and {{#start.x#}}']),
        ("", [""]),
    ],
)
def test_variants(prompt: str, prompts: list[str]) -> None:
    assert variants(prompt) == prompts

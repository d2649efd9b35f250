"""The nameless values of an editor's node beside the fields of its class."""

from typing import Any

import pytest
from pydantic import JsonValue

from models.backends.comfyui.graph.editor_values import (
    ABSENT,
    Reading,
    _misfit,
    _slipped_in,
    aligned,
    is_empty,
)
from models.backends.comfyui.graph.nodes import InputSpec

EXACT, SLIPPED_IN, UNUSUAL, NAMELESS, WRONG = 0.0, 0.5, 1.0, 4.0, 6.0


def spec(name: str, kind: str, choices: tuple[str, ...] | None = None, **options: JsonValue) -> InputSpec:
    return InputSpec(name, kind, required=True, choices=choices, options=options)


STEPS, WORDS = spec("steps", "INT", default=20), spec("words", "STRING", default="")
MODE = spec("mode", "COMBO", ("fast", "deep\\best"))
SEED = spec("seed", "INT")


@pytest.mark.parametrize(
    ("field", "value", "cost"),
    [
        (STEPS, 5, EXACT),
        (STEPS, 5.0, EXACT),
        (STEPS, 5.5, ABSENT),
        (STEPS, True, WRONG),
        (STEPS, None, 2 * UNUSUAL),
        (STEPS, "5", UNUSUAL),
        (STEPS, " -1.5e3 ", UNUSUAL),
        (STEPS, ".5", UNUSUAL),
        (STEPS, "5 steps", WRONG),
        (STEPS, [5], WRONG),
        (spec("cfg", "FLOAT"), 5, EXACT),
        (spec("cfg", "FLOAT"), 5.5, EXACT),
        (spec("cfg", "FLOAT"), False, WRONG),
        (spec("cfg", "FLOAT", min=1.0, max=5.0), 1.0, EXACT),
        (spec("cfg", "FLOAT", min=1.0, max=5.0), 5.0, EXACT),
        (spec("cfg", "FLOAT", min=1.0, max=5.0), 0.9, UNUSUAL),
        (spec("cfg", "FLOAT", min=1.0, max=5.0), 5.1, UNUSUAL),
        (spec("cfg", "FLOAT", max=5.0), -100, EXACT),
        (spec("cfg", "FLOAT", min=1.0), 100, EXACT),
        (spec("on", "BOOLEAN"), True, EXACT),
        (spec("on", "BOOLEAN"), 0, UNUSUAL),
        (spec("on", "BOOLEAN"), 1, UNUSUAL),
        (spec("on", "BOOLEAN"), "true", UNUSUAL),
        (spec("on", "BOOLEAN"), "false", UNUSUAL),
        (spec("on", "BOOLEAN"), 2, WRONG),
        (spec("on", "BOOLEAN"), "yes", WRONG),
        (WORDS, "a fox", EXACT),
        (WORDS, 5, 2 * UNUSUAL),
        (MODE, "fast", EXACT),
        (MODE, "deep/best", EXACT),
        (MODE, "slow", UNUSUAL),
        (MODE, 5, WRONG),
        (MODE, ["fast"], WRONG),
        (MODE, {"fast": 1}, WRONG),
        (spec("mode", "COMBO", ("5",)), 5, EXACT),
        (spec("mode", "COMBO", ("fast",), multiselect=True), ["fast"], EXACT),
        (spec("mode", "COMBO"), "anything", EXACT),
        (spec("mode", "COMBO"), ["anything"], EXACT),
        (spec("link", "MODEL"), "anything", EXACT),
        (spec("link", "MODEL"), None, 2 * UNUSUAL),
    ],
)
def test_a_value_that_fits_a_field_badly_costs_more(field: InputSpec, value: JsonValue, cost: float) -> None:
    assert _misfit(field, value) == cost


@pytest.mark.parametrize("word", ["fixed", "increment", "decrement", "randomize"])
@pytest.mark.parametrize(("former", "cost"), [(SEED, EXACT), (STEPS, SLIPPED_IN), (WORDS, NAMELESS), (None, NAMELESS)])
def test_what_becomes_of_a_number_after_a_run_stands_behind_it(
    word: str, former: InputSpec | None, cost: float
) -> None:
    assert _slipped_in(word, former) == cost


@pytest.mark.parametrize(
    ("value", "former", "cost"),
    [
        ("image", spec("image", "COMBO", image_upload=True), EXACT),
        ({"anything": 1}, spec("image", "COMBO", image_upload=True), EXACT),
        ("other", spec("image", "COMBO", image_upload=True), NAMELESS),
        ("image", MODE, NAMELESS),
        ("image", None, NAMELESS),
        (True, SEED, SLIPPED_IN),
        (False, SEED, SLIPPED_IN),
        (True, STEPS, NAMELESS),
        (True, None, NAMELESS),
        (7, SEED, NAMELESS),
        (None, STEPS, SLIPPED_IN),
        (None, None, SLIPPED_IN),
        ({}, None, SLIPPED_IN),
        ({"type": "heading"}, None, SLIPPED_IN),
        ({"type": "heading", "value": 1}, None, NAMELESS),
        ("", None, NAMELESS),
    ],
)
def test_buttons_of_the_editor_and_of_extensions_cost_little(
    value: JsonValue, former: InputSpec | None, cost: float
) -> None:
    assert _slipped_in(value, former) == cost


@pytest.mark.parametrize(
    ("value", "empty"),
    [
        (None, True),
        ("", True),
        ([], True),
        ("image", True),
        ({}, True),
        ({"type": "x"}, True),
        ({"type": "x", "value": 1}, False),
        ({"value": 1}, False),
        (0, False),
        (False, False),
        ("x", False),
        ([0], False),
    ],
)
def test_nothing_is_lost_with_an_empty_value(value: JsonValue, empty: bool) -> None:
    assert is_empty(value) is empty


CFG = spec("cfg", "FLOAT", default=7.0)


@pytest.mark.parametrize(
    ("fields", "values", "reading"),
    [
        ([], [], Reading()),
        ([STEPS], [30], Reading(EXACT, {"steps": 30})),
        ([STEPS], [], Reading(SLIPPED_IN, {"steps": 20})),
        ([STEPS, WORDS], [30], Reading(SLIPPED_IN, {"steps": 30, "words": ""})),
        ([STEPS], [None], Reading(SLIPPED_IN + SLIPPED_IN, {"steps": 20})),
        ([STEPS, WORDS], [None, "a"], Reading(2 * UNUSUAL, {"steps": 20, "words": "a"})),
        ([STEPS], [30, "mine"], Reading(NAMELESS, {"steps": 30}, left=("mine",))),
        ([STEPS], ["mine", 30], Reading(NAMELESS, {"steps": 30}, left=("mine",))),
        ([STEPS, MODE, CFG], [30, 6.5], Reading(ABSENT, {"steps": 30, "mode": "fast", "cfg": 6.5})),
        ([STEPS, MODE, CFG], [30, {"a": 1}, 6.5], Reading(WRONG, {"steps": 30, "mode": {"a": 1}, "cfg": 6.5}, wrong=("mode",))),
        ([WORDS, STEPS], [5, 30], Reading(2 * UNUSUAL, {"words": 5, "steps": 30})),
        ([SEED, STEPS], [7, "fixed", 30], Reading(EXACT, {"seed": 7, "steps": 30})),
        ([SEED, WORDS], [7, "fixed"], Reading(EXACT, {"seed": 7, "words": "fixed"})),
    ],
)  # fmt: skip
def test_the_cheapest_reading_wins(fields: list[InputSpec], values: list[Any], reading: Reading) -> None:
    assert aligned(fields, values) == reading


@pytest.mark.parametrize(("count", "named"), [(150, True), (151, False)])
def test_a_node_with_very_many_values_is_not_read(count: int, named: bool) -> None:
    fields = [spec(f"f{number}", "INT") for number in range(count)]
    read = aligned(fields, list(range(count)))
    assert read == (
        Reading(EXACT, {f"f{number}": number for number in range(count)})
        if named
        else Reading(WRONG, left=tuple(range(count)))
    )


def test_the_values_of_a_choice_follow_it() -> None:
    options: list[JsonValue] = [
        {"key": "size", "inputs": {"required": {"width": ["INT", {"default": 64}], "model": ["MODEL"]}}},
        {"key": "none", "inputs": {}},
    ]
    resize = InputSpec(
        "resize", "COMFY_DYNAMICCOMBO_V3", required=True, options={"options": options, "default": "size"}
    )
    assert aligned([resize, STEPS], ["size", 128, 30]).named == {"resize": "size", "resize.width": 128, "steps": 30}
    assert aligned([resize, STEPS], ["none", 30]).named == {"resize": "none", "steps": 30}
    assert aligned([resize], []).named == {"resize": "size", "resize.width": 64}
    assert aligned([spec("plain", "COMBO", ("size",), options=options)], ["size"]).named == {"plain": "size"}

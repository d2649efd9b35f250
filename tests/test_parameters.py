"""Parameters: values of any type are converted to the type of their rule or refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.parameters import MAX_SEED, RULES, VOCABULARY, Rule, read_value, read_values


@pytest.mark.parametrize("value", [42, 42.0, "42", " 42 ", "42.0"])
def test_the_same_seed_in_every_spelling(value: object) -> None:
    assert read_value(RULES["seed"], value) == 42


@pytest.mark.parametrize("value", [True, "true", "True", 1, "1", "yes", 1.0])
def test_true_in_every_spelling(value: object) -> None:
    assert read_value(RULES["details"], value) is True


@pytest.mark.parametrize("value", [False, "false", 0, "no", 0.0])
def test_false_in_every_spelling(value: object) -> None:
    assert read_value(RULES["details"], value) is False


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("steps", "many", "The parameter `steps` cannot be 'many'. Give a whole number."),
        ("steps", 2.5, "The parameter `steps` cannot be '2.5'. Give a whole number."),
        ("steps", 0, "The parameter `steps` cannot be '0'. Give a number between 1 and 200."),
        ("steps", True, "The parameter `steps` cannot be 'True'. Give a whole number."),
        ("cfg_scale", "nan", "The parameter `cfg_scale` cannot be 'nan'. Give a number."),
        ("cfg_scale", 99, "The parameter `cfg_scale` cannot be '99'. Give a number between 0 and 35."),
        ("details", "maybe", "The parameter `details` cannot be 'maybe'. Give true or false."),
        ("output_format", "tga", "The parameter `output_format` cannot be 'tga'. Give one of png, jpeg, webp."),
        ("steps", "+-5", "The parameter `steps` cannot be '+-5'. Give a whole number."),
        ("seed", "9" * 5000, f"The parameter `seed` cannot be '{'9' * 80}'. Give a whole number."),
        ("seed", "9" * 30, f"The parameter `seed` cannot be '{'9' * 30}'. Give a number between -1 and {MAX_SEED}."),
        ("seed", 2**53, f"The parameter `seed` cannot be '{2**53}'. Give a number between -1 and {MAX_SEED}."),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(name: str, value: object, sentence: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_value(RULES[name], value)
    assert str(refusal.value) == sentence


def test_options_are_case_insensitive() -> None:
    assert read_value(RULES["output_format"], "PNG") == "png"


def test_json_typed_text_becomes_text_again() -> None:
    assert read_value(RULES["negative_prompt"], 42.0) == "42"
    assert read_value(RULES["negative_prompt"], True) == "true"


def test_unknown_and_absent_values_are_omitted_and_defaults_added() -> None:
    rules = [RULES["n"], RULES["steps"], RULES["sampler"]]
    assert read_values(rules, {"temperature": 0.7, "steps": None, "sampler": "  "}) == {"n": 1}


@given(st.integers(-1, MAX_SEED))
def test_every_seed_survives_text_and_float(seed: int) -> None:
    assert read_value(RULES["seed"], str(seed)) == seed
    assert read_value(RULES["seed"], float(seed)) == seed


@given(
    st.sampled_from(VOCABULARY), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
)
def test_any_value_is_read_as_its_type_or_refused(rule: Rule, value: object) -> None:
    try:
        read = read_values([rule], {rule.name: value}).get(rule.name)
    except BadRequest as refusal:
        assert str(refusal).startswith(f"The parameter `{rule.name}` cannot be ")  # noqa: PT017 -- both are right
        return
    assert read is None or type(read) is _TYPES[rule.type]
    assert not isinstance(read, (int, float)) or math.isfinite(read)


_TYPES = {"int": int, "float": float, "boolean": bool, "string": str, "text": str}

"""Parameters: values of any type are converted to the type of their rule or refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.parameters import MAX_SEED, RULES, VOCABULARY, Rule, nearest_value, read_value, read_values


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


@pytest.mark.parametrize("value", ["16:9", "16/9", "16x9", "16X9", "16×9", "16：9", " 16 : 9 "])
def test_the_same_ratio_in_every_spelling(value: str) -> None:
    assert read_value(RULES["aspect_ratio"], value) == "16:9"


@pytest.mark.parametrize("value", ["16", "16:0", "0:9", "16:9:1", "16-9", "wide", ":", "1e3:1"])
def test_a_ratio_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_value(RULES["aspect_ratio"], value)
    assert str(refusal.value) == f"The parameter `aspect_ratio` cannot be {value!r}. Give a ratio such as 16:9."


BOUNDED = RULES["steps"].narrowed(min=2, max=5, default=3)


@pytest.mark.parametrize(
    ("low", "high", "value", "allowed"),
    [
        (2, 5, 1, "between 2 and 5"),
        (2, 5, 6, "between 2 and 5"),
        (2, None, 1, "of at least 2"),
        (None, 5, 6, "of at most 5"),
        (0.5, 1.5, 2, "between 0.5 and 1.5"),
    ],
)
def test_the_words_for_bounds(low: float | None, high: float | None, value: int, allowed: str) -> None:
    with pytest.raises(BadRequest, match=f"Give a number {allowed}"):
        read_value(BOUNDED.narrowed(min=low, max=high), value)


@pytest.mark.parametrize("number", [2, 5])
def test_a_number_on_a_bound_is_taken(number: int) -> None:
    assert read_value(BOUNDED, number) == nearest_value(BOUNDED, number)[0] == number


@pytest.mark.parametrize(
    ("value", "near", "words"), [(1, 2, "2, the nearest value"), (6, 5, "5, the nearest value"), ("4", 4, "")]
)
def test_the_nearest_number_within_the_bounds(value: object, near: int, words: str) -> None:
    assert nearest_value(BOUNDED, value) == (near, words)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -2), ("output_format", "tga"), ("steps", "many"), ("details", "maybe")]
)
def test_what_has_no_near_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"The parameter `{name}` cannot be"):
        nearest_value(RULES[name], value)


def test_a_longer_timeout_is_read_because_it_is_lowered_later() -> None:
    most = RULES["timeout"].max
    assert most
    assert read_value(RULES["timeout"], most + 1) == most + 1
    with pytest.raises(BadRequest):
        read_value(RULES["timeout"], 0)


@pytest.mark.parametrize(
    ("rule", "changes", "default"),
    [
        (BOUNDED, {"min": 4}, 4),
        (BOUNDED, {"max": 2}, 2),
        (BOUNDED, {"min": 2.5}, 3),
        (BOUNDED, {"min": 4, "default": 9}, 9),
        (RULES["cfg_scale"].narrowed(default=7.0), {"max": 6.5}, 6.5),
        (Rule(name="x", type="string", label=RULES["n"].label, default="b"), {"options": ("a", "b")}, "b"),
        (Rule(name="x", type="string", label=RULES["n"].label, default="b"), {"options": ("a", "c")}, None),
        (Rule(name="x", type="string", label=RULES["n"].label, default="b"), {"help": None}, "b"),
    ],
)
def test_a_default_stays_within_narrower_bounds(rule: Rule, changes: dict[str, object], default: object) -> None:
    assert rule.narrowed(**changes).default == default


@pytest.mark.parametrize(
    ("options", "open_ended", "word", "read"),
    [
        ((), False, "Any", "Any"),
        (("Euler", "euler a"), False, "EULER", "Euler"),
        (("Euler", "euler"), False, "euler", "euler"),
        (("Euler",), True, "new", "new"),
        (("Euler", "EULER"), True, "euler", "euler"),
        (("1", "2"), False, 1.0, "1"),
    ],
)
def test_a_choice_is_one_of_the_options_in_any_case(
    options: tuple[str, ...], open_ended: bool, word: object, read: str
) -> None:
    rule = Rule(name="x", type="string", label=RULES["n"].label, options=options, open_ended=open_ended)
    assert read_value(rule, word) == read


def test_a_choice_that_fits_two_options_is_refused() -> None:
    rule = Rule(name="x", type="string", label=RULES["n"].label, options=("Euler", "EULER"))
    with pytest.raises(BadRequest, match="Give one of Euler, EULER"):
        read_value(rule, "euler")


def test_a_random_seed_is_no_seed_and_form_defaults_are_left_out() -> None:
    rules = [RULES["seed"], RULES["n"], RULES["width"]]
    assert read_values(rules, {"seed": -1}) == {"n": 1}
    assert read_values(rules, {"seed": "0", "width": " "}) == {"seed": 0, "n": 1}

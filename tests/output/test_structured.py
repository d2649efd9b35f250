"""Structured output: values have the types of the schema, or the request is refused before it costs anything."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from models.backends.errors import BadRequest
from models.output import structured
from models.output.structured import NOT_ALWAYS, PROPERTIES, STORED, OutputOptions, OutputSchema

ADDRESS = "https://service.example/1.png"
KNOWN: dict[str, JsonValue] = {
    "image_url": ADDRESS,
    "images": [
        {"image_url": ADDRESS, "mime_type": "image/png", "seed": 7, "width": 64, "height": 48},
        {"image_url": "https://service.example/2.png", "mime_type": "image/png", "seed": 8, "width": 64, "height": 48},
    ],
    "seed": 7,
    "width": 64,
    "height": 48,
    "mime_type": "image/png",
    "model": "m",
    "backend": "b",
    "answered_by": "m",
    "cached": False,
    "storage_key": "p/a.png",
    "thumbnail_url": "https://cdn.example/t.webp",
    "variants": {"900x383": "https://cdn.example/a.png", "64x64": "https://cdn.example/b.png"},
    "prompt": "a cat",
    "revised_prompt": "a grey cat",
    "notices": ["One.", "Two."],
    "cost": 0.03,
    "currency": "USD",
    "duration_seconds": 1.6,
}
FITS: list[tuple[str, JsonValue, JsonValue]] = [
    ("seed", {}, 7),
    ("seed", True, 7),
    ("seed", {"type": "integer"}, 7),
    ("seed", {"type": "number"}, 7),
    ("seed", {"type": "string"}, "7"),
    ("seed", {"type": ["null", "integer"]}, 7),
    ("seed", {"anyOf": [{"type": "boolean"}, {"type": "string"}]}, "7"),
    ("width", {"type": "integer", "minimum": 1}, 64),
    ("cost", {"type": "number"}, 0.03),
    ("cost", {"type": "string"}, "0.03"),
    ("duration_seconds", {"type": "number"}, 1.6),
    ("duration_seconds", {"type": "integer"}, 2),
    ("prompt", {"type": "string", "minLength": 1, "description": "words"}, "a cat"),
    ("notices", {"type": "array", "items": {"type": "string"}}, ["One.", "Two."]),
    ("notices", {"type": "array"}, ["One.", "Two."]),
    ("notices", {"type": "string"}, "One.\nTwo."),
    ("images", {}, KNOWN["images"]),
    ("images", {"type": "array"}, KNOWN["images"]),
    ("images", {"type": "array", "items": {"type": "string"}}, [ADDRESS, "https://service.example/2.png"]),
    (
        "images",
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"image_url": {"type": "string"}, "seed": {"type": "string"}},
                "required": ["image_url", "seed"],
                "additionalProperties": False,
            },
        },
        [{"image_url": ADDRESS, "seed": "7"}, {"image_url": "https://service.example/2.png", "seed": "8"}],
    ),
    ("images", {"type": "string"}, json.dumps(KNOWN["images"])),
    ("backend", {"enum": ["a", "b"]}, "b"),
]
MISFITS: list[tuple[str, JsonValue]] = [
    ("seed", {"type": "boolean"}),
    ("seed", {"type": "array", "items": {"type": "integer"}}),
    ("cost", {"type": "integer"}),
    ("image_url", {"type": "integer"}),
    ("image_url", {"type": "string", "maxLength": 100}),
    ("images", {"type": "integer"}),
    ("images", {"type": "object"}),
    ("images", {"type": "array", "items": {"type": "integer"}}),
    ("images", {"type": "array", "items": {"type": "string"}, "minItems": 2}),
    (
        "images",
        {
            "type": "array",
            "items": {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]},
        },
    ),
    ("width", {"type": "integer", "maximum": 512}),
    ("width", {"enum": [512, 1024]}),
    ("model", {"const": "another"}),
    ("notices", {"type": "array", "items": {"type": "object"}}),
]


def schema_of(required: tuple[str, ...] = (), /, **properties: Any) -> OutputSchema:
    read = OutputSchema.read({"type": "object", "properties": properties, "required": list(required)})
    assert read is not None
    return read


def check(schema: OutputSchema, *gives: str) -> tuple[str, ...]:
    return schema.check(frozenset(gives), {"model": "m", "backend": "b"}, "m")


@pytest.mark.parametrize(("name", "rule", "value"), FITS)
def test_a_value_has_the_type_of_the_schema(name: str, rule: Any, value: JsonValue) -> None:
    schema = schema_of((name,), **{name: rule})
    assert check(schema, *NOT_ALWAYS) == ()
    filled = schema.fill(KNOWN)
    assert filled == {name: value}
    jsonschema.Draft7Validator(rule).validate(filled[name])


@pytest.mark.parametrize(("name", "rule"), MISFITS)
def test_a_required_property_of_the_wrong_type_is_refused(name: str, rule: JsonValue) -> None:
    with pytest.raises(BadRequest, match=f"requires `{name}`, in a type or with bounds that it may not fit"):
        check(schema_of((name,), **{name: rule}), *NOT_ALWAYS)


@pytest.mark.parametrize(("name", "rule"), MISFITS)
def test_an_optional_property_of_the_wrong_type_gives_a_notice(name: str, rule: Any) -> None:
    schema = schema_of((), prompt={"type": "string"}, **{name: rule})
    (told,) = check(schema, *NOT_ALWAYS)
    assert told.startswith(f"Missing in the structured output: `{name}`, ")
    whole: Any = {"type": "object", "properties": dict(schema.properties)}
    jsonschema.Draft7Validator(whole).validate(schema.fill(KNOWN))


@pytest.mark.parametrize("name", sorted(NOT_ALWAYS - STORED))
def test_a_required_property_that_the_model_cannot_provide_is_refused(name: str) -> None:
    schema = schema_of((name,), **{name: {"type": "string"}}, model={"type": "string"})
    with pytest.raises(BadRequest) as refusal:
        check(schema)
    assert str(refusal.value) == (
        f"The node's structured output requires `{name}`, which m cannot tell. "
        "Take them out of `required`, or allow null."
    )
    assert check(schema, name) == ()


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_required_address_is_refused_without_a_storage(name: str) -> None:
    schema = schema_of((name,), **{name: {"type": "string"}}, model={"type": "string"})
    with pytest.raises(BadRequest, match=f"requires `{name}`, which needs a storage in the settings"):
        check(schema)
    assert check(schema, name) == ()


def test_variants_fit_an_object_a_list_and_a_text() -> None:
    known: dict[str, JsonValue] = {"variants": {"900x383": "https://a", "64x64": "https://b"}}
    rules: list[JsonValue] = [{"type": "object"}, {"type": "array", "items": {"type": "string"}}, {"type": "string"}]
    filled = [schema_of((), variants=rule).fill(known)["variants"] for rule in rules]
    assert filled == [known["variants"], ["https://a", "https://b"], "https://a\nhttps://b"]


@pytest.mark.parametrize("rule", [{"type": ["string", "null"]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}])
def test_an_unknown_value_is_null_if_allowed(rule: JsonValue) -> None:
    schema = schema_of(("revised_prompt", "mood"), revised_prompt=rule, mood=rule)
    assert check(schema) == ()
    assert schema.fill({}) == {"revised_prompt": None, "mood": None}


def test_an_unknown_required_property_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match=r"`mood`, which no image has\. Name only properties of image_url, "):
        check(schema_of(("mood",), mood={"type": "string"}, model={}))


def test_all_unavailable_properties_are_named_at_once() -> None:
    with pytest.raises(BadRequest, match=r"requires `seed`, which m cannot tell; `cost`, which m cannot tell\."):
        check(schema_of(("seed", "cost"), seed={"type": "integer"}, cost={"type": "number"}))


def test_a_required_property_without_a_type_counts() -> None:
    with pytest.raises(BadRequest, match="`mood`"):
        check(schema_of(("mood",), model={}))
    assert schema_of(("seed",)).fill(KNOWN) == {"seed": 7}


def test_a_schema_with_only_unknown_properties_is_refused() -> None:
    with pytest.raises(BadRequest, match="Nothing that the node's structured output names can be given: `mood`"):
        check(schema_of(mood={"type": "string"}))
    assert check(schema_of()) == ()


def test_a_required_seed_is_refused_for_a_model_without_seeds() -> None:
    item: JsonValue = {"type": "object", "properties": {"seed": {"type": "integer"}}, "required": ["seed"]}
    schema = schema_of(("images",), images={"type": "array", "items": item})
    assert check(schema, "seed") == ()
    with pytest.raises(BadRequest, match="`images`"):
        check(schema)


def test_a_missing_value_loses_no_image() -> None:
    schema = schema_of(("seed", "revised_prompt"), seed={"type": "integer"}, revised_prompt={"type": "string"})
    assert schema.fill({"model": "m"}) == {"seed": 0, "revised_prompt": ""}


def test_a_seed_with_more_digits_than_a_json_number_has_stays_whole() -> None:
    big = str(2**60 + 1)
    for rule, value in (({}, big), ({"type": "string"}, big), ({"type": "integer"}, 2**60 + 1)):
        assert schema_of(seed=rule).fill({"seed": big}) == {"seed": value}


@pytest.mark.parametrize(
    "sent",
    [
        {"properties": {"seed": {"type": "integer"}}},
        {"schema": {"properties": {"seed": {"type": "integer"}}}, "name": "llm_response"},
        '{"schema": {"properties": {"seed": {"type": "integer"}}}, "name": "llm_response"}',
        '{"properties": {"seed": {"type": "integer"}}}',
    ],
)
def test_a_schema_is_read_wrapped_or_bare_as_text_or_object(sent: object) -> None:
    assert OutputSchema.read(sent) == OutputSchema({"seed": {"type": "integer"}})


@pytest.mark.parametrize("sent", ["{", "[]", 7, ["a"]])
def test_a_schema_that_is_no_json_object_is_refused(sent: object) -> None:
    with pytest.raises(BadRequest, match="schema is not a JSON object"):
        OutputSchema.read(sent)


@pytest.mark.parametrize("sent", [None, ""])
def test_without_a_schema_there_is_no_structured_output(sent: object) -> None:
    assert OutputSchema.read(sent) is None


JSON_RULES = st.recursive(
    st.sampled_from(
        [
            *({"type": kind} for kind in ("string", "integer", "number", "boolean", "null", "array", "object")),
            {},
            True,
            {"type": ["string", "null"]},
            {"enum": ["a", 7]},
            {"type": "integer", "minimum": 100},
            {"type": "string", "pattern": "x"},
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda rule: {"type": "array", "items": rule}),
        st.lists(inner, min_size=1, max_size=3).map(lambda rules: {"anyOf": rules}),
        st.dictionaries(st.sampled_from(["image_url", "seed", "mood"]), inner, max_size=3).map(
            lambda rules: {
                "type": "object",
                "properties": rules,
                "required": list(rules),
                "additionalProperties": False,
            }
        ),
    ),
    max_leaves=5,
)


@given(
    properties=st.dictionaries(st.sampled_from([*PROPERTIES, "mood"]), JSON_RULES, min_size=1, max_size=5),
    some=st.sets(st.sampled_from(sorted(PROPERTIES))),
)
def test_every_accepted_schema_is_satisfied(properties: dict[str, JsonValue], some: set[str]) -> None:
    whole: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": sorted(some & set(properties)),
        "additionalProperties": False,
    }
    schema = OutputSchema.read(whole)
    assert schema is not None
    try:
        check(schema, *NOT_ALWAYS)
    except BadRequest:
        return
    jsonschema.Draft7Validator(whole).validate(schema.fill(KNOWN))


@pytest.mark.parametrize(
    ("rule", "bounded"),
    [
        (True, False),
        ({}, False),
        ({"minimum": 1, "minLength": 1, "minItems": 0}, False),
        ({"minimum": 2}, True),
        ({"minLength": 2}, True),
        ({"minItems": 2}, True),
        ({"maximum": 5}, True),
        ({"items": {"pattern": "x"}}, True),
        ({"items": {"type": "string"}}, False),
        ({"anyOf": [{"type": "null"}, {"maxLength": 3}]}, True),
        ({"oneOf": [{"type": "null"}]}, False),
        ({"properties": {"a": {"multipleOf": 2}}}, True),
        ({"properties": {"a": {}}}, False),
    ],
)
def test_bounds_whose_outcome_nobody_knows(rule: JsonValue, bounded: bool) -> None:
    assert structured._bounded(rule) is bounded


@pytest.mark.parametrize(
    ("rule", "neutral"),
    [
        ({"type": "string"}, ""),
        ({"type": "integer"}, 0),
        ({"type": "number"}, 0),
        ({"type": "boolean"}, False),
        ({"type": "array"}, []),
        ({"type": "object"}, {}),
        ({"type": ["string", "null"]}, None),
        ({}, None),
    ],
)
def test_a_required_value_that_is_missing_is_empty(rule: JsonValue, neutral: JsonValue) -> None:
    filled = OutputSchema({"revised_prompt": rule}, ("revised_prompt",)).fill({})
    assert filled == {"revised_prompt": neutral}
    assert type(filled["revised_prompt"]) is type(neutral)
    assert OutputSchema({"revised_prompt": {"type": "string"}}).fill({}) == {}


@pytest.mark.parametrize(
    ("value", "rule", "fits"),
    [
        (7, {"const": 7}, [7]),
        (7, {"const": 8}, []),
        (7, {"enum": [6, 7]}, [7]),
        (7, {"enum": []}, []),
        (7.0, {"type": "integer"}, [7]),
        (7.5, {"type": "integer"}, []),
        (7.5, {"type": "number"}, [7.5]),
        (True, {"type": "number"}, []),
        ("12345678901234567890", {"type": "integer"}, [12345678901234567890]),
        ("x1", {"type": "integer"}, []),
        (True, {"type": "boolean"}, [True]),
        (1, {"type": "boolean"}, []),
        (None, {"type": "null"}, [None]),
        (None, {}, []),
        (["a", "b"], {"type": "string"}, ["a\nb"]),
        (["é", 1], {"type": "string"}, ['["é", 1]']),
        (True, {"type": "string"}, ["true"]),
        ({"a": 1}, {"type": "string"}, []),
        ([1, 2.5], {"type": "array", "items": {"type": "integer"}}, []),
        ([], {"type": "array", "items": {"type": "integer"}}, [[]]),
        ({"a": 1}, {"type": "object"}, [{"a": 1}]),
        ({"a": 1}, {"type": "object", "additionalProperties": False}, [{}]),
        ({"a": 1, "b": "x"}, {"type": "object", "properties": {"a": {"type": "string"}}}, [{"a": "1"}]),
        ({"a": 1}, {"type": "object", "properties": {"b": {}}, "required": ["b"]}, []),
        ({"a": 1}, {"type": "object", "properties": {"b": {}}}, [{}]),
        ({"a": 1}, {"type": "object", "properties": {"a": {}}, "required": ["a", "other"]}, [{"a": 1}]),
        (0.5, {"type": "array"}, []),
    ],
)
def test_the_forms_of_a_value_that_fit_a_type(value: JsonValue, rule: JsonValue, fits: list[JsonValue]) -> None:
    found = list(structured._fitting("", value, rule))
    assert found == fits
    assert [type(one) for one in found] == [type(one) for one in fits]


def test_a_schema_without_names_names_nothing() -> None:
    assert OutputSchema.read({"properties": [], "required": "seed"}) == OutputSchema()
    assert OutputSchema.read({"schema": {"properties": {"seed": {}}}}) == OutputSchema({"seed": {}})
    assert OutputSchema.read({"schema": {"properties": {"a": {}}}, "properties": {"b": {}}}) == OutputSchema({"b": {}})
    assert OutputSchema.read({"schema": 1, "required": ["seed", 2]}) == OutputSchema(
        {"seed": {}, "2": {}}, ("seed", "2")
    )


def test_faults_are_listed_up_to_five_and_names_are_cut() -> None:
    schema = OutputSchema({f"{number}{'x' * 120}": {} for number in range(7)} | {"width": {}})
    (told,) = schema.check(frozenset(), {}, "m")
    assert (
        told
        == "Missing in the structured output: "
        + "; ".join(f"`{number}{'x' * 99}`, which no image has" for number in range(5))
        + "."
    )


@pytest.mark.parametrize(
    ("changes", "marked"),
    [({}, False), ({"stamp": "a"}, True), ({"variants": "a"}, True), ({"thumbnail": 8}, True), ({"ai_label": "on"}, True), ({"details": True, "cache": "exact"}, False)],
)  # fmt: skip
def test_what_makes_marks(changes: dict[str, Any], marked: bool) -> None:
    assert OutputOptions(**changes).marked is marked

"""A model's published schema as a form, and a request as the model's inputs."""

from typing import Any

import pytest

from models.backends.model_inputs import ModelInputs, inputs_of, read_schema, schema_form
from models.entities import ImageRequest, InputImage
from models.parameters import RULES
from models.sizes import FreeSizes, ListedSizes, RatioSizes
from tests.fakes import image_file

PHOTO = InputImage(image_file(), "image/png")


def inputs(**properties: Any) -> ModelInputs:
    return read_schema(properties).inputs


def rules(**properties: Any) -> dict[str, Any]:
    return {rule.name: rule for rule in read_schema(properties).rules}


# --- from a schema to a form ---


@pytest.mark.parametrize("schema", [None, [], {}, {"properties": []}, {"properties": None}, "text"])
def test_a_schema_without_properties_is_no_form(schema: Any) -> None:
    assert schema_form({"Input": schema}, "Input") is None
    assert schema_form({"Input": {"properties": {}}}, "Other") is None


def test_a_form_knows_what_is_required() -> None:
    schema = {"properties": {"image": {"type": "string"}}, "required": ["image"]}
    form = schema_form({"Input": schema}, "Input")
    assert form is not None
    assert (form.inputs.image, form.inputs.images, form.inputs.min_images) == ("image", 1, 1)
    free = schema_form({"Input": {**schema, "required": None}}, "Input")
    assert free is not None
    assert free.inputs.min_images == 0


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/Ratio"},
        {"allOf": [{"$ref": "#/components/schemas/Ratio"}]},
        {"anyOf": [{"$ref": "#/components/schemas/Ratio"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"allOf": [{"$ref": "#/components/schemas/Ratio"}]}]},
        {"allOf": [{"type": "string"}, {"enum": ["1:1", "16:9"]}]},
    ],
)
def test_what_a_schema_refers_to_is_put_in_place(schema: Any) -> None:
    form = read_schema({"aspect_ratio": {**schema, "title": "Own"}}, (), {"Ratio": {"enum": ["1:1", "16:9"]}})
    assert (form.inputs.shape, form.inputs.sizes) == ("ratio", RatioSizes(ratios=("1:1", "16:9")))


def test_the_schemas_own_words_win_over_what_it_refers_to() -> None:
    definitions = {"Steps": {"type": "integer", "default": 4, "maximum": 9}}
    for schema in ({"$ref": "Steps", "default": 7}, {"allOf": [{"$ref": "Steps"}], "default": 7}):
        form = read_schema({"my_steps": schema}, (), definitions)
        own = next(rule for rule in form.rules if rule.name == "my_steps")
        assert (own.default, own.max) == (7, 9)
    assert read_schema({"x": {"$ref": "Unknown"}}).inputs.names == {}
    assert [rule.name for rule in read_schema({"x": {"anyOf": [{"type": "null"}]}}).rules] == list(COMMON)


COMMON = ("n", "output_format", "output_quality", "details", "timeout")


@pytest.mark.parametrize(
    ("properties", "shape", "sizes", "custom"),
    [
        ({}, "none", None, ()),
        ({"width": {}, "height": {}}, "sides", FreeSizes(multiple=16, min_side=64, max_side=4096), ()),
        ({"width": {}}, "none", None, ()),
        (
            {"width": {"minimum": 256, "maximum": 1440, "multipleOf": 32}, "height": {"minimum": 128, "maximum": 2000}},
            "sides",
            FreeSizes(multiple=32, min_side=256, max_side=1440),
            (),
        ),
        (
            {"width": {}, "height": {}, "aspect_ratio": {"enum": ["1:1", "custom"]}, "size": {"enum": ["a"]}},
            "sides",
            FreeSizes(multiple=16, min_side=64, max_side=4096),
            ("aspect_ratio",),
        ),
        ({"width": {}, "height": {}, "size": {"enum": ["custom"]}}, "sides", FreeSizes(multiple=16, min_side=64, max_side=4096), ("size",)),
        ({"image_size": {"properties": {"width": {}}}}, "image_size", FreeSizes(multiple=16, min_side=256, max_side=4096), ()),
        ({"image_size": {"enum": ["square_hd", "odd"]}}, "image_size", ListedSizes(sizes=((1024, 1024),)), ()),
        ({"image_size": {"enum": ["odd"]}}, "image_size", None, ()),
        ({"image_size": {"enum": ["square_hd"]}, "aspect_ratio": {"enum": ["1:1"]}}, "ratio", RatioSizes(ratios=("1:1",)), ()),
        ({"image_size": {"properties": {"width": {}}}, "aspect_ratio": {"enum": ["1:1"]}}, "image_size", FreeSizes(multiple=16, min_side=256, max_side=4096), ()),
        ({"aspect_ratio": {"enum": ["match", "16:9", "3:2:1", "a:b", "43", ":"]}}, "ratio", RatioSizes(ratios=("16:9",)), ()),
        ({"aspect_ratio": {"enum": ["auto"]}}, "none", None, ()),
        ({"aspect_ratio": {"type": "string"}}, "none", None, ()),
    ],
)  # fmt: skip
def test_the_shape_is_read(properties: Any, shape: str, sizes: Any, custom: tuple[str, ...]) -> None:
    found = inputs(**properties)
    assert (found.shape, found.sizes, found.custom) == (shape, sizes, custom)
    assert ({"width", "height", "aspect_ratio"} <= set(rules(**properties))) is (shape != "none")


def test_words_for_sizes_are_kept() -> None:
    assert inputs(image_size={"enum": ["square_hd", "odd"]}).size_words == {"square_hd": (1024, 1024)}
    assert inputs(image_size={"properties": {"width": {}}, "enum": ["square_hd"]}).size_words == {}


@pytest.mark.parametrize(
    ("schema", "several", "count"),
    [
        ({"type": "string"}, False, 1),
        ({"type": "array"}, True, 10),
        ({"type": "array", "maxItems": 4}, True, 4),
        ({"type": "string", "maxItems": 4}, False, 1),
    ],
)
def test_images_may_be_a_list(schema: Any, several: bool, count: int) -> None:
    found = inputs(image=schema)
    assert (found.several, found.images) == (several, count)
    assert inputs(prompt={}).images == 0


@pytest.mark.parametrize(
    ("word", "schema", "expected"),
    [
        ("num_inference_steps", {"minimum": 2, "maximum": 8, "default": 4}, ("steps", 2, 8, 4)),
        ("num_inference_steps", {"minimum": "a", "default": None}, ("steps", RULES["steps"].min, RULES["steps"].max, RULES["steps"].default)),
        ("guidance_scale", {"minimum": 0.5, "maximum": 9.5, "default": 2.5}, ("cfg_scale", 0.5, 9.5, 2.5)),
        ("seed", {"minimum": 5, "maximum": 9}, ("seed", RULES["seed"].min, RULES["seed"].max, RULES["seed"].default)),
    ],
)  # fmt: skip
def test_the_bounds_of_common_parameters_are_the_models(word: str, schema: Any, expected: Any) -> None:
    name, low, high, default = expected
    rule = rules(**{word: schema})[name]
    assert (rule.min, rule.max, rule.default) == (low, high, default)


def test_the_choices_of_common_parameters_are_the_models() -> None:
    found = rules(scheduler={"enum": ["a", 5]}, style={"enum": []})
    assert (found["scheduler"].options, found["scheduler"].default) == (("a", "5"), None)


@pytest.mark.parametrize(
    ("schema", "kind", "default"),
    [
        ({"type": "integer"}, "int", 0),
        ({"type": "integer", "default": 5}, "int", 5),
        ({"type": "number", "default": None}, "float", 0),
        ({"type": "boolean"}, "boolean", None),
        ({"type": "boolean", "default": False}, "boolean", False),
        ({"type": "string"}, "string", None),
        ({"type": "string", "default": ""}, "string", None),
        ({"type": "string", "default": "x"}, "string", "x"),
        ({"type": "string", "default": ["x"]}, "string", None),
        ({"enum": ["a", "b"], "default": "b"}, "string", "b"),
        ({"enum": ["a", "b"], "default": "c"}, "string", None),
        ({"enum": [1, 2], "type": "integer", "default": 2, "minimum": 1}, "string", "2"),
    ],
)
def test_a_parameter_of_its_own_has_its_type_and_default(schema: Any, kind: str, default: object) -> None:
    rule = rules(mine=schema)["mine"]
    assert (rule.type, rule.default) == (kind, default)
    assert rule.precision == (2 if schema.get("type") == "number" else None)
    if "enum" in schema:
        assert (rule.min, rule.options) == (None, tuple(map(str, schema["enum"])))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object"},
        {},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": "password"},
    ],
)
def test_lists_objects_and_files_are_no_parameters(schema: Any) -> None:
    assert "mine" not in rules(mine=schema)


def test_a_parameter_of_its_own_is_labelled_by_the_schema() -> None:
    rule = rules(mine={"type": "integer", "title": "T" * 70, "description": "D" * 400, "minimum": 1, "maximum": 9})[
        "mine"
    ]
    assert (rule.label.en_US, rule.help and rule.help.en_US) == ("T" * 60, "D" * 300)
    assert (rule.min, rule.max) == (1, 9)
    plain = rules(mine={"type": "string", "minimum": 1})["mine"]
    assert (plain.label.en_US, plain.help, plain.min, plain.max) == ("mine", None, None, None)


def test_what_is_sent_in_another_way_is_no_parameter_of_its_own() -> None:
    found = rules(
        prompt={"type": "string"},
        seed={"type": "integer"},
        image={"type": "string"},
        width={"type": "integer"},
        height={"type": "integer"},
        aspect_ratio={"type": "string", "enum": ["custom", "1:1"]},
        mine={"type": "string"},
    )
    assert set(found) == {"width", "height", "aspect_ratio", "seed", *COMMON, "mine"}
    assert found["aspect_ratio"] == RULES["aspect_ratio"]


# --- from a request to inputs ---

NAMES = {
    word: f"my_{word}"
    for word in ("steps", "cfg_scale", "negative_prompt", "seed", "output_format", "denoising_strength")
}


def sent(model: ModelInputs, seed: int | None = None, images: tuple[str, ...] = (), **parts: Any) -> dict[str, Any]:
    return inputs_of(model, ImageRequest(model="m", prompt="a fox", **parts), seed, images)


def test_only_what_is_asked_for_and_known_is_sent() -> None:
    model = ModelInputs(names=NAMES)
    assert sent(model) == {"prompt": "a fox"}
    asked: dict[str, Any] = {
        "steps": 9,
        "cfg_scale": 0.0,
        "negative_prompt": "x",
        "sampler": "euler",
        "extra": {"mine": 5},
    }
    assert sent(model, 7, **asked) == {
        "prompt": "a fox",
        "my_steps": 9,
        "my_cfg_scale": 0.0,
        "my_negative_prompt": "x",
        "my_seed": 7,
        "mine": 5,
    }


def test_a_strength_needs_an_image() -> None:
    model = ModelInputs(names=NAMES, image="image")
    assert sent(model, denoising_strength=0.5) == {"prompt": "a fox"}
    request = ImageRequest(model="m", prompt="a fox", denoising_strength=0.5, images=(PHOTO,))
    given = inputs_of(model, request, None, ("a",))
    assert given == {"prompt": "a fox", "my_denoising_strength": 0.5, "image": "a"}


@pytest.mark.parametrize(
    ("formats", "asked", "word"),
    [
        (("png", "jpg"), None, "png"),
        (("png", "jpg"), "jpeg", "jpg"),
        (("png", "jpeg", "jpg"), "jpeg", "jpeg"),
        (("png", "jpg"), "webp", "png"),
        (("webp", "jpg"), "webp", "webp"),
        (("jpg",), "webp", None),
        ((), "png", None),
    ],
)
def test_the_format_is_the_models_word_for_it(formats: tuple[str, ...], asked: Any, word: str | None) -> None:
    assert sent(ModelInputs(names=NAMES, formats=formats), output_format=asked).get("my_output_format") == word


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (ModelInputs(shape="none"), {}),
        (ModelInputs(shape="sides"), {"width": 640, "height": 360}),
        (ModelInputs(shape="sides", custom=("size",)), {"width": 640, "height": 360, "size": "custom"}),
        (ModelInputs(shape="image_size"), {"image_size": {"width": 640, "height": 360}}),
        (ModelInputs(shape="image_size", size_words={"wide": (640, 360)}), {"image_size": "wide"}),
        (ModelInputs(shape="ratio", sizes=RatioSizes(ratios=("1:1", "16:9"))), {"aspect_ratio": "16:9"}),
        (ModelInputs(shape="ratio"), {}),
    ],
)
def test_a_size_is_sent_as_the_model_takes_it(model: ModelInputs, size: dict[str, Any]) -> None:
    assert sent(model, width=640, height=360) == {"prompt": "a fox", **size}
    assert sent(model) == {"prompt": "a fox"}


@pytest.mark.parametrize(
    ("several", "mask", "expected"),
    [
        (False, "", {"image": "a"}),
        (True, "", {"image": ["a", "b"]}),
        (False, "mask", {"image": "a", "mask": "m"}),
        (True, "mask", {"image": ["a", "b"], "mask": "m"}),
    ],
)
def test_images_and_a_mask_have_their_inputs(several: bool, mask: str, expected: dict[str, Any]) -> None:
    model = ModelInputs(image="image", several=several, mask=mask)
    request = ImageRequest(model="m", prompt="a fox", images=(PHOTO, PHOTO), mask=PHOTO)
    assert inputs_of(model, request, None, ("a", "b", "m")) == {"prompt": "a fox", **expected}
    assert inputs_of(model, request, None, ()) == {"prompt": "a fox"}
    unmasked = ImageRequest(model="m", prompt="a fox", images=(PHOTO, PHOTO))
    assert "mask" not in inputs_of(model, unmasked, None, ("a", "b"))

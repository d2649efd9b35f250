"""A node with structured output on Dify's engine: schema and fields, by stream and by polling."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from models.output.structured import PROPERTIES
from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow
from tests.sandbox.apps import app, end, llm, start

PROVIDER = "imagegen/image_generation/image_generation"
TYPES: dict[str, JsonValue] = {
    "images": {"type": "array"},
    "notices": {"type": "array"},
    "seed": {"type": "integer"},
    "width": {"type": "integer"},
    "height": {"type": "integer"},
    "cost": {"type": "number"},
    "duration_seconds": {"type": "number"},
}
TEXT: JsonValue = {"type": "string"}
NULLABLE: JsonValue = {"type": ["string", "null"]}
END = end(all=["llm", "structured_output"], files=["llm", "files"])


@pytest.fixture(params=["direct", "polling"])
def services(services: Services, request: pytest.FixtureRequest) -> Services:
    return replace(services, credentials=Credentials({"waiting": request.param}))


def run(
    services: Services, path: Path, schema: dict[str, JsonValue], prompt: str = "a fox --seed 7", **more: JsonValue
) -> WorkflowRun:
    image = llm(
        prompt,
        model="preview",
        provider=PROVIDER,
        parameters={"width": 64, "height": 48, **more},
        structured_output_enabled=True,
        structured_output={"schema": {"type": "object", **schema}},
    )
    document = app("start -> llm", "llm -> end", start=start(), llm=image, end=END)
    path.write_text(document, encoding="utf-8")
    return run_workflow(path, {}, services)


def test_every_property_is_there_with_its_type(services: Services, tmp_path: Path) -> None:
    # Nobody revises the prompt of a placeholder, and there is no storage here.
    missing = {"revised_prompt", "storage_key", "thumbnail_url", "variants"}
    named = [name for name in PROPERTIES if name not in missing]
    properties: JsonValue = {name: TYPES.get(name, TEXT) for name in named}
    done = run(services, tmp_path / "app.yml", {"properties": properties, "required": [*named]})
    assert (done.status, done.error) == ("succeeded", "")
    said = done.outputs["all"]
    assert set(said) == set(named)
    assert (said["seed"], said["width"], said["height"], said["prompt"]) == (7, 64, 48, "a fox")
    assert said["image_url"] == said["images"][0]["image_url"]


def test_properties_typed_as_text_are_text(services: Services, tmp_path: Path) -> None:
    properties: JsonValue = dict.fromkeys(("seed", "width", "cost", "notices", "images"), TEXT)
    done = run(
        services, tmp_path / "app.yml", {"properties": properties}, "a fox --seed 7 --steps 3 --style x --details"
    )
    assert (done.status, done.error) == ("succeeded", "")
    said = done.outputs["all"]
    assert (said["seed"], said["width"], said["cost"]) == ("7", "64", "0.0")
    assert said["notices"].startswith("`--st")
    assert said["images"].startswith('[{"image_url": "data:')


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"required": ["caption", "seed"]}, "The node's structured output requires `caption`, which no image has"),
        (
            {"required": ["caption"], "properties": {}},
            "The node's structured output requires `caption`, which no image has",
        ),
        (
            {"required": ["revised_prompt"], "properties": {"revised_prompt": TEXT, "seed": {"type": "integer"}}},
            "The node's structured output requires `revised_prompt`, which preview cannot tell",
        ),
        (
            {"properties": {"url": TEXT, "photograph": TEXT}, "additionalProperties": False},
            "Nothing that the node's structured output names can be given: `photograph`, which no image has",
        ),
    ],
)
def test_an_unsatisfiable_schema_is_refused_before_anything_is_paid(
    services: Services, tmp_path: Path, schema: dict[str, JsonValue], said: str
) -> None:
    done = run(services, tmp_path / "app.yml", schema)
    assert done.status == "failed"
    assert done.error.startswith(said)
    assert not done.files


ADDRESSES: JsonValue = {"type": "array", "items": TEXT}
ITEMS: JsonValue = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"width": {"type": "string"}, "seed": {"type": "number"}},
        "required": ["width", "seed"],
        "additionalProperties": False,
    },
}


def test_a_list_of_urls_and_integer_seconds_are_returned_with_the_images(services: Services, tmp_path: Path) -> None:
    properties: JsonValue = {"images": ADDRESSES, "duration_seconds": {"type": "integer"}, "revised_prompt": NULLABLE}
    schema: dict[str, JsonValue] = {"properties": properties, "required": ["images", "revised_prompt"]}
    done = run(services, tmp_path / "app.yml", {**schema, "additionalProperties": False}, n=2)
    assert (done.status, done.error) == ("succeeded", "")
    assert [address[:15] for address in done.outputs["all"]["images"]] == ["data:image/png;"] * 2
    assert done.outputs["all"]["revised_prompt"] is None
    assert len(done.outputs["files"]) == len(done.files) == 2


def test_objects_hold_only_the_named_properties(services: Services, tmp_path: Path) -> None:
    done = run(services, tmp_path / "app.yml", {"properties": {"images": ITEMS}, "required": ["images"]})
    assert done.outputs["all"]["images"] == [{"width": "64", "seed": 7}]

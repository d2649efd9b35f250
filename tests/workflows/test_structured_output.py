"""A node with structured output on, as Dify's engine runs it: a polling model, its schema, its fields."""

from pathlib import Path

import pytest
from pydantic import JsonValue

from models.output.delivery import PROPERTIES
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


def run(services: Services, path: Path, schema: dict[str, JsonValue], prompt: str = "a fox --seed 7") -> WorkflowRun:
    image = llm(
        prompt,
        model="preview",
        provider=PROVIDER,
        parameters={"width": 64, "height": 48},
        structured_output_enabled=True,
        structured_output={"schema": {"type": "object", **schema}},
    )
    document = app("start -> llm", "llm -> end", start=start(), llm=image, end=end(all=["llm", "structured_output"]))
    path.write_text(document, encoding="utf-8")
    return run_workflow(path, {}, services)


def test_every_property_is_there_with_its_type(services: Services, tmp_path: Path) -> None:
    named = [name for name in PROPERTIES if name != "revised_prompt"]  # nobody revises the prompt of a placeholder
    properties: JsonValue = {name: TYPES.get(name, TEXT) for name in named}
    done = run(services, tmp_path / "app.yml", {"properties": properties, "required": [*named]})
    assert (done.status, done.error) == ("succeeded", "")
    said = done.outputs["all"]
    assert set(said) == set(named)
    assert (said["seed"], said["width"], said["height"], said["prompt"]) == (7, 64, 48, "a fox")
    assert said["image_url"] == said["images"][0]["image_url"]


def test_properties_that_the_editor_left_as_text_come_as_text(services: Services, tmp_path: Path) -> None:
    properties: JsonValue = dict.fromkeys(("seed", "width", "cost", "notices", "images"), TEXT)
    done = run(
        services, tmp_path / "app.yml", {"properties": properties}, "a fox --seed 7 --steps 3 --style x --details"
    )
    assert (done.status, done.error) == ("succeeded", "")
    said = done.outputs["all"]
    assert (said["seed"], said["width"], said["cost"]) == ("7", "64", "0.0")
    assert said["notices"].startswith("`--st")
    assert said["images"].startswith('[{"image_url": "data:')


@pytest.mark.parametrize("schema", [{"required": ["caption", "seed"]}, {"required": ["caption"], "properties": {}}])
def test_a_schema_that_no_image_fulfils_is_refused_before_anything_is_paid(
    services: Services, tmp_path: Path, schema: dict[str, JsonValue]
) -> None:
    done = run(services, tmp_path / "app.yml", schema)
    assert done.status == "failed"
    assert done.error.startswith("The node's structured output requires caption, which no image has. Name only")
    assert not done.files

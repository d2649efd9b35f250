"""What a reader of each shipped app sees: the text that its Answer or End node streams, for both values of `waiting`."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sandbox.credentials import Credentials
from sandbox.inputs import Given
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow

ROOT = Path(__file__).parents[2]
PROVIDER = "imagegen/image_generation/image_generation"
INPUTS: Mapping[str, Mapping[str, Given]] = {
    "text_to_image": {"prompt": "a red fox --seed 7 --hue 3"},
    "qwen_image_poster": {},
    "edit_image_api": {"image": ROOT / "_assets/text_to_image.png", "instruction": "make it blue"},
    "sd_webui_prompt_llm": {"wish": "a cat", "size": "512x512"},
    "ecommerce_posters": {"products": "name,points\nRug,soft\nLamp,bright", "look": "clean", "size": "512x512"},
    "comfyui_scene": {"style": "anime", "aspect_ratio": "16:9"},
    "lesson_illustration": {"lesson": "the kites fly in spring"},
    "style_series": {"reference": ROOT / "_assets/text_to_image.png", "scenes": "asleep\nawake", "seed": 5},
    "agent_tool": {"prompt": "a red fox"},
    "compare_models": {"prompt": "a red fox"},
}
IMAGE = re.compile(r"!\[[^\]]*\]\((http[^)]+)\)")


@pytest.fixture(params=["direct", "polling"])
def services(services: Services, request: pytest.FixtureRequest) -> Services:
    return replace(services, credentials=Credentials({"waiting": request.param}))


def shown_with_preview(name: str, services: Services) -> WorkflowRun:
    """A run of a shipped app whose image models are replaced by `preview`."""
    app = yaml.safe_load((ROOT / "workflows" / f"{name}.yml").read_text("utf-8"))
    for node in app["workflow"]["graph"]["nodes"]:
        model = node["data"].get("model", {})
        if model.get("provider") == PROVIDER and model["name"] != "contact-sheet":
            model["name"] = "preview"
    return run_workflow(yaml.safe_dump(app, allow_unicode=True), INPUTS[name], services, query="a fox")


def is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), (dict, list))
    except ValueError:
        return False


def test_every_app_is_looked_at() -> None:
    """The apps that show a video or a copy of their image have tests of their own."""
    assert {path.stem for path in (ROOT / "workflows").glob("*.yml")} == {*INPUTS, "product_video", "human_review"}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_shipped_app_shows_its_images_and_neither_json_nor_dicts(name: str, services: Services) -> None:
    run = shown_with_preview(name, services)
    assert (run.status, run.error) == ("succeeded", "")
    shown = [services.store.path_of_link(link) for link in IMAGE.findall(run.streamed)]
    assert {*shown} == {*run.files} != set()
    assert not any(is_json(line) for line in run.streamed.splitlines())
    assert "{'" not in run.streamed


def test_the_smallest_app_shows_seed_and_notices(services: Services) -> None:
    run = shown_with_preview("text_to_image", services)
    _, seed, notice, *_ = run.streamed.split("\n\n")
    assert seed == "Seed 7"
    assert notice.startswith("`--hue` stays in the prompt")


def test_a_gallery_shows_each_caption_below_its_image(services: Services) -> None:
    run = shown_with_preview("ecommerce_posters", services)
    assert re.sub(r"\(http[^)]+\)", "(...)", str(run.outputs["gallery"])).split("\n\n") == [
        "![Rug · soft](...)",
        "Rug · soft",
        "![Lamp · bright](...)",
        "Lamp · bright",
    ]

"""Every predefined model, through the process, with every parameter of its form switched on as Dify's page does it."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from pydantic import JsonValue

from models.catalog import Card, cards
from sandbox import Host
from sandbox.protocol import JsonObject, image_part, user
from tests.asking import bound, rules_of
from tests.contract_cases import CASES
from tests.fakes import image_file
from tests.servers.comfyui import ComfyUIServer
from tests.video_files import mp4

WORKFLOWS = Path(__file__).parents[2] / "models/backends/comfyui/workflows"
LEAST_SIDE = 256  # pixels; with a minimum as the default an image had 16
PART_SERVED = {"black_forest_labs", "fal", "replicate"}
"""Services whose fake knows some models only, and returns small images; tests/test_catalog.py looks at the requests of all models."""
NEED_MORE = {
    *("stability-outpaint", "stability-search-and-recolor", "stability-search-and-replace", "stability-style-transfer"),
    *("stability-upscale-conservative", "stability-upscale-creative"),
}
"""Models that must be told what or where to edit, and those that cost more than the fake's account has."""
VIDEOS = [card for card in cards().values() if "duration" in {rule.name for rule in card.rules}]
SERVED = [
    card
    for card in cards().values()
    if card.backend not in PART_SERVED and card.model not in NEED_MORE and card not in VIDEOS
]
PHOTO = image_part(image_file(768, 512), filename="photo.png")


def switched_on(rule: JsonObject) -> JsonValue:
    """What the page sends for a parameter that is switched on and left as it is (parameter-item.tsx of Dify 1.16)."""
    default = rule.get("default")
    match rule["type"]:
        case "int" | "float":
            return (rule.get("min") or 0) if default is None else default
        case "boolean":
            return default or False
        case _:
            return default or ""


def _offer_shipped_files(server: ComfyUIServer) -> None:
    """Every model file that a shipped workflow names."""
    for path in WORKFLOWS.glob("*.json"):
        for node in json.loads(path.read_text("utf-8")).values():
            inputs = server.engine.object_info.get(node["class_type"], {}).get("input", {}).get("required", {})
            for name, value in node["inputs"].items():
                if isinstance(value, str) and isinstance(choices := inputs.get(name, [None])[0], list):
                    choices.append(value)


@pytest.fixture
def credentials(card: Card) -> Iterator[dict[str, JsonValue]]:
    """The provider's form with the service of `card`, a fake server."""
    if card.backend == "comfyui":  # its case is a customizable model
        with ComfyUIServer() as comfyui:
            _offer_shipped_files(comfyui)
            yield {"comfyui_base_url": comfyui.url}
        return
    case = CASES[card.backend]
    if case.serve is None or case.credentials is None:
        yield {}
        return
    with case.serve() as fake:
        yield dict(case.credentials(fake.url))


def everything_on(plugin: Host, credentials: dict[str, JsonValue], card: Card) -> dict[str, JsonValue]:
    schema = plugin.model_schema(card.model, credentials)
    assert schema is not None
    return {str(rule["name"]): switched_on(rule) for rule in rules_of(schema)}


def size_made(
    plugin: Host, credentials: dict[str, JsonValue], card: Card, parameters: dict[str, JsonValue]
) -> tuple[int, int]:
    """The size of the one image that a model returns; an editing model and the contact sheet get a photo."""
    needed = bound(card.model, {}).capabilities.min_images
    images = [PHOTO] * (1 if card.backend == "contact_sheet" else needed)
    reply = plugin.invoke(card.model, credentials, [user("a red fox in snow", *images)], parameters, stream=True)
    (image,) = reply.images
    with Image.open(io.BytesIO(image.data)) as shown:
        return shown.size


@pytest.mark.parametrize("card", SERVED, ids=lambda card: card.model)
def test_all_parameters_switched_on_make_a_sane_image(
    plugin: Host, credentials: dict[str, JsonValue], card: Card
) -> None:
    parameters = everything_on(plugin, credentials, card)
    # The fake ComfyUI edits no pixels, so that its edits are as small as they are with nothing switched on.
    least = min(LEAST_SIDE, *size_made(plugin, credentials, card, {}))
    assert min(size_made(plugin, credentials, card, parameters)) >= least


@pytest.mark.parametrize("card", VIDEOS, ids=lambda card: card.model)
def test_all_parameters_switched_on_make_a_video(plugin: Host, credentials: dict[str, JsonValue], card: Card) -> None:
    parameters = everything_on(plugin, credentials, card)
    able = bound(card.model, {}).capabilities
    photos = [PHOTO] * max(able.min_images, min(able.images, 1))
    chunks = plugin.invoke(card.model, credentials, [user("a red kite", *photos)], parameters, stream=True).chunks
    contents = [part for chunk in chunks for part in chunk.delta.message.contents]
    (video,) = [part for part in contents if part.type == "video"]
    assert (base64.b64decode(video.base64_data), video.mime_type) == (mp4(), "video/mp4")


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.model)
def test_no_form_draws_a_slider_for_a_seed(plugin: Host, credentials: dict[str, JsonValue], card: Card) -> None:
    """Dify draws one for a number with two bounds."""
    schema = plugin.model_schema(card.model, credentials)
    assert schema is not None
    for rule in rules_of(schema):
        if "seed" in str(rule["name"]):
            assert rule["min"] is None or rule["max"] is None

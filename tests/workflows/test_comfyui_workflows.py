"""The two ComfyUI apps on Dify's engine, with a fake server over HTTP."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template
from PIL import Image

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow
from tests.fakes import MARKER_KEY
from tests.servers.comfyui import ComfyUIServer
from tests.servers.qwen_image import FakeModelStudio, model_studio

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SCENE = "lighthouse keeper feeding gulls, dawn, clean line art"
FILES = {
    ("CheckpointLoaderSimple", "ckpt_name"): "sd_xl_base_1.0.safetensors",
    ("UNETLoader", "unet_name"): "qwen_image_fp8_e4m3fn.safetensors",
    ("CLIPLoader", "clip_name"): "qwen_2.5_vl_7b_fp8_scaled.safetensors",
    ("VAELoader", "vae_name"): "qwen_image_vae.safetensors",
}


@pytest.fixture
def comfyui() -> Iterator[ComfyUIServer]:
    """A server with the model files that the shipped workflows name."""
    server = ComfyUIServer(login=f"Bearer {MARKER_KEY}")
    for (node, name), file in FILES.items():
        server.engine.object_info[node]["input"]["required"][name][0].append(file)
    with server:
        yield server


@pytest.fixture
def studio() -> Iterator[FakeModelStudio]:
    with model_studio(key=MARKER_KEY) as server:
        yield server


@pytest.fixture
def services(services: Services, comfyui: ComfyUIServer, studio: FakeModelStudio) -> Services:
    provider = {
        "comfyui_base_url": comfyui.url,
        "comfyui_api_key": MARKER_KEY,
        "dashscope_api_key": MARKER_KEY,
        "dashscope_base_url": studio.url,
    }
    script = {"enhancer": SCENE, "elements": "两个孩子在河边放风筝，春天的早晨", "caption": "春风里，风筝越飞越高。"}
    return replace(services, credentials=Credentials(provider), script=script)


def scene(services: Services) -> Any:
    inputs = {"style": "anime", "aspect_ratio": "16:9"}
    return run_workflow(WORKFLOWS / "comfyui_scene.yml", inputs, services, query="a lighthouse keeper at dawn")


def submitted(server: ComfyUIServer) -> dict[str, Any]:
    (entry,) = server.engine.history.values()
    graph: dict[str, Any] = entry["prompt"][2]
    return graph


def test_an_idea_becomes_a_scene_generated_by_comfyui(services: Services, comfyui: ComfyUIServer) -> None:
    run = scene(services)
    assert (run.status, run.error) == ("succeeded", "")
    (path,) = run.files
    graph = submitted(comfyui)
    size = (graph["5"]["inputs"]["width"], graph["5"]["inputs"]["height"])
    assert Image.open(path).size == size
    assert size[0] / size[1] == pytest.approx(16 / 9, rel=0.02)
    assert graph["6"]["inputs"]["text"] == SCENE
    assert graph["7"]["inputs"]["text"] == "photo, realistic skin, 3d render, extra fingers, text, watermark"
    assert (graph["3"]["inputs"]["steps"], graph["3"]["inputs"]["cfg"]) == (30, 6.5)
    answer = str(run.outputs["answer"])
    assert re.match(r"!\[\]\(http://[^/]+/files/tools/", answer)
    assert f"> {SCENE}" in answer
    assert "fallback" not in [node.id for node in run.nodes]


def test_every_style_has_a_description_that_reaches_the_language_model() -> None:
    app = yaml.safe_load((WORKFLOWS / "comfyui_scene.yml").read_text("utf-8"))
    nodes = {node["id"]: node["data"] for node in app["workflow"]["graph"]["nodes"]}
    styles = next(v["options"] for v in nodes["start"]["variables"] if v["variable"] == "style")
    for name in ("knowledge", "avoid"):
        words = [Template(nodes[name]["template"]).render(style=style) for style in styles]
        assert all(words)
        assert len(set(words)) == len(styles)
    assert "{{#knowledge.output#}}" in nodes["enhancer"]["prompt_template"][0]["text"]


def test_a_missing_checkpoint_uses_the_fallback_model_with_the_reason(
    services: Services, comfyui: ComfyUIServer, studio: FakeModelStudio
) -> None:
    comfyui.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0][:] = ["other.safetensors"]
    run = scene(services)
    assert run.status == "partial-succeeded"
    (asked,) = studio.of_kind("generate")
    assert asked.body["input"]["messages"][0]["content"] == [{"text": SCENE}]
    answer = str(run.outputs["answer"])
    assert re.match(r"!\[\]\(http://[^/]+/files/tools/", answer)
    assert "sd_xl_base_1.0.safetensors" in answer
    assert "other.safetensors" in answer
    assert len(run.files) == 1
    assert MARKER_KEY not in repr(run)


def test_an_offline_server_uses_the_fallback_model(services: Services, comfyui: ComfyUIServer) -> None:
    comfyui.stop()
    run = scene(services)
    assert run.status == "partial-succeeded"
    assert "comfyui_base_url" in str(run.outputs["answer"])


def test_a_lesson_becomes_an_ink_illustration_with_its_caption(services: Services, comfyui: ComfyUIServer) -> None:
    run = run_workflow(WORKFLOWS / "lesson_illustration.yml", {"lesson": "春天来了，孩子们到河边去放风筝。"}, services)
    assert (run.status, run.error) == ("succeeded", "")
    graph = submitted(comfyui)
    prompt = graph["6"]["inputs"]["text"]
    assert prompt.startswith("水墨画风格的课文插图")
    assert prompt.endswith("两个孩子在河边放风筝，春天的早晨")
    size = (graph["5"]["inputs"]["width"], graph["5"]["inputs"]["height"])
    assert Image.open(run.files[0]).size == size
    assert size[0] / size[1] == pytest.approx(4 / 3, rel=0.02)
    illustration = str(run.outputs["illustration"])
    assert re.match(r"!\[\]\(http://[^/]+/files/tools/", illustration)
    assert illustration.endswith("*春风里，风筝越飞越高。*")
    assert run.outputs["caption"] == "春风里，风筝越飞越高。"
    assert run.outputs["elements"] == "两个孩子在河边放风筝，春天的早晨"

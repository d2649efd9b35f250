"""ComfyUI through the plugin process: by call, stream and polling, with servers and processes that end."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from pydantic import JsonValue

from sandbox import Host, cli
from sandbox.errors import PluginError
from sandbox.parameters import Schema
from sandbox.protocol import image_part, user
from tests.backends.comfyui.jobs import TXT2IMG, Graph, sampled, slow
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY, image_file
from tests.servers.comfyui import ComfyUIServer, wait_until

MODELS = ("comfyui-sdxl", "comfyui-flux", "comfyui-qwen-image")
EDITORS = (*MODELS, "comfyui-qwen-image-edit")
IMPATIENT = {"IMAGE_GENERATION_HOLD_SECONDS": "0.3"}


@pytest.fixture
def comfy() -> Iterator[ComfyUIServer]:
    with ComfyUIServer(login=f"Bearer {MARKER_KEY}") as server:
        server.install_models()
        yield server


def form(comfy: ComfyUIServer) -> dict[str, JsonValue]:
    return {"comfyui_base_url": comfy.url, "comfyui_api_key": MARKER_KEY}


def own(comfy: ComfyUIServer, graph: Graph) -> dict[str, JsonValue]:
    """A customizable model with a pasted workflow."""
    return {"backend": "comfyui", "base_url": comfy.url, "api_key": MARKER_KEY, "workflow": json.dumps(graph)}


def size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_workflow_generates_an_image_by_call_and_by_polling(
    plugin: Host, comfy: ComfyUIServer, model: str
) -> None:
    asked = [user("a lighthouse --size 256x192 --seed 7")]
    parameters: dict[str, JsonValue] = {"details": True, "directives": "all"}
    called = plugin.invoke(model, form(comfy), asked, parameters)
    polled = plugin.run_polling(model, form(comfy), asked, parameters)
    assert polled.error is None
    for reply in (called, polled):
        assert [size(image.data) for image in reply.images] == [(256, 192)]
        told = next(json.loads(line) for line in reply.text.splitlines() if line.startswith("{"))
        assert (told["seed"], told["backend"]) == (7, "comfyui")
    assert MARKER_KEY not in repr((called, polled))


@pytest.mark.parametrize("model", EDITORS)
def test_a_shipped_workflow_accepts_an_image_and_a_mask(plugin: Host, comfy: ComfyUIServer, model: str) -> None:
    photo = image_part(image_file(256, 192, kind="JPEG"), filename="photo.jpg")
    mask = image_part(image_file(256, 192, mode="L", colour=255), filename="mask.png")
    for parts in ([photo], [photo, mask]):
        reply = plugin.invoke(model, form(comfy), [user(*parts, "in winter")], {})
        assert len(reply.images) == 1
    stored = [key for key in comfy.engine.files if key[0] == "input"]
    assert len(stored) == 3


def test_a_pasted_workflow_has_a_form_and_accepts_directives(plugin: Host, comfy: ComfyUIServer) -> None:
    comfy.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [
        ["a.safetensors", "b.safetensors"],
        {},
    ]
    credentials = own(comfy, sampled(ckpt_name="a.safetensors"))
    schema = Schema.model_validate(plugin.model_schema("foxes", credentials))
    rules = {rule.name: rule for rule in schema.parameter_rules}
    assert rules["checkpoint"].options == ["a.safetensors", "b.safetensors"]
    plugin.validate_model_credentials("foxes", credentials)
    plugin.invoke(
        "foxes", credentials, [user("a fox --checkpoint b.safetensors --steps 9 --draft")], {"directives": "all"}
    )
    graph = list(comfy.engine.history.values())[-1]["prompt"][2]
    assert (graph["4"]["inputs"]["ckpt_name"], graph["3"]["inputs"]["steps"]) == ("b.safetensors", 4)


def test_a_polled_job_stays_at_its_server_in_every_process(plugin: Host, comfy: ComfyUIServer) -> None:
    with ComfyUIServer(login=f"Bearer {MARKER_KEY}") as other:
        del comfy.engine.object_info["DevSleep"]
        credentials = {**own(comfy, slow(0.3)), "base_url": f"{comfy.url}, {other.url}"}
        with pytest.raises(PluginError, match="1 of the 2 addresses"):
            plugin.validate_model_credentials("slow", credentials)
        reply = plugin.run_polling("slow", credentials, [user("a fox")], {})
        assert len(reply.images) == 1
        assert (comfy.count("POST /prompt"), other.count("POST /prompt")) == (0, 1)
        assert comfy.count("GET /history") == 0


def test_an_invalid_form_is_refused_with_the_reason(plugin: Host, comfy: ComfyUIServer) -> None:
    with pytest.raises(PluginError, match="nobody-has-this"):
        plugin.validate_model_credentials("foxes", own(comfy, sampled(ckpt_name="nobody-has-this.safetensors")))
    with pytest.raises(PluginError, match="comfyui_api_key"):
        plugin.validate_provider_credentials({"comfyui_base_url": comfy.url})
    plugin.validate_provider_credentials(form(comfy))


def test_a_stream_reports_the_queue_and_the_steps(plugin: Host, comfy: ComfyUIServer) -> None:
    chunks = plugin.invoke("slow", own(comfy, slow(0.6, steps=3)), [user("a fox")], {"details": True}, stream=True)
    assert "step 2/3" in chunks.text
    assert len(chunks.images) == 1


def test_a_failed_node_is_reported_in_a_polling_reply(plugin: Host, comfy: ComfyUIServer) -> None:
    graph = slow()
    graph["2"] = {"class_type": "DevFail", "inputs": {"image": ["1", 0], "kind": "cuda_oom"}, "_meta": {"title": "Big"}}
    reply = plugin.run_polling("big", own(comfy, graph), [user("a fox")], {})
    assert reply.status == "failed"
    assert reply.error is not None
    assert 'node 2 (DevFail "Big"): CUDA out of memory' in reply.error
    assert "smaller image" in reply.error


def test_a_killed_plugin_and_a_restarted_server_give_one_image(comfy: ComfyUIServer) -> None:
    """The job finishes from its state alone: neither the plugin process nor the server's queue survives."""
    credentials = own(comfy, slow())
    comfy.engine.gate.clear()
    with Host(plugin_dir=ROOT, environment=IMPATIENT) as host:
        reply = host.start_polling("slow", credentials, [user("a fox --seed 5")], {"details": True})
        assert reply.status == "running", reply.error
        assert MARKER_KEY not in json.dumps(reply.plugin_state)
        host.kill()
        wait_until(lambda: comfy.engine.running)
        comfy.stop()
        reply = host.check_polling("slow", credentials, reply.plugin_state or {})
        assert reply.status == "running", reply.error
        comfy.engine.gate.set()
        comfy.start()
        for _ in range(60):
            if reply.status != "running":
                break
            reply = host.check_polling("slow", credentials, reply.plugin_state or {})
        assert host.restarts == 1
    assert reply.error is None
    assert len(reply.images) == 1
    assert "submitted again" in reply.text
    assert comfy.count("POST /prompt") == 2


def test_the_command_line_shows_the_form_of_a_workflow(
    comfy: ComfyUIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [
        ["tiny-random-sd15.safetensors"],
        {},
    ]
    file = tmp_path / "foxes.json"
    file.write_text(json.dumps(TXT2IMG), "utf-8")
    assert cli.main(["slots", str(file), "--comfyui", comfy.url, "--api-key", MARKER_KEY]) == 0
    printed = capsys.readouterr().out
    assert "checkpoint" in printed
    assert "one of tiny-random-sd15.safetensors" in printed
    assert '`prompt` goes to node 6 (CLIPTextEncode "Positive") `text`' in printed
    assert "`denoising_strength` goes to" in printed
    assert MARKER_KEY not in printed


def test_the_command_line_shows_the_findings_despite_a_missing_model(
    comfy: ComfyUIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = sampled(ckpt_name="nobody-has-this.safetensors")
    graph["7"]["class_type"], graph["7"]["inputs"] = "ConditioningZeroOut", {"conditioning": ["6", 0]}
    file = tmp_path / "foxes.json"
    file.write_text(json.dumps(graph), "utf-8")
    assert cli.main(["slots", str(file), "--comfyui", comfy.url, "--api-key", MARKER_KEY]) == cli.REFUSED
    printed = capsys.readouterr()
    assert '`prompt` goes to node 6 (CLIPTextEncode "Positive") `text`' in printed.out
    assert "`negative_prompt` was not found: " in printed.out
    assert "nobody-has-this.safetensors" in printed.err

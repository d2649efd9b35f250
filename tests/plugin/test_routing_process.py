"""`auto` and `fallback` through the plugin process: by call, stream and polling, with processes that end between checks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import image_part, user
from tests.asking import rules_of
from tests.backends.comfyui.jobs import slow
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY, image_file
from tests.servers.comfyui import ComfyUIServer
from tests.servers.comfyui_engine import NodeFailed
from tests.servers.stability import FakeStability

SMALL: dict[str, JsonValue] = {"width": 128, "height": 128, "details": True}
NOWHERE = "http://127.0.0.1:9"
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "answered_by": {"type": "string"}, "notices": {"type": "array"}},
    "required": ["answered_by"],
}


@pytest.fixture
def comfy() -> Iterator[ComfyUIServer]:
    with ComfyUIServer(login=f"Bearer {MARKER_KEY}") as server:
        server.install_models()
        yield server


@pytest.fixture
def stability() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY, balance=1e6) as fake:
        yield fake


def form(comfy: ComfyUIServer, stability: FakeStability) -> dict[str, JsonValue]:
    return {
        "comfyui_base_url": comfy.url,
        "comfyui_api_key": MARKER_KEY,
        "stability_api_key": MARKER_KEY,
        "stability_base_url": stability.url,
    }


def out_of_memory(*_: object) -> None:
    raise NodeFailed("cuda_oom")


def held(comfy: ComfyUIServer) -> None:
    """Another user's job keeps the server busy until its gate opens."""
    comfy.engine.gate.clear()
    graph = slow()
    graph["2"]["inputs"]["seed"] = 1
    comfy.engine.submit({"prompt": graph, "client_id": "another user"})


def details(text: str) -> dict[str, Any]:
    told: dict[str, Any] = next(json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return told


def test_another_model_answers_in_a_stream(plugin: Host, stability: FakeStability) -> None:
    credentials: dict[str, JsonValue] = {
        "comfyui_base_url": NOWHERE,
        "stability_api_key": MARKER_KEY,
        "stability_base_url": stability.url,
    }
    asked = [user("a lighthouse --seed 7")]
    node: dict[str, JsonValue] = {**SMALL, "fallback": "sd3.5-medium, preview", "sampler": "euler"}
    reply = plugin.invoke("comfyui-sdxl", credentials, asked, node, stream=True)
    told = details(reply.text)
    assert (told["model"], told["answered_by"], told["backend"], told["seed"]) == (
        "comfyui-sdxl",
        "sd3.5-medium",
        "stability",
        7,
    )
    assert told["notices"][0] == "sd3.5-medium has no `sampler`: not used."
    assert "comfyui-sdxl did not answer (127.0.0.1:9 could not be reached)." in told["notices"]
    assert len(reply.images) == 1
    audit = [
        message for index in range(2) for message in plugin.process(index).log_messages if "image_request" in message
    ]
    assert any('"answered_by": "sd3.5-medium"' in line for line in audit)


def test_structured_output_says_who_answered_for_an_account_without_credit(plugin: Host) -> None:
    node: dict[str, JsonValue] = {**SMALL, "fallback": "preview", "json_schema": json.dumps(SCHEMA)}
    with FakeStability(key=MARKER_KEY, balance=0) as fake:
        credentials: dict[str, JsonValue] = {"stability_api_key": MARKER_KEY, "stability_base_url": fake.url}
        said = json.loads(plugin.invoke("sd3.5-large", credentials, [user("a fox")], node).text)
    assert (said["model"], said["answered_by"]) == ("sd3.5-large", "preview")
    assert said["notices"][0].startswith("sd3.5-large did not answer (HTTP 402")


def test_a_refused_prompt_is_not_tried_elsewhere(plugin: Host, stability: FakeStability) -> None:
    credentials: dict[str, JsonValue] = {"stability_api_key": MARKER_KEY, "stability_base_url": stability.url}
    node: dict[str, JsonValue] = {"fallback": "preview", "cfg_scale": 99}
    with pytest.raises(PluginError, match="The parameter `cfg_scale` cannot be '99'") as refusal:
        plugin.invoke("sd3.5-medium", credentials, [user("a fox")], node)
    assert refusal.value.error_type == "InvokeBadRequestError"


def test_a_polled_job_goes_to_the_next_model_in_another_process(
    comfy: ComfyUIServer, stability: FakeStability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that started the job dies; the next one finds that the GPU has run out of memory."""
    credentials, fox = form(comfy, stability), [user("a fox --seed 5 --n 2")]
    node: dict[str, JsonValue] = {**SMALL, "fallback": "sd3.5-large", "directives": "all"}
    held(comfy)
    with Host(plugin_dir=ROOT) as host:
        reply = host.start_polling("comfyui-sdxl", credentials, fox, node)
        assert reply.status == "running", reply.error
        assert MARKER_KEY not in json.dumps(reply.plugin_state)
        host.kill()
        monkeypatch.setattr(comfy.engine, "_save", out_of_memory)
        comfy.engine.gate.set()
        while reply.status == "running":
            reply = host.check_polling("comfyui-sdxl", credentials, reply.plugin_state or {})
        assert host.restarts == 1
    assert reply.status == "succeeded", reply.error
    told = details(reply.text)
    assert (told["model"], told["answered_by"], told["seed"]) == ("comfyui-sdxl", "sd3.5-large", 5)
    assert len(reply.images) == 2
    assert "CUDA out of memory" in str(told["notices"])
    assert MARKER_KEY not in reply.text


def test_an_accepted_job_with_input_images_stays_with_its_server(
    plugin: Host, comfy: ComfyUIServer, stability: FakeStability
) -> None:
    photo = image_part(image_file(256, 192, kind="JPEG"), filename="photo.jpg")
    node: dict[str, JsonValue] = {"fallback": "sd3.5-large", "timeout": 4}
    held(comfy)
    reply = plugin.run_polling("comfyui-sdxl", form(comfy, stability), [user(photo, "in winter")], node)
    comfy.engine.gate.set()
    assert reply.status == "failed"
    assert "the time limit of the job has passed" in (reply.error or "")
    assert not [one for one in stability.requests if one.body]


def test_auto_is_named_by_the_prompt_in_every_way(plugin: Host, comfy: ComfyUIServer, stability: FakeStability) -> None:
    credentials = form(comfy, stability)
    asked = [user("a lighthouse --seed 7 --model comfyui-sdxl")]
    node: dict[str, JsonValue] = {**SMALL, "sampler": "Euler a", "checkpoint": "sd_xl_base_1.0.safetensors"}
    for reply in (
        plugin.invoke("auto", credentials, asked, node),
        plugin.invoke("auto", credentials, asked, node, stream=True),
        plugin.run_polling("auto", credentials, asked, node),
    ):
        told = details(reply.text)
        assert (told["model"], told["answered_by"], told["backend"]) == ("auto", "comfyui-sdxl", "comfyui")
    graph = list(comfy.engine.history.values())[-1]["prompt"][2]
    assert graph["3"]["inputs"]["sampler_name"] == "euler_ancestral"


def test_a_polled_job_of_auto_is_checked_by_another_process(
    plugin: Host, comfy: ComfyUIServer, stability: FakeStability
) -> None:
    """The two processes of the host answer in turns."""
    credentials = form(comfy, stability)
    held(comfy)
    node: dict[str, JsonValue] = {**SMALL, "model": "comfyui-flux"}
    reply = plugin.start_polling("auto", credentials, [user("a fox --seed 3")], node)
    assert reply.status == "running", reply.error
    comfy.engine.gate.set()
    while reply.status == "running":
        reply = plugin.check_polling("auto", credentials, reply.plugin_state or {})
    assert reply.status == "succeeded", reply.error
    told = details(reply.text)
    assert (told["model"], told["answered_by"], told["seed"]) == ("auto", "comfyui-flux", 3)


def test_the_form_of_auto_follows_the_providers_form(plugin: Host) -> None:
    for filled, first, vision in (
        ({}, "preview", True),
        ({"stability_api_key": "sk"}, "stable-image-core", True),
        ({"stability_api_key": "sk", "limits": "models stable-image-core"}, "stable-image-core", False),
    ):
        schema = plugin.model_schema("auto", dict(filled))
        assert schema is not None
        (options,) = [rule["options"] for rule in rules_of(schema) if rule["name"] == "model"]
        assert isinstance(options, list)
        assert (options[0], "vision" in str(schema["features"])) == (first, vision)


def test_a_model_that_the_limits_do_not_list_is_refused_on_saving_and_asking(plugin: Host) -> None:
    with pytest.raises(PluginError, match="names no-such-model, which is no model"):
        plugin.validate_provider_credentials({"limits": "models preview no-such-model"})
    with pytest.raises(PluginError, match="`model` names comfyui-sdxl, which is not allowed here"):
        plugin.invoke("auto", {"limits": "models preview"}, [user("a fox --model comfyui-sdxl")])

"""The credential check and the form, with the fake server."""

import json
import socket
import time

import pytest
import responses

from models.backends.comfyui import ComfyUI, model_workflow
from models.backends.comfyui import backend as backend_module
from models.backends.comfyui.graph.source import Source
from models.backends.comfyui.workflow_backend import FINDINGS_SECONDS
from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ServerUnavailable
from models.backends.registry import COMMON_RULES
from models.parameters import Rule
from tests.asking import asked
from tests.backends.comfyui.graphs import WORKFLOWS
from tests.backends.comfyui.jobs import TXT2IMG, Graph, backend_for, comfyui, invoked, sampled
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.comfyui import ComfyUIServer


def options(backend: ComfyUI, name: str) -> tuple[str, ...]:
    return next(rule.options for rule in form(backend) if rule.name == name)


def form(backend: ComfyUI) -> tuple[Rule, ...]:
    return backend.live_form(backend.within(3))


def test_the_check_requests_the_version_and_each_node_class_once(server: ComfyUIServer) -> None:
    assert backend_for(server, sampled()).check_access()[0] == "ComfyUI 0.10.0"
    assert server.count("GET /system_stats") == 1
    assert sorted(server.requests[1:]) == sorted(
        {f"GET /object_info/{node['class_type']}" for node in TXT2IMG.values()}
    )


def test_missing_nodes_and_files_of_the_workflow_are_named_at_once(server: ComfyUIServer) -> None:
    graph: Graph = sampled(ckpt_name="sd_xl_base_1.0.safetensors")
    graph["10"] = {"class_type": "UltimateSDUpscale", "inputs": {"image": ["8", 0]}, "_meta": {"title": "Bigger"}}
    graph["9"]["inputs"]["images"] = ["10", 0]
    with pytest.raises(BadRequest) as caught:
        backend_for(server, graph).check_access()
    assert "UltimateSDUpscale" in caught.value.said
    assert "ComfyUI_UltimateSDUpscale" in caught.value.next_step
    assert "sd_xl_base_1.0.safetensors" in str(caught.value)
    assert "tiny-random-sd15.safetensors" in str(caught.value)


def test_newly_installed_nodes_are_found_by_the_next_check(server: ComfyUIServer) -> None:
    files = server.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
    latent = server.engine.object_info.pop("EmptyLatentImage")
    backend = backend_for(server, sampled(ckpt_name="new.safetensors"))
    with pytest.raises(BadRequest, match="EmptyLatentImage"):
        backend.check_access()
    server.engine.object_info["EmptyLatentImage"] = latent
    with pytest.raises(BadRequest, match=r"new\.safetensors"):
        backend.check_access()
    files.append("new.safetensors")
    backend.check_access()


def test_a_customizable_model_without_a_workflow_is_refused(server: ComfyUIServer) -> None:
    with pytest.raises(BadRequest, match=r"paste it into .*\(workflow\)"):
        comfyui("foxes", {"backend": "comfyui", "base_url": server.url}).check_access()


def test_found_and_missing_slots_are_reported_without_a_request() -> None:
    graph = sampled(ckpt_name="nobody-has-this.safetensors")
    graph["7"]["class_type"], graph["7"]["inputs"] = "ConditioningZeroOut", {"conditioning": ["6", 0]}
    found = backend_for("http://127.0.0.1:9", graph).findings()
    assert '`prompt` goes to node 6 (CLIPTextEncode "Positive") `text`' in found
    assert any(sentence.startswith("`negative_prompt` was not found: ") for sentence in found)


def test_the_provider_form_is_checked_without_any_workflow(server: ComfyUIServer) -> None:
    backend = comfyui("comfyui-sdxl", {"comfyui_base_url": server.url})
    assert list(backend.check_access()) == ["ComfyUI 0.10.0"]
    assert list(backend.findings()) == []
    assert server.requests == ["GET /system_stats"]


@responses.activate
@pytest.mark.parametrize(
    ("status", "body", "error", "advice"),
    [
        (200, "<html>Stable Diffusion</html>", ServerUnavailable, "this kind of service"),
        (200, '{"system": {}}', ServerUnavailable, "this kind of service"),
        (404, "", BadRequest, "(comfyui_base_url) in the provider's settings"),
        (401, "<html>", AuthorizationFailed, "(comfyui_api_key) in the provider's settings or "),
        (403, "", AuthorizationFailed, "(comfyui_api_key) in the provider's settings or "),
        (502, "<html>", ServerUnavailable, ""),
    ],
)
def test_a_wrong_server_or_login_names_the_field_to_correct(
    status: int, body: str, error: type[Exception], advice: str, clock: FakeClock
) -> None:
    responses.get("http://gpu:8188/system_stats", status=status, body=body)
    form = {"comfyui_base_url": "http://gpu:8188", "comfyui_api_key": MARKER_KEY}
    with pytest.raises(error) as caught:
        comfyui("comfyui-sdxl", form, clock).check_access()
    assert advice in str(caught.value)
    assert MARKER_KEY not in str(caught.value)


@pytest.mark.parametrize("status", [404, 405, 501])
@responses.activate
def test_another_server_at_the_address_is_reported_by_a_run(status: int, clock: FakeClock) -> None:
    responses.get("http://gpu:8188/object_info/KSampler", status=status)
    responses.post("http://gpu:8188/prompt", status=status, body="<html>Unsupported method ('POST')</html>")
    with pytest.raises(BadRequest, match="No ComfyUI was found at this address") as caught:
        invoked(backend_for("http://gpu:8188", sampled(), clock))
    assert "(base_url) in the model's settings" in str(caught.value)
    assert "Try again" not in str(caught.value)


@pytest.mark.parametrize("written", ["#", "#/workflows", "/#tab"])
def test_the_fragment_of_the_address_is_dropped(server: ComfyUIServer, written: str) -> None:
    backend = backend_for(server.url + written, sampled())
    assert backend.check_access()[0] == "ComfyUI 0.10.0"
    assert invoked(backend).images


@pytest.mark.parametrize("address", ["http://gpu:8188/?token=secret-token", "gpu:8188?token=secret-token#x"])
def test_a_token_in_the_address_is_refused_with_the_key_field(address: str, clock: FakeClock) -> None:
    for attempt in (lambda one: list(one.probe()), invoked):
        with pytest.raises(BadRequest, match=r"a token belongs in .*\(api_key\)") as caught:
            attempt(backend_for(address, sampled(), clock))
        assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("address", ["gpu:8188", "gpu:8188/", "192.168.1.20:8188/comfy", "localhost:8188"])
def test_a_local_address_without_a_scheme_is_http(address: str, clock: FakeClock) -> None:
    assert backend_for(address, sampled(), clock).service.base_url == f"http://{address}"


@pytest.mark.parametrize("workflow", [True, False])
def test_saving_with_a_hanging_server_takes_at_most_nine_seconds(
    workflow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(model_workflow.QUICK_SECONDS + backend_module.PROBE_SECONDS, FINDINGS_SECONDS) <= 9
    monkeypatch.setattr(model_workflow, "QUICK_SECONDS", 0.1)
    monkeypatch.setattr(backend_module, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:  # accepts connections and never answers
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        backend = backend_for(url, sampled()) if workflow else comfyui("comfyui-sdxl", {"comfyui_base_url": url})
        started = time.monotonic()
        with pytest.raises(ConnectionFailed, match="base_url"):
            list(backend.probe())
        assert time.monotonic() - started < 2


def test_an_unreachable_server_names_the_field(server: ComfyUIServer) -> None:
    server.stop()
    with pytest.raises(ConnectionFailed, match=r"\(base_url\) in the model's settings"):
        backend_for(server, sampled()).check_access()


def test_the_form_lists_the_servers_options(server: ComfyUIServer) -> None:
    rules = {rule.name: rule for rule in form(backend_for(server, sampled()))}
    assert rules["checkpoint"].options == ("tiny-random-sd15.safetensors",)
    assert "dpmpp_2m" in rules["sampler"].options
    assert (rules["steps"].default, rules["seed"].default) == (4, -1)
    assert {"embed_workflow", "draft", "details", "timeout"} <= rules.keys()


def test_the_form_is_cached_and_requested_once(server: ComfyUIServer) -> None:
    form(backend_for(server, sampled()))
    asked_for = len(server.requests)
    form(backend_for(server, sampled()))
    assert len(server.requests) == asked_for


def test_the_form_works_with_the_server_offline_and_requests_it_once(server: ComfyUIServer) -> None:
    server.faults["GET /object_info/KSampler"] = ["bad_gateway"]
    assert options(backend_for(server, sampled()), "checkpoint") in {(), ("tiny-random-sd15.safetensors",)}
    before = len(server.requests)
    form(backend_for(server, sampled()))
    assert len(server.requests) == before


def test_another_login_at_the_same_address_has_its_own_cache(server: ComfyUIServer) -> None:
    form(backend_for(server, sampled()))
    before = len(server.requests)
    form(backend_for(server, sampled(), api_key="other"))
    assert len(server.requests) > before


def test_the_form_of_a_predefined_model_lists_the_servers_options(server: ComfyUIServer) -> None:
    server.install_models()
    backend = comfyui("comfyui-sdxl", {"comfyui_base_url": server.url})
    rules = {rule.name: rule for rule in form(backend)}
    assert rules["checkpoint"].options == ("sd_xl_base_1.0.safetensors",)
    assert rules["lora"].options == ("ink.safetensors",)
    assert "dpmpp_2m" in rules["sampler"].options
    assert [rule.name for rule in form(backend)] == [rule.name for rule in backend.rules()]


def test_capabilities_need_no_request(server: ComfyUIServer) -> None:
    editor: Graph = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    shipped = comfyui("comfyui-sdxl", {"comfyui_base_url": server.url})
    for backend in (backend_for(server, sampled()), backend_for(server, editor), shipped):
        request = asked(backend)
        assert backend.capabilities.images >= 0
        assert {"seed", "output_format", "details", "timeout"} <= {rule.name for rule in backend.rules()}
        assert request.seeds or backend.seeds(request) is None
    assert server.requests == []


def test_an_editor_workflow_has_the_common_parameters_before_its_conversion(server: ComfyUIServer) -> None:
    editor: Graph = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    backend = backend_for(server, editor)
    assert backend.rules() == COMMON_RULES
    assert backend.seeds(asked(backend)) is None
    backend.learn(backend.within(30))
    assert {"steps", "cfg_scale", "sampler"} <= {rule.name for rule in backend.rules()}
    assert backend.seeds(asked(backend))


def test_concurrent_requests_fetch_the_definitions_once(server: ComfyUIServer) -> None:
    editor: Graph = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    for graph in (editor, sampled()):
        backend_for(server, graph).learn(backend_for(server, graph).within(30))
        before = len(server.requests)
        backend_for(server, graph).learn(backend_for(server, graph).within(30))
        assert len(server.requests) == before


def test_a_new_extension_is_found_by_the_next_request(server: ComfyUIServer) -> None:
    editor: Graph = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    sampler = server.engine.object_info.pop("KSampler")
    backend = backend_for(server, editor)
    with pytest.raises(BadRequest, match="KSampler"):
        backend.learn(backend.within(30))
    server.engine.object_info["KSampler"] = sampler
    backend.learn(backend.within(30))
    assert "sampler" in {rule.name for rule in backend.rules()}


def test_an_editor_workflow_is_converted_with_the_servers_definitions(server: ComfyUIServer) -> None:
    editor = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    server.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [
        [
            name
            for node in editor["nodes"]
            if node["type"] == "CheckpointLoaderSimple"
            for name in node["widgets_values"]
        ],
        {},
    ]
    backend = backend_for(server, editor)
    assert "GET /object_info" not in server.requests
    backend.learn(backend.within(30))
    kept = invoked(backend, seed=3, extra={"embed_workflow": True})
    assert kept.images[0].seed == 3
    assert b'"nodes": [' in kept.images[0].data


def test_an_unconvertible_editor_workflow_names_the_missing_nodes(server: ComfyUIServer) -> None:
    made = {"id": 1, "type": "Mystery", "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]}
    saved = {"id": 2, "type": "PreviewImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": []}
    editor = {"nodes": [made, saved], "links": [[1, 1, 0, 2, 0, "IMAGE"]], "version": 0.4}
    with pytest.raises(BadRequest, match="Mystery"):
        backend_for(server, editor).check_access()  # type: ignore[arg-type]


def test_a_workflow_without_an_output_is_refused(server: ComfyUIServer) -> None:
    label = {"nodes": [{"id": 1, "type": "Note", "inputs": [], "outputs": []}], "links": [], "version": 0.4}
    loader: Graph = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}}}
    server.install_models()
    for workflow in (label, loader):
        with pytest.raises(BadRequest, match="The workflow has no image output"):
            backend_for(server, workflow).check_access()  # type: ignore[arg-type]


def test_node_types_inside_subgraphs_are_requested_too() -> None:
    editor = {
        "nodes": [{"type": "KSampler"}, {"type": "uuid-of-subgraph"}],
        "definitions": {"subgraphs": [{"nodes": [{"type": "VAEDecode"}, {"type": "KSampler"}]}]},
    }
    assert Source(editor=editor).classes == ("KSampler", "uuid-of-subgraph", "VAEDecode")  # type: ignore[arg-type]

"""From a request to images, over HTTP and WebSocket with the fake server."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from models.backends.base import Running
from models.backends.errors import AuthorizationFailed, BadRequest, ServerUnavailable
from models.entities import ImageResult, InputImage
from models.images.sniff import sniff
from models.request.build import build_request
from models.request.conversation import Conversation
from tests.asking import image_part
from tests.backends.comfyui.jobs import backend_for, comfyui, failing, invoked, sampled, slow, submitted
from tests.fakes import MARKER_KEY, image_file
from tests.servers.comfyui import ComfyUIServer, basic, wait_until
from tests.servers.comfyui_engine import FAILURES
from tests.video_files import WORKFLOW


def sent(server: ComfyUIServer, number: int = -1) -> dict[str, dict[str, Any]]:
    """The graph that the server ran."""
    entry = list(server.engine.history.values())[number]
    graph: dict[str, dict[str, Any]] = entry["prompt"][2]
    return graph


def test_an_image_takes_four_requests_for_any_history(server: ComfyUIServer) -> None:
    server.fill_history(500)
    result = invoked(backend_for(server, sampled()))
    assert [line.split("/")[1].split("?")[0] for line in server.requests] == ["ws", "prompt", "history", "view"]
    assert [image.size for image in result.images] == [(64, 64)]
    assert server.bytes_sent < 20_000


@pytest.mark.parametrize("version", ["0.3.64", "0.10.0", "0.38.1"])
def test_every_known_version_generates_the_image(version: str) -> None:
    with ComfyUIServer(version=version) as server:
        assert len(invoked(backend_for(server, sampled())).images) == 1
        graph = sampled()
        graph["8"]["class_type"] = "Nowhere"
        with pytest.raises(BadRequest, match="the server does not have node 8 \\(Nowhere\\)"):
            invoked(backend_for(server, graph))


def test_a_slow_job_takes_no_more_requests(server: ComfyUIServer) -> None:
    """The WebSocket reports the end: there is no polling."""
    invoked(backend_for(server, slow(1.5, steps=3)))
    assert [line.split("/")[1] for line in server.requests] == ["ws", "prompt", "history", "view"]


def test_the_graph_holds_the_request_and_the_result_its_seed(server: ComfyUIServer) -> None:
    result = invoked(
        backend_for(server, sampled()),
        '"quotes" and\nlines',
        seed=7,
        steps=2,
        width=128,
        height=64,
        negative_prompt="fog",
    )
    graph = sent(server)
    assert graph["6"]["inputs"]["text"] == '"quotes" and\nlines'
    assert graph["7"]["inputs"]["text"] == "fog"
    assert (graph["3"]["inputs"]["seed"], graph["3"]["inputs"]["steps"]) == (7, 2)
    assert (result.images[0].size, result.images[0].seed) == ((128, 64), 7)


def test_a_random_seed_is_drawn_and_reported(server: ComfyUIServer) -> None:
    backend = backend_for(server, sampled())
    seeds = [invoked(backend_for(server, sampled())).images[0].seed for _ in range(2)]
    assert backend.name == "comfyui"
    assert seeds == [sent(server, n)["3"]["inputs"]["seed"] for n in range(2)]
    assert seeds[0] != seeds[1]


def test_a_workflow_with_a_batch_size_generates_all_images_in_one_run(server: ComfyUIServer) -> None:
    result = invoked(backend_for(server, sampled()), n=3, seed=5)
    assert len(result.images) == 3
    assert server.count("POST /prompt") == 1
    assert "The 3 images come from one batch with the seed 5" in result.notices


def test_a_workflow_without_a_batch_size_runs_several_times_with_consecutive_seeds(
    server: ComfyUIServer,
) -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "own.png"}, "_meta": {"title": "fixed: own"}}
    server.engine.files["input", "", "own.png"] = image_file()
    result = invoked(backend_for(server, graph), n=3, seed=5)
    assert [image.seed for image in result.images] == [5, 6, 7]
    assert [sent(server, n)["2"]["inputs"]["seed"] for n in range(3)] == [5, 6, 7]
    assert server.count("GET /ws") == 1


def test_input_images_are_uploaded_under_unique_names(server: ComfyUIServer) -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    image = InputImage(image_file(), "image/png", "../../me.png")
    invoked(backend_for(server, graph), images=(image,))
    invoked(backend_for(server, graph), images=(image,))
    names = [name for kind, folder, name in server.engine.files if (kind, folder) == ("input", "dify")]
    assert len(set(names)) == 2
    assert sent(server)["1"]["inputs"]["image"] == f"dify/{names[1]}"
    assert server.engine.files["input", "dify", names[0]] == image.data


def test_a_mask_is_uploaded_with_white_repaint_areas_for_both_conventions(server: ComfyUIServer) -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["4"] = {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "alpha"}}
    graph["5"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["6", 0], "mask": ["4", 0]}}
    graph["6"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["7", 0]}}
    graph["7"] = {"class_type": "VAELoader", "inputs": {"vae_name": "x"}}
    server.engine.object_info["VAELoader"]["input"]["required"]["vae_name"] = [["x"], {}]
    graph["8"] = {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["7", 0]}}
    graph["9"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}
    cut_out = InputImage(image_file(8, 8, mode="RGBA", colour=(0, 0, 0, 0)), "image/png", "mask.png")
    image = InputImage(image_file(8, 8), "image/png")
    backend = backend_for(server, graph)
    assert backend.capabilities.mask
    invoked(backend, images=(image,), mask=cut_out)
    stored = sent(server)["4"]["inputs"]
    assert stored["channel"] == "red"
    folder, _, name = str(stored["image"]).rpartition("/")
    with Image.open(io.BytesIO(server.engine.files["input", folder, name])) as arrived:
        assert (arrived.size, arrived.convert("RGB").getcolors()) == ((8, 8), [(64, (255, 255, 255))])


@pytest.mark.parametrize("model", ["comfyui-sdxl", "comfyui-flux", "comfyui-qwen-image", "comfyui-qwen-image-edit"])
def test_the_transparent_part_of_an_image_is_its_mask_for_a_shipped_model(server: ComfyUIServer, model: str) -> None:
    server.install_models()
    half = Image.new("RGBA", (256, 128), (200, 30, 30, 255))
    half.paste((0, 0, 0, 0), (0, 0, 128, 128))
    file = io.BytesIO()
    half.save(file, "PNG")
    for data, repainted in ((file.getvalue(), True), (image_file(256, 128), False)):
        backend = comfyui(model, {"comfyui_base_url": server.url})
        part = image_part(base64.b64encode(data).decode(), "", "fox.png")
        backend.invoke(build_request(backend, Conversation("in winter", (part,)), {}, timeout=30))
        masks = [node for node in sent(server).values() if node["class_type"] == "LoadImageMask"]
        assert bool(masks) is repainted
        if repainted:
            folder, _, name = str(masks[0]["inputs"]["image"]).rpartition("/")
            with Image.open(io.BytesIO(server.engine.files["input", folder, name])) as mask:
                assert [mask.convert("L").getpixel((x, 64)) for x in (20, 230)] == [255, 0]


def test_the_workflow_is_kept_in_the_image_only_on_request(server: ComfyUIServer) -> None:
    plain = invoked(backend_for(server, sampled()), "a secret recipe").images[0].data
    kept = invoked(backend_for(server, sampled()), "a secret recipe", extra={"embed_workflow": True}).images[0].data
    assert b"a secret recipe" not in plain
    assert b"a secret recipe" in kept
    assert sniff(plain) == sniff(kept)


def test_saved_images_take_precedence_over_previews(server: ComfyUIServer) -> None:
    graph = slow()
    graph["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    result = invoked(backend_for(server, graph))
    assert len(result.images) == 1
    assert server.count("GET /view") == 1


def test_a_workflow_with_only_previews_returns_them(server: ComfyUIServer) -> None:
    graph = slow()
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    assert len(invoked(backend_for(server, graph)).images) == 1


def test_websocket_only_images_are_downloaded_as_previews(server: ComfyUIServer) -> None:
    graph = slow()
    graph["3"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["2", 0]}}
    assert len(invoked(backend_for(server, graph)).images) == 1


def test_a_missing_checkpoint_is_named_with_the_available_ones(server: ComfyUIServer) -> None:
    with pytest.raises(BadRequest) as caught:
        invoked(backend_for(server, sampled(ckpt_name="sd_xl_base_1.0.safetensors")))
    said = str(caught.value)
    assert 'node 4 (CheckpointLoaderSimple "Load Checkpoint")' in said
    assert "tiny-random-sd15.safetensors" in said
    assert "for `checkpoint`" in said
    assert "models/checkpoints" in said


def test_a_long_list_of_choices_is_fetched_for_the_message(server: ComfyUIServer) -> None:
    with pytest.raises(BadRequest) as caught:
        invoked(backend_for(server, sampled(sampler_name="dpmpp_2m_")))
    assert "Choose one of those on the server for `sampler`: dpmpp_2m" in str(caught.value)
    assert "GET /object_info/KSampler" in server.requests


def test_a_missing_node_is_named_with_its_extension(server: ComfyUIServer) -> None:
    graph = slow()
    graph["2"] = {
        "class_type": "UltimateSDUpscale",
        "inputs": {"image": ["1", 0]},
        "_meta": {"title": "Bigger"},
    }
    with pytest.raises(BadRequest) as caught:
        invoked(backend_for(server, graph))
    assert 'the server does not have node 2 (UltimateSDUpscale "Bigger")' in str(caught.value)
    assert "Install ComfyUI_UltimateSDUpscale" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "error", "advice"),
    [
        ("cuda_oom", ServerUnavailable, "smaller image"),
        ("runtime", BadRequest, "made for this checkpoint"),
        ("value_error", ServerUnavailable, "check the server's log"),
    ],
)
def test_a_failed_node_is_reported_with_title_message_and_next_step(
    server: ComfyUIServer, kind: str, error: type[Exception], advice: str
) -> None:
    with pytest.raises(error) as caught:
        invoked(backend_for(server, failing(kind)))
    said = str(caught.value)
    assert 'node 2 (DevFail "Breaks"): ' in said
    assert advice in said
    assert "/opt/ComfyUI" not in said
    assert "tensor" not in said


def test_dropped_outputs_give_a_notice(server: ComfyUIServer) -> None:
    graph = slow()
    graph["4"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}
    result = invoked(backend_for(server, graph))
    assert any("left out a part of the workflow: node 4 (SaveImage)" in notice for notice in result.notices)


def test_an_animation_is_an_image(server: ComfyUIServer) -> None:
    graph = slow()
    server.engine.object_info["SaveAnimatedWEBP"]["input"]["required"] = {
        "images": ["IMAGE"],
        "filename_prefix": ["STRING", {"default": "x"}],
    }
    graph["3"] = {"class_type": "SaveAnimatedWEBP", "inputs": {"images": ["2", 0], "filename_prefix": "anim"}}
    assert invoked(backend_for(server, graph)).images[0].mime_type == "image/webp"


@pytest.mark.parametrize(
    ("kind", "mime_type"),
    [("SaveVideo", "video/mp4"), ("SaveWEBM", "video/webm"), ("VHS_VideoCombine", "video/mp4")],
)
def test_a_video_is_delivered_without_its_workflow(server: ComfyUIServer, kind: str, mime_type: str) -> None:
    graph = slow()
    server.engine.object_info[kind] = {
        **server.engine.object_info["SaveImage"],
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}},
    }
    graph["3"] = {"class_type": kind, "inputs": {"images": ["2", 0], "filename_prefix": "clip"}}
    (video,) = invoked(backend_for(server, graph)).images
    assert (video.mime_type, video.url) == (mime_type, None)
    assert min(video.size) > 0
    assert WORKFLOW not in video.data


@pytest.mark.parametrize(
    ("login", "form"),
    [
        (f"Bearer {MARKER_KEY}", {"api_key": MARKER_KEY}),
        (basic("me", MARKER_KEY), {"username": "me", "password": MARKER_KEY}),
    ],
)
def test_http_and_websocket_use_the_login_and_the_path_prefix(login: str, form: dict[str, str]) -> None:
    with ComfyUIServer(login=login, prefix="/comfy") as server:
        invoked(backend_for(server, sampled(), None, **form))
        assert server.requests == ["GET /ws", "POST /prompt", *server.requests[2:]]
        assert len(server.requests) == 4
        assert set(server.origins) == {None}


def test_a_wrong_login_names_the_field_and_hides_the_key() -> None:
    with ComfyUIServer(login="Bearer right") as server, pytest.raises(AuthorizationFailed) as caught:
        invoked(backend_for(server, sampled(), api_key=MARKER_KEY))
    assert "(api_key)" in str(caught.value)
    assert MARKER_KEY not in str(caught.value)


def test_the_job_state_holds_no_secret_and_no_image(server: ComfyUIServer) -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    backend = backend_for(server, graph, api_key=MARKER_KEY)
    job = submitted(backend, images=(InputImage(image_file(200, 200), "image/png"),))
    text = json.dumps(job)
    assert MARKER_KEY not in text
    assert len(text) < 2_000
    backend.cancel(job)


def test_a_key_in_a_workflow_reaches_the_server_but_not_the_job_state(server: ComfyUIServer) -> None:
    graph = slow()
    graph["2"]["inputs"]["api_key"] = MARKER_KEY
    backend = backend_for(server, graph)
    job = submitted(backend)
    assert MARKER_KEY not in json.dumps(job)
    wait_until(lambda: server.engine.history)
    assert sent(server)["2"]["inputs"]["api_key"] == MARKER_KEY
    server.restart()
    assert [backend.check(job) for _ in range(2)] == [Running("running")] * 2
    wait_until(lambda: server.engine.history)
    assert sent(server)["2"]["inputs"]["api_key"] == MARKER_KEY


def test_a_key_quoted_by_a_failed_node_is_hidden(server: ComfyUIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAILURES, "value_error", ("ValueError", f"Invalid API key {MARKER_KEY}"))
    graph = failing("value_error")
    graph["2"]["inputs"]["api_key"] = MARKER_KEY
    with pytest.raises(ServerUnavailable, match="Invalid API key") as caught:
        invoked(backend_for(server, graph))
    assert MARKER_KEY not in str(caught.value)


def test_a_key_quoted_for_a_dropped_node_is_hidden(server: ComfyUIServer) -> None:
    graph = slow()
    graph["4"] = {"class_type": "DevFail", "inputs": {"image": ["1", 0], "kind": MARKER_KEY}}
    graph["5"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["4", 0]}}
    graph["2"]["inputs"]["api_key"] = MARKER_KEY
    result = invoked(backend_for(server, graph))
    assert any("left out a part of the workflow" in notice for notice in result.notices)
    assert any("[hidden]" in notice for notice in result.notices)
    assert not any(MARKER_KEY in notice for notice in result.notices)


def test_an_address_without_a_scheme_is_http(server: ComfyUIServer) -> None:
    backend = backend_for(server.url.removeprefix("http://"), sampled())
    assert isinstance(invoked(backend), ImageResult)


def test_an_upload_that_is_too_large_names_the_limit() -> None:
    graph = slow()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    with ComfyUIServer(max_upload=2_000) as server, pytest.raises(BadRequest, match="--max-upload-size"):
        invoked(backend_for(server, graph), images=(InputImage(image_file(300, 300) + bytes(4_000), "image/png"),))


def test_a_model_without_a_workflow_says_where_to_paste_one(server: ComfyUIServer) -> None:
    bare = comfyui("mine", {"backend": "comfyui", "base_url": server.url})
    with pytest.raises(BadRequest, match="Export \\(API\\)"):
        invoked(bare)

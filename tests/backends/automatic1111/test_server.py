"""The complete backend with a fake server over HTTP."""

import base64
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import requests

from models.backends.automatic1111 import job
from models.backends.base import Backend
from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    ServerUnavailable,
)
from models.backends.trail import begin_trail
from models.entities import ImageRequest, ImageResult, InputImage
from models.parameters import Rule
from tests.asking import asked, bound
from tests.fakes import MARKER_KEY, FakeClock, image_file
from tests.servers.automatic1111 import FakeWebUI, Kind, read_image
from tests.servers.broken import broken_server

ALL_KINDS: tuple[Kind, ...] = ("a1111", "forge", "sdnext", "old")


@pytest.fixture
def webui() -> Iterator[FakeWebUI]:
    with FakeWebUI().run() as fake:
        yield fake
        assert fake.unknown_fields == set()
        assert fake.bodies("/sdapi/v1/options") == [], "settings of everybody were touched"


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FIRST_POLL", 0.02)
    monkeypatch.setattr(job, "POLL_INTERVAL", 0.02)


def backend(fake: FakeWebUI, **fields: str) -> Backend:
    form = {"automatic1111_base_url": fake.url, **{f"automatic1111_{name}": value for name, value in fields.items()}}
    return bound("automatic1111", form)


def generated(fake: FakeWebUI, **fields: Any) -> ImageResult:
    return invoked(backend(fake), **fields)


def invoked(asked_backend: Backend, **fields: Any) -> ImageResult:
    """The result of a small request."""
    return asked_backend.invoke(wish(asked_backend, **fields))


def wish(asked_backend: Backend, **fields: Any) -> ImageRequest:
    given = {"prompt": "a fox", "steps": 2, "width": 64, "height": 64, **fields}
    return asked(asked_backend, **{name: value for name, value in given.items() if value is not None})


def shown(**make: Any) -> InputImage:
    return InputImage(image_file(**make), "image/png", "fox.png")


def mask() -> InputImage:
    return InputImage(image_file(64, 64, mode="L", colour=255), "image/png", "mask.png")


# --- generating ---


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_of_server_generates_an_image_with_its_seed(kind: Kind) -> None:
    with FakeWebUI(kind).run() as fake:
        result = generated(fake, seed=7, width=72, height=64)
    (image,) = result.images
    assert (image.seed, image.size, image.mime_type) == (7, (72, 64), "image/png")
    assert read_image(image.data) == ("alpha", 7, "a fox")
    assert result.notices == ()


@pytest.mark.parametrize("path", ["/", "/sdapi/v1", "/sdapi/v1/"])
def test_the_address_may_include_the_api_path(webui: FakeWebUI, path: str) -> None:
    model = bound("automatic1111", {"automatic1111_base_url": f"{webui.url}{path}"})
    assert invoked(model).images


def test_a_random_seed_is_drawn_and_reported(webui: FakeWebUI) -> None:
    images = [*generated(webui).images, *generated(webui).images]
    drawn = [body["seed"] for body in webui.bodies("/sdapi/v1/txt2img")]
    assert [image.seed for image in images] == [read_image(image.data)[1] for image in images] == drawn
    assert drawn[0] != drawn[1]


def test_several_images_have_consecutive_seeds_and_no_grid(webui: FakeWebUI) -> None:
    result = generated(webui, n=6, seed=10, extra={"batch_size": 4})
    assert [image.seed for image in result.images] == [10, 11, 12, 13, 14, 15]
    assert [read_image(image.data)[1] for image in result.images] == [10, 11, 12, 13, 14, 15]
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body["batch_size"], body["n_iter"], body["save_images"]) == (3, 2, False)


def test_a_size_off_the_grid_gives_a_notice(webui: FakeWebUI) -> None:
    result = generated(webui, width=65, height=70)
    assert result.images[0].size == (64, 72)
    assert result.notices == ("The size 65×70 became 64×72, the nearest that automatic1111 makes.",)


@pytest.mark.parametrize("kind", ["a1111", "forge"])
def test_hires_fix_works_on_automatic1111_and_forge(kind: Kind) -> None:
    with FakeWebUI(kind).run() as fake:
        result = generated(fake, extra={"hires_scale": 2.0, "hires_upscaler": "latent"})
    assert result.images[0].size == (128, 128)


def test_the_second_pass_of_forge_has_the_same_cfg_scale() -> None:
    with FakeWebUI("forge").run() as fake:
        result = generated(fake, cfg_scale=6.5, extra={"hires_scale": 2.0, "infotext": True})
    assert "Hires CFG Scale: 6.5" in result.notices[0]


def test_the_infotext_is_returned_on_request(webui: FakeWebUI) -> None:
    result = generated(webui, sampler="Euler", extra={"infotext": True})
    assert result.notices == ("a fox\nSteps: 2, Sampler: Euler, Schedule type: Automatic",)


# --- names ---


@pytest.mark.parametrize(
    "asked",
    ["beta", "BETA", "beta.safetensors", "beta [6265746100]", "beta.safetensors [6265746100]", "6265746100"],
)
def test_a_checkpoint_is_found_by_each_of_its_names(webui: FakeWebUI, asked: str) -> None:
    (image,) = generated(webui, checkpoint=asked).images
    assert read_image(image.data)[0] == "beta"
    assert webui.bodies("/sdapi/v1/txt2img")[0]["override_settings"] == {"sd_model_checkpoint": "beta"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"checkpoint": "betta"}, "checkpoint 'betta' on the server. It has: beta, alpha;"),
        ({"sampler": "Eular"}, "sampler 'Eular' on the server. It has: Euler"),
        ({"scheduler": "Karas"}, "scheduler 'Karas' on the server. It has: Karras"),
        ({"style_preset": "cinema"}, "style 'cinema' on the server. It has: cinematic"),
        ({"prompt": "a fox <lora:papercut:0.8>"}, "LoRA 'papercut' on the server. It has: paper-cut"),
        ({"prompt": "a fox <lora:Paper-Cut:0.8>"}, "LoRA 'Paper-Cut' on the server. It has: paper-cut"),
        ({"prompt": "a fox <lora: paper-cut:0.8>"}, "LoRA ' paper-cut' on the server. It has: paper-cut"),
        (
            {"extra": {"adetailer_model": "face.pt", "adetailer_prompt": "<lora:smile:1>"}},
            "LoRA 'smile' on the server. It has: paper-cut",
        ),
        ({"extra": {"vae": "best.pt"}}, "VAE 'best.pt' on the server. It has: vae-ft-mse"),
        ({"extra": {"refiner_checkpoint": "gamma"}}, "refiner checkpoint 'gamma' on the server. It has: alpha"),
        (
            {"extra": {"hires_scale": 2.0, "hires_upscaler": "Latnet"}},
            "hires upscaler 'Latnet' on the server. It has: Latent",
        ),
        ({"extra": {"upscaler": "Lanczoz"}, "images": (shown(),)}, "upscaler 'Lanczoz' on the server. It has: Lanczos"),
        (
            {"extra": {"controlnet_model": "scribble"}, "images": (shown(),)},
            "ControlNet model 'scribble' on the server. It has: control_v11p_sd15_canny [d14c016b]",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_available_names(
    webui: FakeWebUI, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        generated(webui, **fields)
    assert said in str(refused.value)
    assert webui.jobs == 0


def test_a_recently_added_file_is_found(webui: FakeWebUI) -> None:
    generated(webui, checkpoint="alpha")
    webui.checkpoints = (*webui.checkpoints, "gamma")
    (image,) = generated(webui, checkpoint="gamma").images
    assert read_image(image.data)[0] == "gamma"


def test_waiting_for_a_shared_list_respects_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        form = {"automatic1111_base_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        asking, waiting = (bound("automatic1111", form) for _ in range(2))
        first = gevent.spawn(_outcome, asking, sampler="Euler", timeout=60)
        gevent.sleep(0)
        with pytest.raises(ConnectionFailed, match="the time limit of the job has passed"):
            invoked(waiting, sampler="Euler", timeout=0.1)
        assert not first.ready()
        first.kill()


def test_lists_are_cached(webui: FakeWebUI) -> None:
    for _ in range(3):
        generated(webui, checkpoint="beta", sampler="Euler")
    assert (webui.asked("/sdapi/v1/sd-models"), webui.asked("/sdapi/v1/samplers")) == (1, 1)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "sent"),
    [
        ("euler", None, ("Euler", None)),
        ("DPM++ 2M", "karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", None, ("DPM++ 2M", "Karras")),
        ("k_euler", "SGM Uniform", ("Euler", "SGM Uniform")),
        (None, "Karras", (None, "Karras")),
    ],
)
def test_samplers_and_schedulers_are_found_in_common_spellings(
    webui: FakeWebUI, sampler: str | None, scheduler: str | None, sent: tuple[str | None, str | None]
) -> None:
    generated(webui, sampler=sampler, scheduler=scheduler)
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body.get("sampler_name"), body.get("scheduler")) == sent


def test_an_old_server_gets_joined_sampler_names() -> None:
    with FakeWebUI("old").run() as fake:
        generated(fake, sampler="DPM++ 2M", scheduler="karras")
        generated(fake, sampler="DPM++ 2M Karras", scheduler="Karras")
        generated(fake, sampler="Euler", scheduler="Automatic")
    sent = [(body["sampler_name"], body.get("scheduler")) for body in fake.bodies("/sdapi/v1/txt2img")]
    assert sent == [("DPM++ 2M Karras", None), ("DPM++ 2M Karras", None), ("Euler", None)]


def test_a_style_name_may_contain_commas(webui: FakeWebUI) -> None:
    generated(webui, style_preset="ink, wash")
    generated(webui, style_preset="cinematic, Cinematic")
    assert [body["styles"] for body in webui.bodies("/sdapi/v1/txt2img")] == [["ink, wash"], ["cinematic", "cinematic"]]


def test_a_vae_is_sent_in_the_format_of_each_server(webui: FakeWebUI) -> None:
    generated(webui, extra={"vae": "vae-ft-mse", "clip_skip": 2})
    with FakeWebUI("forge", vaes=("ae.safetensors", "clip_l.safetensors")).run() as forge:
        generated(forge, extra={"vae": "ae, clip_l"})
    assert webui.bodies("/sdapi/v1/txt2img")[0]["override_settings"] == {
        "sd_vae": "vae-ft-mse.safetensors",
        "CLIP_stop_at_last_layers": 2,
    }
    assert forge.bodies("/sdapi/v1/txt2img")[0]["override_settings"] == {
        "forge_additional_modules": ["ae.safetensors", "clip_l.safetensors"]
    }


@pytest.mark.parametrize(
    ("asked", "sent"), [("automatic", {"sd_vae": "Automatic"}), ("None", {"sd_vae": "None"}), (",", None)]
)
def test_an_automatic_vae_is_accepted(webui: FakeWebUI, asked: str, sent: object) -> None:
    generated(webui, extra={"vae": asked})
    assert webui.bodies("/sdapi/v1/txt2img")[0].get("override_settings") == sent


def test_a_setting_that_the_server_does_not_restore_gives_a_notice(webui: FakeWebUI) -> None:
    told = generated(webui, extra={"clip_skip": 2}).notices
    assert told == (
        "The server's setting CLIP_stop_at_last_layers stays at 2 for all users (it was 1): reset it in the WebUI and "
        "press Apply settings; then each request restores it.",
    )
    webui.saved_settings |= {"CLIP_stop_at_last_layers"}
    assert generated(webui, extra={"clip_skip": 3}).notices == ()


def test_a_checkpoint_that_the_server_keeps_gives_a_notice(webui: FakeWebUI) -> None:
    webui.saved_settings.clear()
    (told,) = generated(webui, checkpoint="beta").notices
    assert told.startswith("The server's setting sd_model_checkpoint stays at beta for all users (it was alpha)")
    webui.options["sd_model_checkpoint"] = "beta.safetensors [6265746100]"
    assert generated(webui, checkpoint="beta").notices == ()


def test_a_checkpoint_changed_during_the_job_is_an_error(webui: FakeWebUI) -> None:
    webui.load_seconds = 0.1
    generating = gevent.spawn(_outcome, backend(webui), checkpoint="beta")
    _until(lambda: webui.options["sd_model_checkpoint"] == "beta")
    webui.options["sd_model_checkpoint"] = "alpha"
    error = generating.get()
    assert isinstance(error, ServerUnavailable)
    assert "used the checkpoint alpha instead of beta" in str(error)


def test_an_embedding_for_another_model_family_gives_a_notice(webui: FakeWebUI) -> None:
    webui.unfit_embeddings = ("easynegative", "xl-hands")
    assert generated(webui, negative_prompt="(easynegative:1.2), blurry").notices == (
        "The embedding easynegative does not fit the loaded model and had no effect.",
    )
    webui.unfit_embeddings = ()  # another model is loaded
    assert generated(webui, negative_prompt="easynegative").notices == ()


def test_a_server_that_ignores_the_checkpoint_is_an_error(webui: FakeWebUI) -> None:
    webui.ignores_overrides = True
    with pytest.raises(ServerUnavailable, match="used the checkpoint alpha instead of beta"):
        generated(webui, checkpoint="beta")


def test_a_missing_extension_is_named(webui: FakeWebUI) -> None:
    webui.scripts = ("refiner",)
    with pytest.raises(BadRequest, match="does not have the extension ADetailer"):
        generated(webui, extra={"adetailer_model": "face_yolov8n.pt"})


def test_adetailer_parameters_are_sent(webui: FakeWebUI) -> None:
    result = generated(webui, extra={"adetailer_model": "face_yolov8n.pt", "adetailer_prompt": "a smile"})
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert body["alwayson_scripts"] == {
        "adetailer": {"args": [{"ad_model": "face_yolov8n.pt", "ad_prompt": "a smile"}]}
    }
    assert result.notices == ()


# --- images in ---


def test_img2img_keeps_the_size_of_the_image(webui: FakeWebUI) -> None:
    photo = shown(width=136, height=96)
    (image,) = generated(webui, images=(photo,), width=None, height=None, denoising_strength=0.4).images
    (body,) = webui.bodies("/sdapi/v1/img2img")
    assert image.size == (136, 96)
    assert (body["denoising_strength"], body["resize_mode"], "mask" in body) == (0.4, 1, False)


def test_an_image_with_a_mask_is_inpainted(webui: FakeWebUI) -> None:
    options = {
        "mask_blur": 8,
        "inpaint_fill": "latent noise",
        "inpaint_only_masked": True,
        "inpaint_padding": 16,
        "inpaint_invert": True,
    }
    generated(webui, images=(shown(),), mask=mask(), extra=options)
    (body,) = webui.bodies("/sdapi/v1/img2img")
    assert body["mask"]
    assert {name: body[name] for name in body if "paint" in name or name == "mask_blur"} == {
        "mask_blur": 8,
        "inpainting_fill": 2,
        "inpaint_full_res": True,
        "inpaint_full_res_padding": 16,
        "inpainting_mask_invert": 1,
    }


def test_three_images_are_one_img2img_job(webui: FakeWebUI) -> None:
    result = generated(webui, images=(shown(), shown(), shown()), n=2, seed=1)
    assert len(result.images) == 6
    assert webui.jobs == 1


def test_upscaling_generates_nothing(webui: FakeWebUI) -> None:
    result = generated(
        webui,
        images=(shown(width=40, height=30), shown(width=20, height=20)),
        width=None,
        height=None,
        extra={"upscaler": "lanczos", "upscale_by": 3.0},
    )
    assert [image.size for image in result.images] == [(120, 90), (60, 60)]
    assert webui.jobs == 0


def test_upscaled_images_are_kept_when_a_later_one_fails(webui: FakeWebUI) -> None:
    webui.upscalings_left = 2
    photos = tuple(shown(width=side, height=20) for side in (40, 30, 20, 10))
    result = generated(webui, images=photos, width=None, height=None, extra={"upscale_by": 2.0})
    assert [image.size for image in result.images] == [(80, 40), (60, 40)]
    assert webui.asked("/sdapi/v1/extra-single-image") == 3, "what would fail for the same reason is not begun"
    assert "2 of 4 images came back." in result.notices
    assert any("out of memory" in notice for notice in result.notices)


def test_the_second_image_is_the_control_image_with_controlnet(webui: FakeWebUI) -> None:
    line_art = InputImage(image_file(64, 64, colour=(255, 255, 255)), "image/png", "lines.png")
    options = {"controlnet_model": "control_v11p_sd15_canny", "controlnet_module": "canny", "controlnet_weight": 0.7}
    result = generated(webui, images=(shown(),), mask=line_art, extra=options)
    (body,) = webui.bodies("/sdapi/v1/img2img")
    (unit,) = body["alwayson_scripts"]["controlnet"]["args"]
    assert unit.pop("image")
    assert unit == {
        "enabled": True,
        "module": "canny",
        "model": "control_v11p_sd15_canny [d14c016b]",
        "weight": 0.7,
        "pixel_perfect": True,
        "save_detected_map": False,
    }
    assert (len(result.images), "mask" in body) == (1, False)


def test_a_preprocessor_works_without_a_model(webui: FakeWebUI) -> None:
    options = {"controlnet_model": "none", "controlnet_module": "canny"}
    generated(webui, images=(shown(),), extra=options)
    (unit,) = webui.bodies("/sdapi/v1/txt2img")[0]["alwayson_scripts"]["controlnet"]["args"]
    assert (unit["model"], unit["module"]) == ("None", "canny")


def test_a_single_image_is_the_control_image_with_controlnet(webui: FakeWebUI) -> None:
    generated(webui, images=(shown(),), extra={"controlnet_model": "control_v11p_sd15_canny"})
    assert len(webui.bodies("/sdapi/v1/txt2img")) == 1


# --- errors ---


@pytest.mark.parametrize("kind", ["a1111", "forge", "sdnext"])
def test_an_out_of_memory_error_says_what_to_reduce(kind: Kind) -> None:
    with FakeWebUI(kind, memory_pixels=64 * 64).run() as fake, pytest.raises(ServerUnavailable) as failed:
        generated(fake, width=128, height=128)
    assert "OutOfMemoryError: CUDA out of memory" in str(failed.value)
    assert "smaller size" in str(failed.value)


def test_a_server_without_api_gives_the_start_option() -> None:
    with FakeWebUI(api=False).run() as fake, pytest.raises(BadRequest, match="--api"):
        generated(fake)


@pytest.mark.parametrize("kind", ["a1111", "forge"])
@pytest.mark.parametrize("login", [{}, {"username": "dify", "password": MARKER_KEY}])
def test_a_wrong_login_names_the_fields_and_hides_the_values(kind: Kind, login: dict[str, str]) -> None:
    with FakeWebUI(kind, auth=("dify", "secret")).run() as fake, pytest.raises(AuthorizationFailed) as refused:
        invoked(backend(fake, **login))
    assert "(automatic1111_username) and “AUTOMATIC1111 password” (automatic1111_password)" in str(refused.value)
    assert MARKER_KEY not in repr(refused.value)


def test_the_login_is_sent_with_the_first_request() -> None:
    with FakeWebUI(auth=("dify", "秘密")).run() as fake:
        assert invoked(backend(fake, username="dify", password="秘密"), checkpoint="beta").images
        inside = fake.url.replace("http://", "http://dify:%E7%A7%98%E5%AF%86@")
        model = bound("automatic1111", {"automatic1111_base_url": inside})
        assert invoked(model).images


def test_a_server_crash_while_generating_is_a_connection_error(webui: FakeWebUI) -> None:
    webui.drops_next = True
    with pytest.raises(ConnectionFailed, match="was lost"):
        generated(webui)
    assert webui.jobs == 1, "a job that may have run is not sent twice"


def test_a_server_that_is_off_is_unreachable(clock: FakeClock) -> None:
    with FakeWebUI().run() as fake:
        model = bound("automatic1111", {"automatic1111_base_url": fake.url}, clock)
    with pytest.raises(ConnectionFailed, match="could not be reached"):
        invoked(model)


def test_another_server_at_the_address_is_reported_at_run_time() -> None:
    with broken_server() as server:
        server.says(501, "<html>Unsupported method ('POST')</html>", "text/html")
        with pytest.raises(BadRequest, match=r"Check the address in .*\(automatic1111_base_url\)") as refused:
            invoked(bound("automatic1111", {"automatic1111_base_url": server.url}))
    assert "in a moment" not in str(refused.value)


# --- waiting ---


def test_a_job_is_interrupted_on_timeout(webui: FakeWebUI, quick_looks: None) -> None:
    webui.step_seconds = 0.02
    with pytest.raises(ConnectionFailed, match=r"the job was interrupted at [0-9]+ %"):
        generated(webui, steps=500, timeout=0.5)
    assert webui.asked("/sdapi/v1/interrupt") == 1


def test_finished_images_are_kept_on_timeout(webui: FakeWebUI, quick_looks: None) -> None:
    webui.step_seconds = 0.02
    result = generated(webui, steps=10, n=50, seed=1, timeout=1)
    assert 0 < len(result.images) < 10
    assert [read_image(image.data)[1] for image in result.images] == [image.seed for image in result.images]
    assert f"{len(result.images)} of 50 images came back." in result.notices
    assert any("the job was interrupted at" in notice for notice in result.notices)


def test_a_timeout_in_the_queue_does_not_interrupt_the_running_job(webui: FakeWebUI, quick_looks: None) -> None:
    webui.step_seconds = 0.02
    other = gevent.spawn(foreign, webui, prompt="other", steps=40, seed=1)
    _until(lambda: webui.jobs == 1)
    with pytest.raises(ConnectionFailed, match=r"in the server's queue \(In queue: 1/1\)"):
        generated(webui, prompt="late", steps=500, timeout=0.2)
    (image,) = other.get()
    assert read_image(image) == ("alpha", 1, "other")
    _until(lambda: webui.asked("/sdapi/v1/interrupt") == 1)
    _until(lambda: len(webui._finished) == 2)


def test_a_job_that_times_out_in_the_queue_is_not_sent(webui: FakeWebUI, quick_looks: None) -> None:
    webui.step_seconds = 0.02
    other = gevent.spawn(generated, webui, prompt="other", steps=40, seed=1)
    _until(lambda: webui.jobs == 1)
    with pytest.raises(ConnectionFailed, match="still queued behind other images"):
        generated(webui, prompt="late", timeout=0.2)
    (image,) = other.get().images
    assert read_image(image.data) == ("alpha", 1, "other")
    assert (webui.jobs, webui.asked("/sdapi/v1/interrupt")) == (1, 0)


def test_nothing_is_interrupted_if_the_running_job_is_unknown(quick_looks: None) -> None:
    with FakeWebUI(internal=False, step_seconds=0.02).run() as fake:
        with pytest.raises(ConnectionFailed, match="was not cancelled"):
            generated(fake, steps=40, timeout=0.2)
        assert fake.asked("/sdapi/v1/interrupt") == 0


@pytest.mark.parametrize("n", [1, 3])
def test_an_interrupted_job_is_an_error(webui: FakeWebUI, n: int) -> None:
    webui.step_seconds = 0.01
    generating = gevent.spawn(_outcome, backend(webui), steps=200, n=n, extra={"batch_size": 1})
    _until(lambda: webui.jobs == 1)
    waiting = gevent.spawn(generated, webui, prompt="next")
    webui.answer("POST", "/sdapi/v1/interrupt", {}, None)
    error = generating.get()
    assert waiting.get().images, "the next one does not hide the mark, and is not stopped"
    assert isinstance(error, ServerUnavailable)
    assert "interrupted at the server" in str(error)


def test_images_finished_before_an_interruption_are_kept(webui: FakeWebUI) -> None:
    webui.step_seconds = 0.01
    generating = gevent.spawn(generated, webui, steps=20, n=4, seed=1)
    _until(lambda: webui._progress > 0.6)  # in the third of four images
    webui.answer("POST", "/sdapi/v1/interrupt", {}, None)
    result = generating.get()
    assert [read_image(image.data)[1] for image in result.images] == [1, 2]
    assert result.notices[0] == "2 of 4 images came back."
    assert "interrupted at the server" in result.notices[1]


def test_forty_requests_of_two_tenants_get_their_own_images(webui: FakeWebUI, quick_looks: None) -> None:
    webui.load_seconds, webui.step_seconds = 0.005, 0.001
    wishes = [{"seed": k, "prompt": f"wish {k}", "checkpoint": ("alpha", "beta")[k % 2]} for k in range(40)]
    tenants = [backend(webui), backend(webui, username="second", password="tenant")]
    generating = [gevent.spawn(invoked, tenants[k % 2], **fields) for k, fields in enumerate(wishes)]
    gevent.joinall(generating, timeout=30)
    seen = [read_image(one.get().images[0].data) for one in generating]
    assert seen == [(("alpha", "beta")[k % 2], k, f"wish {k}") for k in range(40)]
    assert webui.most_open <= 12, "the server stalls when its forty threads are taken"
    assert webui.loads <= 8, "images of one checkpoint go together"
    assert webui.asked("/sdapi/v1/sd-models") == 2, "one list per tenant"


def foreign(fake: FakeWebUI, **body: Any) -> list[bytes]:
    """Images requested by another client, without the plugin."""
    answer = requests.post(f"{fake.url}/sdapi/v1/txt2img", json={"width": 64, "height": 64, **body}, timeout=30).json()
    return [base64.b64decode(image) for image in answer["images"]]


def _outcome(asked_backend: Backend, **fields: Any) -> object:
    try:
        return invoked(asked_backend, **fields)
    except ImageError as error:
        return error


def _until(true: object) -> None:
    assert callable(true)
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        gevent.sleep(0.01)


def test_queue_and_progress_are_reported_in_a_stream(webui: FakeWebUI, quick_looks: None) -> None:
    webui.step_seconds = 0.02
    told: list[str] = []
    own = gevent.spawn(generated, webui, steps=20)
    _until(lambda: webui.jobs == 1)
    others: list[gevent.Greenlet[..., Any]] = [
        own,
        *(gevent.spawn(foreign, webui, prompt="other", steps=20) for _ in range(2)),
    ]
    _until(lambda: len(webui._pending) == 2)
    listened = backend(webui)
    listened.on_progress = lambda running: told.append(running.progress)
    trail = begin_trail()
    invoked(listened, steps=20)
    gevent.joinall(others)
    assert trail.queued_at is not None
    assert told[0] == "queued behind other images"
    assert "In queue: 1/1" in told
    assert any(re.fullmatch(r"\d+ %, about 9 s left", words) for words in told)


# --- credentials and forms ---


@pytest.mark.parametrize(
    ("kind", "told"),
    [("a1111", "AUTOMATIC1111"), ("forge", "Forge"), ("sdnext", "SD.Next"), ("old", "AUTOMATIC1111")],
)
def test_the_credential_check_recognises_the_server_and_generates_nothing(kind: Kind, told: str) -> None:
    with FakeWebUI(kind).run() as fake:
        assert backend(fake).check_access() == (f"{told} with 2 checkpoints",)
    assert fake.jobs == 0


def test_the_credential_check_distinguishes_a_disabled_api_from_another_service(webui: FakeWebUI) -> None:
    webui.api = False
    with pytest.raises(BadRequest, match="runs without its API"):
        backend(webui).check_access()
    webui.internal = False
    with pytest.raises(BadRequest, match=r"no Stable Diffusion WebUI at .*\(automatic1111_base_url\)"):
        backend(webui).check_access()


def test_the_credential_check_tries_the_login() -> None:
    with FakeWebUI(auth=("dify", "secret")).run() as fake:
        assert backend(fake, username="dify", password="secret").check_access()
        with pytest.raises(AuthorizationFailed):
            backend(fake, username="dify", password="wrong").check_access()


def own_model(fake: FakeWebUI, **fields: str) -> Backend:
    return bound("my-webui", {"backend": "automatic1111", "base_url": fake.url, **fields})


def form(model: Backend) -> tuple[Rule, ...]:
    return model.live_form(model.within(3))


def test_the_form_of_a_customizable_model_lists_the_servers_options(webui: FakeWebUI) -> None:
    options = {rule.name: rule.options for rule in form(own_model(webui))}
    assert options["checkpoint"] == options["refiner_checkpoint"] == ("alpha", "beta")
    assert options["sampler"] == ("DPM++ 2M", "DPM++ SDE", "Euler a", "Euler", "DDIM")
    assert options["scheduler"] == ("Automatic", "Karras", "SGM Uniform")
    assert options["style_preset"] == ("cinematic", "ink, wash")
    assert options["hires_upscaler"][:3] == ("Latent", "Latent (nearest)", "None")
    assert options["vae"] == ()


def test_a_customizable_model_may_have_the_name_of_the_predefined_one(webui: FakeWebUI) -> None:
    model = bound("automatic1111", {"backend": "automatic1111", "base_url": webui.url})
    assert {rule.name: rule.options for rule in form(model)}["checkpoint"] == ("alpha", "beta")


def test_the_form_of_the_predefined_model_lists_the_servers_options(webui: FakeWebUI) -> None:
    assert {rule.name: rule.options for rule in form(backend(webui))}["checkpoint"] == ("alpha", "beta")


def test_the_form_works_with_the_server_offline_and_requests_it_once() -> None:
    with FakeWebUI().run() as fake:
        model = own_model(fake)
    rules = form(model)
    assert {rule.name: rule.options for rule in rules}["checkpoint"] == ()
    assert [rule.name for rule in form(model)] == [rule.name for rule in rules]


def test_saving_a_customizable_model_checks_its_checkpoint(webui: FakeWebUI) -> None:
    assert own_model(webui, checkpoint="beta.safetensors").check_access()
    with pytest.raises(BadRequest, match=r"checkpoint 'betta' on the server\. It has: beta, alpha"):
        own_model(webui, checkpoint="betta").check_access()


def test_the_form_keeps_its_options_while_the_server_is_offline(clock: FakeClock) -> None:
    with FakeWebUI().run() as fake:
        model = bound("my-webui", {"backend": "automatic1111", "base_url": fake.url}, clock)
        shown_before = form(model)
    clock.sleep(3600)
    assert form(model) == shown_before
    assert {rule.name: rule.options for rule in shown_before}["checkpoint"] == ("alpha", "beta")


def test_the_lists_of_one_login_are_not_shown_to_another() -> None:
    with FakeWebUI(auth=("dify", "secret")).run() as fake:
        assert {rule.name: rule.options for rule in form(own_model(fake, username="dify", password="secret"))}[
            "sampler"
        ]
        stranger = own_model(fake, username="dify", password="guess")
        assert {rule.name: rule.options for rule in form(stranger)}["sampler"] == ()
        with pytest.raises(AuthorizationFailed):
            invoked(stranger, checkpoint="beta")


def test_a_key_for_the_proxy_is_sent_as_bearer(webui: FakeWebUI) -> None:
    webui.auth = ("dify", "secret")  # a Bearer token is no login here, so the refusal tells the field
    with pytest.raises(AuthorizationFailed, match=r"\(api_key\) in the model's settings") as refused:
        invoked(own_model(webui, api_key=MARKER_KEY))
    assert webui.authorizations == {f"Bearer {MARKER_KEY}"}
    assert MARKER_KEY not in repr(refused.value)


def test_the_checkpoint_of_a_customizable_model_is_the_nodes_default(webui: FakeWebUI) -> None:
    model = own_model(webui, checkpoint="beta")
    assert [read_image(invoked(model, checkpoint=name).images[0].data)[0] for name in (None, "alpha")] == [
        "beta",
        "alpha",
    ]

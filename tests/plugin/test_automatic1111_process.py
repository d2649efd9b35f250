"""The WebUI backend through the plugin process, by call and by polling, with the fake server."""

import io
import json
from collections.abc import Iterator

import gevent
import pytest
from PIL import Image
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.host import InvokeReply, PollingReply
from sandbox.protocol import image_part, user
from tests.asking import rules_of
from tests.fakes import MARKER_KEY, image_file
from tests.servers.automatic1111 import FakeWebUI, Kind, read_image

type Json = dict[str, JsonValue]

SMALL: Json = {"width": 64, "height": 64, "steps": 2}
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "seed": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "notices": {"type": "array", "items": {"type": "string"}},
    },
}


@pytest.fixture
def webui() -> Iterator[FakeWebUI]:
    with FakeWebUI(auth=("dify", MARKER_KEY)).run() as fake:
        yield fake
        assert fake.unknown_fields == set()
        assert fake.bodies("/sdapi/v1/options") == []


def form(fake: FakeWebUI, password: str = MARKER_KEY) -> Json:
    return {
        "automatic1111_base_url": fake.url,
        "automatic1111_username": "dify",
        "automatic1111_password": password,
    }


def called(plugin: Host, fake: FakeWebUI, *parts: str | Json, **parameters: JsonValue) -> InvokeReply:
    return plugin.invoke("automatic1111", form(fake), [user(*parts)], {**SMALL, **parameters})


def polled(plugin: Host, fake: FakeWebUI, *parts: str | Json, **parameters: JsonValue) -> PollingReply:
    return plugin.run_polling("automatic1111", form(fake), [user(*parts)], {**SMALL, **parameters}, json_schema=SCHEMA)


def photo(width: int = 96, height: int = 64, name: str = "photo.jpg") -> Json:
    return image_part(image_file(width, height, kind="JPEG"), filename=name)


def size(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


def test_an_image_is_generated_in_one_call(plugin: Host, webui: FakeWebUI) -> None:
    reply = called(plugin, webui, "a fox", seed=42, checkpoint="beta", sampler="dpm++ 2m karras", details=True)
    (made,) = reply.images
    assert read_image(made.data) == ("beta", 42, "a fox")
    details = json.loads(reply.text)
    assert (details["model"], details["seed"], details["width"], details["height"]) == ("automatic1111", 42, 64, 64)
    assert MARKER_KEY not in repr(reply)
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body["sampler_name"], body["scheduler"], body["steps"]) == ("DPM++ 2M", "Karras", 2)


def test_an_image_is_generated_as_a_polled_job(plugin: Host, webui: FakeWebUI) -> None:
    reply = polled(plugin, webui, "a fox", seed=42, width=70)
    assert (reply.status, reply.error) == ("succeeded", None)
    assert read_image(reply.images[0].data) == ("alpha", 42, "a fox")
    assert reply.result is not None
    assert reply.result.structured_output == {
        "seed": 42,
        "width": 72,
        "height": 64,
        "notices": ["The size 70×64 became 72×64, the nearest that automatic1111 makes."],
    }


def test_the_defaults_are_those_of_the_card(plugin: Host, webui: FakeWebUI) -> None:
    plugin.invoke("automatic1111", form(webui), [user("a fox")], {})
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body["steps"], body["cfg_scale"], body["width"], body["height"]) == (20, 7, 512, 512)


def test_directives_reach_the_parameters_of_the_webui(plugin: Host, webui: FakeWebUI) -> None:
    prompt = 'a fox <lora:paper-cut:0.8> --seed 3 --no "blurry" --style cinematic --clip_skip 2 --hires_scale 2'
    (made,) = called(plugin, webui, prompt, directives="all").images
    assert size(made.data) == (128, 128)
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body["prompt"], body["negative_prompt"], body["styles"], body["seed"]) == (
        "a fox <lora:paper-cut:0.8>",
        "blurry",
        ["cinematic"],
        3,
    )
    assert body["override_settings"] == {"CLIP_stop_at_last_layers": 2}


def test_several_images_come_in_order(plugin: Host, webui: FakeWebUI) -> None:
    reply = called(plugin, webui, "a fox", n=3, seed=7)
    assert [read_image(made.data)[1] for made in reply.images] == [7, 8, 9]


@pytest.mark.parametrize("ask", [called, polled])
def test_a_photo_is_edited_by_img2img(plugin: Host, webui: FakeWebUI, ask: type[InvokeReply]) -> None:
    ask(plugin, webui, photo(), "as a watercolour", denoising_strength=0.4)  # type: ignore[call-arg, arg-type]
    (body,) = webui.bodies("/sdapi/v1/img2img")
    assert (len(body["init_images"]), body["denoising_strength"], "mask" in body) == (1, 0.4, False)


@pytest.mark.parametrize("name", ["mask.png", "second.png"])
def test_a_photo_with_a_mask_is_inpainted(plugin: Host, webui: FakeWebUI, name: str) -> None:
    mask = image_part(image_file(96, 64, mode="L", colour=255), filename=name)
    called(plugin, webui, photo(), mask, "a hat", inpaint_fill="fill", inpaint_only_masked=True)
    (body,) = webui.bodies("/sdapi/v1/img2img")
    assert body["mask"]
    assert (body["inpainting_fill"], body["inpaint_full_res"]) == (0, True)


def test_transparent_parts_of_an_image_are_inpainted(plugin: Host, webui: FakeWebUI) -> None:
    called(plugin, webui, image_part(image_file(96, 64, mode="RGBA", colour=(9, 9, 9, 0)), filename="fox.png"), "a hat")
    assert "mask" in webui.bodies("/sdapi/v1/img2img")[0]


def test_outpainting_widens_the_image(plugin: Host, webui: FakeWebUI) -> None:
    reply = plugin.invoke(
        "automatic1111", form(webui), [user(photo(), "a wide beach")], {"outpaint_left": 64, "outpaint_right": 64}
    )
    assert size(reply.images[0].data) == (224, 64)


def test_upscaling_enlarges_without_generating(plugin: Host, webui: FakeWebUI) -> None:
    reply = called(plugin, webui, photo(), "larger", upscaler="R-ESRGAN 4x+", upscale_by=2)
    assert (size(reply.images[0].data), webui.jobs) == ((192, 128), 0)


def test_upscaling_needs_no_prompt_in_a_node(plugin: Host, webui: FakeWebUI) -> None:
    reply = called(plugin, webui, photo(), upscale_by=2)
    assert (size(reply.images[0].data), webui.jobs) == ((192, 128), 0)
    with pytest.raises(PluginError, match="There is no prompt"):
        called(plugin, webui, photo())


def test_a_second_image_is_the_control_image(plugin: Host, webui: FakeWebUI) -> None:
    reply = called(
        plugin,
        webui,
        photo(),
        photo(name="pose.jpg"),
        "a fox",
        controlnet_model="control_v11p_sd15_canny",
        controlnet_module="canny",
    )
    assert len(reply.images) == 1
    assert webui.bodies("/sdapi/v1/img2img")[0]["alwayson_scripts"]["controlnet"]["args"][0]["image"]


@pytest.mark.parametrize("kind", ["forge", "sdnext", "old"])
def test_forge_reforge_and_sdnext_generate(plugin: Host, kind: Kind) -> None:
    with FakeWebUI(kind).run() as fake:
        scheduled = called(plugin, fake, "a fox", seed=5, sampler="DPM++ 2M", scheduler="Karras", checkpoint="beta")
    assert read_image(scheduled.images[0].data) == ("beta", 5, "a fox")


# --- failures ---


def test_a_wrong_login_has_its_class_and_is_not_quoted(plugin: Host, webui: FakeWebUI) -> None:
    webui.auth = ("dify", "another")
    with pytest.raises(PluginError) as refused:
        plugin.validate_provider_credentials(form(webui))
    with pytest.raises(PluginError) as failed:
        called(plugin, webui, "a fox")
    assert "(automatic1111_password)" in refused.value.message
    assert failed.value.error_type == "InvokeAuthorizationError"
    assert MARKER_KEY not in f"{refused.value.message} {failed.value.message}"


@pytest.mark.parametrize(
    ("parameters", "error_type", "said"),
    [
        ({"sampler": "Eular"}, "InvokeBadRequestError", "It has: Euler"),
        ({"checkpoint": "gamma"}, "InvokeBadRequestError", "It has: alpha, beta"),
        ({"width": 256, "height": 256}, "InvokeServerUnavailableError", "CUDA out of memory"),
        ({"steps": 400}, "InvokeBadRequestError", "`steps`"),
    ],
)
def test_failures_have_their_class_and_next_step(
    plugin: Host, webui: FakeWebUI, parameters: Json, error_type: str, said: str
) -> None:
    webui.memory_pixels = 128 * 128
    with pytest.raises(PluginError) as failed:
        called(plugin, webui, "a fox", **parameters)
    reply = polled(plugin, webui, "a fox", **parameters)
    assert (failed.value.error_type, reply.status) == (error_type, "failed")
    assert said in failed.value.message
    assert said in str(reply.error)


def test_a_job_is_interrupted_on_timeout(plugin: Host, webui: FakeWebUI) -> None:
    webui.step_seconds = 0.02
    reply = polled(plugin, webui, "a fox", steps=150, timeout=1)
    assert "the job was interrupted" in str(reply.error)
    assert webui.asked("/sdapi/v1/interrupt") == 1


# --- forms ---


def test_the_form_is_saved_without_generating(plugin: Host, webui: FakeWebUI) -> None:
    plugin.validate_provider_credentials(form(webui))
    assert webui.jobs == 0


def test_the_form_of_a_customizable_model_lists_the_servers_options(plugin: Host, webui: FakeWebUI) -> None:
    own: Json = {
        "backend": "automatic1111",
        "base_url": webui.url,
        "username": "dify",
        "password": MARKER_KEY,
        "checkpoint": "beta",
    }
    plugin.validate_model_credentials("my-webui", own)
    schema = plugin.model_schema("my-webui", own)
    assert schema is not None
    rules = {rule["name"]: rule for rule in rules_of(schema)}
    assert rules["checkpoint"]["options"] == ["alpha", "beta"]
    made = plugin.invoke("my-webui", own, [user("a fox")], {"width": 64, "height": 64, "seed": 1}).images[0]
    assert read_image(made.data) == ("beta", 1, "a fox")
    assert webui.bodies("/sdapi/v1/txt2img")[0]["steps"] == 20


def test_a_customizable_model_accepts_parameters_outside_its_form(plugin: Host, webui: FakeWebUI) -> None:
    own: Json = {"backend": "automatic1111", "base_url": webui.url, "username": "dify", "password": MARKER_KEY}
    plugin.model_schema("my-webui", own)
    webui.checkpoints = (*webui.checkpoints, "gamma")  # added after the form was shown
    asked: Json = {
        **SMALL,
        "checkpoint": "gamma.safetensors",
        "sampler": "DPM++ 2M Karras",
        "style_preset": "cinematic, ink, wash",
    }
    with pytest.raises(PluginError, match="It has: ink, wash, cinematic"):
        plugin.invoke("my-webui", own, [user("a fox")], asked)
    made = plugin.invoke("my-webui", own, [user("a fox")], {**asked, "style_preset": "ink, wash"}).images[0]
    assert read_image(made.data)[0] == "gamma"


# --- many at once ---


def test_forty_requests_of_two_tenants_get_their_own_images(plugin: Host) -> None:
    with FakeWebUI(load_seconds=0.005, step_seconds=0.001).run() as fake:
        tenants = [form(fake), {**form(fake), "automatic1111_username": "second"}]

        def generate(k: int) -> InvokeReply | PollingReply:
            messages = [user(f"wish {k}")]
            parameters: Json = {**SMALL, "seed": k, "checkpoint": ("alpha", "beta")[k % 2]}
            if k % 4 < 2:
                return plugin.invoke("automatic1111", tenants[k % 2], messages, parameters)
            return plugin.run_polling("automatic1111", tenants[k % 2], messages, parameters)

        generating = [gevent.spawn(generate, k) for k in range(40)]
        gevent.joinall(generating, timeout=60)
        seen = [read_image(one.get().images[0].data) for one in generating]
        assert seen == [(("alpha", "beta")[k % 2], k, f"wish {k}") for k in range(40)]
        assert fake.most_open < 40, "the server stalls when its forty threads are taken"
        assert fake.bodies("/sdapi/v1/options") == []

"""Every Qwen-Image model through the plugin process, by call and by polling, with the strict fake server."""

import base64
import io
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from PIL import Image
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.host import InvokeReply, PollingReply
from sandbox.protocol import image_part, user
from tests.fakes import MARKER_KEY, image_file
from tests.images.test_inputs import BROKEN
from tests.servers.model_studio_videos import VIDEO
from tests.servers.qwen_image import SIGNATURE, FakeModelStudio, model_studio

MAKERS = {
    "qwen-image-2.0": ((1024, 1024), "0.20"),
    "qwen-image-2.0-pro": ((1024, 1024), "0.50"),
    "qwen-image-3.0": ((1024, 1024), "0.18"),
    "qwen-image-3.0-pro": ((1024, 1024), "0.25"),
    "qwen-image-max": ((1328, 1328), "0.50"),
    "qwen-image-plus": ((1328, 1328), "0.20"),
    "wan2.7-image": ((1024, 1024), "0.20"),
    "wan2.5-t2i-preview": ((1280, 1280), "0.20"),
    "z-image-turbo": ((1024, 1536), "0.10"),
}
EDITORS = {
    "qwen-image-2.0": "0.20",
    "qwen-image-2.0-pro": "0.50",
    "qwen-image-3.0": "0.18",
    "qwen-image-3.0-pro": "0.25",
    "qwen-image-edit-plus": "0.20",
    "qwen-image-edit-max": "0.50",
    "qwen-image-edit": "0.30",
    "wanx2.1-imageedit": "0.14",
}
LIKE_THE_PHOTO = (1248, 832)
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "image_url": {"type": "string"},
        "seed": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "cost": {"type": "number"},
        "currency": {"type": "string"},
        "notices": {"type": "array", "items": {"type": "string"}},
    },
}


@pytest.fixture
def studio() -> Iterator[FakeModelStudio]:
    with model_studio(key=MARKER_KEY) as server:
        yield server


def credentials(studio: FakeModelStudio, **fields: JsonValue) -> dict[str, JsonValue]:
    return {"dashscope_api_key": MARKER_KEY, "dashscope_base_url": studio.url, **fields}


def photo(width: int = 1200, height: int = 800) -> dict[str, JsonValue]:
    return image_part(image_file(width, height, kind="JPEG"), filename="photo.jpg")


def assert_complete(
    reply: InvokeReply | PollingReply, size: tuple[int, int], price: str, details: dict[str, JsonValue]
) -> None:
    """Image, size, seed and price, and no key in any line."""
    (image,) = reply.images
    assert Image.open(io.BytesIO(image.data)).size == size
    assert (details["seed"], details["width"], details["height"]) == (42, *size)
    assert str(details["image_url"]).endswith(SIGNATURE)
    assert any("expires 24 hours" in str(notice) for notice in details["notices"])  # type: ignore[union-attr]
    assert reply.usage is not None
    assert (reply.usage.total_price, reply.usage.currency) == (Decimal(price), "CNY")
    assert reply.usage.completion_tokens == 1
    assert MARKER_KEY not in repr(reply)


def called(plugin: Host, studio: FakeModelStudio, model: str, *parts: str | dict[str, JsonValue]) -> InvokeReply:
    return plugin.invoke(model, credentials(studio), [user(*parts)], {"seed": 42, "details": True, "directives": "all"})


def polled(plugin: Host, studio: FakeModelStudio, model: str, *parts: str | dict[str, JsonValue]) -> PollingReply:
    studio.statuses = ["PENDING", "SUCCEEDED"] if model == "qwen-image-plus" else ["SUCCEEDED"]
    states: list[str] = []
    reply = plugin.run_polling(
        model,
        credentials(studio),
        [user(*parts)],
        {"seed": 42},
        json_schema=SCHEMA,
        on_check=lambda check: states.append(repr(check.raw)),
    )
    assert not any(MARKER_KEY in state for state in states)
    assert reply.error is None
    return reply


@pytest.mark.parametrize("model", MAKERS)
def test_an_image_is_generated_in_one_call(plugin: Host, studio: FakeModelStudio, model: str) -> None:
    size, price = MAKERS[model]
    reply = called(plugin, studio, model, "a tea shop sign, 晨光茶舍 / Morning Light Tea")
    assert_complete(reply, size, price, json.loads(reply.text))


@pytest.mark.parametrize("model", EDITORS)
def test_an_image_is_edited_in_one_call(plugin: Host, studio: FakeModelStudio, model: str) -> None:
    reply = called(plugin, studio, model, photo(), "make the T-shirt blue, keep pose and background")
    assert_complete(reply, LIKE_THE_PHOTO, EDITORS[model], json.loads(reply.text))


@pytest.mark.parametrize("model", MAKERS)
def test_an_image_is_generated_as_a_polled_job(plugin: Host, studio: FakeModelStudio, model: str) -> None:
    size, price = MAKERS[model]
    reply = polled(plugin, studio, model, "a tea shop sign, 晨光茶舍 / Morning Light Tea")
    assert reply.result is not None
    assert reply.result.structured_output is not None
    assert_complete(reply, size, price, reply.result.structured_output)
    assert reply.result.structured_output["cost"] == float(price)


@pytest.mark.parametrize("model", EDITORS)
def test_an_image_is_edited_as_a_polled_job(plugin: Host, studio: FakeModelStudio, model: str) -> None:
    reply = polled(plugin, studio, model, photo(), "make the T-shirt blue, keep pose and background")
    assert reply.result is not None
    assert reply.result.structured_output is not None
    assert_complete(reply, LIKE_THE_PHOTO, EDITORS[model], reply.result.structured_output)


def test_a_video_is_made_as_a_polled_job(plugin: Host, studio: FakeModelStudio) -> None:
    studio.statuses = ["PENDING", "SUCCEEDED"]
    reply = plugin.run_polling("wan2.7-i2v", credentials(studio), [user("it waves", photo())], {"duration": 4})
    assert (reply.error, reply.status) == (None, "succeeded")
    assert reply.result is not None
    (video,) = [part for part in reply.result.message.contents if part.type == "video"]
    assert (base64.b64decode(video.base64_data), video.mime_type) == (VIDEO, "video/mp4")


def test_a_twelve_megapixel_phone_photo_is_edited_upright(plugin: Host, studio: FakeModelStudio) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    phone = image_part(image_file(4032, 3024, kind="JPEG", exif=exif), filename="IMG_0001.jpg")
    (image,) = called(plugin, studio, "qwen-image-edit-plus", phone, "make the sky pink").images
    width, height = Image.open(io.BytesIO(image.data)).size
    assert 0.73 < width / height < 0.77


def test_each_kind_of_broken_file_is_refused_with_its_own_message(plugin: Host, studio: FakeModelStudio) -> None:
    sentences = set()
    for name, (data, *_) in BROKEN.items():
        with pytest.raises(PluginError) as refused:
            called(plugin, studio, "qwen-image-edit-plus", image_part(data, filename=name), "make it blue")
        assert refused.value.error_type == "InvokeBadRequestError"
        assert refused.value.message.startswith(name)
        sentences.add(refused.value.message.removeprefix(name))
    assert len(sentences) >= 10
    assert studio.requests == []


def test_a_masked_region_is_repainted(plugin: Host, studio: FakeModelStudio) -> None:
    mask = image_part(image_file(1200, 800, mode="L", colour=255), filename="mask.png")
    called(plugin, studio, "wanx2.1-imageedit", photo(), mask, "a ceramic vase")
    assert studio.requests[0].body["input"]["function"] == "description_edit_with_mask"


def test_directives_set_the_parameters_of_this_service(plugin: Host, studio: FakeModelStudio) -> None:
    instruction = "a wider beach --edit_function expand --left_scale 1.5 --seed 7"
    plugin.invoke("wanx2.1-imageedit", credentials(studio), [user(photo(), instruction)], {"directives": "all"})
    body = studio.requests[0].body
    assert body["input"]["function"] == "expand"
    assert (body["parameters"]["left_scale"], body["parameters"]["seed"]) == (1.5, 7)


def test_a_wrong_key_has_its_class_and_is_not_quoted(plugin: Host, studio: FakeModelStudio) -> None:
    studio.key = "sk-another"
    with pytest.raises(PluginError) as refused:
        plugin.validate_provider_credentials(credentials(studio))
    assert "same region" in refused.value.message
    with pytest.raises(PluginError) as failed:
        called(plugin, studio, "qwen-image-2.0", "a fox")
    assert failed.value.error_type == "InvokeAuthorizationError"
    assert MARKER_KEY[:12] not in f"{refused.value.message} {failed.value.message}"


def test_a_valid_key_is_saved_without_generating(plugin: Host, studio: FakeModelStudio) -> None:
    plugin.validate_provider_credentials(credentials(studio))
    assert {request.kind for request in studio.requests} == {"models"}


@pytest.mark.parametrize(
    ("status", "code", "error_type", "next_step"),
    [
        (400, "Arrearage", "InvokeRateLimitError", "top it up"),
        (429, "Throttling.RateQuota", "InvokeRateLimitError", "wait a minute"),
        (400, "DataInspectionFailed", "InvokeBadRequestError", "change the prompt or the image"),
        (400, "InvalidParameter", "InvokeBadRequestError", "Check the size"),
        (404, "ModelNotFound", "InvokeBadRequestError", "Check the model's name"),
        (503, "ModelUnavailable", "InvokeServerUnavailableError", "try again in a moment"),
    ],
)
def test_a_refusal_has_its_class_and_next_step_by_call_and_by_polling(
    plugin: Host, studio: FakeModelStudio, status: int, code: str, error_type: str, next_step: str
) -> None:
    studio.fail("generate", status, code, times=20, headers={"Retry-After": "1"})
    short: dict[str, JsonValue] = {"timeout": 2}  # a service that says when to come back is waited for until then
    with pytest.raises(PluginError) as failed:
        plugin.invoke("qwen-image-2.0", credentials(studio), [user("a fox")], short)
    polled_reply = plugin.start_polling("qwen-image-2.0", credentials(studio), [user("a fox")], short)
    assert failed.value.error_type == error_type
    assert code in failed.value.message
    assert next_step in failed.value.message
    assert (polled_reply.status, polled_reply.error) == ("failed", failed.value.message)


def test_a_lost_task_and_an_expired_image_fail_the_job_with_the_next_step(
    plugin: Host, studio: FakeModelStudio
) -> None:
    studio.statuses = ["UNKNOWN"]
    lost = plugin.start_polling("qwen-image-3.0", credentials(studio), [user("a fox")])
    assert lost.status == "failed"
    assert "no longer has the job (UNKNOWN). Start it again" in str(lost.error)
    studio.statuses = ["SUCCEEDED"]
    studio.fail("download", 403, "AccessDenied", "Request has expired.")
    expired = plugin.start_polling("qwen-image-3.0", credentials(studio), [user("a fox")])
    assert expired.status == "failed"
    assert "HTTP 403. Generate it again: the service keeps images for 24 hours" in str(expired.error)


def test_a_failed_job_has_status_failed_and_the_message(plugin: Host, studio: FakeModelStudio) -> None:
    studio.statuses = ["FAILED"]
    studio.final = {"code": "DataInspectionFailed", "message": "blocked"}
    reply = plugin.run_polling("qwen-image-3.0", credentials(studio), [user("a fox")])
    assert reply.status == "failed"
    assert "content filter" in str(reply.error)


def test_a_customizable_model_has_the_form_of_its_family(plugin: Host, studio: FakeModelStudio) -> None:
    form: dict[str, JsonValue] = {"backend": "qwen_image", "base_url": studio.url, "api_key": MARKER_KEY}
    schema = plugin.model_schema("qwen-image-2.0-pro-2026-06-22", form)
    assert schema is not None
    assert "negative_prompt" in repr(schema["parameter_rules"])
    assert plugin.invoke("qwen-image-2.0-pro-2026-06-22", form, [user("a fox")]).images

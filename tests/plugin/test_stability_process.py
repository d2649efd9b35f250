"""Every Stability AI model through the plugin process, by call, stream and polling, with the strict fake server."""

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

import pytest
from PIL import Image
from pydantic import JsonValue

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError
from sandbox import Host, protocol
from sandbox.errors import PluginError
from sandbox.protocol import image_part, user
from tests.backends.stability.refusals import FINAL, REPEATED
from tests.fakes import MARKER_KEY, image_file
from tests.servers.stability import FakeStability

# At 16:9. The service does not publish the pixels of its aspect ratios; these are the fake server's.
MAKERS = {
    "stable-image-core": ((1664, 960), "0.03"),
    "stable-image-ultra": ((1344, 768), "0.08"),
    "sd3.5-large": ((1344, 768), "0.065"),
    "sd3.5-large-turbo": ((1344, 768), "0.04"),
    "sd3.5-medium": ((1344, 768), "0.035"),
    "stable-diffusion-xl": ((1344, 768), "0.009"),
}
# From an image of 1200×800.
EDITORS = {
    "stable-image-ultra": (1216, 832),
    "sd3.5-large": (1200, 800),
    "sd3.5-large-turbo": (1200, 800),
    "sd3.5-medium": (1200, 800),
    "stable-diffusion-xl": (1216, 832),
}
EXPECTED = {**FINAL, **REPEATED}
NO_TIME_TO_REPEAT = 2

type Way = Literal["call", "stream", "poll"]
WAYS: tuple[Way, ...] = ("call", "stream", "poll")


@pytest.fixture
def fake() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY) as server:
        yield server


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Everything that the plugin writes to the host during a test; none of it may contain a key."""
    seen: list[bytes] = []
    parse = protocol.parse_line

    def recording(line: bytes) -> protocol.JsonObject | None:
        seen.append(line)
        return parse(line)

    monkeypatch.setattr(protocol, "parse_line", recording)
    yield seen
    assert seen
    # By the protocol, a valid form is returned to the host, including keys.
    for line in [line for line in seen if b'"data":{"result":true,"credentials":' not in line]:
        assert MARKER_KEY.encode() not in line
        assert MARKER_KEY[3:15].encode() not in line


def credentials(fake: FakeStability, **fields: str) -> dict[str, JsonValue]:
    return {"stability_api_key": MARKER_KEY, "stability_base_url": fake.url, **fields}


def photo() -> dict[str, JsonValue]:
    return image_part(image_file(1200, 800, kind="JPEG"), filename="photo.jpg")


class Answer:
    """The result of any of the three ways."""

    def __init__(
        self, plugin: Host, way: Way, model: str, form: dict[str, JsonValue], *parts: str | dict[str, JsonValue],
        **parameters: JsonValue,
    ) -> None:  # fmt: skip
        messages = [user(*parts)]
        if way == "poll":
            polled = plugin.run_polling(model, form, messages, parameters)
            self.error, self.error_type = polled.error, ""
            self.images, self.text, self.usage = polled.images, polled.text, polled.usage
            return
        try:
            reply = plugin.invoke(model, form, messages, parameters, stream=way == "stream")
        except PluginError as error:
            self.error, self.error_type = error.message, error.error_type
            return
        self.error, self.error_type = None, ""
        self.images, self.text, self.usage = reply.images, reply.text, reply.usage


def size(data: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image.size


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MAKERS)
def test_an_image_is_generated(plugin: Host, fake: FakeStability, model: str, way: Way) -> None:
    wanted, price = MAKERS[model]
    answer = Answer(
        plugin,
        way,
        model,
        credentials(fake),
        "a red bicycle leaning on a white wall",
        width=1280,
        height=720,
        seed="42",
        negative_prompt="blurry",
        style_preset="photographic",
        details=True,
    )
    assert [size(image.data) for image in answer.images] == [wanted]
    details = json.loads(answer.text)
    assert (details["seed"], details["width"], details["height"]) == (42, *wanted)
    assert "1280×720" in details["notices"][0]
    assert answer.usage
    assert (answer.usage.total_price, answer.usage.currency) == (Decimal(price), "USD")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", EDITORS)
def test_an_image_is_generated_by_img2img(plugin: Host, fake: FakeStability, model: str, way: Way) -> None:
    answer = Answer(
        plugin, way, model, credentials(fake), photo(), "in winter", denoising_strength=0.4, seed=7, details=True
    )
    assert [size(image.data) for image in answer.images] == [EDITORS[model]]
    assert json.loads(answer.text)["seed"] == 7


@pytest.mark.parametrize("way", WAYS)
def test_several_images_arrive_with_their_own_seeds_and_price(plugin: Host, fake: FakeStability, way: Way) -> None:
    answer = Answer(plugin, way, "sd3.5-medium", credentials(fake), "a fox", n=3, seed=7)
    assert len(answer.images) == 3
    assert sorted(request.texts["seed"] for request in fake.requests) == ["7", "8", "9"]
    assert answer.usage
    assert answer.usage.total_price == Decimal("0.105")


@pytest.mark.parametrize("way", WAYS)
def test_the_price_of_sdxl_grows_with_the_steps(plugin: Host, fake: FakeStability, way: Way) -> None:
    prompt = "a fox --steps 50 --n 2 --sampler k_euler"
    answer = Answer(plugin, way, "stable-diffusion-xl", credentials(fake), prompt, directives="all")
    assert answer.usage
    assert answer.usage.total_price == Decimal("0.03")
    assert (fake.requests[0].json["steps"], fake.requests[0].json["sampler"]) == (50, "K_EULER")


def test_directives_set_the_parameters(plugin: Host, fake: FakeStability) -> None:
    Answer(plugin, "call", "sd3.5-large", credentials(fake), 'a fox --ar 4:3 --cfg 6 --style anime --no "text, frame"')
    sent = fake.requests[0].texts
    assert sent["prompt"] == "a fox"
    assert (sent["aspect_ratio"], sent["cfg_scale"]) == ("5:4", "6")
    assert (sent["style_preset"], sent["negative_prompt"]) == ("anime", "text, frame")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refusal", EXPECTED)
def test_every_refusal_has_its_class_and_message(plugin: Host, fake: FakeStability, refusal: str, way: Way) -> None:
    error, advice = EXPECTED[refusal]
    fake.fail_next(refusal)
    answer = Answer(
        plugin, way, "stable-image-core", credentials(fake), "a fox", timeout=NO_TIME_TO_REPEAT, details=True
    )
    assert answer.error
    assert answer.error.startswith("Generating with Stability AI failed: HTTP ")
    assert advice in answer.error
    assert_class(answer, way, error)
    assert len(fake.requests) == 1


def assert_class(answer: Answer, way: Way, error: type[ImageError]) -> None:
    if way != "poll":  # a polled failure is a sentence without a class
        assert answer.error_type == error.host.__name__


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MAKERS)
def test_a_blurred_image_is_never_returned(plugin: Host, fake: FakeStability, model: str, way: Way) -> None:
    fake.filter_next()
    answer = Answer(plugin, way, model, credentials(fake), "a fox")
    assert answer.error
    assert "content filter" in answer.error
    assert_class(answer, way, BadRequest)


@pytest.mark.parametrize("way", WAYS)
def test_a_chinese_prompt_is_refused_with_the_next_step(plugin: Host, fake: FakeStability, way: Way) -> None:
    answer = Answer(plugin, way, "sd3.5-large", credentials(fake), "雪地里的红狐狸")
    assert answer.error
    assert "put an LLM node before this one that translates" in answer.error


@pytest.mark.parametrize("way", WAYS)
def test_a_quoted_key_is_hidden_in_the_reply(plugin: Host, fake: FakeStability, way: Way) -> None:
    fake.key = "another"
    answer = Answer(plugin, way, "stable-diffusion-xl", credentials(fake), "a fox")
    assert answer.error
    assert "Incorrect API key provided: [hidden]" in answer.error
    assert "(stability_api_key)" in answer.error
    assert_class(answer, way, AuthorizationFailed)


def test_an_empty_form_names_the_field(plugin: Host) -> None:
    answer = Answer(plugin, "call", "sd3.5-large", {}, "a fox")
    assert answer.error
    assert "Fill “Stability AI API key” (stability_api_key) in the provider's settings" in answer.error


def test_a_valid_key_is_saved_without_cost(plugin: Host, fake: FakeStability) -> None:
    before = fake.balance
    plugin.validate_provider_credentials(credentials(fake))
    assert [request.path for request in fake.requests] == ["/v1/user/balance"]
    assert fake.balance == before


def test_a_wrong_key_is_refused_and_not_quoted(plugin: Host, fake: FakeStability) -> None:
    fake.key = "another"
    with pytest.raises(PluginError, match=r"Check .*\(stability_api_key\)") as refused:
        plugin.validate_provider_credentials(credentials(fake))
    assert MARKER_KEY not in f"{refused.value.message} {refused.value.traceback}"


def test_a_key_that_cannot_be_checked_is_not_rejected(plugin: Host, fake: FakeStability) -> None:
    fake.fail_next("rate_limit_exceeded", times=9)
    with pytest.raises(PluginError, match="The key may be valid"):
        plugin.validate_provider_credentials(credentials(fake))


def test_a_customizable_model_uses_the_form_of_its_remote_model(plugin: Host, fake: FakeStability) -> None:
    form: dict[str, JsonValue] = {
        "backend": "stability",
        "base_url": fake.url,
        "api_key": MARKER_KEY,
        "remote_model": "sd3.5-medium",
    }
    plugin.validate_model_credentials("second-account", form)
    schema = plugin.model_schema("second-account", form)
    assert schema
    assert "cfg_scale" in repr(schema["parameter_rules"])
    answer = Answer(plugin, "call", "second-account", form, "a fox")
    assert len(answer.images) == 1
    assert answer.usage
    assert answer.usage.total_price == Decimal("0.035")


def test_an_unknown_remote_model_is_refused_with_the_known_ones(plugin: Host, fake: FakeStability) -> None:
    form: dict[str, JsonValue] = {
        "backend": "stability",
        "base_url": fake.url,
        "api_key": MARKER_KEY,
        "remote_model": "sd9",
    }
    with pytest.raises(PluginError, match=r"no model 'sd9'.*sd3\.5-medium"):
        plugin.validate_model_credentials("second-account", form)

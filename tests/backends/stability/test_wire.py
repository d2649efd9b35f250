"""Requests to and replies from Stability AI, without a server."""

import base64
import io
import json
from decimal import Decimal

import pytest
from PIL import Image

from models.backends.base import Backend
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.partial import Partial
from models.backends.reply import Reply
from models.backends.stability.backend import _cut_to
from models.backends.stability.models import (
    DEFAULT_STRENGTH,
    INPUT_LIMITS,
    MAX_REQUEST_BYTES,
    V1Model,
    V2BetaModel,
    read_model,
)
from models.backends.stability.wire import StabilityCall, read_v1, read_v2beta, v1_call, v1_price, v2beta_calls
from models.catalog import Card, cards
from models.entities import ImageRequest, InputImage, Price
from models.images.inputs import fit
from models.images.sniff import sniff
from tests.asking import asked, bound
from tests.fakes import image_file

WIDE = InputImage(image_file(1600, 900), "image/png")


def facts(model: str) -> V2BetaModel | V1Model:
    return read_model(cards()[model].facts)


def asking(model: str, **wishes: object) -> tuple[Backend, ImageRequest]:
    backend = bound(model, {})
    return backend, asked(backend, "a red bicycle", **{"seed": 7, **wishes})


def v2_form(model: str, **wishes: object) -> dict[str, object]:
    """The form of the first call."""
    known = facts(model)
    assert isinstance(known, V2BetaModel)
    _, request = asking(model, **wishes)
    form = v2beta_calls(known, request, request.images[0] if request.images else None)[0].form
    assert form
    return dict(form)


def sdxl(image: InputImage | None = None, **wishes: object) -> StabilityCall:
    known = facts("stable-diffusion-xl")
    assert isinstance(known, V1Model)
    return v1_call(known, asking("stable-diffusion-xl", images=(image,) if image else (), **wishes)[1], image)


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (1024, 1024, "1:1"),
        (1152, 896, "5:4"),
        (1024, 768, "5:4"),
        (768, 1024, "4:5"),
        (1216, 832, "3:2"),
        (832, 1216, "2:3"),
        (1344, 768, "16:9"),
        (1280, 720, "16:9"),
        (1792, 1024, "16:9"),
        (1664, 928, "16:9"),
        (768, 1344, "9:16"),
        (1536, 640, "21:9"),
        (640, 1536, "9:21"),
        (2048, 512, "21:9"),
    ],
)
def test_the_nearest_aspect_ratio_distorts_least(width: int, height: int, ratio: str) -> None:
    assert V2BetaModel.ratios.nearest_ratio((width, height)) == ratio


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((1024, 1024), (1024, 1024)),
        ((512, 512), (1024, 1024)),
        ((1280, 720), (1344, 768)),
        ((4, 3), (1152, 896)),
        ((100, 400), (640, 1536)),
    ],
)
def test_the_nearest_of_the_nine_sdxl_sizes_keeps_the_shape(asked: tuple[int, int], size: tuple[int, int]) -> None:
    known = facts("stable-diffusion-xl")
    assert isinstance(known, V1Model)
    assert known.sizes.nearest(asked) == size


def test_a_txt2img_call_sends_only_the_given_parameters() -> None:
    assert v2_form("stable-image-core") == {"prompt": "a red bicycle", "seed": "7", "output_format": "png"}


def test_every_parameter_of_a_txt2img_call_is_sent() -> None:
    form = v2_form(
        "sd3.5-medium",
        negative_prompt="blurry",
        width=1280,
        height=720,
        cfg_scale=4.5,
        style_preset="anime",
        output_format="webp",
        denoising_strength=0.3,
    )
    assert form == {
        "prompt": "a red bicycle",
        "negative_prompt": "blurry",
        "model": "sd3.5-medium",
        "aspect_ratio": "16:9",
        "cfg_scale": "4.5",
        "style_preset": "anime",
        "seed": "7",
        "output_format": "webp",
    }


def test_sd3_with_an_image_sends_the_mode_and_no_aspect_ratio() -> None:
    assert v2_form("sd3.5-medium", images=(WIDE,), denoising_strength=0.25, aspect_ratio="1:1") == {
        "prompt": "a red bicycle",
        "model": "sd3.5-medium",
        "mode": "image-to-image",
        "strength": "0.25",
        "seed": "7",
        "output_format": "png",
        "image": ("image", WIDE.data, "image/png"),
    }


def test_ultra_with_an_image_keeps_its_shape() -> None:
    form = v2_form("stable-image-ultra", images=(WIDE,))
    assert (form.get("mode"), form["strength"], form["aspect_ratio"]) == (None, "0.6", "16:9")


def test_ultra_with_an_image_uses_a_requested_shape() -> None:
    assert v2_form("stable-image-ultra", images=(WIDE,), aspect_ratio="1:1")["aspect_ratio"] == "1:1"


def test_an_aspect_ratio_the_service_lacks_becomes_the_nearest() -> None:
    assert v2_form("stable-image-core", aspect_ratio="4:3")["aspect_ratio"] == "5:4"


def test_a_requested_quality_fetches_png_for_a_single_lossy_step() -> None:
    assert v2_form("stable-image-core", output_format="jpeg", output_quality=80)["output_format"] == "png"


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({}, None),
        ({"width": 1024, "height": 1024}, None),
        ({"aspect_ratio": "16:9"}, None),
        ({"width": 1280, "height": 720}, ("1280×720", "16:9")),
        ({"aspect_ratio": "4:3"}, ("4:3", "5:4")),
    ],
)
def test_a_changed_shape_gives_a_notice_naming_both(wishes: dict[str, object], told: tuple[str, ...] | None) -> None:
    _, request = asking("sd3.5-medium", **wishes)
    assert len(request.notices) == (told is not None)
    assert all(word in request.notices[0] for word in told or ())


def test_an_ignored_size_with_an_image_gives_a_notice() -> None:
    _, request = asking("sd3.5-medium", images=(WIDE,), width=512, height=512)
    assert request.notices == (
        "The size 512×512 was not used: beside an input image the model keeps that image's shape.",
    )


def test_v1_sends_exact_size_steps_and_a_negative_weight() -> None:
    call = sdxl(
        negative_prompt="blurry", width=1344, height=768, steps=40, cfg_scale=7.0, n=2, sampler="K_EULER",
        style_preset="anime", seed=9,
    )  # fmt: skip
    assert call.path == "/v1/generation/stable-diffusion-xl-1024-v1-0/text-to-image"
    assert call.json == {
        "text_prompts": ({"text": "a red bicycle", "weight": 1.0}, {"text": "blurry", "weight": -1.0}),
        "width": 1344,
        "height": 768,
        "cfg_scale": 7.0,
        "steps": 40,
        "samples": 2,
        "seed": 9,
        "sampler": "K_EULER",
        "style_preset": "anime",
    }


@pytest.mark.parametrize(
    ("wishes", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"images": (WIDE,)}, (1344, 768)),
        ({"images": (WIDE,), "aspect_ratio": "1:1"}, (1024, 1024)),
    ],
)
def test_v1_without_a_size_takes_the_ratio_or_the_shape_of_the_image_or_is_square(
    wishes: dict[str, object], size: tuple[int, int]
) -> None:
    assert asking("stable-diffusion-xl", **wishes)[1].size == size


def test_v1_image_strength_is_the_reverse_of_the_denoising_strength() -> None:
    assert sdxl(WIDE, negative_prompt="blurry", denoising_strength=0.7, steps=20, seed=9).form == {
        "text_prompts[0][text]": "a red bicycle",
        "text_prompts[0][weight]": "1",
        "text_prompts[1][text]": "blurry",
        "text_prompts[1][weight]": "-1",
        "steps": "20",
        "samples": "1",
        "seed": "9",
        "init_image_mode": "IMAGE_STRENGTH",
        "image_strength": "0.3",
        "init_image": ("init_image", WIDE.data, "image/png"),
    }


def price(steps: int | None, images: int) -> Price | None:
    known = facts("stable-diffusion-xl")
    assert isinstance(known, V1Model)
    return v1_price(known, Price(Decimal("0.009"), "USD"), steps=steps, images=images)


@pytest.mark.parametrize("steps", [None, 10, 30])
def test_v1_costs_the_price_of_the_card_up_to_thirty_steps(steps: int | None) -> None:
    assert price(steps, 3) == Price(Decimal("0.027"), "USD")


def test_v1_costs_more_in_proportion_beyond_thirty_steps() -> None:
    assert price(50, 1) == Price(Decimal("0.015"), "USD")


def json_reply(content: object, **headers: str) -> Reply:
    return Reply(200, {"content-type": "application/json; type=image/png", **headers}, json.dumps(content).encode())


PNG = image_file()
BASE64 = base64.b64encode(PNG).decode()


def seeds_and_bytes(made: Partial) -> list[tuple[int | None, bytes]]:
    assert made.failures == ()
    return [(image.seed, image.data) for image in made.images]


def artifacts(*reasons: str, data: bytes = PNG) -> Partial:
    """The result of a v1 reply whose images have these finish reasons and the seeds 1, 2 ..."""
    content = [
        {"base64": base64.b64encode(data).decode(), "seed": seed, "finishReason": reason}
        for seed, reason in enumerate(reasons, 1)
    ]
    return read_v1(json_reply({"artifacts": content}), sent_seed=7)


def test_the_json_form_of_the_answer_is_read() -> None:
    reply = json_reply({"image": BASE64, "seed": 11, "finish_reason": "SUCCESS"})
    assert seeds_and_bytes(read_v2beta(reply, sent_seed=7)) == [(11, PNG)]


def test_an_answer_without_a_seed_keeps_the_seed_that_was_sent() -> None:
    made = read_v2beta(json_reply({"image": BASE64, "finish_reason": "SUCCESS"}), sent_seed=7)
    assert seeds_and_bytes(made) == [(7, PNG)]


def test_the_byte_form_of_the_answer_is_read_from_its_headers() -> None:
    headers = {"content-type": "image/png", "seed": "11", "finish-reason": "SUCCESS"}
    assert seeds_and_bytes(read_v2beta(Reply(200, headers, PNG), sent_seed=7)) == [(11, PNG)]
    filtered = read_v2beta(Reply(200, {**headers, "finish-reason": "CONTENT_FILTERED"}, PNG), sent_seed=7)
    assert (filtered.images, type(filtered.failures[0])) == ((), BadRequest)


@pytest.mark.parametrize("content", [{}, {"image": None}, {"id": "job"}, [], {"image": "not base64!"}])
def test_a_reply_without_an_image_is_an_error(content: object) -> None:
    with pytest.raises(ServerUnavailable):
        read_v2beta(json_reply(content), sent_seed=7).notices(1)


@pytest.mark.parametrize("wrapped", [True, False])
def test_v1_artifacts_are_read_wrapped_and_bare(wrapped: bool) -> None:
    content = [{"base64": BASE64, "seed": 11, "finishReason": "SUCCESS"}]
    made = read_v1(json_reply({"artifacts": content} if wrapped else content), sent_seed=7)
    assert seeds_and_bytes(made) == [(11, PNG)]


@pytest.mark.parametrize("content", [{}, {"artifacts": None}, {"artifacts": [{"url": "https://x"}]}])
def test_v1_answers_without_artifacts_are_never_a_success(content: object) -> None:
    with pytest.raises(ServerUnavailable):
        read_v1(json_reply(content), sent_seed=7)


def test_a_filtered_image_is_a_failure() -> None:
    with pytest.raises(BadRequest, match="content filter"):
        artifacts("CONTENT_FILTERED").notices(1)


def test_good_images_are_kept_with_a_filtered_one() -> None:
    made = artifacts("SUCCESS", "CONTENT_FILTERED")
    assert [image.seed for image in made.images] == [1]
    count, reason = made.notices(2)
    assert count == "1 of 2 images came back."
    assert "content filter" in reason


@pytest.mark.parametrize("reason", ["ERROR", "SOMETHING_NEW"])
def test_an_unknown_finish_reason_is_a_server_error(reason: str) -> None:
    with pytest.raises(ServerUnavailable, match=reason):
        artifacts(reason).notices(1)


def test_bytes_that_are_not_an_image_are_a_server_error() -> None:
    with pytest.raises(ServerUnavailable, match="HTML"):
        artifacts("SUCCESS", data=b"<html>").notices(1)


def test_fewer_images_than_requested_give_a_notice() -> None:
    assert artifacts("SUCCESS").notices(3) == ["1 of 3 images came back."]


def test_a_supported_image_is_sent_unchanged() -> None:
    assert fit(WIDE, INPUT_LIMITS) == (WIDE, ())


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_an_unsupported_format_is_re_encoded(kind: str) -> None:
    given = InputImage(image_file(64, 64, kind=kind), f"image/{kind.lower()}")
    sent, _ = fit(given, INPUT_LIMITS)
    assert sent.mime_type == sniff(sent.data).mime_type
    assert sent.mime_type in {"image/png", "image/jpeg", "image/webp"}


def test_an_image_over_the_request_limit_is_compressed_with_a_notice() -> None:
    given = InputImage(image_file(900, 700) + bytes(MAX_REQUEST_BYTES), "image/png")
    sent, notices = fit(given, INPUT_LIMITS)
    assert len(sent.data) < MAX_REQUEST_BYTES
    assert sniff(sent.data).mime_type == sent.mime_type
    assert notices


def test_a_rotated_image_is_measured_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    given = InputImage(image_file(1600, 900, kind="JPEG", exif=exif), "image/jpeg")
    assert v2_form("stable-image-ultra", images=(given,))["aspect_ratio"] == "9:16"
    sent, _ = _cut_to(given, (768, 1344))
    assert (sniff(sent.data).width, sniff(sent.data).height) == (768, 1344)


def test_an_image_for_sdxl_is_cropped_to_a_supported_size_with_a_notice() -> None:
    sent, notices = _cut_to(WIDE, (1344, 768))
    header = sniff(sent.data)
    assert (header.width, header.height) == (1344, 768)
    assert notices == ("The input image was cropped and scaled from 1600×900 to 1344×768.",)


def test_the_transparency_of_an_input_image_is_kept() -> None:
    clear = InputImage(image_file(1600, 900, mode="RGBA", colour=(200, 30, 30, 0)), "image/png")
    for sent in (fit(clear, INPUT_LIMITS)[0], _cut_to(clear, (1024, 1024))[0]):
        assert Image.open(io.BytesIO(sent.data)).convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_an_image_that_does_not_decode_is_refused() -> None:
    broken = InputImage(image_file(64, 64)[:60], "image/png")
    with pytest.raises(BadRequest, match="cannot be used"):
        _cut_to(broken, (1024, 1024))


@pytest.mark.parametrize(
    "card",
    [card for card in cards().values() if card.backend == "stability" and card.facts["api"] != "edit"],
    ids=lambda card: card.model,
)
def test_every_card_has_facts_a_price_and_the_limits_of_its_family(card: Card) -> None:
    known = read_model(card.facts)
    rules = {rule.name: rule for rule in card.rules}
    assert card.price_per_image is not None
    assert card.price_per_image.amount > 0
    assert rules["seed"].max == known.seeds.highest
    assert len(rules["style_preset"].options) == 17
    assert card.vision == bool(known.images) == ("denoising_strength" in rules)
    if card.vision:
        assert rules["denoising_strength"].default == DEFAULT_STRENGTH
    assert {"details", "timeout", "output_format", "output_quality"} <= set(rules)
    if isinstance(known, V2BetaModel):
        assert set(known.ratios.ratios) <= set(rules["aspect_ratio"].options)

"""Building and reading for Stability AI, without a server."""

import base64
import json
from decimal import Decimal

import pytest
from PIL import Image

from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.reply import Reply
from models.backends.stability import v1, v2beta
from models.backends.stability.facts import ASPECT_RATIOS, DEFAULT_STRENGTH, MAX_REQUEST_BYTES, V1, V2Beta, read_facts
from models.backends.stability.outcome import Picture, settle
from models.backends.stability.shapes import sdxl_size, v2beta_ratio
from models.backends.stability.uploads import as_sized_upload, as_upload
from models.catalog import Card, cards
from models.entities import ImageRequest, InputImage, Price
from models.images.sniff import sniff
from tests.fakes import picture

CORE = V2Beta(api="v2beta", path="/core", image_to_image="no")
ULTRA = V2Beta(api="v2beta", path="/ultra", image_to_image="strength")
MEDIUM = V2Beta(api="v2beta", path="/sd3", model="sd3.5-medium", image_to_image="mode")
SDXL = V1(api="v1", engine="sdxl", steps_in_price=30)
WIDE = InputImage(picture(1600, 900), "image/png")


def asking(**changes: object) -> ImageRequest:
    return ImageRequest(model="m", prompt="a red bicycle", **changes)  # type: ignore[arg-type]


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
    assert v2beta_ratio(width / height) == ratio


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
    assert sdxl_size(asked[0] / asked[1]) == size


def test_a_plain_text_call_sends_only_what_was_said() -> None:
    call = v2beta.build(CORE, asking(), seed=7, image=None)
    assert call.parts() == {"prompt": "a red bicycle", "seed": "7", "output_format": "png"}


def test_every_parameter_of_a_text_call_has_its_part() -> None:
    request = asking(
        negative_prompt="blurry",
        width=1280,
        height=720,
        cfg_scale=4.5,
        style_preset="anime",
        output_format="webp",
        denoising_strength=0.3,
    )
    assert v2beta.build(MEDIUM, request, seed=7, image=None).parts() == {
        "prompt": "a red bicycle",
        "negative_prompt": "blurry",
        "model": "sd3.5-medium",
        "aspect_ratio": "16:9",
        "cfg_scale": "4.5",
        "style_preset": "anime",
        "seed": "7",
        "output_format": "webp",
    }


def test_sd3_beside_an_image_says_the_mode_and_no_aspect_ratio() -> None:
    call = v2beta.build(MEDIUM, asking(denoising_strength=0.25, aspect_ratio="1:1"), seed=7, image=WIDE)
    assert call.parts() == {
        "prompt": "a red bicycle",
        "model": "sd3.5-medium",
        "mode": "image-to-image",
        "strength": "0.25",
        "seed": "7",
        "output_format": "png",
        "image": ("image", WIDE.data, "image/png"),
    }


def test_ultra_beside_an_image_keeps_the_shape_of_the_image() -> None:
    form = v2beta.build(ULTRA, asking(), seed=7, image=WIDE).form
    assert (form.mode, form.strength, form.aspect_ratio) == (None, 0.6, "16:9")


def test_ultra_beside_an_image_takes_the_asked_shape() -> None:
    assert v2beta.build(ULTRA, asking(aspect_ratio="1:1"), seed=7, image=WIDE).form.aspect_ratio == "1:1"


def test_an_aspect_ratio_the_service_lacks_becomes_the_nearest() -> None:
    assert v2beta.build(CORE, asking(aspect_ratio="4:3"), seed=7, image=None).form.aspect_ratio == "5:4"


def test_with_a_quality_asked_for_the_service_sends_png_so_that_one_lossy_step_is_enough() -> None:
    request = asking(output_format="jpeg", output_quality=80)
    assert v2beta.build(CORE, request, seed=7, image=None).form.output_format == "png"


@pytest.mark.parametrize(
    ("request_", "made", "told"),
    [
        (asking(), (1024, 1024), None),
        (asking(width=1024, height=1024), (1024, 1024), None),
        (asking(aspect_ratio="16:9"), (1344, 768), None),
        (asking(width=1280, height=720), (1344, 768), ("1280×720", "16:9", "1344×768")),
        (asking(aspect_ratio="4:3"), (1152, 896), ("4:3", "5:4", "1152×896")),
        (asking(aspect_ratio="16:9"), (1000, 1000), ("16:9", "1000×1000")),
    ],
)
def test_a_changed_shape_is_told_with_both_names(
    request_: ImageRequest, made: tuple[int, int], told: tuple[str, ...] | None
) -> None:
    call = v2beta.build(CORE, request_, seed=7, image=None)
    notices = v2beta.shape_notices(request_, call, Picture(picture(*made), 7, "SUCCESS").generated())
    assert len(notices) == (told is not None)
    assert all(word in notices[0] for word in told or ())


def test_an_asked_size_beside_an_image_that_decides_the_shape_is_told() -> None:
    request = asking(width=512, height=512)
    call = v2beta.build(MEDIUM, request, seed=7, image=WIDE)
    notices = v2beta.shape_notices(request, call, Picture(picture(1600, 900), 7, "SUCCESS").generated())
    assert notices == ["512×512 was asked for; beside an input image the model keeps that image's shape: 1600×900."]


def test_v1_asks_with_exact_size_steps_and_a_negative_weight() -> None:
    request = asking(
        negative_prompt="blurry", width=1344, height=768, steps=40, cfg_scale=7.0, n=2, sampler="K_EULER",
        style_preset="anime",
    )  # fmt: skip
    assert v1.build(request, seed=9, size=(1344, 768), image=None).json == {
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


def test_v1_without_a_size_is_square_and_with_a_ratio_the_size_of_that_shape() -> None:
    assert v1.size_for(asking(), None) == (1024, 1024)
    assert v1.size_for(asking(aspect_ratio="16:9"), None) == (1344, 768)
    assert v1.size_for(asking(), (1600, 900)) == (1344, 768)


def test_v1_image_strength_is_the_reverse_of_the_denoising_strength() -> None:
    request = asking(negative_prompt="blurry", denoising_strength=0.7, steps=20)
    assert v1.build(request, seed=9, size=(1344, 768), image=WIDE).form == {
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


@pytest.mark.parametrize("steps", [None, 10, 30])
def test_v1_costs_the_price_of_the_card_up_to_thirty_steps(steps: int | None) -> None:
    assert v1.price(SDXL, Price(Decimal("0.009"), "USD"), steps=steps, images=3) == Price(Decimal("0.027"), "USD")


def test_v1_costs_more_in_proportion_beyond_thirty_steps() -> None:
    assert v1.price(SDXL, Price(Decimal("0.009"), "USD"), steps=50, images=1) == Price(Decimal("0.015"), "USD")


def json_reply(content: object, **headers: str) -> Reply:
    return Reply(200, {"content-type": "application/json; type=image/png", **headers}, json.dumps(content).encode())


PNG = picture()
BASE64 = base64.b64encode(PNG).decode()


def test_the_json_form_of_the_answer_is_read() -> None:
    reply = json_reply({"image": BASE64, "seed": 11, "finish_reason": "SUCCESS"})
    assert v2beta.read(reply, sent_seed=7) == Picture(PNG, 11, "SUCCESS")


def test_an_answer_without_a_seed_keeps_the_seed_that_was_sent() -> None:
    assert v2beta.read(json_reply({"image": BASE64, "finish_reason": "SUCCESS"}), sent_seed=7).seed == 7


def test_the_byte_form_of_the_answer_is_read_from_its_headers() -> None:
    headers = {"content-type": "image/png", "seed": "11", "finish-reason": "CONTENT_FILTERED"}
    assert v2beta.read(Reply(200, headers, PNG), sent_seed=7) == Picture(PNG, 11, "CONTENT_FILTERED")


@pytest.mark.parametrize("content", [{}, {"image": None}, {"id": "job"}, [], {"image": "not base64!"}])
def test_an_answer_without_an_image_is_never_a_success(content: object) -> None:
    with pytest.raises(ServerUnavailable):
        v2beta.read(json_reply(content), sent_seed=7)


@pytest.mark.parametrize("wrapped", [True, False])
def test_v1_artifacts_are_read_wrapped_and_bare(wrapped: bool) -> None:
    artifacts = [{"base64": BASE64, "seed": 11, "finishReason": "SUCCESS"}]
    reply = json_reply({"artifacts": artifacts} if wrapped else artifacts)
    assert v1.read(reply, sent_seed=7) == [Picture(PNG, 11, "SUCCESS")]


@pytest.mark.parametrize("content", [{}, {"artifacts": None}, {"artifacts": [{"url": "https://x"}]}])
def test_v1_answers_without_artifacts_are_never_a_success(content: object) -> None:
    with pytest.raises(ServerUnavailable):
        v1.read(json_reply(content), sent_seed=7)


def test_a_filtered_image_is_a_failure() -> None:
    with pytest.raises(BadRequest, match="content filter"):
        settle([Picture(PNG, 1, "CONTENT_FILTERED")]).notices(1)


def test_good_images_are_kept_beside_a_filtered_one() -> None:
    pictures = [Picture(PNG, 1, "SUCCESS"), Picture(PNG, 2, "CONTENT_FILTERED")]
    made = settle(pictures)
    assert [image.seed for image in made.images] == [1]
    count, reason = made.notices(2)
    assert count == "1 of 2 images came back."
    assert "content filter" in reason


@pytest.mark.parametrize("reason", ["ERROR", "SOMETHING_NEW"])
def test_an_unknown_finish_reason_is_a_failure_of_the_service(reason: str) -> None:
    with pytest.raises(ServerUnavailable, match=reason):
        settle([Picture(PNG, 1, reason)]).notices(1)


def test_bytes_that_are_no_image_are_a_failure_of_the_service() -> None:
    with pytest.raises(ServerUnavailable, match="HTML"):
        settle([Picture(b"<html>", 1, "SUCCESS")]).notices(1)


def test_fewer_images_than_asked_for_are_told() -> None:
    assert settle([Picture(PNG, 1, "SUCCESS")]).notices(3) == ["1 of 3 images came back."]


def test_an_image_the_service_takes_is_sent_untouched() -> None:
    assert as_upload(WIDE) == (WIDE, ())


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_a_format_the_service_lacks_is_re_encoded(kind: str) -> None:
    given = InputImage(picture(64, 64, kind=kind), f"image/{kind.lower()}")
    sent, _ = as_upload(given)
    assert sent.mime_type == sniff(sent.data).mime_type
    assert sent.mime_type in {"image/png", "image/jpeg", "image/webp"}


def test_an_image_beyond_the_request_limit_is_made_to_fit_and_told() -> None:
    given = InputImage(picture(900, 700) + bytes(MAX_REQUEST_BYTES), "image/png")
    sent, notices = as_upload(given)
    assert len(sent.data) < MAX_REQUEST_BYTES
    assert sniff(sent.data).mime_type == sent.mime_type
    assert notices


def test_an_image_on_its_side_is_judged_as_a_viewer_shows_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    given = InputImage(picture(1600, 900, kind="JPEG", exif=exif), "image/jpeg")
    assert v2beta.build(ULTRA, asking(), seed=7, image=as_upload(given)[0]).form.aspect_ratio == "9:16"
    sent, _ = as_sized_upload(given, (768, 1344))
    assert (sniff(sent.data).width, sniff(sent.data).height) == (768, 1344)


def test_an_image_for_sdxl_is_cut_to_one_of_its_sizes_and_told() -> None:
    sent, notices = as_sized_upload(WIDE, (1344, 768))
    header = sniff(sent.data)
    assert (header.width, header.height) == (1344, 768)
    assert notices == ("The input image was cut and scaled from 1600×900 to 1344×768.",)


def test_an_image_that_does_not_decode_is_refused() -> None:
    broken = InputImage(picture(64, 64)[:60], "image/png")
    with pytest.raises(BadRequest, match="cannot be used"):
        as_sized_upload(broken, (1024, 1024))


@pytest.mark.parametrize("card", [card for card in cards().values() if card.backend == "stability"], ids=str)
def test_every_card_has_facts_a_price_and_the_limits_of_its_family(card: Card) -> None:
    facts = read_facts(card.facts)
    rules = {rule.name: rule for rule in card.rules}
    assert card.price_per_image is not None
    assert card.price_per_image.amount > 0
    assert rules["seed"].max == facts.max_seed
    assert len(rules["style_preset"].options) == 17
    assert ("denoising_strength" in rules) == card.vision
    if card.vision:
        assert rules["denoising_strength"].default == DEFAULT_STRENGTH
    assert {"details", "timeout", "output_format", "output_quality"} <= set(rules)
    if isinstance(facts, V2Beta):
        assert set(ASPECT_RATIOS) <= set(rules["aspect_ratio"].options)
        assert card.vision == (facts.image_to_image != "no")

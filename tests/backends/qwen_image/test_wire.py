"""Request bodies for Model Studio, compared completely; sizes, seeds and the split into calls."""

import base64
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.backends.qwen_image import QwenImage
from models.backends.qwen_image.models import Prices, QwenModel, family_of, is_known, model_for
from models.backends.qwen_image.wire import Plan, StudioFailure, plan
from models.entities import GeneratedImage, ImageRequest, InputImage, Price
from models.sizes import FreeSizes
from tests.asking import asked, bound
from tests.fakes import image_file

TALL = InputImage(image_file(600, 1200), "image/png")
WIDE = InputImage(image_file(1600, 800, kind="JPEG"), "image/jpeg")


def settled(model: str, prompt: str = "paper-cut fox", **wishes: Any) -> ImageRequest:
    return asked(bound(model, {}), prompt, **{"seed": 42, **wishes})


def planned(model: str, *, asynchronous: bool = True, **wishes: Any) -> Plan:
    return plan(settled(model, **wishes), model_for(model), model, asynchronous=asynchronous)


def sent(made: Plan) -> dict[str, Any]:
    return made.calls[0].json_body()


def data_url(image: InputImage) -> str:
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode()}"


def test_text_to_image_always_sends_size_number_watermark_and_extension() -> None:
    made = planned("qwen-image-2.0", prompt="茶舍 sign", negative_prompt="blurry")
    assert made.jobs is None
    assert [call.json_body() for call in made.calls] == [
        {
            "model": "qwen-image-2.0",
            "input": {"messages": [{"role": "user", "content": [{"text": "茶舍 sign"}]}]},
            "parameters": {
                "size": "1024*1024",
                "n": 1,
                "negative_prompt": "blurry",
                "prompt_extend": True,
                "watermark": False,
                "seed": 42,
            },
        }
    ]
    assert made.notices == ()


def test_older_tasks_send_the_negative_prompt_next_to_the_prompt() -> None:
    made = planned("qwen-image-plus", negative_prompt="text", prompt_extend=False, watermark=True)
    assert made.jobs == "text2image"
    assert sent(made) == {
        "model": "qwen-image-plus",
        "input": {"prompt": "paper-cut fox", "negative_prompt": "text"},
        "parameters": {"size": "1328*1328", "n": 1, "prompt_extend": False, "watermark": True, "seed": 42},
    }


@pytest.mark.parametrize(("model", "images"), [("qwen-image-plus", ()), ("wan2.5-i2i-preview", (WIDE,))])
def test_an_empty_negative_prompt_is_not_sent(model: str, images: tuple[InputImage, ...]) -> None:
    body = sent(planned(model, images=images))
    assert "negative_prompt" not in {**body["input"], **body["parameters"]}


def test_images_keep_their_order_and_come_before_the_instruction() -> None:
    made = planned("qwen-image-edit-plus", images=(TALL, WIDE), width=1024, height=1024)
    assert sent(made)["input"] == {
        "messages": [
            {
                "role": "user",
                "content": [{"image": data_url(TALL)}, {"image": data_url(WIDE)}, {"text": "paper-cut fox"}],
            }
        ]
    }


def test_an_edit_without_a_size_takes_the_shape_of_the_last_image() -> None:
    parameters = sent(planned("qwen-image-3.0", images=(TALL, WIDE)))["parameters"]
    assert parameters["size"] == "1456*720"


def test_the_base_edit_model_takes_neither_size_nor_extension() -> None:
    made = planned("qwen-image-edit", images=(WIDE,), negative_prompt=" ")
    assert sent(made)["parameters"] == {
        "n": 1,
        "negative_prompt": " ",
        "watermark": False,
        "seed": 42,
    }


def test_thinking_and_prompt_extend_mode_are_sent_on_request() -> None:
    extra = {"prompt_extend_mode": "agent", "enable_thinking": False}
    parameters = sent(planned("qwen-image-3.0", extra=extra))["parameters"]
    assert parameters["prompt_extend_mode"] == "agent"
    assert parameters["enable_thinking"] is False


def test_agent_mode_with_an_image_becomes_direct_with_a_notice() -> None:
    made = planned("qwen-image-3.0", images=(WIDE,), extra={"prompt_extend_mode": "agent"})
    assert made.calls[0].parameters.prompt_extend_mode == "direct"
    assert made.notices == ("The prompt mode `agent` works without input images only; `direct` was used.",)


@pytest.mark.parametrize(
    ("model", "n", "counts"),
    [
        ("qwen-image-2.0", 6, [6]),
        ("qwen-image-2.0", 8, [6, 2]),
        ("qwen-image-max", 3, [1, 1, 1]),
        ("wanx2.1-imageedit", 4, [4]),
    ],
)
def test_more_images_than_one_call_supports_are_several_calls_with_consecutive_seeds(
    model: str, n: int, counts: list[int]
) -> None:
    images = (WIDE,) if model.startswith("wanx") else ()
    made = planned(model, n=n, images=images, seed=2**31 - 2)
    assert [call.parameters.n for call in made.calls] == counts
    firsts = [sum(counts[:index]) for index in range(len(counts))]
    assert [call.parameters.seed for call in made.calls] == [(2**31 - 2 + first) % 2**31 for first in firsts]


def test_long_prompts_are_sent_in_the_field_with_the_larger_limit() -> None:
    """Tasks of qwen-image-plus read 800 characters; the synchronous endpoint counts tokens."""
    assert planned("qwen-image-plus", prompt="x" * 800).jobs == "text2image"
    made = planned("qwen-image-plus", prompt="x" * 801)
    assert made.jobs is None
    assert made.notices == ()


def test_text_that_the_service_cuts_gives_a_notice() -> None:
    assert planned("wanx2.1-imageedit", images=(WIDE,), prompt="x" * 900).notices == (
        "The prompt has 900 characters; the model reads the first 800.",
    )
    assert planned("qwen-image-max", negative_prompt="y" * 501).notices == (
        "The negative prompt has 501 characters; the model reads the first 500.",
    )


@pytest.mark.parametrize(
    ("model", "prompt", "tokens", "read"),
    [
        ("qwen-image-max", "x" * 4000, 888, 800),
        ("qwen-image-2.0", "茶" * 2400, 1333, 1300),
        ("qwen-image-plus", "茶" * 1500, 833, 800),
    ],
)
def test_a_prompt_with_too_many_tokens_gives_a_notice(model: str, prompt: str, tokens: int, read: int) -> None:
    assert planned(model, prompt=prompt).notices == (
        f"The prompt has about {tokens} tokens; the model reads the first {read}, so its end may have no effect.",
    )


@pytest.mark.parametrize(
    ("model", "prompt"),
    [("qwen-image-max", "x" * 3600), ("qwen-image-2.0", "茶" * 2300), ("qwen-image-3.0", "茶" * 20_000)],
)
def test_a_prompt_within_the_limit_gives_no_notice(model: str, prompt: str) -> None:
    """For the 3.0 models 4500 tokens are a recommendation."""
    assert planned(model, prompt=prompt).notices == ()


def test_an_account_without_tasks_uses_synchronous_calls() -> None:
    assert planned("qwen-image-3.0", asynchronous=False).jobs is None


# Wan: functions, masks and outpainting


def wan(**wishes: Any) -> dict[str, Any]:
    return sent(planned("wanx2.1-imageedit", images=(WIDE,), **wishes))


def test_a_mask_means_inpainting() -> None:
    mask = InputImage(image_file(1600, 800, mode="L", colour=255), "image/png")
    assert wan(mask=mask) == {
        "model": "wanx2.1-imageedit",
        "input": {
            "function": "description_edit_with_mask",
            "prompt": "paper-cut fox",
            "base_image_url": data_url(WIDE),
            "mask_image_url": data_url(mask),
        },
        "parameters": {"n": 1, "watermark": False, "seed": 42},
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "No credit", "code": "Arrearage", "request_id": "r1"}, "No credit (Arrearage, request r1)"),
        ({"message": "No credit", "code": "Arrearage"}, "No credit (Arrearage)"),
        ({"code": "Arrearage", "request_id": "r1"}, "Arrearage, request r1"),
        ({"error": {"code": 7, "message": None}}, "7"),
        ({"error": "No credit"}, "No credit"),
        ({}, ""),
        ([], ""),
        ("text", ""),
    ],
)
def test_the_words_of_a_failure_name_code_and_request(body: object, words: str) -> None:
    assert StudioFailure.read(body).words == words


def test_without_a_mask_the_whole_image_is_edited_by_strength() -> None:
    body = wan(denoising_strength=0.3)
    assert body["input"]["function"] == "description_edit"
    assert body["parameters"] == {"n": 1, "watermark": False, "seed": 42, "strength": 0.3}


@pytest.mark.parametrize(("function", "sent_strength"), [("stylization_all", 0.3), ("stylization_local", None)])
def test_only_stylization_of_the_whole_image_takes_a_strength(function: str, sent_strength: float | None) -> None:
    made = planned("wanx2.1-imageedit", images=(WIDE,), denoising_strength=0.3, extra={"edit_function": function})
    assert sent(made)["input"]["function"] == function
    assert sent(made)["parameters"].get("strength") == sent_strength
    assert [notice.partition(":")[0] for notice in made.notices] == (
        [] if sent_strength else ["`denoising_strength` was not used"]
    )


def test_outpainting_takes_its_four_scales() -> None:
    body = wan(extra={"edit_function": "expand", "left_scale": 1.5, "top_scale": 1.0})
    assert body["parameters"] == {"n": 1, "watermark": False, "seed": 42, "left_scale": 1.5, "top_scale": 1.0}


@pytest.mark.parametrize("extra", [{}, {"left_scale": 1.0, "right_scale": 1}])
def test_outpainting_without_a_direction_is_refused_before_it_is_paid(extra: dict[str, float]) -> None:
    with pytest.raises(BadRequest, match="`expand` needs a direction") as caught:
        wan(extra={"edit_function": "expand", **extra})
    assert "`left_scale`" in caught.value.next_step


def test_defaults_of_other_functions_give_no_notice() -> None:
    """Dify sends the default of every parameter that is switched on in the node."""
    form = {"edit_function": "colorization", "upscale_factor": 1, "is_sketch": False, "left_scale": 1.0}
    assert planned("wanx2.1-imageedit", images=(WIDE,), denoising_strength=0.5, extra=form).notices == ()


def test_a_parameter_of_another_function_is_not_sent_and_gives_a_notice() -> None:
    made = planned("wanx2.1-imageedit", images=(WIDE,), extra={"edit_function": "doodle", "upscale_factor": 2})
    assert made.calls[0].parameters.upscale_factor is None
    assert made.notices == ("`upscale_factor` was not used: `doodle` does not read it, `super_resolution` would.",)


def test_a_mask_that_the_function_ignores_is_not_sent_and_gives_a_notice() -> None:
    """An image with transparency has a mask that may be unintended."""
    made = planned("wanx2.1-imageedit", images=(WIDE,), mask=WIDE, extra={"edit_function": "expand", "top_scale": 1.5})
    assert "mask_image_url" not in sent(made)["input"]
    assert made.notices == ("The mask was not used: `expand` does not read one, `description_edit_with_mask` would.",)


def test_a_mask_that_is_used_gives_no_notice() -> None:
    assert planned("wanx2.1-imageedit", images=(WIDE,), mask=WIDE).notices == ()


def test_inpainting_without_a_mask_is_refused() -> None:
    with pytest.raises(BadRequest, match="needs a mask, and none was sent"):
        wan(extra={"edit_function": "description_edit_with_mask"})


def test_a_token_plan_refuses_a_mask() -> None:
    with pytest.raises(BadRequest, match="works with jobs only"):
        planned("wanx2.1-imageedit", images=(WIDE,), asynchronous=False)


# Sizes


@pytest.mark.parametrize(
    ("model", "wishes", "size", "notice"),
    [
        ("qwen-image-2.0", {"width": 1024, "height": 768}, "1024*768", ""),
        ("qwen-image-2.0", {"width": 1000, "height": 700}, "1008*704", "The size 1000×700"),
        ("qwen-image-2.0", {"width": 256, "height": 256}, "512*512", "The size 256×256"),
        ("qwen-image-3.0", {"width": 4096, "height": 4096}, "2048*2048", "The size 4096×4096"),
        ("qwen-image-2.0", {"aspect_ratio": "16:9"}, "1360*768", ""),
        ("qwen-image-plus", {"width": 1024, "height": 1024}, "1328*1328", "The size 1024×1024"),
        ("qwen-image-max", {"width": 928, "height": 1664}, "928*1664", ""),
        ("qwen-image-max", {"aspect_ratio": "16:9"}, "1664*928", ""),
        ("qwen-image-max", {"aspect_ratio": "21:9"}, "1664*928", "The aspect ratio 21:9"),
        ("qwen-image-2.0", {"width": 2048}, "2048*2048", ""),
        ("qwen-image-2.0", {"height": 512, "aspect_ratio": "2:1"}, "1024*512", ""),
    ],
)
def test_the_nearest_supported_size_is_used_and_a_change_names_both(
    model: str, wishes: dict[str, Any], size: str, notice: str
) -> None:
    request = settled(model, **wishes)
    assert planned(model, **wishes).calls[0].parameters.size == size
    used = f"{notice} became {size.replace('*', '×')}, the nearest that {model} makes."
    assert request.notices == ((used,) if notice else ())


@pytest.mark.parametrize("model", ["qwen-image-edit", "wanx2.1-imageedit"])
def test_a_model_that_keeps_the_shape_of_its_image_gives_a_notice(model: str) -> None:
    request = settled(model, images=(WIDE,), aspect_ratio="1:1")
    assert request.notices == ("The aspect ratio 1:1 was not used: the model keeps the shape of the input image.",)
    assert planned(model, images=(WIDE,), aspect_ratio="1:1").calls[0].parameters.size is None


def free(model: str) -> FreeSizes:
    sizes = model_for(model).sizes
    assert isinstance(sizes, FreeSizes)
    return sizes


AREA, SIDE = free("qwen-image-2.0"), free("qwen-image-edit-plus")
sides = st.integers(min_value=16, max_value=16384)


@given(sides, sides)
def test_every_supported_shape_keeps_its_ratio(width: int, height: int) -> None:
    got_width, got_height = AREA.nearest((width, height))
    assert got_width % 16 == got_height % 16 == 0
    assert 262_144 <= got_width * got_height <= 4_194_304
    assert 1 / 8 <= got_width / got_height <= 8
    if 1 / 7 <= width / height <= 7:
        assert 0.85 < (got_width / got_height) / (width / height) < 1.18


@given(sides, sides)
def test_sides_are_always_within_their_bounds(width: int, height: int) -> None:
    got = SIDE.nearest((width, height))
    assert all(512 <= side <= 2048 and side % 16 == 0 for side in got)


@given(st.integers(32, 128), st.integers(32, 128))
def test_a_supported_size_is_not_changed(columns: int, rows: int) -> None:
    size = (columns * 16, rows * 16)
    assert AREA.nearest(size) == size
    assert SIDE.nearest(size) == size


def test_the_ratio_of_the_node_overrides_the_shape_of_the_image() -> None:
    request = settled("qwen-image-edit-plus", images=(WIDE,), aspect_ratio="1:1")
    assert (request.size, request.notices) == ((1024, 1024), ())


# Models that have no card


def test_a_dated_snapshot_has_the_format_and_price_of_its_family() -> None:
    snapshot, family = model_for("qwen-image-edit-plus-2025-12-15"), model_for("qwen-image-edit-plus")
    assert snapshot == family
    # It is not documented whether tasks support snapshots; all models except Wan support synchronous calls.
    assert model_for("qwen-image-plus-2026-01-09").jobs is None
    assert model_for("wanx2.1-imageedit-2026-01-01").jobs == "image2image"


def test_the_base_model_has_the_format_of_plus_without_its_price() -> None:
    assert model_for("qwen-image").jobs == "text2image"
    assert model_for("qwen-image").prices == {}


@pytest.mark.parametrize(
    ("unknown", "family"),
    [
        ("qwen-image-3.0-pro-preview", "qwen-image-3.0-pro"),
        ("qwen-image-edit-ultra", "qwen-image-edit"),
        ("qwen-image-4.0", "qwen-image-2.0"),
        ("wan2.8-image", "wan2.7-image"),
        ("z-image", "z-image-turbo"),
        ("something", "qwen-image-2.0"),
    ],
)
def test_an_unknown_model_uses_the_format_of_the_most_similar_one(unknown: str, family: str) -> None:
    assert family_of(unknown) == family
    facts = model_for(unknown)
    assert facts.sizes == model_for(family).sizes
    assert (facts.jobs, facts.prices) == (None, {})


@pytest.mark.parametrize(
    ("remote", "like"),
    [("qwen-image-2.0", ""), ("qwen-image-2.0-2026-03-03", ""), ("qwen-image-4.0", "qwen-image-2.0")],
)
def test_only_an_unknown_model_is_asked_like_another(remote: str, like: str) -> None:
    found = bound("own", {"backend": "qwen_image", "remote_model": remote})
    assert isinstance(found, QwenImage)
    assert (is_known(remote), found.like) == (not like, like)


def test_a_misspelt_fact_in_a_card_is_an_error() -> None:
    with pytest.raises(ValueError, match="images_per_cal"):
        QwenModel.model_validate(
            {
                "sizes": {"rule": "none", "reason": "x"},
                "requests_per_minute": 1,
                "regions": ["beijing"],
                "images_per_cal": 2,
            }
        )


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(BadRequest, match="from 0 to 2147483647"):
        settled("qwen-image-2.0", seed=seed)


def test_an_extended_prompt_without_a_price_of_its_own_costs_the_same() -> None:
    prices = Prices(image=Decimal("0.10"))
    assert prices.of([GeneratedImage(image_file(8, 8))], 0, extended=True) == Price(Decimal("0.10"), "CNY")

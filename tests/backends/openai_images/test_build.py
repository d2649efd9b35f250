"""Request bodies per dialect and model, compared completely, without a server."""

import base64
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.backends.errors import BadRequest
from models.backends.openai_images import OpenAIImages
from models.backends.openai_images.build import Wire, build, prepared, without_server_tag
from models.backends.openai_images.models import ServedModel, dialects, families, family_of, rules_for, rules_for_any
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff
from models.parameters import read_value
from models.sizes import FreeSizes, ListedSizes, SizeRule, ratio_of
from tests import asking
from tests.fakes import image_file

PNG = image_file(640, 480)


def server(dialect: str, remote: str = "some-model") -> ServedModel:
    row = dialects()[dialect]
    return ServedModel(dialect=row, family=family_of((remote,), row), remote=remote)


def asked(dialect: str, remote: str = "some-model", /, **parts: object) -> ImageRequest:
    """A resolved request for a model on a server with a dialect."""
    form = {"backend": "openai_images", "base_url": "http://images.test", "dialect": dialect}
    backend = asking.bound(remote, form)
    assert isinstance(backend, OpenAIImages)
    return asking.asked(backend, **{"prompt": "a red bicycle", **parts})  # type: ignore[arg-type]


def wired(dialect: str, remote: str = "some-model", /, **parts: object) -> Wire:
    """The wire request."""
    return build(asked(dialect, remote, **parts), server(dialect, remote))


def notices(dialect: str, remote: str = "some-model", /, **parts: object) -> tuple[str, ...]:
    """All notices of a request before it is sent."""
    return (*asked(dialect, remote, **parts).notices, *wired(dialect, remote, **parts).notices)


def image(data: bytes = PNG) -> InputImage:
    return InputImage(data, sniff(data).mime_type, "photo.png")


def test_gpt_image_gets_openais_keys_and_no_response_format() -> None:
    wire = wired(
        "openai",
        "gpt-image-1.5",
        aspect_ratio="3:2",
        output_format="webp",
        output_quality=80,
        extra={"quality": "medium"},
    )
    assert wire.json_body == {
        "model": "gpt-image-1.5",
        "prompt": "a red bicycle",
        "n": 1,
        "size": "1536x1024",
        "quality": "medium",
        "output_format": "webp",
        "output_compression": 80,
    }


def test_gpt_image_without_a_size_sends_auto() -> None:
    assert wired("openai", "gpt-image-1.5").json_body["size"] == "auto"
    assert wired("openai", "gpt-image-1.5", images=(image(),)).fields["size"] == "auto"


def test_compression_is_not_sent_for_png() -> None:
    assert "output_compression" not in wired("openai", "gpt-image-1.5", output_quality=80).fields


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-image-1-mini", ["auto", "low", "medium", "high"]),
        ("gpt-image-2", ["auto", "low", "medium", "high"]),
        ("gpt-image-2.5-flare-2026-09-08", ["auto", "low", "medium", "high", "xhigh", "max"]),
        ("gpt-image-2.5-sunburst", ["auto", "low", "medium", "high", "xhigh", "max"]),
        ("gpt-image-2.6-flare", ["auto", "low", "medium", "high"]),
        ("gpt-image-2.6-sunburst", ["auto", "low", "medium", "high"]),
    ],
)
def test_each_model_offers_its_qualities_and_passes_any_other_on_with_a_notice(model: str, known: list[str]) -> None:
    quality = next(rule for rule in rules_for(server("openai", model)) if rule.name == "quality")
    assert list(quality.options) == known
    for word in ("high", "xhigh", "ultra"):
        assert read_value(quality, word) == word
        wire = wired("openai", model, extra={"quality": word})
        assert wire.fields["quality"] == word
        expected = (
            () if word in known else (f"`quality` = {word} is not known for {model}; it was passed on as it is.",)
        )
        assert wire.notices == expected


def test_a_quality_is_still_read_in_any_case() -> None:
    quality = next(rule for rule in rules_for(server("openai", "gpt-image-2")) if rule.name == "quality")
    assert read_value(quality, "HIGH") == "high"


def test_a_transparent_jpeg_is_refused_before_it_is_paid_for() -> None:
    transparent = {"background": "transparent"}
    with pytest.raises(BadRequest, match="JPEG has no transparent background"):
        wired("openai", "gpt-image-2.5-flare", extra=transparent, output_format="jpeg")
    fields = wired("openai", "gpt-image-2.5-flare", extra=transparent, output_format="webp").fields
    assert (fields["background"], fields["output_format"]) == ("transparent", "webp")


def test_a_gateway_with_images_in_chat_gets_one_message() -> None:
    photo = image()
    wire = wired("chat", "gemini-3.1-flash-image", images=(photo,), seed=7)
    assert wire.route.path == "chat/completions"
    assert wire.json_body == {
        "model": "gemini-3.1-flash-image",
        "modalities": ("image", "text"),
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a red bicycle"},
                    {"type": "image_url", "image_url": {"url": photo.data_url}},
                ],
            }
        ],
        "stream": False,
    }
    assert names("chat", "gemini-3.1-flash-image") == ["output_format", "output_quality", "details", "timeout"]


def test_an_unknown_server_gets_only_the_common_parameters() -> None:
    wire = wired("openai", "flux", width=768, height=512, seed=7, steps=30, negative_prompt="text")
    assert wire.json_body == {
        "model": "flux",
        "prompt": "a red bicycle",
        "n": 1,
        "size": "768x512",
        "response_format": "b64_json",
    }
    assert len(notices("openai", "flux", width=768, height=512, seed=7, steps=30, negative_prompt="text")) == 3
    assert not wire.has_seed


def test_each_parameter_that_a_server_does_not_take_is_named() -> None:
    wire = wired("openai", "flux", steps=30, negative_prompt="text", sampler="euler", extra={"tiling": True})
    assert wire.notices == tuple(
        f"{server('openai').dialect.title} does not take `{name}` for flux; it was left out."
        for name in ("negative_prompt", "steps", "sampler", "tiling")
    )


def test_a_parameter_that_the_server_takes_under_another_name_gives_no_notice() -> None:
    wire = wired("vllm_omni", "Qwen/Qwen-Image", cfg_scale=5.0, steps=30, negative_prompt="text")
    assert wire.json_body["true_cfg_scale"] == 5.0
    assert wire.notices == ()


def test_qwen_image_on_vllm_omni_always_has_the_negative_prompt_key() -> None:
    wire = wired("vllm_omni", "Qwen/Qwen-Image", seed=7)
    assert wire.json_body == {
        "model": "Qwen/Qwen-Image",
        "prompt": "a red bicycle",
        "negative_prompt": " ",
        "size": "1328x1328",
        "n": 1,
        "num_inference_steps": 50,
        "true_cfg_scale": 4.0,
        "seed": 7,
        "response_format": "b64_json",
        "output_format": "png",
    }


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", "1328x1328"),
        ("16:9", "1664x928"),
        ("9:16", "928x1664"),
        ("4:3", "1472x1104"),
        ("3:4", "1104x1472"),
        ("3:2", "1584x1056"),
        ("2:3", "1056x1584"),
        ("21:9", "2032x864"),
    ],
)
def test_qwen_image_uses_its_recommended_sizes(ratio: str, size: str) -> None:
    wire = wired("vllm_omni", "Qwen/Qwen-Image", aspect_ratio=ratio)
    assert wire.json_body["size"] == size
    assert notices("vllm_omni", "Qwen/Qwen-Image", aspect_ratio=ratio) == ()


def test_sides_are_rounded_to_the_models_grid_with_a_notice() -> None:
    wire = wired("vllm_omni", "Qwen/Qwen-Image-2512", width=1000, height=700)
    assert wire.json_body["size"] == "1008x704"
    told = notices("vllm_omni", "Qwen/Qwen-Image-2512", width=1000, height=700)
    assert told == ("The size 1000×700 became 1008×704, the nearest that Qwen/Qwen-Image-2512 makes.",)


def test_other_models_on_vllm_omni_keep_the_servers_defaults() -> None:
    wire = wired("vllm_omni", "black-forest-labs/FLUX.1-dev", cfg_scale=3.5, seed=1)
    assert wire.json_body == {
        "model": "black-forest-labs/FLUX.1-dev",
        "prompt": "a red bicycle",
        "n": 1,
        "guidance_scale": 3.5,
        "seed": 1,
        "response_format": "b64_json",
        "output_format": "png",
    }


def test_qwen_image_edit_2509_takes_forty_steps_and_the_images_in_order() -> None:
    first, second = image(), image(image_file(32, 32, kind="JPEG"))
    wire = wired("vllm_omni", "Qwen/Qwen-Image-Edit-2509", images=(first, second), seed=5)
    assert wire.route.path == "images/edits"
    assert wire.form == [
        ("model", "Qwen/Qwen-Image-Edit-2509"),
        ("prompt", "a red bicycle"),
        ("n", "1"),
        ("negative_prompt", " "),
        ("num_inference_steps", "40"),
        ("true_cfg_scale", "4.0"),
        ("seed", "5"),
        ("output_format", "png"),
        ("response_format", "b64_json"),
        ("image", ("image1.png", first.data, "image/png")),
        ("image", ("image2.jpeg", second.data, "image/jpeg")),
    ]


def test_openai_takes_a_list_of_images_under_another_name() -> None:
    one = wired("openai", "gpt-image-1.5", images=(image(),))
    two = wired("openai", "gpt-image-1.5", images=(image(), image()))
    assert [name for name, value in one.form if not isinstance(value, str)] == ["image"]
    assert [name for name, value in two.form if not isinstance(value, str)] == ["image[]", "image[]"]


def test_localai_appends_the_negative_prompt_after_a_bar_and_escapes_bars_of_the_user() -> None:
    wire = wired("localai", "sd-1.5", prompt="day | night", negative_prompt="text|blur", seed=3, steps=20)
    assert wire.json_body == {
        "model": "sd-1.5",
        "prompt": "day / night|text/blur",
        "n": 1,
        "step": 20,
        "seed": 3,
        "response_format": "b64_json",
    }
    assert any("`|`" in notice for notice in wire.notices)


def test_localai_edits_at_the_size_of_the_image_with_raw_base64() -> None:
    wire = wired("localai", "qwen-image-edit-2509", images=(image(), image()), seed=3)
    raw = base64.b64encode(PNG).decode()
    assert wire.json_body == {
        "model": "qwen-image-edit-2509",
        "prompt": "a red bicycle",
        "n": 1,
        "size": "640x480",
        "seed": 3,
        "response_format": "b64_json",
        "file": raw,
        "ref_images": [raw, raw],
    }


def test_sdcpp_parameters_are_sent_inside_the_prompt() -> None:
    wire = wired("sdcpp", negative_prompt="text", steps=28, cfg_scale=5.5, seed=9, sampler="euler", scheduler="karras", width=512,
              height=768)  # fmt: skip
    assert wire.json_body == {
        "prompt": 'a red bicycle <sd_cpp_extra_args>{"negative_prompt": "text", "seed": 9, "sample_params": '
        '{"sample_steps": 28, "sample_method": "euler", "scheduler": "karras", "guidance": {"txt_cfg": 5.5}}}'
        "</sd_cpp_extra_args>",
        "n": 1,
        "size": "512x768",
        "output_format": "png",
    }


def test_xinference_gets_what_steers_the_pipeline_as_json_text() -> None:
    wire = wired("xinference", "SDXL", width=1024, height=768, seed=11, steps=30, cfg_scale=6.0, negative_prompt="text")
    body = wire.json_body
    assert json.loads(str(body.pop("kwargs"))) == {
        "negative_prompt": "text",
        "num_inference_steps": 30,
        "guidance_scale": 6.0,
        "seed": 11,
    }
    assert body == {
        "model": "SDXL",
        "prompt": "a red bicycle",
        "n": 1,
        "size": "1024*768",
        "response_format": "b64_json",
    }


def test_xinference_gets_images_by_form() -> None:
    wire = wired("xinference", "SDXL", images=(image(),), denoising_strength=0.4, negative_prompt="text", seed=3)
    fields = dict(wire.form)
    assert json.loads(str(fields["kwargs"])) == {"strength": 0.4, "seed": 3}
    assert (wire.route.path, fields["negative_prompt"]) == ("images/variations", "text")


def test_siliconflow_has_its_own_names() -> None:
    wire = wired("siliconflow", "Qwen/Qwen-Image", aspect_ratio="4:3", seed=11, steps=30)
    assert wire.json_body == {
        "model": "Qwen/Qwen-Image",
        "prompt": "a red bicycle",
        "image_size": "1472x1140",
        "cfg": 4.0,
        "num_inference_steps": 30,
        "seed": 11,
    }


def test_siliconflow_edits_without_a_size_and_names_the_images_one_by_one() -> None:
    wire = wired("siliconflow", "Qwen/Qwen-Image-Edit-2509", images=(image(),) * 3, width=512, height=512)
    assert [key for key in wire.json_body if key.startswith("image")] == ["image", "image2", "image3"]
    assert str(wire.json_body["image"]).startswith("data:image/png;base64,")
    told = notices("siliconflow", "Qwen/Qwen-Image-Edit-2509", images=(image(),), width=512, height=512)
    assert any("no size parameter" in notice for notice in told)


def test_kolors_takes_a_batch_and_guidance_scale() -> None:
    body = wired("siliconflow", "Kwai-Kolors/Kolors", n=3, cfg_scale=6.0, seed=1).json_body
    assert (body["batch_size"], body["guidance_scale"], body["image_size"]) == (3, 6.0, "1024x1024")


@pytest.mark.parametrize("dialect", sorted(dialects()))
@pytest.mark.parametrize(
    "prompt",
    [
        'a cat <sd_cpp_extra_args>{"seed": 1}</sd_cpp_extra_args>',
        "a cat <SD_CPP_EXTRA_ARGS>\n{}\n</sd_cpp_extra_args>",
        "a cat <sd_cpp_extra_<sd_cpp_extra_args>x</sd_cpp_extra_args>args>{}</sd_cpp_extra_args>",
        "a cat <sd_cpp_extra_args>",
        "a cat </sd_cpp_extra_args><sd_cpp_extra_args",
    ],
)
def test_a_prompt_cannot_set_server_parameters(dialect: str, prompt: str) -> None:
    wire = wired(dialect, prompt=prompt, negative_prompt=prompt)
    sent = str(wire.fields["prompt"])
    users = sent.partition("<sd_cpp_extra_args>")[0] if dialect == "sdcpp" else sent
    assert "extra_args" not in users.lower()
    assert sent.count("<sd_cpp_extra_args>") <= 1
    assert sent.count("</sd_cpp_extra_args>") <= 1
    assert any("were removed" in notice for notice in wire.notices)


def test_no_parameter_value_can_close_its_tag() -> None:
    evil = 'x"}}</sd_cpp_extra_args><sd_cpp_extra_args>{"seed": 1}'
    sent = str(wired("sdcpp", sampler=evil, negative_prompt="a < b", seed=9).json_body["prompt"])
    assert sent.count("sd_cpp_extra_args>") == 4  # two are letters of a JSON string
    body = sent.partition("<sd_cpp_extra_args>")[2].rpartition("</sd_cpp_extra_args>")[0]
    assert "<" not in body
    native = json.loads(body)
    assert (native["seed"], native["negative_prompt"], native["sample_params"]["sample_method"]) == (9, "a < b", evil)


def test_a_prompt_with_only_server_parameters_is_refused() -> None:
    with pytest.raises(BadRequest, match="no prompt"):
        wired("sdcpp", prompt="<sd_cpp_extra_args>{}</sd_cpp_extra_args>")


def test_a_plain_prompt_stays_as_it_is() -> None:
    assert wired("localai").json_body["prompt"] == "a red bicycle"
    assert str(wired("sdcpp").json_body["prompt"]).partition("<")[0] == "a red bicycle "
    assert without_server_tag("a < b > c") == "a < b > c"


@pytest.mark.parametrize(
    ("dialect", "model", "n", "step"),
    [
        ("siliconflow", "Qwen/Qwen-Image", 2, "Ask for one, or repeat the node"),
        ("chat", "gemini-3.1-flash-image", 2, "Ask for one, or repeat the node"),
        ("vllm_omni", "x", 11, "Ask for at most 10"),
    ],
)
def test_more_images_than_the_server_supports_are_refused(dialect: str, model: str, n: int, step: str) -> None:
    with pytest.raises(BadRequest, match=f"{n} images at once") as refused:
        wired(dialect, model, n=n)
    assert refused.value.next_step == step


def test_a_seed_out_of_the_servers_range_is_refused() -> None:
    with pytest.raises(BadRequest, match="`seed` cannot be '2147483648'"):
        wired("localai", seed=2**31)


def test_a_seed_for_openai_gives_a_notice() -> None:
    wire = wired("openai", "gpt-image-2", seed=7)
    assert "seed" not in wire.fields
    assert "seed 7 was not used" in notices("openai", "gpt-image-2", seed=7)[0]


def test_every_word_in_the_dialects_is_a_request_parameter() -> None:
    own = {"model", "prompt", "size", "true_cfg_scale", "response_format", "modalities"}
    known = own | {rule.name for rule in rules_for_any()}
    for dialect in dialects().values():
        routes = [route for route in (dialect.generate, dialect.edit, dialect.inpaint) if route]
        assert {word for route in routes for word in route.keys} <= known, dialect.name


# ---- sizes


def rule(dialect: str, remote: str) -> SizeRule:
    return server(dialect, remote).family.sizes


@pytest.mark.parametrize(
    ("given", "legal"),
    [((1024, 1024), (1024, 1024)), ((1920, 1080), (1536, 1024)), ((700, 1000), (1024, 1536)), ((4, 4), (1024, 1024))],
)
def test_gpt_image_has_three_sizes(given: tuple[int, int], legal: tuple[int, int]) -> None:
    sizes = rule("openai", "gpt-image-1.5")
    assert isinstance(sizes, ListedSizes)
    assert sizes.nearest(given) == legal


@pytest.mark.parametrize(
    ("given", "legal"),
    [
        ((1600, 900), (1600, 896)),
        ((512, 512), (816, 816)),  # grown to the floor of 655 360 pixels
        ((8000, 4000), (3840, 1920)),
        ((4000, 500), (2448, 816)),  # three to one at most
        ((810, 810), (816, 816)),  # rounding down would fall below the floor
        ((3840, 3840), (2880, 2880)),  # shrunk to the ceiling of 8 294 400 pixels
    ],
)
@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-sunburst"])
def test_gpt_image_2_takes_any_size_within_its_limits(
    model: str, given: tuple[int, int], legal: tuple[int, int]
) -> None:
    sizes = rule("openai", model)
    assert isinstance(sizes, FreeSizes)
    width, height = sizes.nearest(given)
    assert (width, height) == legal
    assert 655_360 <= width * height <= 8_294_400


def test_every_landscape_preset_has_a_portrait_preset() -> None:
    assert wired("vllm_omni", "Qwen/Qwen-Image", aspect_ratio="3:4").fields["size"] == "1104x1472"
    assert wired("vllm_omni", "Qwen/Qwen-Image-2.1", aspect_ratio="9:16").fields["size"] == "1536x2752"


# ---- masks


def ready(dialect: str, remote: str = "some-model", /, **parts: object) -> ImageRequest:
    """A request with images fitted to the server."""
    return prepared(asked(dialect, remote, **parts), server(dialect, remote))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def half_white() -> bytes:
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def test_white_becomes_transparent_for_openai_in_the_size_of_the_image() -> None:
    gpt = server("openai", "gpt-image-1.5")
    wire = build(ready("openai", "gpt-image-1.5", images=(image(),), mask=image(half_white())), gpt)
    name, sent = wire.form[-1]
    assert name == "mask"
    assert not isinstance(sent, str)
    assert sent[0] == "mask.png"
    alpha = opened(sent[1]).getchannel("A")
    assert alpha.size == (640, 480)
    assert (alpha.getpixel((10, 10)), alpha.getpixel((600, 10))) == (0, 255)


def test_a_mask_for_the_other_servers_is_grey_in_the_size_of_the_image() -> None:
    mask = ready("sdcpp", images=(image(),), mask=image(half_white())).mask
    assert mask
    grey = opened(mask.data)
    assert (grey.mode, grey.size) == ("L", (640, 480))
    assert (grey.getpixel((10, 10)), grey.getpixel((600, 10))) == (255, 0)


def test_images_are_converted_to_a_supported_format() -> None:
    webp = image(image_file(64, 64, kind="WEBP"))
    assert ready("sdcpp", images=(webp,)).images[0].mime_type in {"image/png", "image/jpeg"}
    assert ready("openai", "gpt-image-1.5", images=(webp,)).images[0] is webp


def test_a_random_seed_is_sent_only_if_the_server_supports_seeds() -> None:
    assert asked("openai", "gpt-image-1.5").seed is None
    assert asked("localai", n=2).seed is None
    assert asked("sglang", seed=5).seed == 5
    drawn = {asked("sglang").seed for _ in range(3)}
    assert len(drawn) == 3
    assert all(seed is not None and 0 <= seed < 2**31 for seed in drawn)


@pytest.mark.parametrize(
    ("dialect", "model", "path", "key"),
    [
        ("vllm_omni", "black-forest-labs/FLUX.2-klein-9B", "images/edits", "mask_image"),
        ("localai", "sd", "images/inpainting", "mask"),
        ("sdcpp", "sd", "images/edits", "mask"),
        ("openai", "gpt-image-2", "images/edits", "mask"),
    ],
)
def test_each_server_gets_the_mask_in_its_own_field(dialect: str, model: str, path: str, key: str) -> None:
    wire = wired(dialect, model, images=(image(),), mask=image(half_white()))
    assert wire.route.path == path
    assert wire.form[-1][0] == key


@pytest.mark.parametrize(
    ("dialect", "model"),
    [
        ("vllm_omni", "Qwen/Qwen-Image-Edit-2509"),
        ("vllm_omni", "FLUX.1-dev"),
        ("sglang", "anything"),
        ("siliconflow", "Qwen/Qwen-Image-Edit"),
        ("chat", "gemini-3.1-flash-image"),
    ],
)
def test_masks_without_effect_are_not_a_capability(dialect: str, model: str) -> None:
    assert server(dialect, model).capabilities.mask is False


def test_a_mask_without_an_image_is_refused() -> None:
    with pytest.raises(BadRequest, match="mask without an image"):
        wired("openai", "gpt-image-1.5", mask=image(half_white()))


def test_localai_takes_one_image_with_a_mask() -> None:
    with pytest.raises(BadRequest, match="2 input images with a mask"):
        wired("localai", images=(image(), image()), mask=image(half_white()))


def test_a_mask_that_is_no_image_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot be used"):
        ready("sdcpp", images=(image(),), mask=InputImage(b"nothing", "image/png"))


# ---- the form


def names(dialect: str, model: str) -> list[str]:
    return [rule.name for rule in rules_for(server(dialect, model))]


def test_the_form_of_gpt_image_has_no_diffusion_controls() -> None:
    assert names("openai", "gpt-image-1.5") == [
        "width", "height", "aspect_ratio", "n", "quality", "background", "moderation", "input_fidelity",
        "output_format", "output_quality", "details", "timeout",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "offered"),
    [("gpt-image-1.5", True), ("gpt-image-1-mini", False), ("gpt-image-2-2026-04-21", False)],
)
def test_input_fidelity_is_offered_only_for_supporting_models(model: str, *, offered: bool) -> None:
    assert ("input_fidelity" in names("openai", model)) is offered


def test_the_form_of_qwen_image_shows_what_is_sent() -> None:
    rules = {rule.name: rule for rule in rules_for(server("vllm_omni", "Qwen/Qwen-Image"))}
    assert (rules["steps"].default, rules["cfg_scale"].default) == (50, 4.0)
    assert {"negative_prompt", "seed", "n", "width", "height", "aspect_ratio"} <= set(rules)
    assert not {"denoising_strength", "sampler", "quality"} & set(rules)


def test_the_form_of_an_unknown_server_offers_the_core() -> None:
    assert names("openai", "flux") == [
        "width", "height", "aspect_ratio", "n", "output_format", "output_quality", "details", "timeout",
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", sorted(dialects()))
@pytest.mark.parametrize("model", ["gpt-image-2", "Qwen/Qwen-Image", "Qwen-Image-Edit-2511", "sdxl", "Kolors"])
def test_every_form_ends_with_the_parameters_of_all_models(dialect: str, model: str) -> None:
    shown = names(dialect, model)
    assert shown[-2:] == ["details", "timeout"]
    assert len(shown) == len(set(shown))
    assert set(shown) <= {rule.name for rule in rules_for_any()}


@pytest.mark.parametrize("dialect", sorted(dialects()))
@pytest.mark.parametrize("model", ["gpt-image-2", "Qwen/Qwen-Image", "sdxl"])
def test_every_number_of_a_form_has_a_default_because_dify_sends_the_minimum_otherwise(
    dialect: str, model: str
) -> None:
    for rules in (rules_for(server(dialect, model)), rules_for_any()):
        assert [rule.name for rule in rules if rule.type in {"int", "float"} and rule.default is None] == []


# ---- properties for every input

FREE = [family.sizes for family in families() if isinstance(family.sizes, FreeSizes)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FREE), st.integers(16, 16384), st.integers(16, 16384))
def test_every_requested_size_becomes_a_supported_one(legal: FreeSizes, width: int, height: int) -> None:
    size = legal.nearest((width, height))
    assert all(side % legal.multiple == 0 and 0 < side <= legal.max_side for side in size)
    assert legal.min_area <= size[0] * size[1] <= legal.max_area
    assert max(size) <= min(size) * legal.max_ratio
    assert legal.nearest(size) == size


@pytest.mark.parametrize("legal", FREE)
def test_every_preset_is_a_supported_size(legal: FreeSizes) -> None:
    for ratio, size in legal.presets.items():
        assert legal.nearest(size) == size, ratio
        assert legal.for_ratio(ratio_of(ratio), legal.pixels) == size


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<", ">", "/", "sd_cpp_", "extra_args", "<sd_cpp_extra_args>", "</sd_cpp_extra_args>", "x"])
    )
)
def test_server_tags_are_removed_from_any_text(pieces: list[str]) -> None:
    clean = without_server_tag("".join(pieces))
    assert "<sd_cpp_extra_args" not in clean
    assert "</sd_cpp_extra_args" not in clean
    assert without_server_tag(clean) == clean

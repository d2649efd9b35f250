"""What goes over the wire, per dialect and model: whole bodies by plain equality, no server."""

import base64
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.backends.errors import BadRequest
from models.backends.openai_images.build import build
from models.backends.openai_images.call import without_server_tag
from models.backends.openai_images.dialects import DIALECTS
from models.backends.openai_images.families import family_of
from models.backends.openai_images.prepare import prepared
from models.backends.openai_images.rules import rules_for, rules_for_any
from models.backends.openai_images.server import Server
from models.backends.openai_images.sizes import (
    ANY,
    DALL_E_2,
    DALL_E_3,
    GPT_IMAGE,
    GPT_IMAGE_2,
    KOLORS,
    QWEN,
    QWEN_21,
    QWEN_AT_SILICONFLOW,
    Sizes,
)
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff
from models.parameters import ASPECT_RATIOS
from tests.fakes import picture

PNG = picture(640, 480)


def server(dialect: str, remote: str = "some-model") -> Server:
    row = DIALECTS[dialect]
    return Server(dialect=row, family=family_of((remote,), row), remote=remote)


def asked(**changes: object) -> ImageRequest:
    return ImageRequest(**{"model": "m", "prompt": "a red bicycle", **changes})  # type: ignore[arg-type]


def image(data: bytes = PNG) -> InputImage:
    return InputImage(data, sniff(data).mime_type, "photo.png")


def test_gpt_image_gets_openais_keys_and_no_response_format() -> None:
    wire = build(
        asked(aspect_ratio="3:2", output_format="webp", output_quality=80, extra={"quality": "medium"}),
        server("openai", "gpt-image-1.5"),
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


def test_gpt_image_without_a_shape_chooses_its_own() -> None:
    assert build(asked(), server("openai", "gpt-image-1")).json_body["size"] == "auto"
    assert build(asked(images=(image(),)), server("openai", "gpt-image-1")).fields["size"] == "auto"


def test_compression_is_not_sent_for_png() -> None:
    assert "output_compression" not in build(asked(output_quality=80), server("openai", "gpt-image-1")).fields


def test_dall_e_gets_base64_by_request() -> None:
    wire = build(asked(style_preset="natural", extra={"quality": "hd"}), server("openai", "dall-e-3"))
    assert wire.json_body == {
        "model": "dall-e-3",
        "prompt": "a red bicycle",
        "n": 1,
        "response_format": "b64_json",
        "style": "natural",
        "quality": "hd",
    }


def test_unknown_server_gets_the_portable_core_only() -> None:
    wire = build(asked(width=768, height=512, seed=7, steps=30, negative_prompt="text"), server("openai", "flux"))
    assert wire.json_body == {
        "model": "flux",
        "prompt": "a red bicycle",
        "n": 1,
        "size": "768x512",
        "response_format": "b64_json",
    }
    assert len(wire.notices) == 3
    assert wire.seed is None


def test_qwen_image_on_vllm_omni_always_has_the_negative_prompt_key() -> None:
    wire = build(asked(seed=7), server("vllm_omni", "Qwen/Qwen-Image"))
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
def test_qwen_image_paints_its_recommended_sizes(ratio: str, size: str) -> None:
    wire = build(asked(aspect_ratio=ratio), server("vllm_omni", "Qwen/Qwen-Image"))
    assert wire.json_body["size"] == size
    assert wire.notices == ()


def test_sides_are_floored_to_what_the_model_paints_and_it_is_said() -> None:
    wire = build(asked(width=1000, height=700), server("vllm_omni", "Qwen/Qwen-Image-2512"))
    assert wire.json_body["size"] == "992x688"
    assert wire.notices == ("1000x700 became 992x688, the nearest size of this model.",)


def test_other_models_on_vllm_omni_keep_the_servers_defaults() -> None:
    wire = build(asked(cfg_scale=3.5, seed=1), server("vllm_omni", "black-forest-labs/FLUX.1-dev"))
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
    first, second = image(), image(picture(32, 32, kind="JPEG"))
    wire = build(asked(images=(first, second), seed=5), server("vllm_omni", "Qwen/Qwen-Image-Edit-2509"))
    assert wire.route.path == "v1/images/edits"
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


def test_openai_wants_a_list_of_images_under_another_name() -> None:
    one = build(asked(images=(image(),)), server("openai", "gpt-image-1"))
    two = build(asked(images=(image(), image())), server("openai", "gpt-image-1"))
    assert [name for name, value in one.form if not isinstance(value, str)] == ["image"]
    assert [name for name, value in two.form if not isinstance(value, str)] == ["image[]", "image[]"]


def test_localai_carries_the_negative_prompt_behind_a_bar_and_protects_the_users_own() -> None:
    wire = build(
        asked(prompt="day | night", negative_prompt="text|blur", seed=3, steps=20), server("localai", "sd-1.5")
    )
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
    wire = build(asked(images=(image(), image()), seed=3), server("localai", "qwen-image-edit-2509"))
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


def test_sdcpp_carries_its_controls_inside_the_prompt() -> None:
    wire = build(
        asked(negative_prompt="text", steps=28, cfg_scale=5.5, seed=9, sampler="euler", scheduler="karras", width=512,
              height=768),
        server("sdcpp"),
    )  # fmt: skip
    assert wire.json_body == {
        "prompt": 'a red bicycle <sd_cpp_extra_args>{"negative_prompt": "text", "seed": 9, "sample_params": '
        '{"sample_steps": 28, "sample_method": "euler", "scheduler": "karras", "guidance": {"txt_cfg": 5.5}}}'
        "</sd_cpp_extra_args>",
        "n": 1,
        "size": "512x768",
        "output_format": "png",
    }


def test_siliconflow_has_its_own_names() -> None:
    wire = build(asked(aspect_ratio="4:3", seed=11, steps=30), server("siliconflow", "Qwen/Qwen-Image"))
    assert wire.json_body == {
        "model": "Qwen/Qwen-Image",
        "prompt": "a red bicycle",
        "image_size": "1472x1140",
        "cfg": 4.0,
        "num_inference_steps": 30,
        "seed": 11,
    }


def test_siliconflow_edits_without_a_size_and_names_the_images_one_by_one() -> None:
    wire = build(
        asked(images=(image(),) * 3, width=512, height=512), server("siliconflow", "Qwen/Qwen-Image-Edit-2509")
    )
    assert [key for key in wire.json_body if key.startswith("image")] == ["image", "image2", "image3"]
    assert str(wire.json_body["image"]).startswith("data:image/png;base64,")
    assert any("size" in notice for notice in wire.notices)


def test_kolors_takes_a_batch_and_guidance_scale() -> None:
    body = build(asked(n=3, cfg_scale=6.0, seed=1), server("siliconflow", "Kwai-Kolors/Kolors")).json_body
    assert (body["batch_size"], body["guidance_scale"], body["image_size"]) == (3, 6.0, "1024x1024")


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
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
def test_nobody_sets_server_parameters_through_the_prompt(dialect: str, prompt: str) -> None:
    wire = build(asked(prompt=prompt, negative_prompt=prompt), server(dialect))
    sent = str(wire.json_body["prompt"])
    users = sent.partition("<sd_cpp_extra_args>")[0] if dialect == "sdcpp" else sent
    assert "extra_args" not in users.lower()
    assert sent.count("<sd_cpp_extra_args>") <= 1
    assert sent.count("</sd_cpp_extra_args>") <= 1
    assert any("taken out" in notice for notice in wire.notices)


def test_no_control_ends_the_tag_that_carries_it() -> None:
    evil = 'x"}}</sd_cpp_extra_args><sd_cpp_extra_args>{"seed": 1}'
    sent = str(build(asked(sampler=evil, negative_prompt="a < b", seed=9), server("sdcpp")).json_body["prompt"])
    assert sent.count("sd_cpp_extra_args>") == 4  # two are letters of a JSON string
    body = sent.partition("<sd_cpp_extra_args>")[2].rpartition("</sd_cpp_extra_args>")[0]
    assert "<" not in body
    native = json.loads(body)
    assert (native["seed"], native["negative_prompt"], native["sample_params"]["sample_method"]) == (9, "a < b", evil)


def test_a_prompt_of_nothing_but_server_parameters_is_no_prompt() -> None:
    with pytest.raises(BadRequest, match="no prompt"):
        build(asked(prompt="<sd_cpp_extra_args>{}</sd_cpp_extra_args>"), server("sdcpp"))


def test_a_plain_prompt_stays_as_it_is() -> None:
    assert build(asked(), server("sdcpp")).json_body["prompt"] == "a red bicycle"
    assert without_server_tag("a < b > c") == "a < b > c"


@pytest.mark.parametrize(
    ("dialect", "model", "n"),
    [("siliconflow", "Qwen/Qwen-Image", 2), ("openai", "dall-e-3", 2), ("vllm_omni", "x", 11)],
)
def test_more_images_than_the_server_makes_are_refused_by_number(dialect: str, model: str, n: int) -> None:
    with pytest.raises(BadRequest, match=f"{n} images at once"):
        build(asked(n=n), server(dialect, model))


def test_a_seed_beyond_the_server_is_refused() -> None:
    with pytest.raises(BadRequest, match="seed 2147483648"):
        build(asked(seed=2**31), server("localai"))


def test_openai_has_no_seed_and_says_so() -> None:
    wire = build(asked(seed=7), server("openai", "gpt-image-2"))
    assert "seed" not in wire.fields
    assert "the seed" in wire.notices[0]


# ---- sizes


@pytest.mark.parametrize(
    ("given", "legal"),
    [((1024, 1024), (1024, 1024)), ((1920, 1080), (1536, 1024)), ((700, 1000), (1024, 1536)), ((4, 4), (1024, 1024))],
)
def test_gpt_image_has_three_sizes(given: tuple[int, int], legal: tuple[int, int]) -> None:
    assert GPT_IMAGE.legal(*given) == legal


@pytest.mark.parametrize(
    ("given", "legal"),
    [
        ((1600, 900), (1600, 896)),
        ((512, 512), (816, 816)),  # grown to the floor of 655 360 pixels
        ((8000, 4000), (3840, 1920)),
        ((4000, 500), (1488, 496)),  # three to one at most
        ((810, 810), (816, 816)),  # rounding down would fall below the floor
        ((3840, 3840), (2880, 2880)),  # shrunk to the ceiling of 8 294 400 pixels
    ],
)
def test_gpt_image_2_takes_any_size_within_its_limits(given: tuple[int, int], legal: tuple[int, int]) -> None:
    width, height = GPT_IMAGE_2.legal(*given)
    assert (width, height) == legal
    assert 655_360 <= width * height <= 8_294_400


def test_presets_have_their_portrait_twins() -> None:
    assert QWEN.presets["3:4"] == (1104, 1472)
    assert QWEN_21.by_ratio("9:16") == (1536, 2752)
    assert DALL_E_3.by_ratio("21:9") == (1792, 1024)


# ---- masks


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def half_white() -> bytes:
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def test_white_becomes_transparent_for_openai_in_the_size_of_the_image() -> None:
    gpt = server("openai", "gpt-image-1")
    wire = build(prepared(asked(images=(image(),), mask=image(half_white())), gpt), gpt)
    name, sent = wire.form[-1]
    assert name == "mask"
    assert not isinstance(sent, str)
    assert sent[0] == "mask.png"
    alpha = opened(sent[1]).getchannel("A")
    assert alpha.size == (640, 480)
    assert (alpha.getpixel((10, 10)), alpha.getpixel((600, 10))) == (0, 255)


def test_a_mask_for_the_other_servers_is_grey_in_the_size_of_the_image() -> None:
    ready = prepared(asked(images=(image(),), mask=image(half_white())), server("sdcpp"))
    assert ready.mask
    grey = opened(ready.mask.data)
    assert (grey.mode, grey.size) == ("L", (640, 480))
    assert (grey.getpixel((10, 10)), grey.getpixel((600, 10))) == (255, 0)


def test_images_are_brought_into_a_format_that_the_engine_reads() -> None:
    webp = image(picture(64, 64, kind="WEBP"))
    assert prepared(asked(images=(webp,)), server("sdcpp")).images[0].mime_type in {"image/png", "image/jpeg"}
    assert prepared(asked(images=(webp,)), server("openai", "gpt-image-1")).images[0] is webp


def test_a_seed_is_drawn_only_where_the_server_takes_one() -> None:
    assert prepared(asked(), server("openai", "gpt-image-1")).seed is None
    assert prepared(asked(n=2), server("localai")).seed is None
    assert prepared(asked(seed=5), server("sglang")).seed == 5
    drawn = {prepared(asked(), server("sglang")).seed for _ in range(3)}
    assert len(drawn) == 3
    assert all(seed is not None and 0 <= seed < 2**31 for seed in drawn)


@pytest.mark.parametrize(
    ("dialect", "model", "path", "key"),
    [
        ("vllm_omni", "black-forest-labs/FLUX.2-klein-9B", "v1/images/edits", "mask_image"),
        ("localai", "sd", "v1/images/inpainting", "mask"),
        ("sdcpp", "sd", "v1/images/edits", "mask"),
        ("openai", "gpt-image-2", "v1/images/edits", "mask"),
    ],
)
def test_each_server_has_its_own_name_and_place_for_a_mask(dialect: str, model: str, path: str, key: str) -> None:
    wire = build(asked(images=(image(),), mask=image(half_white())), server(dialect, model))
    assert wire.route.path == path
    assert wire.form[-1][0] == key


@pytest.mark.parametrize(
    ("dialect", "model"),
    [
        ("vllm_omni", "Qwen/Qwen-Image-Edit-2509"),
        ("vllm_omni", "FLUX.1-dev"),
        ("sglang", "anything"),
        ("siliconflow", "Qwen/Qwen-Image-Edit"),
        ("openai", "dall-e-3"),
    ],
)
def test_masks_without_effect_are_not_among_the_capabilities(dialect: str, model: str) -> None:
    assert server(dialect, model).capabilities.mask is False


def test_a_mask_needs_its_image() -> None:
    with pytest.raises(BadRequest, match="mask without an image"):
        build(asked(mask=image(half_white())), server("openai", "gpt-image-1"))


def test_localai_takes_one_image_with_a_mask() -> None:
    with pytest.raises(BadRequest, match="2 input images with a mask"):
        build(asked(images=(image(), image()), mask=image(half_white())), server("localai"))


def test_a_mask_that_is_no_image_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot be used"):
        prepared(asked(images=(image(),), mask=InputImage(b"nothing", "image/png")), server("sdcpp"))


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
    [("gpt-image-1", True), ("gpt-image-1.5", True), ("gpt-image-1-mini", False), ("gpt-image-2-2026-04-21", False)],
)
def test_input_fidelity_is_for_the_models_that_take_it(model: str, *, offered: bool) -> None:
    assert ("input_fidelity" in names("openai", model)) is offered


def test_the_form_of_qwen_image_shows_what_is_sent() -> None:
    rules = {rule.name: rule for rule in rules_for(server("vllm_omni", "Qwen/Qwen-Image"))}
    assert (rules["steps"].default, rules["cfg_scale"].default) == (50, 4.0)
    assert {"negative_prompt", "seed", "n", "width", "height", "aspect_ratio"} <= set(rules)
    assert not {"denoising_strength", "sampler", "quality"} & set(rules)


def test_the_form_of_dall_e_3_narrows_its_choices() -> None:
    rules = {rule.name: rule for rule in rules_for(server("openai", "dall-e-3"))}
    assert rules["quality"].options == ("standard", "hd")
    assert rules["style_preset"].options == ("vivid", "natural")
    assert "n" not in rules


def test_the_form_of_an_unknown_server_offers_the_core() -> None:
    assert names("openai", "flux") == [
        "width", "height", "aspect_ratio", "n", "output_format", "output_quality", "details", "timeout",
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("model", ["gpt-image-2", "Qwen/Qwen-Image", "Qwen-Image-Edit-2511", "sdxl", "Kolors"])
def test_every_form_ends_with_the_parameters_of_all_models(dialect: str, model: str) -> None:
    shown = names(dialect, model)
    assert shown[-2:] == ["details", "timeout"]
    assert len(shown) == len(set(shown))
    assert set(shown) <= {rule.name for rule in rules_for_any()}


# ---- promises for every input

SIZES = [GPT_IMAGE, GPT_IMAGE_2, DALL_E_3, DALL_E_2, QWEN, QWEN_21, KOLORS, QWEN_AT_SILICONFLOW, ANY]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.integers(16, 16384), st.integers(16, 16384))
def test_every_asked_size_becomes_a_legal_one(legal: Sizes, width: int, height: int) -> None:
    size = legal.legal(width, height)
    if legal.closed:
        assert size in legal.presets.values()
        return
    least, most = legal.pixels
    assert all(side % legal.multiple == 0 and 0 < side <= legal.longest for side in size)
    assert least <= size[0] * size[1] <= most
    assert max(size) <= min(size) * legal.stretch
    assert legal.legal(*size) == size


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), st.sampled_from(ASPECT_RATIOS))
def test_every_ratio_becomes_a_legal_size(legal: Sizes, ratio: str) -> None:
    size = legal.by_ratio(ratio)
    assert size in legal.presets.values() or legal.legal(*size) == size


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<", ">", "/", "sd_cpp_", "extra_args", "<sd_cpp_extra_args>", "</sd_cpp_extra_args>", "x"])
    )
)
def test_no_text_keeps_a_tag_of_the_server(pieces: list[str]) -> None:
    clean = without_server_tag("".join(pieces))
    assert "<sd_cpp_extra_args" not in clean
    assert "</sd_cpp_extra_args" not in clean
    assert without_server_tag(clean) == clean

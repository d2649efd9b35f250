"""The values of a request are set with their type in the right inputs, and nowhere else."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.sizes import Wish, settle_seeds, settle_size
from tests.backends.comfyui.graphs import recorded_info, text_of, workflow
from tests.fakes import image_file

OPAQUE = InputImage(image_file(), "image/png")
CLEAR = InputImage(image_file(mode="RGBA", colour=(1, 2, 3, 0)), "image/png")


def request(**more: Any) -> ImageRequest:
    seeds = {"seeds": (more.pop("seed"),)} if "seed" in more else {}
    return ImageRequest(**{"model": "m", "prompt": "a fox", **seeds, **more})


def settled(name: str, *, seed: int | None = None, **wish: Any) -> tuple[ImageRequest, tuple[str, ...]]:
    """A resolved request for this workflow, and the resolver's notices."""
    found = workflow(name)
    size, told = settle_size(Wish(**wish), found.sizes, "m")
    seeds, more = settle_seeds(seed, found.seeds, 1, "ComfyUI")
    width, height = size or (None, None)
    return request(width=width, height=height, seeds=seeds), (*told, *more)


def changed(name: str, asked: ImageRequest, **more: Any) -> dict[str, Any]:
    """The changes: `6.text` → new value; `None` for a removed input or node."""
    before: dict[str, Any] = json.loads(text_of(f"{name}.api.json"))
    seeded = asked if asked.seeds else replace(asked, seeds=(5,))
    after: dict[str, Any] = dict(workflow(name).filled(seeded, **more).graph)
    flat = [
        {f"{i}.{k}": v for i, node in graph.items() for k, v in node["inputs"].items()} for graph in (before, after)
    ]
    return {key: flat[1].get(key) for key in flat[0] | flat[1] if flat[0].get(key) != flat[1].get(key)}


def test_without_parameters_only_prompt_and_seed_change() -> None:
    assert changed("sd15_txt2img", request()) == {"6.text": "a fox", "3.seed": 5}


def test_every_common_parameter_is_set_with_its_type() -> None:
    asked = request(
        negative_prompt="dark",
        width=768,
        height=640,
        n=3,
        steps=9,
        cfg_scale=4.5,
        sampler="ddim",
        scheduler="karras",
        denoising_strength=0.9,
        checkpoint="other.safetensors",
        extra={"filename_prefix": "x/y"},
        seed=2**53 - 1,
    )
    assert changed("sd15_txt2img", asked) == {
        "6.text": "a fox",
        "7.text": "dark",
        "5.width": 768,
        "5.height": 640,
        "5.batch_size": 3,
        "3.seed": 2**53 - 1,
        "3.steps": 9,
        "3.cfg": 4.5,
        "3.sampler_name": "ddim",
        "3.scheduler": "karras",
        "3.denoise": 0.9,
        "4.ckpt_name": "other.safetensors",
        "9.filename_prefix": "x/y",
    }


def test_dependent_sizes_and_steps_keep_their_proportion() -> None:
    assert changed("sd15_hires_fix", request(width=768, height=512)) | {"5.height": 512} == {
        "6.text": "a fox",
        "3.seed": 5,
        "31.seed": 5,
        "5.width": 768,
        "5.height": 512,
        "30.width": 1536,
    }
    refined = changed("sdxl_base_refiner_ksampleradvanced", request(steps=50))
    assert (refined["10.steps"], refined["11.steps"]) == (50, 50)
    assert (refined["10.end_at_step"], refined["11.start_at_step"]) == (40, 40)
    assert (refined["6.text"], refined["15.text"]) == ("a fox", "a fox")
    assert refined["10.noise_seed"] == 5
    assert "11.noise_seed" not in refined  # adds no noise
    assert "11.end_at_step" not in refined  # 10000 means: to the end


def test_steps_kept_by_a_second_sampler_give_a_notice() -> None:
    told = "node 31 (KSampler) keeps its own `steps` 14"
    assert told in workflow("sd15_hires_fix").filled(request(steps=30)).notices
    for steps in (None, 20):
        assert told not in workflow("sd15_hires_fix").filled(request(steps=steps)).notices


def test_a_random_seed_is_used_and_reported_without_a_seed() -> None:
    first, second = (workflow("sd15_txt2img").filled(settled("sd15_txt2img")[0]).seed for _ in range(2))
    assert first is not None
    assert second is not None
    assert 0 <= first < 2**32
    assert first != second


def test_a_seed_stays_within_the_range_of_the_node() -> None:
    spec = ["INT", {"min": 0, "max": 65535}]
    info = ObjectInfo.parse({"KSampler": {"input": {"required": {"seed": spec}}}})  # type: ignore[dict-item]
    rule = workflow("sd15_txt2img", info).seeds
    assert (rule.highest, rule.drawn) == (65535, 65535)
    assert workflow("sd15_txt2img").seeds.highest == 2**53 - 1


def test_a_seed_is_not_reported_without_a_seed_input() -> None:
    assert settled("no_noise_manual_sigmas")[0].seeds == ()
    filled = workflow("no_noise_manual_sigmas").filled(settled("no_noise_manual_sigmas", seed=3)[0])
    assert filled.seed is None
    assert "`seed` was not used: node 8 (DisableNoise) has none" in filled.notices


LOADED = {name: workflow(name) for name in ("sd15_txt2img", "placeholders")}


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_no_prompt_can_break_the_graph(prompt: str) -> None:
    """Quotes, newlines, braces and placeholders of a prompt stay text in exactly one input."""
    for name, place in (("sd15_txt2img", "6"), ("placeholders", "6")):
        found = LOADED[name]
        graph: dict[str, Any] = found.filled(request(prompt=prompt, seed=1)).graph
        plain: dict[str, Any] = found.filled(request(prompt="", seed=1)).graph
        assert graph[place]["inputs"]["text"] == plain[place]["inputs"]["text"] + prompt
        graph[place]["inputs"]["text"] = plain[place]["inputs"]["text"] = ""
        assert graph == plain


def test_placeholders_take_typed_values_and_defaults() -> None:
    values = changed("placeholders", request(width=640, extra={"style": "ink {{prompt}}"}))
    assert values == {
        "6.text": "ink {{prompt}} drawing, a fox",
        "7.text": "blurry",
        "5.width": 640,
        "5.height": 512,
        "3.seed": 5,
        "3.steps": 24,
        "3.cfg": 6.5,
    }
    assert isinstance(values["3.cfg"], float)


def test_a_placeholder_without_value_and_default_is_refused_by_name() -> None:
    text = text_of("placeholders.api.json").replace("{{style|anime}}", "{{style}}")
    with pytest.raises(BadRequest, match="asks for `style`"):
        Workflow.load(text).filled(request())


def test_titles_override_tracing() -> None:
    assert changed("titles_name_prompt_and_quality", request(prompt="a hare", extra={"quality": "rough, "})) == {
        "11.value": "a hare",
        "10.string_a": "rough, ",
        "3.seed": 5,
    }


def test_a_trimmed_default_keeps_the_spaces_of_the_workflow() -> None:
    values = changed("titles_name_prompt_and_quality", request(extra={"quality": "masterpiece,"}))
    assert values == {"3.seed": 5}


def test_an_ambiguous_prompt_input_is_refused_with_the_node_and_the_next_step() -> None:
    with pytest.raises(BadRequest) as refusal:
        workflow("prompt_concatenated").filled(request())
    assert "node 6 (CLIPTextEncode) is put together by node 10 (StringConcatenate)" in str(refusal.value)
    assert "{{prompt}}" in str(refusal.value)
    assert "input:prompt" in str(refusal.value)
    assert 'node 11 (PrimitiveString "Wish")' in str(refusal.value)
    with pytest.raises(BadRequest, match="where the prompt belongs"):
        workflow("prompt_concatenated").check()  # said as early as the model is saved


def test_a_workflow_without_a_prompt_runs_with_a_notice() -> None:
    filled = workflow("upscale_with_model").filled(request(images=(OPAQUE,)), images=["up.png"])
    assert filled.graph["1"]["inputs"] == {"image": "up.png"}
    assert any("takes no prompt" in notice for notice in filled.notices)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("flux1_schnell_checkpoint_zeroed_negative", {"negative_prompt": "x"}, "switched off by node 33"),
        ("shared_text_node_both_sides", {"negative_prompt": "x"}, "gives both sides"),
        ("qwen_image_edit_2509_lightning_primitive_prompt", {"negative_prompt": "x"}, "no effect"),
        ("sd15_txt2img", {"negative_prompt": "x", "cfg_scale": 1.0}, "no effect"),
        (
            "flux1_dev_samplercustomadvanced",
            {"cfg_scale": 3.0},
            "`cfg_scale` was not used: node 22 (BasicGuider) has none",
        ),
    ],
)
def test_an_ignored_parameter_gives_a_notice(name: str, asked: dict[str, Any], said: str) -> None:
    found = workflow(name)
    names = [f"{number}.png" for number in range(found.images)]
    assert any(said in notice for notice in found.filled(request(**asked), images=names).notices)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("sd15_img2img", {"width": 640}, "was not used: it comes from the image of node 10"),
        ("sd15_txt2img", {"width": 770, "height": 512}, "770×512 became 768×512"),
        ("square_from_one_number", {"width": 512, "height": 768}, "512×768 became 624×624"),
    ],
)
def test_a_size_that_the_workflow_ignores_gives_a_notice(name: str, asked: dict[str, Any], said: str) -> None:
    assert any(said in notice for notice in settled(name, **asked)[1])


@pytest.mark.parametrize("own", [(1000, 700), (1001, 333)])
def test_the_workflows_own_size_is_not_changed(own: tuple[int, int]) -> None:
    graph = text_of("sd15_hires_fix.api.json").replace('"width": 512', f'"width": {own[0]}')
    found = Workflow.load(graph.replace('"height": 512', f'"height": {own[1]}'))
    assert found.sizes.default == own
    for wish in (Wish(), Wish(width=own[0], height=own[1])):
        size, told = settle_size(wish, found.sizes, "m")
        assert (size, told) == (own, ())
        filled = found.filled(request(width=own[0], height=own[1]))
        assert filled.graph["30"] == found.graph.raw()["30"]


def test_the_workflows_own_negative_prompt_gives_no_notice() -> None:
    found = workflow("sd15_txt2img")
    asked = request(negative_prompt="low quality, watermark", cfg_scale=1.0)
    assert found.filled(asked).notices == ()


def test_a_zeroed_negative_never_overwrites_the_prompt() -> None:
    values = changed("flux1_schnell_checkpoint_zeroed_negative", request(negative_prompt="ugly"))
    assert values == {"6.text": "a fox", "31.seed": 5}


def test_an_aspect_ratio_keeps_the_number_of_pixels() -> None:
    values = changed("qwen_image_txt2img", settled("qwen_image_txt2img", aspect_ratio="16:9", seed=5)[0])
    assert (values["58.width"], values["58.height"]) == (1776, 992)
    assert values["58.width"] % 16 == values["58.height"] % 16 == 0


def test_a_draft_halves_pixels_and_steps() -> None:
    values = changed("sd15_txt2img", request(extra={"draft": True}))
    assert (values["5.width"], values["5.height"], values["3.steps"]) == (360, 360, 10)


def test_linked_sizes_are_set_at_their_source() -> None:
    assert changed("flux2_klein_linked_width_height", request(width=512, height=768)) == {
        "76.value": "a fox",
        "75:68.value": 512,
        "75:69.value": 768,
        "75:73.noise_seed": 5,
    }


def test_one_number_for_both_sides_gives_a_square_and_a_notice() -> None:
    asked = request(width=512, height=768)
    sizes = {place: value for place, value in changed("square_from_one_number", asked).items() if "text" not in place}
    assert sizes == {
        "70.value": 512,
        **{f"{node}.{side}": 2048 for node in (2, 3) for side in ("width", "height", "target_width", "target_height")},
        "6.seed": 5,
    }
    notices = workflow("square_from_one_number").filled(asked).notices
    assert notices == ("`height` was not used: node 70 (PrimitiveInt) sets both sides, so it follows `width`",)


def test_regions_keep_their_proportion_of_the_image() -> None:
    values = changed("regions_by_area", request(width=768, height=512))
    assert (values["32.width"], values["33.width"], values["33.x"]) == (384, 384, 384)
    assert (values["32.height"], values["33.height"]) == (512, 512)


# Images and masks


def test_images_are_assigned_to_loaders_in_the_order_of_their_titles() -> None:
    values = changed("images_ordered_by_title", request(images=(OPAQUE, OPAQUE)), images=["a.png", "b.png"])
    assert (values["20.image"], values["10.image"]) == ("a.png", "b.png")
    assert "22.image" not in values  # titled `fixed:`


def test_a_missing_optional_image_is_disconnected() -> None:
    name = "qwen_image_edit_2509_lightning_primitive_prompt"
    filled = workflow(name).filled(request(images=(OPAQUE,)), images=["a.png"])
    assert "106" not in filled.graph
    assert "image2" not in str(filled.graph["111"])
    assert not any("106" in notice for notice in filled.notices)


def test_a_missing_required_image_keeps_the_workflows_own_with_a_notice() -> None:
    filled = workflow("three_loras_two_controlnets").filled(request(images=(OPAQUE,)), images=["a.png"])
    assert filled.graph["28"]["inputs"] == {"image": "d.png"}
    assert any("node 28" in notice and "d.png" in notice for notice in filled.notices)


def test_more_images_than_loaders_are_refused() -> None:
    with pytest.raises(BadRequest, match="takes 1 input images and got 2"):
        workflow("sd15_img2img").filled(request(), images=["a", "b"])


def test_an_image_placeholder_is_filled_with_the_uploaded_file() -> None:
    text = text_of("sd15_img2img.api.json").replace("example.png", "{{image}}")
    graph = Workflow.load(text).filled(request(), images=["a.png"]).graph
    assert graph["10"]["inputs"] == {"image": "a.png"}
    with pytest.raises(BadRequest, match="needs an image"):
        Workflow.load(text).filled(request())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sd15_inpaint_separate_mask", {"12.image": "m.png"}),
        (
            "sd15_inpaint_vaeencodeforinpaint",
            {"11.mask": ["added:1", 0], "added:1.image": "m.png", "added:1.channel": "red"},
        ),
        (
            "mask_from_an_images_colour",
            {"14.mask": ["added:1", 0], "added:1.image": "m.png", "added:1.channel": "red"},
        ),
        (
            "mask_from_a_second_images_alpha",
            {"15.mask": ["added:1", 0], "added:1.image": "m.png", "added:1.channel": "red"},
        ),
        (
            "mask_turned_round",
            {"12.image": "m.png", "12.channel": "red", "13.mask": ["added:1", 0], "added:1.mask": ["12", 0]},
        ),
    ],
)
def test_white_is_repainted_for_every_kind_of_mask_input(name: str, expected: dict[str, Any]) -> None:
    asked = request(images=(OPAQUE,), mask=OPAQUE)
    values = changed(name, asked, images=["a.png"], mask="m.png")
    assert values == {"6.text": "a fox", "3.seed": 5, "10.image": "a.png", **expected}


def test_without_a_mask_the_transparent_part_is_repainted() -> None:
    asked = request(images=(CLEAR,))
    separate = changed("sd15_inpaint_separate_mask", asked, images=["a.png"])
    assert (separate["12.image"], separate["12.channel"]) == ("a.png", "alpha")
    own = changed("sd15_inpaint_vaeencodeforinpaint", asked, images=["a.png"])
    assert own == {"6.text": "a fox", "3.seed": 5, "10.image": "a.png"}


def test_inpainting_without_a_mask_and_transparency_is_refused() -> None:
    with pytest.raises(BadRequest, match="masked area and got no mask"):
        workflow("sd15_inpaint_vaeencodeforinpaint").filled(request(images=(OPAQUE,)), images=["a.png"])


def test_a_mask_for_a_workflow_without_one_is_refused() -> None:
    with pytest.raises(BadRequest, match="takes no mask"):
        workflow("sd15_img2img").filled(request(), images=["a.png"], mask="m.png")


def test_several_images_in_img2img_repeat_the_latent() -> None:
    values = changed("sd15_img2img", request(n=3), images=["a.png"])
    assert values["3.latent_image"] == ["added:1", 0]
    assert (values["added:1.samples"], values["added:1.amount"]) == (["11", 0], 3)


# Optional nodes


def test_an_optional_node_without_its_parameter_is_bypassed() -> None:
    values = changed("optional_lora_and_vague_title", request())
    assert (values["3.model"], values["6.clip"], values["7.clip"]) == (["4", 0], ["4", 1], ["4", 1])
    assert values["20.lora_name"] is None
    given = changed("optional_lora_and_vague_title", request(extra={"lora": "a.safetensors", "lora_strength": 0.5}))
    assert given == {
        "6.text": "a fox",
        "3.seed": 5,
        "20.lora_name": "a.safetensors",
        "20.strength_model": 0.5,
        "20.strength_clip": 0.5,
    }


def test_an_optional_node_that_cannot_be_bypassed_is_named() -> None:
    graph = json.loads(text_of("sd15_txt2img.api.json"))
    graph["5"]["_meta"] = {"title": "optional:size"}
    with pytest.raises(BadRequest, match=r"node 5 .* cannot be left out"):
        Workflow.load(json.dumps(graph)).filled(request())


# With the server's definitions


def test_values_that_a_newer_server_requires_are_added() -> None:
    graph = json.loads(text_of("qwen_image_edit.api.json"))
    del graph["93"]["inputs"]["resolution_steps"]
    filled = Workflow.load(json.dumps(graph), recorded_info()).filled(request(), images=["a.png"])
    assert filled.graph["93"]["inputs"]["resolution_steps"] == 1  # type: ignore[index, call-overload]


def test_a_subfolder_is_written_in_the_servers_spelling() -> None:
    spec = ["COMBO", {"options": ["sdxl\\a.safetensors"]}]
    info = ObjectInfo.parse({"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": spec}}}})  # type: ignore[dict-item]
    graph: dict[str, Any] = workflow("sd15_txt2img", info).filled(request(checkpoint="sdxl/a.safetensors")).graph
    assert graph["4"]["inputs"]["ckpt_name"] == "sdxl\\a.safetensors"

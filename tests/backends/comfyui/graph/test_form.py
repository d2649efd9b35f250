"""The form of a workflow: its values as defaults, the server's bounds and options, the common labels."""

import json
from typing import Any

import pytest

from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import Workflow
from models.parameters import FORM_ONLY, RULES, Rule, read_values
from tests.backends.comfyui.graph.test_slots import NAMES
from tests.backends.comfyui.graphs import recorded_info, text_of, workflow

DELIVERY = ["output_format", "output_quality", "details", "timeout"]


def form(name: str, info: ObjectInfo | None = None) -> dict[str, Rule]:
    return {rule.name: rule for rule in workflow(name, info).rules()}


def test_the_parameters_come_in_the_vocabularys_order_with_the_workflows_own_values() -> None:
    rules = form("sd15_lora_controlnet")
    assert list(rules) == [
        *("width", "height", "aspect_ratio", "steps", "cfg_scale", "negative_prompt", "seed", "n", "sampler"),
        *("scheduler", "checkpoint", "lora", "lora_strength", "controlnet_strength", "controlnet"),
        *("filename_prefix", "draft", *DELIVERY),
    ]
    assert {name: rule.default for name, rule in rules.items() if rule.default is not None} == {
        "negative_prompt": "low quality, watermark",
        "width": 512,
        "height": 768,
        "n": 1,
        "steps": 20,
        "cfg_scale": 7.0,
        "sampler": "euler",
        "scheduler": "normal",
        "checkpoint": "v1-5-pruned-emaonly-fp16.safetensors",
        "lora": "example_lora.safetensors",
        "lora_strength": 0.8,
        "controlnet_strength": 1.0,
        "controlnet": "control_v11p_sd15_canny_fp16.safetensors",
        "filename_prefix": "dify",
        "draft": False,
        "details": False,
        **{name: RULES[name].default for name in ("seed", "aspect_ratio", "output_quality", "timeout")},
    }


def test_bounds_and_options_are_the_servers() -> None:
    rules = form("sd15_txt2img", recorded_info())
    assert (rules["steps"].min, rules["steps"].max) == (1, 10000)
    assert (rules["cfg_scale"].min, rules["cfg_scale"].max) == (0, 100)
    assert len(rules["sampler"].options) == 44
    assert len(rules["scheduler"].options) == 9
    assert rules["n"].max == RULES["n"].max
    assert rules["checkpoint"].options == ("v1-5-pruned-emaonly-fp16.safetensors", "tiny-random-sd15.safetensors")


def test_options_in_the_newer_format_are_read() -> None:
    rules = form("flux1_dev_samplercustomadvanced", recorded_info())
    assert len(rules["sampler"].options) == 44
    assert "karras" in rules["scheduler"].options


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("known", [True, False])
def test_every_workflow_has_a_form_whose_defaults_pass_their_own_rules(name: str, known: bool) -> None:
    rules = workflow(name, recorded_info() if known else None).rules()
    names = [rule.name for rule in rules]
    assert len(names) == len(set(names))
    assert "prompt" not in names
    assert names[-4:] == DELIVERY
    values = read_values(rules, {})
    stated = {rule.name: rule.default for rule in rules if rule.default is not None and rule.name not in FORM_ONLY}
    assert values == {key: value.strip() if isinstance(value, str) else value for key, value in stated.items()}


def test_a_seed_stays_random_by_default() -> None:
    assert form("sd15_txt2img")["seed"] == RULES["seed"]


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("sd15_txt2img", False),
        ("sd15_img2img", True),
        ("sd15_hires_fix", True),
        ("flux_kontext_reference_latent", True),
    ],
)
def test_denoising_strength_is_offered_only_for_img2img(name: str, offered: bool) -> None:
    assert ("denoising_strength" in form(name)) == offered


def test_parameters_missing_in_the_workflow_are_not_offered() -> None:
    rules = form("flux1_schnell_checkpoint_zeroed_negative")
    assert "negative_prompt" not in rules
    assert not {"width", "height", "aspect_ratio"} & set(form("sd15_img2img"))


def test_n_is_offered_without_a_batch_size() -> None:
    assert form("sd15_img2img")["n"] == RULES["n"]
    assert "n" not in form("upscale_with_model")


def test_titles_and_placeholders_become_typed_parameters() -> None:
    rules = form("placeholders", recorded_info())
    assert (rules["style"].type, rules["style"].default, rules["style"].label.en_US) == ("text", "anime", "style")
    assert (rules["width"].type, rules["width"].default) == ("int", 768)
    assert (rules["cfg_scale"].type, rules["cfg_scale"].default) == ("float", 6.5)
    titled = form("titles_name_prompt_and_quality")
    assert (titled["quality"].type, titled["quality"].default) == ("text", "masterpiece, ")


@pytest.mark.parametrize(
    ("place", "text", "kind", "default"),
    [
        ("low_threshold", "{{edge|0.2}}", "float", 0.2),
        ("low_threshold", "{{edge}}", "float", 0.4),
        ("high_threshold", "{{edge|x}}", "float", 0.8),
    ],
)
def test_a_placeholder_has_the_type_of_its_input(place: str, text: str, kind: str, default: object) -> None:
    graph = text_of("sd15_lora_controlnet.api.json").replace(
        f'"{place}": {0.4 if place == "low_threshold" else 0.8}', f'"{place}": "{text}"'
    )
    rules = {rule.name: rule for rule in Workflow.load(graph, recorded_info()).rules()}
    assert (rules["edge"].type, rules["edge"].default) == (kind, default)


def test_a_placeholder_without_a_default_is_required() -> None:
    graph = text_of("placeholders.api.json").replace("{{style|anime}}", "{{style}}")
    rules = {rule.name: rule for rule in Workflow.load(graph).rules()}
    assert rules["style"].required
    assert not rules["negative_prompt"].required
    assert not rules["seed"].required


def test_a_default_outside_the_usual_bounds_is_accepted() -> None:
    graph = text_of("sd15_txt2img.api.json").replace('"steps": 20', '"steps": 500')
    rules = {rule.name: rule for rule in Workflow.load(graph).rules()}
    assert (rules["steps"].default, rules["steps"].max) == (500, 500)


def test_second_files_have_numbered_labels_in_both_languages() -> None:
    label = form("three_loras_two_controlnets")["lora_2"].label
    assert (label.en_US, label.zh_Hans) == ("LoRA 2", "LoRA 2")


# Missing nodes and files


def test_the_classes_that_a_workflow_needs_are_known() -> None:
    classes = workflow("sd15_lora_controlnet").classes
    assert set(classes) >= {"KSampler", "LoraLoader", "ControlNetApplyAdvanced", "Canny"}


def test_everything_missing_is_reported_at_once() -> None:
    lacking = workflow("face_detailer_extension", recorded_info()).lacking()
    assert len(lacking) == 3
    assert any("`FaceDetailer`" in sentence for sentence in lacking)
    assert any("`UltralyticsDetectorProvider`" in sentence for sentence in lacking)
    assert any("'v1-5-pruned-emaonly-fp16.safetensors'" in s and "tiny-random-sd15" in s for s in lacking)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"sampler_name": "euler"', '"sampler_name": "warp"', "`sampler_name` is 'warp'"),
        ('"sampler_name": "euler"', '"sampler_name": "{{sampler}}"', ""),
    ],
)
def test_any_option_missing_on_the_server_is_named(before: str, after: str, said: str) -> None:
    graph = text_of("sd15_txt2img.api.json").replace("v1-5-pruned-emaonly-fp16", "tiny-random-sd15")
    assert graph.replace(before, after) != graph
    lacking = Workflow.load(graph.replace(before, after), recorded_info()).lacking()
    assert (said in str(lacking)) if said else lacking == ()


def test_a_dead_branch_needs_nothing() -> None:
    assert "KSampler" in workflow("dead_branch_beside").classes
    raw: Any = workflow("dead_branch_beside").graph.raw()
    raw["33"]["class_type"] = "Unknown"
    assert not any("Unknown" in sentence for sentence in Workflow.load(json.dumps(raw), recorded_info()).lacking())


def test_a_chain_of_thousands_of_nodes_is_traced() -> None:
    """A pasted graph is untrusted: the form must not fail."""
    raw: Any = workflow("sd15_txt2img").graph.raw()
    for number in range(3000):
        source = ["6", 0] if number == 0 else [f"c{number - 1}", 0]
        raw[f"c{number}"] = {"class_type": "ConditioningSetMask", "inputs": {"conditioning": source}}
    raw["3"]["inputs"]["positive"] = ["c2999", 0]
    slots = Workflow.load(json.dumps(raw)).slots
    assert "prompt" in slots.ambiguous

"""The shipped workflows match the recorded node definitions, and each request uses the right variant."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backends.comfyui.graph.graph import as_link
from models.backends.comfyui.graph.nodes import InputSpec, ObjectInfo, extra_rules
from models.backends.comfyui.model_workflow import WORKFLOWS, ShippedWorkflows, load_shipped
from models.backends.errors import BadRequest
from models.catalog import cards
from models.entities import ImageRequest, InputImage
from models.parameters import EVERY_MODEL, FORM_ONLY, read_values
from models.sizes import Wish, settle_seeds, settle_size
from tests.backends.comfyui.graphs import FIXTURES
from tests.backends.comfyui.jobs import comfyui
from tests.fakes import image_file

FILES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
CARDS = {name: card for name, card in cards().items() if card.backend == "comfyui"}
PHOTO = InputImage(image_file(), "image/png")


@pytest.fixture(scope="module")
def recorded() -> ObjectInfo:
    """Only recorded definitions of a real server: the shipped workflows use no other class."""
    return ObjectInfo.parse(json.loads((FIXTURES / "object_info_selected.json").read_text("utf-8")))


def card_request(model: str, **more: Any) -> ImageRequest:
    """A request with the card's defaults and the given values."""
    values = read_values(CARDS[model].rules, {})
    common = {key: value for key, value in values.items() if key in ImageRequest.__dataclass_fields__}
    extra = {key: value for key, value in values.items() if key not in common} | more.pop("extra", {})
    wish = Wish(**{name: more.pop(name) for name in ("width", "height", "aspect_ratio", "seed") if name in more})
    request = ImageRequest(**{"model": model, "prompt": "a fox", **common, "extra": extra, **more})
    workflows = shipped(model)
    try:
        chosen = workflows.choose(request)
    except BadRequest:  # the test's own matter
        return request
    size, _ = settle_size(wish, chosen.sizes, model)
    seeds, _ = settle_seeds(wish.seed, chosen.seeds, request.n, "ComfyUI")
    width, height = size or (None, None)
    return replace(request, width=width, height=height, seeds=seeds)


def shipped(model: str) -> ShippedWorkflows:
    workflow = comfyui(model, {"comfyui_base_url": "http://gpu:8188"}).workflow
    assert isinstance(workflow, ShippedWorkflows)
    return workflow


def assert_valid(graph: Any, info: ObjectInfo) -> None:
    """The server's checks on submission: classes, required inputs, values, and link types."""
    for node_id, node in graph.items():
        known = info.classes.get(node["class_type"])
        assert known, f"{node['class_type']} is not recorded"
        assert set(node["inputs"]) <= set(known.inputs), f"{node_id}: unknown inputs"
        for spec in known.inputs.values():
            assert spec.name in node["inputs"] or not spec.required, f"{node_id}.{spec.name} is missing"
            if spec.name in node["inputs"]:
                assert_input(graph, f"{node_id}.{spec.name}", node["inputs"][spec.name], spec, info)


_FILE = re.compile(r"_name\d?$|^image$")


def assert_input(graph: Any, where: str, value: Any, spec: InputSpec, info: ObjectInfo) -> None:
    link = as_link(value)
    if link:
        source = info.classes[graph[link.node]["class_type"]]
        assert source.outputs[link.slot] == spec.kind, where
        return
    assert spec.is_widget, f"{where} wants a link"
    if spec.choices is not None:
        # The recording server had no model files.
        assert isinstance(value, str), where
        assert (_FILE.search(spec.name) and spec.name != "sampler_name") or value in spec.choices, where
        return
    kinds: dict[str, Any] = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
    assert isinstance(value, kinds[spec.kind]), where
    low, high = spec.number("min"), spec.number("max")
    assert low is None or value >= low, where
    assert high is None or value <= high, where


@pytest.mark.parametrize("name", FILES)
def test_every_node_and_input_is_as_recorded(name: str, recorded: ObjectInfo) -> None:
    assert_valid(load_shipped(name).graph.raw(), recorded)


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_a_version_and_is_plain_api_format(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+\.v\d+", name)
    raw = json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))
    assert load_shipped(name).graph.raw() == raw
    assert "{{" not in json.dumps(raw)


@pytest.mark.parametrize("name", FILES)
def test_prompt_seed_and_sampler_settings_are_found(name: str) -> None:
    slots = load_shipped(name).slots
    wanted = {"prompt", "seed", "steps", "sampler", "scheduler", "denoising_strength", "lora", "upscale_model"}
    assert wanted <= set(slots.found)
    assert not slots.ambiguous
    assert not slots.notes


def test_every_shipped_file_belongs_to_a_card() -> None:
    named = [name for card in CARDS.values() for name in card.facts["workflows"].values()]  # type: ignore[attr-defined]
    assert sorted(named) == FILES
    assert sorted(CARDS) == ["comfyui-flux", "comfyui-qwen-image", "comfyui-qwen-image-edit", "comfyui-sdxl"]


@pytest.mark.parametrize("model", sorted(CARDS))
def test_a_card_lists_the_parameters_and_defaults_of_its_workflows(model: str) -> None:
    common = {
        "aspect_ratio",
        "n",
        "draft",
        "embed_workflow",
        "priority",
        "output_format",
        "output_quality",
        "details",
        "timeout",
    } | {rule.name for rule in EVERY_MODEL}
    for variant in shipped(model).variants.values():
        found = variant.slots.found
        for rule in CARDS[model].rules:
            if rule.name in common | {"width", "height"}:
                continue
            assert rule.name in found, f"{rule.name} has no place"
            if rule.default is not None and rule.name not in FORM_ONLY:
                assert rule.default == found[rule.name].default, rule.name


@pytest.mark.parametrize("model", sorted(CARDS))
def test_every_rule_of_a_card_is_a_common_or_backend_rule(model: str) -> None:
    own = {rule.name: rule for rule in extra_rules()}
    for rule in CARDS[model].rules:
        if rule.name in own:
            assert rule.label == own[rule.name].label


REQUESTS: dict[str, dict[str, Any]] = {
    "text": {},
    "image": {"images": (PHOTO,)},
    "mask": {"images": (PHOTO,), "mask": PHOTO},
    "everything": {
        "images": (PHOTO, PHOTO),
        "mask": PHOTO,
        "n": 3,
        "extra": {"lora": "a", "lora_2": "b", "upscale_model": "u", "controlnet": "c", "draft": True},
    },
    "control": {"images": (PHOTO,), "extra": {"controlnet": "c"}},
    "resized": {"images": (PHOTO,), "width": 640, "height": 960, "n": 2},
    "shape": {"aspect_ratio": "16:9", "extra": {"lora_2": "only the second"}},
}


def filled(model: str, request: ImageRequest) -> Any:
    names = [f"dify/{number}.png" for number in range(len(request.images))]
    workflow = shipped(model).choose(request)
    return workflow.filled(request, images=names, mask="dify/mask.png" if request.mask else None)


@pytest.mark.parametrize("asked", sorted(REQUESTS))
@pytest.mark.parametrize("model", ["comfyui-flux", "comfyui-qwen-image", "comfyui-sdxl"])
def test_the_submitted_graph_is_valid_for_every_kind_of_input(model: str, asked: str, recorded: ObjectInfo) -> None:
    graph = filled(model, card_request(model, **REQUESTS[asked])).graph
    assert_valid(graph, recorded)
    text = json.dumps(graph)
    assert "example.png" not in text
    assert '_name": ""' not in text
    assert ("ControlNetApplyAdvanced" in text) == bool(REQUESTS[asked].get("extra", {}).get("controlnet"))
    assert ("ImageUpscaleWithModel" in text) == bool(REQUESTS[asked].get("extra", {}).get("upscale_model"))
    assert text.count('"LoraLoader') == sum("lora" in name for name in REQUESTS[asked].get("extra", {}))


@pytest.mark.parametrize("image_count", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_an_edit_takes_one_to_three_images(image_count: int, masked: bool, recorded: ObjectInfo) -> None:
    request = card_request(
        "comfyui-qwen-image-edit", images=(PHOTO,) * image_count, mask=PHOTO if masked else None, negative_prompt="blur"
    )
    graph = filled("comfyui-qwen-image-edit", request).graph
    assert_valid(graph, recorded)
    encoder = graph["6"]["inputs"]
    assert [name for name in ("image1", "image2", "image3") if name in encoder] == [
        f"image{number}" for number in range(1, image_count + 1)
    ]
    assert ("SetLatentNoiseMask" in json.dumps(graph)) == masked
    assert graph["7"]["inputs"]["prompt"] == "blur"


def test_the_control_image_is_the_last_one() -> None:
    request = card_request("comfyui-sdxl", images=(PHOTO, PHOTO), extra={"controlnet": "canny.safetensors"})
    graph = filled("comfyui-sdxl", request).graph
    control = graph[graph["24"]["inputs"]["image"][0]]["inputs"]["image"]
    assert (graph["10"]["inputs"]["image"], control) == ("dify/0.png", "dify/1.png")


def test_a_size_with_an_image_scales_the_image_to_it() -> None:
    request = card_request("comfyui-sdxl", images=(PHOTO,), width=640, height=960)
    scaler = filled("comfyui-sdxl", request).graph["13"]["inputs"]
    assert (scaler["width"], scaler["height"], scaler["crop"]) == (640, 960, "center")
    untouched = filled("comfyui-sdxl", card_request("comfyui-sdxl", images=(PHOTO,))).graph
    assert "13" not in untouched


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        ("comfyui-qwen-image-edit", {}, "edits images, and no image was sent"),
        ("comfyui-sdxl", {"mask": PHOTO}, "A mask was sent without an image"),
        ("comfyui-sdxl", {"extra": {"controlnet": "c"}}, "needs a control image"),
        ("comfyui-sdxl", {"images": (PHOTO, PHOTO)}, "does not support 2 input images. Send at most 1 and a mask"),
        ("comfyui-sdxl", {"images": (PHOTO, PHOTO)}, "set `controlnet` to send a control image"),
        ("comfyui-sdxl", {"images": (PHOTO,), "mask": PHOTO, "extra": {"controlnet": "c"}}, "without transparency"),
        ("comfyui-qwen-image-edit", {"images": (PHOTO,) * 4}, "Send at most 3 and a mask"),
    ],
)
def test_inputs_that_no_variant_supports_are_refused_with_the_next_step(
    model: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        filled(model, card_request(model, **asked))


def test_capabilities_are_those_of_the_largest_variant() -> None:
    found = {name: shipped(name).capabilities for name in CARDS}
    able = {name: (one.min_images, one.images, one.mask) for name, one in found.items()}
    assert able == {
        "comfyui-sdxl": (0, 2, True),
        "comfyui-flux": (0, 2, True),
        "comfyui-qwen-image": (0, 2, True),
        "comfyui-qwen-image-edit": (1, 3, True),
    }


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text())
def test_no_prompt_breaks_a_shipped_graph(prompt: str, negative: str) -> None:
    request = card_request("comfyui-sdxl", prompt=prompt, negative_prompt=negative, seed=1)
    graph = filled("comfyui-sdxl", request).graph
    assert graph["6"]["inputs"]["text"] == prompt
    assert graph["7"]["inputs"]["text"] == negative

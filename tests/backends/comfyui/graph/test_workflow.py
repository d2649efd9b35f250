"""What a workflow tells of itself: sizes, seeds, its form, what a server lacks."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Graph
from models.backends.comfyui.graph.nodes import ObjectInfo
from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest
from models.parameters import RULES, Rule
from models.sizes import FreeSizes
from tests.backends.comfyui.graphs import NodeOf, graph_of, recorded_info, text_of, workflow

SAMPLER: dict[str, Any] = {
    "model": ["m", 0],
    "positive": ["p", 0],
    "negative": ["n", 0],
    "latent_image": ["l", 0],
    "seed": 5,
    "steps": 20,
    "denoise": 1.0,
}
NODES: dict[str, NodeOf] = {
    "m": ("Loader", {"model_file": "a"}),
    "p": ("CLIPTextEncode", {"text": "a fox"}),
    "n": ("CLIPTextEncode", {"text": "dull"}),
    "l": ("EmptyLatentImage", {"width": 512, "height": 768}),
    "s": ("KSampler", SAMPLER),
    "o": ("SaveImage", {"images": ["s", 0], "filename_prefix": "out"}),
}


def loaded(info: Any = None, titles: dict[str, str] | None = None, **nodes: NodeOf) -> Workflow:
    graph = graph_of(info, **{**NODES, **nodes})
    raw = graph.raw()
    for node, title in (titles or {}).items():
        raw[node]["_meta"] = {"title": title}
    return Workflow(Graph.of(raw, graph.info))


def form(found: Workflow) -> dict[str, Rule]:
    rules = found.rules()
    assert len({rule.name for rule in rules}) == len(rules)
    return {rule.name: rule for rule in rules}


def test_definitions_are_taken_where_there_are_some() -> None:
    found, info = loaded(), ObjectInfo({})
    assert found.known(None) is found
    assert found.known(info).info is info
    assert found.known(info).graph == found.graph


def test_a_prompt_is_unclear_as_long_as_definitions_may_tell() -> None:
    found = workflow("prompt_concatenated")
    assert found.unclear
    assert not found.known(recorded_info()).unclear
    assert not loaded().unclear


@pytest.mark.parametrize(
    ("title", "least"), [("", 1), ("optional:controlnet", 0), ("fixed: logo", 0), ("optional:thing", 1)]
)
def test_an_image_is_needed_unless_what_takes_it_is_optional(title: str, least: int) -> None:
    control = {"positive": ["p", 0], "negative": ["n", 0], "control_net": ["k", 0], "image": ["i", 0]}
    nodes: dict[str, NodeOf] = {
        "c": ("ControlNetApplyAdvanced", control),
        "i": ("LoadImage", {"image": "own.png"}),
        "k": ("ControlNetLoader", {"control_net_name": ""}),
        "s": ("KSampler", {**SAMPLER, "positive": ["c", 0], "negative": ["c", 1]}),
    }
    owner = {"optional:controlnet": "c", "fixed: logo": "i"}.get(title, "l")
    found = loaded(titles={owner: title}, **nodes)
    assert found.min_images == least
    assert found.images == (0 if title.startswith("fixed") else 1)


@pytest.mark.parametrize(
    ("size", "default"),
    [
        ((512, 768), (512, 768)),
        ((1, 1), (1, 1)),
        ((0, 512), None),
        ((512, 0), None),
        ((0, 0), None),
        ((512, "{{height}}"), None),
        (("{{width}}", 512), None),
    ],
)
def test_the_usual_size_is_the_workflows_own_where_it_has_one(size: Any, default: tuple[int, int] | None) -> None:
    rule = loaded(l=("EmptyLatentImage", {"width": size[0], "height": size[1]})).sizes
    assert isinstance(rule, FreeSizes)
    assert (rule.default, rule.multiple, rule.min_side) == (default, 8, 8)


def test_one_number_for_both_sides_has_square_sizes() -> None:
    found = loaded(l=("EmptyLatentImage", {"width": ["x", 0], "height": ["x", 0]}), x=("PrimitiveInt", {"value": 640}))
    rule = found.sizes
    assert isinstance(rule, FreeSizes)
    assert (rule.default, rule.max_ratio) == ((640, 640), 1.0)
    assert "width" in form(found)
    assert "aspect_ratio" not in form(found)


@pytest.mark.parametrize(("bounds", "highest"), [({"max": 65535}, 65535), ({}, 2**53 - 1), ({"max": 2**60}, 2**53 - 1)])
def test_seeds_are_those_that_the_node_takes(bounds: dict[str, int], highest: int) -> None:
    rule = loaded({"KSampler": {"input": {"required": {"seed": ["INT", bounds]}}}}).seeds
    assert (rule.highest, rule.drawn, rule.draw) == (highest, min(highest, 2**31 - 1), True)


def test_the_images_of_one_batch_share_their_seed() -> None:
    assert loaded().seeds.step == 1
    assert loaded(l=("EmptyLatentImage", {"width": 512, "height": 768, "batch_size": 1})).seeds.step == 0


def test_without_a_place_for_a_seed_none_is_drawn() -> None:
    assert not workflow("no_noise_manual_sigmas").seeds.draw


# The form


@pytest.mark.parametrize(
    ("name", "offered"), [("sd15_txt2img", True), ("sd15_img2img", True), ("upscale_with_model", False)]
)
def test_a_draft_is_offered_where_a_size_or_steps_can_be_halved(name: str, offered: bool) -> None:
    assert ("draft" in form(workflow(name))) is offered


@pytest.mark.parametrize(
    ("held", "name", "required"),
    [
        ("{{style}}", "style", True),
        ("{{style|ink}}", "style", False),
        ("{{n}}", "n", False),
        ("{{steps}}", "steps", True),
        ("{{negative_prompt}}", "negative_prompt", False),
    ],
)
def test_a_parameter_without_any_value_is_required(held: str, name: str, required: bool) -> None:
    assert form(loaded(x=("Mine", {"value": held})))[name].required is required


def test_an_empty_negative_prompt_of_the_workflow_is_not_required() -> None:
    rule = form(loaded(n=("CLIPTextEncode", {"text": ""})))["negative_prompt"]
    assert (rule.required, rule.default) == (False, None)


def test_what_every_form_ends_with_is_not_taken_from_the_workflow() -> None:
    found = loaded(x=("Mine", {"value": "{{output_quality|80}} {{timeout|5}}"}))
    assert form(found)["output_quality"] == RULES["output_quality"]
    assert list(form(found))[-4:] == ["output_format", "output_quality", "details", "timeout"]


@pytest.mark.parametrize(("titles", "offered"), [({}, False), ({"s": "input:denoising_strength.denoise"}, True)])
def test_a_strength_that_the_author_names_is_offered(titles: dict[str, str], offered: bool) -> None:
    assert ("denoising_strength" in form(loaded(titles=titles))) is offered


@pytest.mark.parametrize(
    ("own", "bounds", "expected"),
    [
        (20, {"min": 3, "max": 60}, (3, 60)),
        (2, {"min": 3, "max": 60}, (2, 60)),
        (70, {"min": 3, "max": 60}, (3, 70)),
        (20, {"max": 60}, (RULES["steps"].min, 60)),
        (20, {"min": 3}, (3, RULES["steps"].max)),
        (20, {"min": 3, "max": 2**53 - 1}, (3, 2**53 - 1)),
        (20, {"min": 3, "max": 2**53}, (RULES["steps"].min, RULES["steps"].max)),
    ],
)
def test_bounds_are_the_nodes_and_hold_the_workflows_own_value(
    own: int, bounds: dict[str, int], expected: tuple[float, float]
) -> None:
    info = {"KSampler": {"input": {"required": {"steps": ["INT", bounds]}}}}
    rule = form(loaded(info, s=("KSampler", {**SAMPLER, "steps": own})))["steps"]
    assert (rule.min, rule.max) == expected


def test_a_part_of_a_number_has_two_decimals() -> None:
    rule = form(loaded(titles={"x": "input:edge"}, x=("Mine", {"value": 0.5})))["edge"]
    assert (rule.type, rule.precision, rule.min, rule.max) == ("float", 2, None, None)


# What a server lacks, and what is told


def test_tokens_of_comfyui_in_a_files_name_are_no_strange_placeholders() -> None:
    loaded(o=("SaveImage", {"images": ["s", 0], "filename_prefix": "%width%"})).check()
    with pytest.raises(BadRequest, match="`text` is '%style%'"):
        loaded(p=("CLIPTextEncode", {"text": "%style%"})).check()


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (["b"], "it has b"),
        ([], "it has none"),
        ([str(n) for n in range(8)], "it has 0, 1, 2, 3, 4, 5, 6, 7"),
        ([str(n) for n in range(9)], "it has 0, 1, 2, 3, 4, 5, 6, 7 and 1 more"),
        ([str(n) for n in range(10)], "it has 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
    ],
)
def test_a_choice_that_the_server_lacks_is_told_with_some_that_it_has(choices: list[str], said: str) -> None:
    kinds = {kind for kind, _ in NODES.values()} - {"Loader"}
    loader = {"input": {"required": {"model_file": [choices]}}}
    info = {**{kind: {} for kind in kinds}, "SaveImage": {"output_node": True}, "Loader": loader}
    told = f"node m (Loader): `model_file` is 'a', which the server does not have ({said})"
    assert loaded(info).lacking() == (told,)


def test_a_file_that_is_uploaded_is_not_looked_for() -> None:
    graph = text_of("sd15_img2img.api.json").replace("v1-5-pruned-emaonly-fp16", "tiny-random-sd15")
    assert Workflow.load(graph, recorded_info()).lacking() == ()


def test_what_is_lacking_is_not_known_without_definitions() -> None:
    found = loaded(m=("VHS_Load", {}))
    assert (found.lacking(), found.packages()) == ((), ())


def test_the_extensions_of_classes_that_are_lacking_are_named_once_in_order() -> None:
    info = {"SaveImage": {"output_node": True}, "KSampler": {}, "CLIPTextEncode": {}, "EmptyLatentImage": {}}
    found = loaded(
        info, m=("VHS_Load", {"a": ["x", 0], "b": ["y", 0]}), x=("Any Switch (rgthree)", {}), y=("VHS_Other", {})
    )
    assert found.packages() == ("ComfyUI-VideoHelperSuite", "rgthree-comfy")
    assert len(found.lacking()) == 3


def test_everything_that_was_found_is_told() -> None:
    found = loaded(
        n=("ConditioningZeroOut", {"conditioning": ["p", 0]}),
        l=("VAEEncodeForInpaint", {"pixels": ["i", 0], "mask": ["k", 0]}),
        i=("LoadImage", {"image": "a.png"}),
        k=("LoadImageMask", {"image": "m.png", "channel": "red"}),
    )
    told = list(Workflow(found.graph, ("a remark",)).explained())
    assert told[0] == "`prompt` goes to node p (CLIPTextEncode) `text`"
    assert "input image 1 goes to node i (LoadImage) `image`" in told
    assert "the mask goes to node k (LoadImageMask)" in told
    why = "the negative side is switched off by node n (ConditioningZeroOut)"
    assert f"`negative_prompt` was not found: {why}" in told
    assert told[-1] == "a remark"
    unclear = list(workflow("prompt_concatenated").explained())
    assert any(sentence.startswith("`prompt` is unclear: the text of node 6") for sentence in unclear)
    assert not any("the mask goes" in sentence for sentence in unclear)

"""One value at a time put into a small graph."""

from datetime import UTC, datetime
from typing import Any

import pytest

from models.backends.comfyui.graph.fill import Filled
from models.backends.comfyui.graph.graph import Graph
from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest
from models.entities import ImageRequest
from tests.backends.comfyui.graphs import NodeOf, graph_of

KSAMPLER: dict[str, Any] = {
    "model": ["m", 0],
    "positive": ["p", 0],
    "negative": ["n", 0],
    "latent_image": ["l", 0],
    "seed": 5,
    "steps": 20,
    "cfg": 7.0,
}
NODES: dict[str, NodeOf] = {
    "m": ("CheckpointLoaderSimple", {"ckpt_name": "a"}),
    "p": ("CLIPTextEncode", {"text": "own words", "clip": ["m", 1]}),
    "n": ("CLIPTextEncode", {"text": "own negative ", "clip": ["m", 1]}),
    "l": ("EmptyLatentImage", {"width": 512, "height": 768, "batch_size": 1}),
    "s": ("KSampler", KSAMPLER),
    "o": ("SaveImage", {"images": ["s", 0], "filename_prefix": "out"}),
}
NOW = datetime(2026, 3, 4, 15, 6, 7, tzinfo=UTC)


def graph(info: Any = None, titles: Any = None, **nodes: NodeOf) -> Graph:
    found = graph_of(info, **{**NODES, **nodes})
    raw = found.raw()
    for node, title in (titles or {}).items():
        raw[node]["_meta"] = {"title": title}
    return Graph.of(raw, found.info)


def fill(found: Graph | None = None, **parts: Any) -> Filled:
    request = ImageRequest(**{"model": "m", "prompt": "a fox", **parts})
    return Workflow(found or graph()).filled(request, now=NOW)


def inputs(filled: Filled, node: str) -> Any:
    return filled.graph[node]["inputs"]


@pytest.mark.parametrize(
    ("asked", "steps", "size", "told"),
    [
        ({}, 10, (360, 544), "Draft: 10 steps instead of 20, half the pixels"),
        ({"steps": 9}, 4, (360, 544), "Draft: 4 steps instead of 9, half the pixels"),
        ({"steps": 1}, 1, (360, 544), "Draft: 1 steps instead of 1, half the pixels"),
        ({"width": 1024, "height": 1000}, 10, (728, 704), "Draft: 10 steps instead of 20, half the pixels"),
        ({"width": 8, "height": 8}, 10, (8, 8), "Draft: 10 steps instead of 20, half the pixels"),
    ],
)
def test_a_draft_has_half_the_pixels_and_steps(
    asked: dict[str, Any], steps: int, size: tuple[int, int], told: str
) -> None:
    filled = fill(**asked, extra={"draft": True})
    assert inputs(filled, "s")["steps"] == steps
    assert (inputs(filled, "l")["width"], inputs(filled, "l")["height"]) == size
    assert filled.notices == (told,)


def test_a_draft_without_a_size_halves_the_steps_alone() -> None:
    sized = graph(l=("LoadImage", {"image": "a.png"}))
    request = ImageRequest(model="m", prompt="a fox", extra={"draft": True})
    filled = Workflow(sized).filled(request, images=["a.png"], now=NOW)
    assert filled.notices == ("Draft: 10 steps instead of 20",)
    without = graph(s=("KSampler", {name: value for name, value in KSAMPLER.items() if name != "steps"}))
    assert fill(without, extra={"draft": True}).notices == ()
    assert fill(extra={"draft": False}).notices == ()


def test_a_draft_leaves_a_size_of_zero_to_the_workflow() -> None:
    filled = fill(graph(l=("EmptyLatentImage", {"width": 0, "height": 0, "batch_size": 1})), extra={"draft": True})
    assert (inputs(filled, "l")["width"], inputs(filled, "l")["height"]) == (0, 0)
    assert filled.notices == ("Draft: 10 steps instead of 20",)


@pytest.mark.parametrize(
    ("asked", "node", "name", "value"),
    [
        ({"prompt": "own words"}, "p", "text", "own words"),
        ({"negative_prompt": "own negative"}, "n", "text", "own negative "),
        ({"negative_prompt": "other"}, "n", "text", "other"),
        ({"negative_prompt": ""}, "n", "text", "own negative "),
        ({"width": 512}, "l", "width", 512),
        ({"width": 515}, "l", "width", 515),
        ({"n": 3}, "l", "batch_size", 3),
        ({"steps": 30}, "s", "steps", 30),
        ({"cfg_scale": 1.0}, "s", "cfg", 1.0),
        ({"extra": {"filename_prefix": "x"}}, "o", "filename_prefix", "x"),
    ],
)
def test_a_value_goes_to_its_place(asked: dict[str, Any], node: str, name: str, value: object) -> None:
    assert inputs(fill(**asked), node)[name] == value


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, ()),
        ({"negative_prompt": "x", "cfg_scale": 1.0}, ("The negative prompt has no effect: this workflow runs with a CFG scale of 1",)),
        ({"negative_prompt": "x", "cfg_scale": 2.0}, ()),
        ({"negative_prompt": "own negative ", "cfg_scale": 1.0}, ()),
        ({"sampler": "euler"}, ("`sampler` was not used: node s (KSampler) has none",)),
        ({"scheduler": "x", "denoising_strength": 0.5}, ("`scheduler` was not used: node s (KSampler) has none", "`denoising_strength` was not used: node s (KSampler) has none")),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_told(asked: dict[str, Any], told: tuple[str, ...]) -> None:
    assert fill(**asked).notices == told


def test_a_size_without_a_place_is_told() -> None:
    sized = graph(l=("LoadImage", {"image": "a.png"}))
    request = ImageRequest(model="m", prompt="a fox", width=64, height=64)
    told = Workflow(sized).filled(request, images=["a.png"], now=NOW).notices
    assert told == tuple(
        f"`{side}` was not used: it comes from the image of node l (LoadImage)" for side in ("width", "height")
    )


def test_a_negative_prompt_without_a_place_is_told() -> None:
    zero = graph(n=("ConditioningZeroOut", {"conditioning": ["p", 0]}))
    why = "the negative side is switched off by node n (ConditioningZeroOut)"
    assert fill(zero, negative_prompt="x").notices == (f"The negative prompt was not used: {why}",)
    assert fill(zero).notices == ()


def test_a_prompt_without_a_place_is_told() -> None:
    zero = graph(p=("ConditioningZeroOut", {}))
    said = "The workflow takes no prompt, the text was not used: no text leads to a sampler on this side"
    assert said in fill(zero).notices


@pytest.mark.parametrize(
    ("seeds", "reported"),
    [((7,), 7), ((), None)],
)
def test_the_seed_that_was_put_in_is_reported(seeds: tuple[int, ...], reported: int | None) -> None:
    filled = fill(seeds=seeds)
    assert filled.seed == reported
    assert inputs(filled, "s")["seed"] == (5 if reported is None else reported)


# Placeholders


@pytest.mark.parametrize(
    ("text", "asked", "value"),
    [
        ("{{steps}}", {"steps": 30}, 30),
        (" {{steps}} ", {"steps": 30}, 30),
        ("{{steps|12}}", {}, 12),
        ("{{steps|12}}", {"steps": 30}, 30),
        ("{{steps}} steps", {"steps": 30}, "30 steps"),
        ("{{flag|true}}!", {"extra": {"flag": True}}, "true!"),
        ("{{flag|x}}", {"extra": {"flag": False}}, False),
        ("a {{style|}} b", {}, "a  b"),
        ("{{negative_prompt}}", {}, ""),
        ("{{negative_prompt}}", {"negative_prompt": "x"}, "x"),
        ("{{prompt}}, {{prompt}}", {}, "a fox, a fox"),
        (["{{style|ink}}", {"a": "{{style}}"}, 5], {}, ["ink", {"a": "ink"}, 5]),
    ],
)
def test_a_placeholder_is_replaced(text: Any, asked: dict[str, Any], value: object) -> None:
    filled = fill(graph(x=("Mine", {"value": text})), **asked)
    assert inputs(filled, "x")["value"] == value


@pytest.mark.parametrize("own", ["{{image}}", "sub/{{image}}"])
def test_the_placeholder_of_an_image_that_is_fixed_stays(own: str) -> None:
    found = graph(titles={"x": "fixed: logo"}, x=("LoadImage", {"image": own}))
    assert inputs(fill(found), "x") == {"image": own}


def test_every_placeholder_without_a_value_is_named_once() -> None:
    lacking = graph(x=("Mine", {"a": "{{style}} {{mood}}", "b": "{{style}}"}))
    with pytest.raises(BadRequest) as refusal:
        fill(lacking)
    assert str(refusal.value) == (
        "The workflow asks for `style`, `mood`: no value was given. Set the parameter, or write {{name|default}}."
    )


# Optional nodes


LORA: dict[str, Any] = {
    "model": ["m", 0],
    "clip": ["m", 1],
    "lora_name": "",
    "strength_model": 1.0,
    "strength_clip": 1.0,
}
WITH_LORA: dict[str, NodeOf] = {
    "x": ("LoraLoader", LORA),
    "s": ("KSampler", {**KSAMPLER, "model": ["x", 0]}),
    "p": ("CLIPTextEncode", {"text": "own words", "clip": ["x", 1]}),
}


@pytest.mark.parametrize(
    ("own", "asked", "kept"),
    [("", {}, False), ("a", {}, True), ("", {"extra": {"lora": "b"}}, True), ("", {"extra": {"lora": ""}}, False)],
)
def test_an_optional_node_runs_where_its_parameter_has_a_value(own: str, asked: dict[str, Any], kept: bool) -> None:
    found = graph(titles={"x": " Optional : LORA "}, **{**WITH_LORA, "x": ("LoraLoader", {**LORA, "lora_name": own})})
    filled = fill(found, **asked)
    assert ("x" in filled.graph) is kept
    if not kept:
        assert inputs(filled, "s")["model"] == ["m", 0]
        assert inputs(filled, "p")["clip"] == ["m", 1]


def test_optional_nodes_in_a_row_are_all_left_out() -> None:
    second = ("LoraLoader", {**LORA, "model": ["x", 0], "clip": ["x", 1]})
    row = {**WITH_LORA, "y": second, "s": ("KSampler", {**KSAMPLER, "model": ["y", 0]})}
    filled = fill(graph(titles={"x": "optional:lora", "y": "optional:lora_2"}, **row))
    assert inputs(filled, "s")["model"] == ["m", 0]
    assert not {"x", "y"} & set(filled.graph)


def test_what_only_an_optional_node_needed_goes_too() -> None:
    control: dict[str, NodeOf] = {
        "c": ("ControlNetApplyAdvanced", {"positive": ["p", 0], "negative": ["n", 0], "control_net": ["k", 0], "image": ["e", 0], "strength": 1.0}),
        "k": ("ControlNetLoader", {"control_net_name": ""}),
        "e": ("Canny", {"image": ["i", 0]}),
        "i": ("LoadImage", {"image": "own.png"}),
        "s": ("KSampler", {**KSAMPLER, "positive": ["c", 0], "negative": ["c", 1]}),
    }  # fmt: skip
    filled = fill(graph(titles={"c": "optional:controlnet"}, **control))
    assert not {"c", "k", "e", "i"} & set(filled.graph)
    assert {"m", "p", "n"} <= set(filled.graph)
    assert (inputs(filled, "s")["positive"], inputs(filled, "s")["negative"]) == (["p", 0], ["n", 0])


INFO = {
    "Mine": {
        "input": {"required": {"a": ["INT"], "one": ["MODEL"], "two": ["MODEL"], "c": ["CLIP"]}},
        "output": ["MODEL", "CLIP", "VAE"],
    }
}


@pytest.mark.parametrize(
    ("slot", "links", "source"),
    [
        (0, {"one": ["m", 0], "two": ["q", 0]}, ["m", 0]),
        (0, {"two": ["m", 0]}, ["m", 0]),
        (1, {"one": ["q", 0], "c": ["m", 1]}, ["m", 1]),
        (2, {"one": ["m", 0]}, None),
        (3, {"one": ["m", 0]}, None),
    ],
)
def test_an_unknown_node_is_bypassed_by_the_type_of_its_output(slot: int, links: dict[str, Any], source: Any) -> None:
    nodes: dict[str, NodeOf] = {"x": ("Mine", {"a": 1, **links}), "s": ("KSampler", {**KSAMPLER, "model": ["x", slot]})}
    found = graph(INFO, {"x": "optional:thing"}, **nodes, q=("Other", {}))
    if source:
        assert inputs(fill(found), "s")["model"] == source
        return
    with pytest.raises(BadRequest) as refusal:
        fill(found)
    assert str(refusal.value) == (
        'The workflow\'s node x (Mine "optional:thing") is optional and cannot be left out: nothing of what it takes '
        f"can stand for its output {slot}. Take the title `optional:` off the node."
    )


# The number of images, and what a server wants


def test_a_workflow_without_a_batch_repeats_its_latent() -> None:
    latent = {"width": 512, "height": 768}
    filled = fill(graph(l=("EmptyLatentImage", latent)), n=2)
    assert filled.graph["added:1"] == {
        "inputs": {"samples": ["l", 0], "amount": 2},
        "class_type": "RepeatLatentBatch",
        "_meta": {"title": "Number of images"},
    }
    assert inputs(filled, "s")["latent_image"] == ["added:1", 0]
    assert "added:1" not in fill(graph(l=("EmptyLatentImage", latent)), n=1).graph
    assert "added:1" not in fill(n=2).graph


def test_a_number_of_images_without_a_place_is_told() -> None:
    one_node = graph_of(x=("Partner", {"prompt": "a"}), o=("SaveImage", {"images": ["x", 0]}))
    assert fill(one_node, n=2).notices == ("`n` was not used: the workflow has no field for the number of images",)
    assert fill(one_node, n=1).notices == ()


@pytest.mark.parametrize(
    ("options", "group", "value"),
    [
        ({"default": 5}, "required", 5),
        ({"default": 5}, "optional", None),
        ({}, "required", None),
        ({"default": 5, "forceInput": True}, "required", None),
        ({"default": None}, "required", None),
    ],
)
def test_a_required_value_that_a_newer_server_has_is_added(
    options: dict[str, Any], group: str, value: int | None
) -> None:
    info = {"SaveImage": {"input": {group: {"quality": ["INT", options]}}, "output_node": True}}
    assert inputs(fill(graph(info)), "o").get("quality") == value
    kept = graph(info, o=("SaveImage", {"images": ["s", 0], "quality": 9}))
    assert inputs(fill(kept), "o")["quality"] == 9


# File names


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("%date:yyyy-MM-dd%", "2026-03-04"),
        ("%date:yy-M-d%", "26-3-4"),
        ("%date:hh.mm.ss%", "15.06.07"),
        ("%date:h.m.s%", "15.6.7"),
        ("%s.seed%", "7"),
        ("%KSampler.seed%_%EmptyLatentImage.width%", "7_512"),
        ("%Named.seed%", "7"),
        ("%p.text%", "a_b_c"),
        ("%KSampler.gone%", "%KSampler.gone%"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("%nobody.seed%", "%nobody.seed%"),
        ("100 %", "100 %"),
        ("plain", "plain"),
    ],
)
def test_a_token_in_a_file_name_is_filled(prefix: str, name: str) -> None:
    found = graph(titles={"s": "Named"}, o=("SaveImage", {"images": ["s", 0], "filename_prefix": prefix}))
    assert inputs(fill(found, prompt='a/b"c', seeds=(7,)), "o")["filename_prefix"] == name


def test_only_prefixes_have_tokens() -> None:
    own = {"images": ["s", 0], "name": "%date:yyyy%", "my_prefix": "%date:yyyy%", "prefix_length": 5}
    assert inputs(fill(graph(o=("SaveImage", own))), "o") == {**own, "my_prefix": "2026"}


def test_a_date_is_that_of_today_where_none_is_given() -> None:
    found = graph(o=("SaveImage", {"images": ["s", 0], "filename_prefix": "%date:yyyy%"}))
    filled = Workflow(found).filled(ImageRequest(model="m", prompt="a fox"))
    assert int(inputs(filled, "o")["filename_prefix"]) >= NOW.year


def test_a_prefix_of_the_request_gets_dates_alone() -> None:
    asked = fill(extra={"filename_prefix": "%date:yyyy%_%KSampler.seed%"}, seeds=(7,))
    assert inputs(asked, "o")["filename_prefix"] == "2026_%KSampler.seed%"


# The list of sizes of a loader


@pytest.mark.parametrize(
    ("choices", "written"),
    [
        (["512 x 512", "width x height (custom)"], "width x height (custom)"),
        (["Custom", "512 x 512"], "Custom"),
        (["512 x 512", "自定义"], "自定义"),
        (["512 x 512"], "width x height (custom)"),
        (None, "width x height (custom)"),
    ],
)
def test_a_list_of_sizes_says_custom_for_a_size_of_the_request(choices: list[str] | None, written: str) -> None:
    info = {"easy comfyLoader": {"input": {"required": {"resolution": [choices]}}}} if choices else None
    loader = {"resolution": "512 x 512", "empty_latent_width": 512, "empty_latent_height": 512}
    found = graph(info, l=("easy comfyLoader", loader))
    assert inputs(fill(found, width=640), "l")["resolution"] == written
    assert inputs(fill(found), "l")["resolution"] == "512 x 512"
    assert "resolution" not in inputs(fill(width=640), "l")
    without = {name: value for name, value in loader.items() if name != "resolution"}
    sized = graph(info, l=("easy comfyLoader", without))
    assert inputs(fill(sized, width=640), "l") == {**without, "empty_latent_width": 640}


def test_a_size_that_is_written_as_text_says_custom_too() -> None:
    info = {"easy comfyLoader": {"input": {"required": {"resolution": ["STRING"]}}}}
    loader = {"resolution": "512 x 512", "empty_latent_width": 512, "empty_latent_height": 512}
    found = graph(info, l=("easy comfyLoader", loader))
    assert inputs(fill(found, width=640), "l")["resolution"] == "width x height (custom)"

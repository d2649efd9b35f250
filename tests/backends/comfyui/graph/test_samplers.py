"""Samplers, their settings and the model files behind them."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Graph, Link, Target
from models.backends.comfyui.graph.samplers import Sampler, find_files, find_samplers, find_settings, first_samplers
from tests.backends.comfyui.graphs import graph_of

SEED = {"seed": 5}
TEXTS = {"positive": ["p", 0], "negative": ["n", 0]}


def samplers(**nodes: tuple[str, dict[str, Any]]) -> list[Sampler]:
    return find_samplers(graph_of(**nodes), ["s"])


@pytest.mark.parametrize(
    ("inputs", "is_one"),
    [
        ({"guider": ["g", 0], "sigmas": ["x", 0]}, True),
        ({"guider": ["g", 0], "latent_image": ["x", 0]}, True),
        ({"guider": ["g", 0], **SEED}, False),
        ({"guider": "word", "sigmas": ["x", 0]}, False),
        ({"model": ["m", 0], **TEXTS, **SEED}, True),
        ({"model": ["m", 0], "positive": ["p", 0], "noise_seed": 5}, True),
        ({"model_high": ["m", 0], "conditioning": ["p", 0], **SEED}, True),
        ({"model": ["m", 0], **TEXTS}, False),
        ({"model": ["m", 0], "negative": ["n", 0], **SEED}, False),
        ({"model": "name", **TEXTS, **SEED}, False),
        ({**TEXTS, **SEED}, False),
        ({"my_model": ["m", 0], **TEXTS, **SEED}, False),
        ({"pipe": ["m", 0], "steps": 4, **SEED}, True),
        ({"basic_pipe": ["m", 0], "steps_total": 4, **SEED}, True),
        ({"pipe": ["m", 0], **SEED}, False),
        ({"pipe": ["m", 0], "steps": 4}, False),
        ({"steps": 4, **SEED}, False),
    ],
)
def test_a_sampler_is_known_by_its_inputs(inputs: dict[str, Any], is_one: bool) -> None:
    assert bool(samplers(s=("Extension", inputs))) is is_one


K = {"model": ["m", 0], **TEXTS, "seed": 5, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"}


def test_the_settings_of_one_node_are_its_own() -> None:
    (found,) = samplers(s=("KSampler", {**K, "denoise": 0.5, "latent_image": ["l", 0]}))
    names = {"seed": "seed", "cfg_scale": "cfg", "steps": "steps", "scheduler": "scheduler"}
    names |= {"denoising_strength": "denoise", "sampler": "sampler_name"}
    assert found.settings == {parameter: Target("s", name) for parameter, name in names.items()}
    assert found.sides == {"positive": Link("p", 0), "negative": Link("n", 0)}
    assert found.latent == Link("l", 0)


def test_what_a_sampler_lacks_is_told_with_the_reason() -> None:
    (found,) = samplers(s=("Mine", {"model": ["m", 0], **TEXTS, **SEED, "steps": ["gone", 0]}))
    assert found.settings["cfg_scale"] == "node s (Mine) has none"
    assert found.settings["steps"] == "node s (Mine) computes it from other nodes"
    assert found.latent is None


@pytest.mark.parametrize(
    ("adds", "seed"),
    [
        ("disable", "node s (KSamplerAdvanced) adds no noise"),
        (False, "node s (KSamplerAdvanced) adds no noise"),
        ("enable", Target("s", "seed")),
        (True, Target("s", "seed")),
    ],
)
def test_a_sampler_that_adds_no_noise_has_no_seed(adds: Any, seed: Target | str) -> None:
    (found,) = samplers(s=("KSamplerAdvanced", {**K, "add_noise": adds}))
    assert found.settings["seed"] == seed


@pytest.mark.parametrize(
    ("first", "last", "window"),
    [
        (0, 20, ()),
        (0, 10000, ()),
        (0, 15, (Target("s", "end_at_step", 0.75),)),
        (5, 10000, (Target("s", "start_at_step", 0.25),)),
        (1, 19, (Target("s", "start_at_step", 0.05), Target("s", "end_at_step", 0.95))),
    ],
)
def test_a_part_of_the_steps_is_a_share_of_them(first: int, last: int, window: tuple[Target, ...]) -> None:
    (found,) = samplers(s=("KSamplerAdvanced", {**K, "start_at_step": first, "end_at_step": last}))
    assert found.window == window


def test_the_parts_of_a_custom_sampler_stand_in_other_nodes() -> None:
    (found,) = samplers(
        s=("Custom", {"guider": ["g", 0], "sigmas": ["split", 1], "noise": ["r", 0], "sampler": ["c", 0]}),
        g=("CFGGuider", {"cfg": 4.0, **TEXTS}),
        split=("SplitSigmas", {"sigmas": ["b", 0], "step": 5}),
        b=("BasicScheduler", {"steps": 25, "scheduler": "simple", "denoise": 1.0}),
        r=("RandomNoise", {"noise_seed": 9}),
        c=("KSamplerSelect", {"sampler_name": "euler"}),
    )
    assert found.settings == {
        "seed": Target("r", "noise_seed"),
        "cfg_scale": Target("g", "cfg"),
        "steps": Target("b", "steps"),
        "scheduler": Target("b", "scheduler"),
        "denoising_strength": Target("b", "denoise"),
        "sampler": Target("c", "sampler_name"),
    }
    assert found.sides["positive"] == Link("p", 0)


@pytest.mark.parametrize(
    ("links", "sides"),
    [
        ({"pipe": ["b", 0]}, {"positive": Link("b", 0), "negative": Link("b", 0)}),
        ({"pipe": ["b", 0], "positive": ["p", 0]}, {"positive": Link("p", 0)}),
        ({"pipe": ["b", 0], "positive": ["p", 0], "negative": ["n", 0]}, {"positive": Link("p", 0), "negative": Link("n", 0)}),
    ],
)  # fmt: skip
def test_a_bundle_holds_both_sides_unless_one_is_named(links: dict[str, Any], sides: dict[str, Link]) -> None:
    (found,) = samplers(s=("Bundled", {**links, "steps": 4, **SEED}))
    assert found.sides == sides
    assert found.latent == Link("b", 0)


def two(first: dict[str, Any], second: dict[str, Any]) -> Graph:
    """A sampler, and another one that goes on from its result."""
    return graph_of(
        a=("KSampler", {**K, "denoise": 1.0, "latent_image": ["l", 0], **first}),
        s=("KSampler", {**K, "denoise": 0.5, "latent_image": ["a", 0], **second}),
        l=("EmptyLatentImage", {"width": 64, "height": 64}),
    )


def test_the_first_samplers_are_those_that_no_other_feeds() -> None:
    graph = two({}, {})
    found = find_samplers(graph, ["s"])
    assert [one.node.id for one in found] == ["s", "a"]
    assert [one.node.id for one in first_samplers(graph, found)] == ["a"]


def findings(graph: Graph) -> Any:
    found = find_samplers(graph, ["s"])
    first = first_samplers(graph, found)
    return find_settings(graph, [*first, *(one for one in found if one not in first)], first)


def test_equal_settings_of_several_samplers_are_set_together() -> None:
    found = findings(two({}, {"steps": 14, "cfg": 5.0, "seed": 6}))
    assert found.places["steps"] == [Target("a", "steps")]
    assert found.places["cfg_scale"] == [Target("a", "cfg")]
    assert found.places["sampler"] == [Target("a", "sampler_name"), Target("s", "sampler_name")]
    assert found.places["seed"] == [Target("a", "seed"), Target("s", "seed")]
    assert found.kept == {Target("s", "steps"): "node s (KSampler) keeps its own `steps` 14"}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("first", "second", "chosen", "kept"),
    [
        (1.0, 0.5, "s", {}),
        (0.6, 0.5, "a", {"s": "node s (KSampler) keeps its own strength 0.5"}),
        (1.0, 1.0, "a", {}),
        (0.99, 1.0, "a", {}),
    ],
)
def test_the_strength_is_that_of_the_first_sampler_that_repaints(
    first: float, second: float, chosen: str, kept: dict[str, str]
) -> None:
    found = findings(two({"denoise": first}, {"denoise": second}))
    assert found.places["denoising_strength"] == [Target(chosen, "denoise")]
    assert found.kept == {Target(node, "denoise"): words for node, words in kept.items()}


def test_samplers_side_by_side_are_told() -> None:
    graph = graph_of(a=("KSampler", K), b=("KSampler", K), s=("Join", {"x": ["a", 0], "y": ["b", 0]}))
    found = find_samplers(graph, ["s"])
    told = find_settings(graph, found, first_samplers(graph, found)).notes
    assert told == ("node a (KSampler) and node b (KSampler) each make an image of their own",)


def files(**nodes: tuple[str, dict[str, Any]]) -> dict[str, list[str]]:
    graph = graph_of(**nodes)
    found = find_samplers(graph, ["s"])
    places = find_files(graph, ["s"], first_samplers(graph, found)).places
    return {name: [f"{place.node}.{place.input}" for place in group] for name, group in places.items()}


def lora(model: str, strength: float, clip: float) -> tuple[str, dict[str, Any]]:
    inputs = {
        "lora_name": f"{model}.safetensors",
        "strength_model": strength,
        "strength_clip": clip,
        "model": [model, 0],
    }
    return "LoraLoader", inputs


def test_files_are_numbered_from_the_second_on_and_strengths_follow_their_lora() -> None:
    found = files(
        s=("KSampler", {**K, "model": ["l2", 0]}),
        l2=lora("l1", 0.5, 0.4),
        l1=lora("m", 1.0, 1.0),
        m=("CheckpointLoaderSimple", {"ckpt_name": "a"}),
    )
    assert found == {
        "lora": ["l2.lora_name"],
        "lora_strength": ["l2.strength_model"],
        "lora_clip_strength": ["l2.strength_clip"],
        "lora_2": ["l1.lora_name"],
        "lora_strength_2": ["l1.strength_model", "l1.strength_clip"],
        "checkpoint": ["m.ckpt_name"],
    }


def test_a_strength_of_texts_without_one_of_the_model_is_its_own() -> None:
    found = files(s=("KSampler", {**K, "model": ["l", 0]}), l=("LoraLoader", {"strength_clip": 1.0, "model": ["m", 0]}))
    assert found == {"lora_clip_strength": ["l.strength_clip"]}
    linked = lora("m", 1.0, 1.0)[1] | {"strength_model": ["x", 0]}
    found = files(s=("KSampler", {**K, "model": ["l", 0]}), l=("LoraLoader", linked), x=("Value", {"value": 1.0}))
    assert found == {"lora": ["l.lora_name"], "lora_strength": ["x.value"], "lora_clip_strength": ["l.strength_clip"]}


def test_a_file_that_several_nodes_share_is_one_parameter() -> None:
    found = files(
        s=("KSampler", {**K, "model": ["u", 0], "latent_image": ["w", 0]}),
        u=("UNETLoader", {"unet_name": ["name", 0]}),
        w=("UNETLoader", {"unet_name": ["name", 0]}),
        name=("PrimitiveString", {"value": "a.safetensors"}),
    )
    assert found == {"unet": ["name.value"]}

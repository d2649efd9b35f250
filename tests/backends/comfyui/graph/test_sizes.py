"""Which nodes set width, height and number of images, and what follows them."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Link, Target
from models.backends.comfyui.graph.samplers import find_samplers, first_samplers
from models.backends.comfyui.graph.sizes import Sizes, find_sizes
from tests.backends.comfyui.graphs import NodeOf, graph_of

LATENT: NodeOf = ("EmptyLatentImage", {"width": 512, "height": 768, "batch_size": 1})
SAMPLER: NodeOf = (
    "KSampler",
    {"model": ["m", 0], "positive": ["p", 0], "negative": ["n", 0], "seed": 5, "latent_image": ["l", 0]},
)


def sizes(**nodes: NodeOf) -> Sizes:
    graph = graph_of(**{"o": ("SaveImage", {"images": ["s", 0]}), "s": SAMPLER, "l": LATENT, **nodes})
    first = first_samplers(graph, find_samplers(graph, ["o"]))
    return find_sizes(graph, ["o"], [one.latent for one in first if one.latent])


def places(found: Sizes) -> dict[str, list[str]]:
    return {
        name: [f"{p.node}.{p.input}" + (f" x{p.scale:g}" if p.scale != 1 else "") for p in group]
        for name, group in found.found.places.items()
    }


OWN = {"width": ["l.width"], "height": ["l.height"], "n": ["l.batch_size"]}


def test_an_empty_latent_sets_all_three() -> None:
    found = sizes()
    assert places(found) == OWN
    assert (found.latent, found.from_image, found.multiple, found.square) == (Link("l", 0), False, 8, False)
    assert (found.found.missing, found.found.ambiguous) == ({}, {})


@pytest.mark.parametrize(
    ("kind", "multiple"),
    [
        ("EmptyLatentImage", 8),
        ("EmptyImage", 1),
        ("EmptySD3LatentImage", 16),
        ("Somebodys Latent", 16),
        ("Somebodys Sizes", 8),
    ],
)
def test_newer_latents_take_multiples_of_16(kind: str, multiple: int) -> None:
    assert sizes(l=(kind, LATENT[1])).multiple == multiple


def test_without_a_size_multiples_of_8_are_usual() -> None:
    found = sizes(l=("LoadImage", {"image": "a.png"}))
    assert found.multiple == 8
    assert found.found.missing == dict.fromkeys(
        ("width", "height", "n"), "it comes from the image of node l (LoadImage)"
    )


@pytest.mark.parametrize("name", ["image", "video"])
def test_the_size_of_a_file_is_not_set(name: str) -> None:
    why = sizes(l=("Loader", {name: "a.mp4"})).found.missing["width"]
    assert why == "it comes from the image of node l (Loader)"
    assert sizes(l=("Loader", {name: 5})).found.missing["width"] == "node l (Loader) has no such field that is known"


def test_a_size_out_of_other_nodes_is_told() -> None:
    found = sizes(
        l=("EmptyLatentImage", {"width": ["x", 0], "height": ["x", 1], "batch_size": ["x", 2]}), x=("Picker", {})
    )
    assert set(found.found.missing.values()) == {"node l (EmptyLatentImage) takes it from other nodes"}


@pytest.mark.parametrize(
    ("inputs", "kind", "count"),
    [
        ({"width": 8, "height": 8}, "EmptyLatentImage", None),
        ({"width": 8, "height": 8, "batch_size": 2}, "Mine", "l.batch_size"),
        ({"empty_latent_width": 8, "empty_latent_height": 8, "batch_size": 2}, "Efficient Loader", "l.batch_size"),
    ],
)
def test_the_number_of_images_is_the_batch_of_the_latent(inputs: dict[str, Any], kind: str, count: str | None) -> None:
    assert places(sizes(l=(kind, inputs))).get("n") == ([count] if count else None)


def test_a_repeated_latent_counts_where_it_has_no_batch_of_its_own() -> None:
    repeat: NodeOf = ("RepeatLatentBatch", {"samples": ["l", 0], "amount": 3})
    again: NodeOf = (SAMPLER[0], {**SAMPLER[1], "latent_image": ["r", 0]})
    assert places(sizes(s=again, r=repeat))["n"] == ["l.batch_size"]
    assert places(sizes(s=again, r=repeat, l=("EmptyLatentImage", {"width": 8, "height": 8})))["n"] == ["r.amount"]


ENCODED: dict[str, NodeOf] = {"l": ("VAEEncode", {"pixels": ["i", 0], "vae": ["m", 2]})}


@pytest.mark.parametrize(
    ("start", "from_image"),
    [
        (("LoadImage", {"image": "a.png"}), True),
        (("EmptyImage", {"width": 64, "height": 64}), False),
    ],
)
def test_an_image_behind_the_latent_is_repainted(start: NodeOf, from_image: bool) -> None:
    assert sizes(**ENCODED, i=start).from_image is from_image


def test_an_image_without_an_encoder_is_not_repainted() -> None:
    assert sizes(l=("LoadImage", {"image": "a.png"})).from_image is False


def test_what_repeats_or_enlarges_the_size_follows_it() -> None:
    found = sizes(
        o=("SaveImage", {"images": ["big", 0]}),
        big=("ImageScale", {"image": ["s", 0], "width": 1024, "height": 0}),
        p=("CLIPTextEncodeSDXL", {"width": 2048, "height": 768, "target_width": 512, "target_height": ["gone", 0]}),
        side=("ImageScale", {"image": ["other", 0], "width": 100, "height": 100}),
    )
    assert places(found) == {
        "width": ["l.width", "big.width x2", "p.width x4", "p.target_width"],
        "height": ["l.height", "p.height"],
        "n": ["l.batch_size"],
    }


def test_a_size_that_a_linked_number_sets_follows_too() -> None:
    found = sizes(
        o=("SaveImage", {"images": ["big", 0]}),
        big=("ImageScale", {"image": ["s", 0], "width": ["v", 0], "height": "{{tall}}"}),
        v=("PrimitiveInt", {"value": 1024}),
    )
    assert places(found) == {**OWN, "width": ["l.width", "v.value x2"]}


def test_a_node_that_several_outputs_share_follows_once() -> None:
    big: NodeOf = ("ImageScale", {"image": ["l", 0], "width": 1024, "height": 0})
    graph = graph_of(l=LATENT, big=big, o=("Save", {"images": ["big", 0]}), q=("Save", {"images": ["big", 0]}))
    found = find_sizes(graph, ["o", "q"], [Link("l", 0)])
    assert places(found)["width"] == ["l.width", "big.width x2"]


def test_a_node_with_a_width_alone_does_not_set_the_size() -> None:
    found = sizes(l=("Mine", {"width": 512}))
    assert found.found.missing["width"] == "node l (Mine) has no such field that is known"


def test_a_repeated_image_has_its_own_size() -> None:
    found = sizes(
        s=(SAMPLER[0], {**SAMPLER[1], "latent_image": ["r", 0]}),
        r=("RepeatLatentBatch", {"samples": ["l", 0], "amount": 3}),
        l=("LoadImage", {"image": "a.png"}),
    )
    assert places(found) == {"n": ["r.amount"]}
    assert found.found.missing["width"] == "it comes from the image of node l (LoadImage)"


def test_nothing_follows_a_placeholder() -> None:
    found = sizes(
        o=("SaveImage", {"images": ["big", 0]}),
        l=("EmptyLatentImage", {"width": "{{width}}", "height": 8}),
        big=("ImageScale", {"image": ["s", 0], "width": 1024, "height": 1}),
    )
    assert places(found) == {"width": ["l.width"], "height": ["l.height", "big.height x0.125"]}


@pytest.mark.parametrize(("own", "followers"), [(0, 0), (1, 1), (2, 1), (512, 1)])
def test_nothing_follows_a_size_of_zero(own: int, followers: int) -> None:
    found = sizes(
        o=("SaveImage", {"images": ["big", 0]}),
        l=("EmptyLatentImage", {"width": own, "height": 8}),
        big=("ImageScale", {"image": ["s", 0], "width": 1024, "height": 0}),
    )
    share = f" x{1024 // own}" if own else ""
    assert places(found)["width"] == ["l.width", f"big.width{share}"][: 1 + followers]


def test_images_of_several_sizes_keep_their_proportion() -> None:
    nodes: dict[str, NodeOf] = {
        "o": ("Join", {"images": ["s", 0], "b": ["t", 0]}),
        "t": (SAMPLER[0], {**SAMPLER[1], "latent_image": ["k", 0]}),
        "k": ("EmptySD3LatentImage", {"width": 256, "height": 768, "batch_size": 2}),
    }
    found = sizes(**nodes)
    assert places(found) == {
        "width": ["l.width", "k.width x0.5"],
        "height": ["l.height", "k.height"],
        "n": ["l.batch_size", "k.batch_size"],
    }
    assert found.multiple == 16


@pytest.mark.parametrize("base", [0, "{{width}}"])
def test_a_second_image_has_no_proportion_to_an_unknown_size(base: object) -> None:
    nodes: dict[str, NodeOf] = {
        "o": ("Join", {"images": ["s", 0], "b": ["t", 0]}),
        "t": (SAMPLER[0], {**SAMPLER[1], "latent_image": ["k", 0]}),
        "l": ("EmptyLatentImage", {"width": base, "height": 512}),
        "k": ("EmptyLatentImage", {"width": 256, "height": 256}),
    }
    assert places(sizes(**nodes)) == {"width": ["l.width", "k.width"], "height": ["l.height", "k.height x0.5"]}


def test_one_number_for_both_sides_makes_squares() -> None:
    found = sizes(
        l=("EmptyLatentImage", {"width": ["x", 0], "height": ["x", 0], "batch_size": 1}),
        x=("PrimitiveInt", {"value": 512}),
        p=("CLIPTextEncodeSDXL", {"width": 1024, "height": 1024, "target_width": 512, "target_height": 512}),
    )
    assert found.square
    assert places(found)["width"] == ["x.value", "p.width x2", "p.target_width", "p.height x2", "p.target_height"]
    assert found.found.missing == {"height": "node x (PrimitiveInt) sets both sides, so it follows `width`"}
    assert found.found.places["width"][0] == Target("x", "value")


def test_a_loop_on_the_way_of_the_image_ends() -> None:
    found = sizes(l=("Passes", {"samples": ["k", 0]}), k=("Passes", {"samples": ["l", 0]}))
    assert found.found.missing["width"] == "node k (Passes) has no such field that is known"


def test_a_workflow_without_outputs_has_no_size() -> None:
    found = find_sizes(graph_of(), [], [])
    assert found.found.missing == dict.fromkeys(("width", "height", "n"), "no node of this workflow sets it")
    assert (found.latent, found.multiple, found.from_image) == (None, 8, False)

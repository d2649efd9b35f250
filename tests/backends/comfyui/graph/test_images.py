"""Where input images and masks come in, and how the uploaded files are put there."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Graph, Link, Target
from models.backends.comfyui.graph.images import (
    MaskSlot,
    base64_input,
    fill_images,
    fill_mask,
    find_images,
    loads_image,
)
from models.backends.errors import BadRequest
from models.entities import InputImage
from tests.backends.comfyui.graphs import NodeOf, graph_of
from tests.fakes import image_file

OPAQUE = InputImage(image_file(), "image/png")
CLEAR = InputImage(image_file(mode="RGBA", colour=(1, 2, 3, 0)), "image/png")
LOAD: NodeOf = ("LoadImage", {"image": "own.png"})
UPLOADS = {
    "required": {
        "picture": [["own.png"], {"image_upload": True}],
        "kept": [["a"], {"image_upload": True, "image_folder": "output"}],
    }
}


def titled(graph: Graph, **titles: str) -> Graph:
    raw = graph.raw()
    for node, title in titles.items():
        raw[node]["_meta"] = {"title": title}
    return Graph.of(raw, graph.info)


def found(graph: Graph) -> tuple[list[str], MaskSlot | None, list[str]]:
    images, mask, notes = find_images(graph, ["o"])
    return [f"{place.node}.{place.input}" for place in images], mask, notes


@pytest.mark.parametrize(
    ("node", "place"),
    [
        (("LoadImage", {"image": "a.png"}), "i.image"),
        (("LoadImage", {"image": ["x", 0]}), None),
        (("LoadImage", {}), None),
        (("ETN_LoadImageBase64", {"image": "AAAA"}), "i.image"),
        (("FromBase64", {"my_base64": "AAAA"}), "i.my_base64"),
        (("FromBase64", {"name": "x", "image": "AAAA"}), "i.image"),
        (("FromBase64", {"data": "AAAA"}), "i.data"),
        (("FromBase64", {"name": "AAAA"}), None),
        (("FromBase64", {"image": 5}), None),
        (("FromBase64", {"image": "AAAA", "other": ["x", 0]}), None),
        (("Loader", {"image": "a.png"}), None),
    ],
)
def test_a_loader_is_known_by_our_list_or_its_name(node: NodeOf, place: str | None) -> None:
    graph = graph_of(i=node, o=("SaveImage", {"images": ["i", 0]}))
    assert found(graph)[0] == ([place] if place else [])


@pytest.mark.parametrize(
    ("outputs", "taken"),
    [(["IMAGE"], True), (["IMAGE", "MASK"], True), (["STRING"], False), (["STRING", "IMAGE"], False), ([], False)],
)
def test_a_base64_node_that_gives_something_else_is_no_loader(outputs: list[str], taken: bool) -> None:
    graph = graph_of({"ToBase64": {"output": outputs}}, i=("ToBase64", {"image": "AAAA"}))
    assert base64_input(graph, graph.nodes["i"]) == ("image" if taken else None)


def test_the_servers_definition_names_the_inputs_of_uploads() -> None:
    info = {"Picker": {"input": UPLOADS}, "LoadImage": {"input": {"required": {"image": [["own.png"]]}}}}
    graph = graph_of(
        info,
        i=("Picker", {"picture": "own.png", "kept": "a"}),
        k=LOAD,
        o=("Save", {"a": ["i", 0], "b": ["k", 0]}),
    )
    assert found(graph)[0] == ["i.picture"]


@pytest.mark.parametrize(
    ("kind", "loads"),
    [("LoadImage", True), ("LoadImageMask", True), ("ETN_LoadImageBase64", True), ("EmptyImage", False)],
)
def test_a_node_that_reads_an_image_is_known(kind: str, loads: bool) -> None:
    assert loads_image(graph_of(a=(kind, {"image": "own.png"})).nodes["a"]) is loads


def test_images_are_ordered_by_the_number_in_their_title_then_by_id() -> None:
    nodes: dict[str, NodeOf] = dict.fromkeys(("2", "10", "3", "4", "5"), LOAD)
    graph = graph_of(**nodes, o=("Save", {f"i{key}": [key, 0] for key in nodes}))
    assert found(graph)[0] == [f"{key}.image" for key in ("2", "3", "4", "5", "10")]
    ordered = titled(graph, **{"10": "Image 1", "5": "no 2 of 9", "3": " FIXED logo", "4": "not fixed"})
    assert found(ordered)[0] == ["10.image", "5.image", "2.image", "4.image"]


USES_MASK: NodeOf = ("SetLatentNoiseMask", {"samples": ["l", 0], "mask": ["i", 1]})


@pytest.mark.parametrize(
    ("nodes", "mask", "images"),
    [
        ({"o": ("Save", {"x": ["i", 0]})}, None, 1),
        ({"o": ("Save", {"x": ["i", 0], "mask": ["i", 1]})}, MaskSlot("alpha", "i", Link("i", 1), takes_image=True), 1),
        ({"o": ("Save", {"mask": ["i", 1]})}, MaskSlot("alpha", "i", Link("i", 1)), 0),
        (
            {"o": ("Save", {"x": ["m", 0]}), "m": ("ImageToMask", {"image": ["i", 0]})},
            MaskSlot("image", "i", Link("m", 0)),
            0,
        ),
        ({"o": ("Save", {"x": ["m", 0], "y": ["i", 0]}), "m": ("ImageToMask", {"image": ["i", 0]})}, None, 1),
        (
            {"i": ("LoadImageMask", {"image": "m.png", "channel": "red"}), "o": ("Save", {"x": ["i", 0]})},
            MaskSlot("file", "i", Link("i", 0)),
            0,
        ),
        (
            {"o": ("Save", {"x": ["n", 0]}), "n": ("InvertMask", {"mask": ["i", 1]})},
            MaskSlot("alpha", "i", Link("i", 1), inverted=True),
            0,
        ),
        (
            {
                "o": ("Save", {"x": ["k", 0]}),
                "k": ("InvertMask", {"mask": ["n", 0]}),
                "n": ("InvertMask", {"mask": ["i", 1]}),
            },
            MaskSlot("alpha", "i", Link("i", 1)),
            0,
        ),
        (
            {
                "o": ("Save", {"x": ["k", 0]}),
                "k": ("InvertMask", {"masks": ["n", 0]}),
                "n": ("GrowMask", {"mask": ["i", 1]}),
            },
            MaskSlot("alpha", "i", Link("i", 1), inverted=True),
            0,
        ),
        (
            {"o": ("Save", {"x": ["s", 0]}), "s": USES_MASK, "n": ("InvertMask", {"mask": ["i", 1]})},
            MaskSlot("alpha", "i", Link("i", 1)),
            0,
        ),
        (
            {
                "o": ("Save", {"x": ["n", 0]}),
                "n": ("InvertMask", {"mask": ["s", 0]}),
                "s": USES_MASK,
            },
            MaskSlot("alpha", "i", Link("i", 1)),
            0,
        ),
        (
            {
                "o": ("Save", {"x": ["n", 0]}),
                "n": ("InvertMask", {"mask": ["g", 0]}),
                "g": ("Grow", {"mask": ["i", 1]}),
            },
            MaskSlot("alpha", "i", Link("i", 1)),
            0,
        ),
    ],
)
def test_a_mask_is_found_with_its_kind(nodes: dict[str, NodeOf], mask: MaskSlot | None, images: int) -> None:
    place, slot, notes = found(graph_of(**{"i": LOAD, **nodes}))
    assert (slot, len(place), notes) == (mask, images, [])


def test_a_ring_of_masks_ends() -> None:
    ring: dict[str, NodeOf] = {
        "a": ("InvertMask", {"mask": ["i", 1]}),
        "i": ("LoadImage", {"image": "x", "mask": ["a", 0]}),
    }
    _, slot, _ = found(graph_of(**ring, o=("Save", {"x": ["a", 0]})))
    assert slot is not None


def test_a_second_mask_stays_as_it_is() -> None:
    masks: dict[str, NodeOf] = {key: ("LoadImageMask", {"image": "m.png"}) for key in ("1", "2")}
    _, slot, notes = found(graph_of(**masks, o=("Save", {"x": ["1", 0], "y": ["2", 0]})))
    assert slot is not None
    assert (slot.node, notes) == ("1", ["node 2 (LoadImageMask) keeps its own mask"])


# Putting the files in


def filled(graph: Graph, *names: str) -> tuple[dict[str, Any], list[str]]:
    raw = graph.raw()
    slots = [Target(node.id, "image") for node in graph.nodes.values() if node.class_type == "LoadImage"]
    notices = fill_images(raw, graph, slots, names)
    return dict(raw), notices


def test_too_many_images_are_counted() -> None:
    graph = graph_of(i=LOAD, o=("Save", {"x": ["i", 0]}))
    with pytest.raises(BadRequest) as refusal:
        filled(graph, "a.png", "b.png")
    assert str(refusal.value) == (
        "The workflow takes 1 input images and got 2. "
        "Send fewer images, or set the parameter that switches on the node for the further one."
    )
    assert filled(graph, "a.png")[0]["i"]["inputs"] == {"image": "a.png"}


ENCODER = "TextEncodeQwenImageEditPlus"


@pytest.mark.parametrize(
    ("user", "info", "cut"),
    [
        ((ENCODER, {"image1": ["i", 0]}), None, True),
        ((ENCODER, {"other": ["i", 0]}), None, False),
        (("Other", {"image1": ["i", 0]}), None, False),
        ((ENCODER, {"image1": ["i", 0]}), {ENCODER: {"input": {"required": {"image1": ["IMAGE"]}}}}, False),
        (("Other", {"x": ["i", 0]}), {"Other": {"input": {"optional": {"x": ["IMAGE"]}}}}, True),
        ((ENCODER, {"image1": ["i", 0], "other": ["i", 0]}), None, False),
    ],
)
def test_an_image_that_was_not_given_is_cut_off_where_its_users_do_without(
    user: NodeOf, info: dict[str, Any] | None, cut: bool
) -> None:
    raw, notices = filled(graph_of(info, i=LOAD, u=user))
    assert ("i" in raw) is not cut
    if cut:
        assert (raw["u"]["inputs"], notices) == ({}, [])
    else:
        assert notices == ["No image was given for node i (LoadImage): the workflow's own 'own.png' was used"]


def test_a_loader_that_nobody_uses_keeps_its_file() -> None:
    raw, notices = filled(graph_of(i=("LoadImage", {"image": "x" * 80})))
    assert raw["i"]["inputs"] == {"image": "x" * 80}
    assert notices == [f"No image was given for node i (LoadImage): the workflow's own {'x' * 60!r} was used"]


@pytest.mark.parametrize("own", ["", "{{image}}"])
def test_a_loader_without_a_file_needs_one(own: str) -> None:
    with pytest.raises(BadRequest, match=r"needs an image for node i \(LoadImage\)\. Send an image with the message"):
        filled(graph_of(i=("LoadImage", {"image": own}), u=("Other", {"x": ["i", 0]})))


ALPHA = MaskSlot("alpha", "i", Link("i", 1), takes_image=True)
SECOND = MaskSlot("alpha", "i", Link("i", 1))
FILE = MaskSlot("file", "f", Link("f", 0))
MASKED = graph_of(
    i=LOAD, f=("LoadImageMask", {"image": "m.png", "channel": "alpha"}), u=("Use", {"mask": ["i", 1], "m": ["f", 0]})
)


def masked(
    slot: MaskSlot | None, image: InputImage = OPAQUE, names: tuple[str, ...] = ("a.png",), mask: str | None = None
) -> Any:
    raw = MASKED.raw()
    fill_mask(raw, slot, [image], names, mask)
    return raw


def test_a_mask_is_read_from_its_own_file() -> None:
    assert masked(FILE, mask="w.png")["f"]["inputs"] == {"image": "w.png", "channel": "red"}
    raw = masked(ALPHA, mask="w.png")
    assert raw["added:1"] == {
        "class_type": "LoadImageMask",
        "inputs": {"image": "w.png", "channel": "red"},
        "_meta": {"title": "Mask"},
    }
    assert raw["u"]["inputs"] == {"mask": ["added:1", 0], "m": ["f", 0]}


def test_an_inverted_mask_is_turned_round() -> None:
    raw = masked(MaskSlot("file", "f", Link("f", 0), inverted=True), mask="w.png")
    assert raw["u"]["inputs"]["m"] == ["added:1", 0]
    assert (raw["added:1"]["class_type"], raw["added:1"]["inputs"]) == ("InvertMask", {"mask": ["f", 0]})
    raw = masked(MaskSlot("alpha", "i", Link("i", 1), inverted=True), mask="w.png")
    assert raw["u"]["inputs"]["mask"] == ["added:2", 0]
    assert raw["added:2"]["inputs"] == {"mask": ["added:1", 0]}


def test_without_a_mask_the_transparent_part_counts() -> None:
    assert masked(ALPHA, CLEAR) == MASKED.raw()
    assert masked(SECOND, CLEAR)["added:1"]["inputs"] == {"image": "a.png", "channel": "alpha"}
    assert masked(FILE, CLEAR)["f"]["inputs"] == {"image": "a.png", "channel": "alpha"}


@pytest.mark.parametrize("slot", [ALPHA, SECOND, FILE])
def test_nothing_to_repaint_is_refused(slot: MaskSlot) -> None:
    with pytest.raises(BadRequest, match="repaints a masked area and got no mask"):
        masked(slot)
    assert masked(slot, names=()) == MASKED.raw()


@pytest.mark.parametrize("slot", [None, MaskSlot("file", "gone", Link("gone", 0))])
def test_a_mask_that_has_no_place_is_refused(slot: MaskSlot | None) -> None:
    with pytest.raises(BadRequest, match="The workflow takes no mask"):
        masked(slot, mask="w.png")
    assert masked(slot) == MASKED.raw()

"""From a sampler to the texts of its two sides."""

from typing import Any

import pytest

from models.backends.comfyui.graph.graph import Findings, Target
from models.backends.comfyui.graph.prompts import find_prompts
from models.backends.comfyui.graph.samplers import find_samplers, first_samplers
from tests.backends.comfyui.graphs import NodeOf, graph_of

FOX: NodeOf = ("CLIPTextEncode", {"text": "a fox", "clip": ["c", 0]})
BLUR: NodeOf = ("CLIPTextEncode", {"text": "blur", "clip": ["c", 0]})


def sampler(positive: Any = ("p", 0), negative: Any = ("n", 0), **more: Any) -> NodeOf:
    sides = {"positive": positive, "negative": negative}
    links = {side: list(link) for side, link in sides.items() if link}
    return "KSampler", {"model": ["m", 0], "seed": 5, **links, **more}


def prompts(info: Any = None, **nodes: NodeOf) -> Findings:
    graph = graph_of(info, **{"s": sampler(), "p": FOX, "n": BLUR, **nodes})
    found = find_samplers(graph, ["s"])
    first = first_samplers(graph, found)
    return find_prompts(graph, [*first, *(one for one in found if one not in first)], first)


def places(found: Findings) -> dict[str, list[str]]:
    return {name: [f"{place.node}.{place.input}" for place in group] for name, group in found.places.items()}


BOTH = {"prompt": ["p.text"], "negative_prompt": ["n.text"]}


def test_each_side_has_its_text() -> None:
    found = prompts()
    assert places(found) == BOTH
    assert (found.missing, found.ambiguous, found.notes, found.kept) == ({}, {}, (), {})


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (("Passes", {"conditioning": ["p", 0]}), ["p.text"]),
        (("Passes", {"conditioning": ["p", 0], "negative": ["n", 0]}), ["p.text"]),
        (("Passes", {"conditioning": ["n", 0], "positive": ["p", 0]}), ["p.text"]),
        (("Passes", {"pipe": ["t", 0], "basic_pipe": ["p", 0]}), None),
        (("Passes", {"cond_a": ["p", 0], "strength": 1.0}), ["p.text"]),
        (("Passes", {"pos_x": ["p", 0], "neg_x": ["n", 0]}), ["p.text"]),
        (("Passes", {"anything": ["p", 0]}), ["p.text"]),
        (("Passes", {"anything": ["p", 0], "other": ["n", 0]}), None),
        (("Passes", {"anything": ["n", 0], "pipe": ["p", 0]}), ["p.text"]),
        (("Encodes", {"text": "a hare", "clip": ["c", 0]}), ["x.text"]),
        (("Encodes", {"text": ["t", 0], "clip": ["c", 0]}), ["t.value"]),
        (("Encodes", {"text": ["t", 0]}), None),
        (("Encodes", {"prompt": "a hare", "text": 5}), ["x.prompt"]),
        (("Encodes", {"text_g": "a hare", "text_l": "a hare"}), ["x.text_g", "x.text_l"]),
        (("Both", {"positive": "a hare", "negative": "dull"}), ["x.positive"]),
        (("Both", {"positive_prompt": "a hare", "positive": "a bird"}), ["x.positive_prompt"]),
        (("Both", {"positive_prompt": ["t", 0], "text": "a hare"}), ["x.text"]),
        (("CLIPTextEncodeFlux", {"clip_l": "a hare", "t5xxl": "a bird", "text": "x"}), ["x.clip_l", "x.t5xxl"]),
        (("CLIPTextEncodeFlux", {"clip_l": "a hare"}), ["x.clip_l"]),
    ],
)
def test_a_side_is_followed_through_the_nodes_in_between(between: NodeOf, expected: list[str] | None) -> None:
    found = prompts(s=sampler(("x", 0)), x=between, t=("PrimitiveString", {"value": "a hare"}))
    assert places(found).get("prompt") == expected


@pytest.mark.parametrize("name", ["negative", "neg_x", "conditioning_negative"])
def test_the_other_side_is_never_taken(name: str) -> None:
    found = prompts(s=sampler(("x", 0)), x=("Passes", {name: ["n", 0], "b": ["m", 0]}))
    assert "prompt" not in found.places
    found = prompts(s=sampler(negative=("x", 0)), x=("Passes", {"positive": ["p", 0], "pos": ["p", 0], "b": ["m", 0]}))
    assert places(found) == {"prompt": ["p.text"]}


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ({"s": sampler(("gone", 0))}, "the positive side leads to a node that is not in the workflow"),
        ({"s": sampler(("x", 0)), "x": ("Mystery", {"a": 1})}, "the positive side leads to node x (Mystery), whose text input is not known"),
        ({"s": sampler(("x", 0)), "x": ("Passes", {"conditioning": ["x", 0]})}, "the positive side leads to node x (Passes)"),
        (
            {"p": ("CLIPTextEncode", {"text": ["j", 0]}), "j": ("StringReplace", {"string": "a fox", "find": "f"})},
            "the text of node p (CLIPTextEncode) is put together by node j (StringReplace) out of the texts of node j (StringReplace)",
        ),
        (
            {"p": ("CLIPTextEncode", {"text": ["j", 0]}), "j": ("StringReplace", {"string": "a", "number": 55})},
            "the text of node p (CLIPTextEncode) is put together by node j (StringReplace)",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_told(sides: dict[str, NodeOf], said: str) -> None:
    found = prompts(**sides)
    assert found.ambiguous == {"prompt": said}
    assert "prompt" not in found.places


def test_a_text_input_that_holds_a_number_is_told() -> None:
    found = prompts(p=("CLIPTextEncode", {"text": 5}))
    assert found.ambiguous["prompt"].startswith("the text of node p (CLIPTextEncode) is put together")


def test_a_negative_side_that_is_switched_off_in_one_place_alone_stays_unclear() -> None:
    found = prompts(
        s=sampler(negative=("x", 0), latent_image=["a", 0]),
        a=sampler(negative=("z", 0)),
        x=("Mystery", {}),
        z=("ConditioningZeroOut", {}),
    )
    said = "the negative side leads to node x (Mystery), whose text input is not known"
    assert (found.ambiguous, found.missing) == ({"negative_prompt": said}, {})


def test_at_most_six_candidates_are_named() -> None:
    words = {f"w{number}": ("PrimitiveString", {"value": "words"}) for number in range(8)}
    joined = ("StringReplace", {name: [name, 0] for name in words})
    said = prompts(p=("CLIPTextEncode", {"text": ["j", 0]}), j=joined, **words).ambiguous["prompt"]
    assert said.count("PrimitiveString") == 6


@pytest.mark.parametrize(("length", "found"), [(300, True), (301, False)])
def test_a_text_is_looked_for_up_to_300_nodes_away(length: int, found: bool) -> None:
    chain: dict[str, NodeOf] = {
        f"c{number}": ("Passes", {"conditioning": [f"c{number + 1}" if number + 1 < length else "p", 0]})
        for number in range(length)
    }
    assert ("prompt" in prompts(s=sampler(("c0", 0)), **chain).places) is found


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ({"n": ("ConditioningZeroOut", {"conditioning": ["p", 0]})}, "the negative side is switched off by node n (ConditioningZeroOut)"),
        ({"s": sampler(negative=("p", 0))}, "node p (CLIPTextEncode) gives both sides, so its text is the prompt"),
        ({"s": sampler(negative=None)}, "no sampler of this workflow has a negative side"),
    ],
)  # fmt: skip
def test_a_missing_negative_side_is_explained(nodes: dict[str, NodeOf], why: str) -> None:
    found = prompts(**nodes)
    assert found.missing == {"negative_prompt": why}
    assert places(found) == {"prompt": ["p.text"]}
    assert found.ambiguous == {}


def test_a_side_without_any_text_is_told() -> None:
    found = prompts(s=sampler(("z", 0), None), z=("ConditioningZeroOut", {}))
    assert found.missing["prompt"] == "no text leads to a sampler on this side"


def test_of_joined_texts_the_first_that_says_something_is_the_prompt() -> None:
    joined = (
        "ConditioningCombine",
        {"conditioning_1": ["e", 0], "conditioning_2": ["p", 0], "conditioning_3": ["q", 0]},
    )
    found = prompts(
        s=sampler(("j", 0)),
        j=joined,
        e=("CLIPTextEncode", {"text": "  "}),
        q=("CLIPTextEncode", {"text": "a hare " * 20}),
    )
    assert places(found) == BOTH
    assert found.kept == {
        Target("e", "text"): "node e (CLIPTextEncode) keeps its own text: '  '",
        Target("q", "text"): f"node q (CLIPTextEncode) keeps its own text: {('a hare ' * 20)[:60]!r}",
    }


def test_of_joined_texts_that_are_all_empty_the_first_is_the_prompt() -> None:
    joined = (
        "ConditioningCombine",
        {"conditioning_1": ["x", 0], "conditioning_2": ["e", 0], "conditioning_3": ["f", 0]},
    )
    empty = ("CLIPTextEncode", {"text": ""})
    found = prompts(s=sampler(("j", 0)), j=joined, x=("Mystery", {}), e=empty, f=empty)
    assert places(found)["prompt"] == ["e.text"]
    assert list(found.kept) == [Target("f", "text")]


def test_a_later_pass_takes_the_same_prompt_and_that_is_told() -> None:
    later = ("CLIPTextEncode", {"text": "a hare " * 20})
    found = prompts(s=sampler(("q", 0), latent_image=["a", 0]), a=sampler(), q=later)
    assert places(found) == {"prompt": ["p.text", "q.text"], "negative_prompt": ["n.text"]}
    told = f"node q (CLIPTextEncode) has its own `text` {('a hare ' * 20)[:60]!r}, which the prompt replaces"
    assert found.kept == {Target("q", "text"): told}
    for words in ("a fox", ""):
        assert (
            prompts(s=sampler(("q", 0), latent_image=["a", 0]), a=sampler(), q=("CLIPTextEncode", {"text": words})).kept
            == {}
        )


def test_a_later_negative_text_is_replaced_by_the_negative_prompt() -> None:
    found = prompts(
        s=sampler(negative=("q", 0), latent_image=["a", 0]), a=sampler(), q=("CLIPTextEncode", {"text": "x"})
    )
    assert list(found.kept.values()) == [
        "node q (CLIPTextEncode) has its own `text` 'x', which the negative prompt replaces"
    ]


@pytest.mark.parametrize(("words", "clear"), [("a fox", True), ("a hare", False)])
def test_images_that_are_made_side_by_side_need_one_text(words: str, clear: bool) -> None:
    found = prompts(
        s=("Join", {"x": ["a", 0], "y": ["b", 0]}),
        a=sampler(),
        b=sampler(("q", 0)),
        q=("CLIPTextEncode", {"text": words}),
    )
    assert ("prompt" in found.places) is clear
    if not clear:
        said = "several images are made from different texts: node p (CLIPTextEncode), node q (CLIPTextEncode)"
        assert found.ambiguous == {"prompt": said}


@pytest.mark.parametrize(
    ("positive", "negative", "clear"), [(0, 1, True), (1, 0, False), (0, 0, False), (0, None, True), (None, 1, True)]
)
def test_outputs_without_names_are_taken_as_they_are_used(
    positive: int | None, negative: int | None, clear: bool
) -> None:
    used = sampler(
        ("x", positive) if positive is not None else ("p", 0), ("x", negative) if negative is not None else ("n", 0)
    )
    found = prompts(s=used, x=("Adapter", {"positive": ["p", 0], "negative": ["n", 0]}))
    assert ("prompt" in found.places) is clear
    if clear:
        assert places(found) == BOTH
    else:
        said = "node x (Adapter) does not say which of its outputs is the positive side"
        assert found.ambiguous["prompt"] == said


def test_what_the_definition_says_of_an_output_counts() -> None:
    info = {"Adapter": {"input": {}, "output": ["C", "C"], "output_name": ["negative", "positive"]}}
    found = prompts(info, s=sampler(("x", 1), ("x", 0)), x=("Adapter", {"positive": ["p", 0], "negative": ["n", 0]}))
    assert places(found) == BOTH


def test_a_node_that_is_known_to_pass_an_input_on_is_followed_there() -> None:
    mixed = {"conditioning": ["p", 0], "positive": ["n", 0]}
    assert places(prompts(s=sampler(("x", 0)), x=("FluxGuidance", mixed)))["prompt"] == ["p.text"]

"""Directives: only complete ones at the end of the prompt are read; other text is unchanged."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.parameters import RULES, Rule, Text
from models.request.directives import Directed, split_directives

EXTRA = Rule(name="clip_skip", type="int", label=Text(en_US="Clip skip"))


@pytest.mark.parametrize(
    ("prompt", "left", "values"),
    [
        ("a fox", "a fox", {}),
        ("a fox --seed 42", "a fox", {"seed": "42"}),
        ("a fox --size 1024x768", "a fox", {"width": "1024", "height": "768"}),
        ("a fox --size 1024 × 768", "a fox", {"width": "1024", "height": "768"}),
        (
            "a fox --ar 16:9 --steps 30 --cfg 7",
            "a fox",
            {"aspect_ratio": "16:9", "steps": "30", "cfg_scale": "7"},
        ),
        ('a fox --no "text, watermark"', "a fox", {"negative_prompt": "text, watermark"}),
        ("a fox --no “文字，水印”", "a fox", {"negative_prompt": "文字，水印"}),
        ("a fox --no text, watermark --n 2", "a fox", {"negative_prompt": "text, watermark", "n": "2"}),
        ("a fox --sampler euler --strength 0.6", "a fox", {"sampler": "euler", "denoising_strength": "0.6"}),
        ("a fox --style anime --format JPG", "a fox", {"style_preset": "anime", "output_format": "jpeg"}),
        ('a fox --sampler "DPM++ 2M"', "a fox", {"sampler": "DPM++ 2M"}),
        ("a fox --details", "a fox", {"details": True}),
        ("a fox --details false", "a fox", {"details": "false"}),
        ("a fox --aspect-ratio=9:16", "a fox", {"aspect_ratio": "9:16"}),
        ("a fox --clip-skip 2", "a fox", {"clip_skip": "2"}),
        ("a fox --ar", "a fox", {}),
        ("a fox --ar  --seed 1", "a fox", {"seed": "1"}),
        ("--seed 3", "", {"seed": "3"}),
        ("a fox\n--seed 3", "a fox", {"seed": "3"}),
        ("--seed 3 a fox", "--seed 3 a fox", {}),
        ("a fox --seed 3 in the snow", "a fox --seed 3 in the snow", {}),
        ("a fox --lens 35mm", "a fox --lens 35mm", {}),
        ("a fox --lens 35mm --seed 3", "a fox --lens 35mm", {"seed": "3"}),
        ("a fox --seed 3 --lens 35mm", "a fox --lens 35mm", {"seed": "3"}),
        ("a fox--seed 3", "a fox--seed 3", {}),
        ("dash -- dash", "dash -- dash", {}),
        ('a fox --no "a "big" hat" --seed 3', "a fox", {"negative_prompt": 'a "big" hat', "seed": "3"}),
        ("一只狐狸，--seed 3", "一只狐狸，", {"seed": "3"}),
        (
            "一只狐狸--ar 16:9 --no 文字，--seed 3",
            "一只狐狸",
            {"aspect_ratio": "16:9", "negative_prompt": "文字", "seed": "3"},
        ),
        ("a fox --seed 1 --seed 2", "a fox", {"seed": "2"}),
    ],
)
def test_directives_are_removed_from_the_end(prompt: str, left: str, values: dict[str, object]) -> None:
    assert split(prompt) == (left, values)


@pytest.mark.parametrize(
    ("prompt", "left", "values"),
    [
        # inside a sentence, emphasis or code
        *(
            (f"a fox --ar 16:9{mark}", "a fox", {"aspect_ratio": "16:9"})
            for mark in (*".,;:。，；！", "`", "**", '"', "”", ")")
        ),
        ("a fox --ar 16:9, --seed 3.", "a fox", {"aspect_ratio": "16:9", "seed": "3"}),
        ("a fox `--ar 16:9`", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox (--ar 16:9 --seed 3)", "a fox", {"aspect_ratio": "16:9", "seed": "3"}),
        ("**a fox --ar 16:9**", "a fox", {"aspect_ratio": "16:9"}),
        ('"a fox --ar 16:9"', "a fox", {"aspect_ratio": "16:9"}),
        ("“a fox --ar 16:9”", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox\n```\n--ar 3:2\n--seed 3\n```", "a fox", {"aspect_ratio": "3:2", "seed": "3"}),
        ("a fox\n~~~text\n--ar 3:2\n~~~\n", "a fox", {"aspect_ratio": "3:2"}),
        ("a fox --ar: 16:9 --seed=3", "a fox", {"aspect_ratio": "16:9", "seed": "3"}),
        ("a fox --details.", "a fox", {"details": True}),
        ('a fox --sampler "DPM++ 2M".', "a fox", {"sampler": "DPM++ 2M"}),
        # dashes and digits from phones and Chinese keyboards
        ("a fox —ar 16:9", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox ——ar 16:9", "a fox", {"aspect_ratio": "16:9"}),
        ("a fox –seed 3 —ar 16:9", "a fox", {"seed": "3", "aspect_ratio": "16:9"}),
        ("一只狐狸－－ar １６：９", "一只狐狸", {"aspect_ratio": "16:9"}),
        ("“晨光茶舍”--ar 3:4", "“晨光茶舍”", {"aspect_ratio": "3:4"}),
        # lists with line breaks from a language model
        (
            "a fox --no text,\nwatermark\nblur\n--ar 16:9",
            "a fox",
            {"negative_prompt": "text, watermark blur", "aspect_ratio": "16:9"},
        ),
        ("a fox --no text,\nwatermark", "a fox", {"negative_prompt": "text, watermark"}),
        ("狐狸 --no 文字、\n水印。", "狐狸", {"negative_prompt": "文字、 水印"}),
        # inches and apostrophes are not quotation marks
        ('a 5" fox --ar 16:9 --no "text"', 'a 5" fox', {"aspect_ratio": "16:9", "negative_prompt": "text"}),
        (
            "the '90s fox's den --ar 16:9 --no 'text'",
            "the '90s fox's den",
            {"aspect_ratio": "16:9", "negative_prompt": "text"},
        ),
        ("the foxes’ den --ar 16:9", "the foxes’ den", {"aspect_ratio": "16:9"}),
    ],
)
def test_punctuation_and_markup_around_directives_is_ignored(prompt: str, left: str, values: dict[str, object]) -> None:
    assert split(prompt) == (left, values)
    assert split_directives(prompt, [EXTRA]).notices == ()


LETTERING = "kettle list --format json"


@pytest.mark.parametrize(
    "quoted",
    [*(f"{left}{LETTERING}{right}" for left, right in ('""', "''", "“”", "‘’", "„“", "«»", "「」", "『』", "《》"))],
)
def test_text_in_any_quotation_marks_is_not_a_directive(quoted: str) -> None:
    for prompt in (f"A tote bag with the words {quoted}", f"A bag with {quoted} on it", quoted):
        directed = split_directives(prompt, [])
        assert (directed.prompt, dict(directed.values)) == (prompt, {})
        assert directed.notices == ("`--format` in quotation marks stays in the prompt as lettering.",)
    directed = split_directives(f"A bag with {quoted} --seed 3", [])
    assert (directed.prompt, dict(directed.values)) == (f"A bag with {quoted}", {"seed": "3"})


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a fox --seed 1 --seed 2", ("`--seed 1` lost to `--seed 2`, which comes later.",)),
        ("a fox --width 5 --size 7x8", ("`--width 5` lost to `--size 7x8`, which comes later.",)),
        ("a fox --seed 2 --seed 2", ()),
        ("a fox --ar 16:9 --v 6", ("`--v` stays in the prompt: there is no such directive.",)),
        ("a fox --ar 16:9 in the snow", ("`--ar` stays in the prompt: directives are read at its end only.",)),
        ("a fox --ar 16:9 -- in snow", ("`--ar` stays in the prompt: directives are read at its end only.",)),
        ("a fox —style of Monet", ("`—style` stays in the prompt: directives are read at its end only.",)),
        ("a fox--seed 3", ("`--seed` stays in the prompt: directives are read at its end only.",)),
        ("an old house--old and grey --ar 1:1", ()),
        ("warm light—no shadows", ()),
        ("a fox — no hat", ()),
        ("word--lens x", ()),
        ("word—seed x", ()),
        ("a fox —lens", ()),
        ("a fox --lens", ("`--lens` stays in the prompt: there is no such directive.",)),
        ("it's --seed 3 isn't", ("`--seed` stays in the prompt: directives are read at its end only.",)),
        (
            "a --seed b c --lens --lens",
            (
                "`--lens` stays in the prompt: there is no such directive.",
                "`--seed` stays in the prompt: directives are read at its end only.",
            ),
        ),
    ],
)
def test_ignored_directives_give_a_notice(prompt: str, told: tuple[str, ...]) -> None:
    assert split_directives(prompt, []).notices == told


def split(prompt: str) -> tuple[str, dict[str, str | bool]]:
    directed = split_directives(prompt, [EXTRA])
    return directed.prompt, dict(directed.values)


def test_a_negative_prompt_ends_at_the_line() -> None:
    prompt = "one --no text\nand a second paragraph"
    assert split(prompt) == (prompt, {})
    prompt = "one --no text,\n\nand a second paragraph --ar 1:1"
    assert split(prompt) == ("one --no text,\n\nand a second paragraph", {"aspect_ratio": "1:1"})


@given(st.text(max_size=200))
def test_a_prompt_without_flags_only_loses_outer_white_space(prompt: str) -> None:
    if not re.search("[-—–―－﹣−]", prompt):
        assert split_directives(prompt, []) == Directed(prompt.strip())


@given(
    body=st.text(
        st.characters(exclude_characters="-—–―－﹣−\"'“”‘’„«»‹›「」『』《》`*~([", exclude_categories=["Cs", "Cc"]),
        max_size=40,
    ).map(str.strip),
    seed=st.integers(0, 2**53),
    steps=st.integers(1, 200),
)
def test_known_directives_are_read_after_any_text(body: str, seed: int, steps: int) -> None:
    assert split(f"{body} --seed {seed} --steps {steps}") == (body, {"seed": str(seed), "steps": str(steps)})


@given(st.text(st.sampled_from("ab -=\"'“”`*\n:x1—.,()"), max_size=60))
def test_any_text_is_read_and_no_word_is_added(prompt: str) -> None:
    directed = split_directives(prompt, [])
    assert set(directed.prompt) <= set(prompt)
    assert len(directed.prompt) <= len(prompt)
    assert set(directed.values) <= set(RULES)


def test_a_long_prompt_of_dashes_is_read_in_linear_time() -> None:
    started = time.perf_counter()
    for part in ("--no ", '"', "```\n", "“—ar ", "--ar 16:9 x ", '"a" --n 1 x ', "“「", "--no a,\n"):
        split_directives(part * 20_000, [])
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("prompt", "left", "values"),
    [
        ('a fox --no "', "a fox", {}),
        ("a fox --no ''", "a fox", {}),
        ("a fox --style ''", "a fox", {}),
        ("a fox --size", "a fox", {}),
        ("a fox --size big", "a fox", {"width": "big", "height": "big"}),
        ("a fox --size 10 20", "a fox --size 10 20", {}),
        ("a fox --style two words", "a fox --style two words", {}),
        ("a fox --lens two words", "a fox --lens two words", {}),
        ("a fox --lens 35mm", "a fox --lens 35mm", {}),
        ("```\na fox\n```", "```\na fox\n```", {}),
        ("a fox\n```\nno flags\n```", "a fox\n```\nno flags\n```", {}),
        ("**a fox**", "**a fox**", {}),
        ("**a** fox **--ar 16:9**", "**a** fox", {"aspect_ratio": "16:9"}),
        ("``", "``", {}),
        ("a fox (--seed 1) --seed 2", "a fox", {"seed": "2"}),
        ("a fox --no (big) hats", "a fox", {"negative_prompt": "(big) hats"}),
        ("a fox --no hats)", "a fox", {"negative_prompt": "hats"}),
        ("a fox --no text\n, hats", "a fox", {"negative_prompt": "text , hats"}),
        ("a fox --no text\nhats --seed 1", "a fox", {"negative_prompt": "text hats", "seed": "1"}),
        ("a fox --FORMAT JPEG", "a fox", {"output_format": "jpeg"}),
        ("a fox ---seed 1", "a fox", {"seed": "1"}),
        ('a fox --no hats"', "a fox", {"negative_prompt": "hats"}),
        ("a fox —lens 1", "a fox —lens 1", {}),
        ("a fox (--lens 35mm --seed 3", "a fox ( --lens 35mm", {"seed": "3"}),
        ("a fox `--seed 3 --lens 35mm`", "a fox --lens 35mm`", {"seed": "3"}),
        ("`--seed 3`", "", {"seed": "3"}),
        ("***", "***", {}),
        ('""', '""', {}),
        ('"a fox\n\nin snow --seed 3"', "a fox\n\nin snow", {"seed": "3"}),
        ('"a fox\nin snow --seed 3 red"', '"a fox\nin snow --seed 3 red"', {}),
        ('"a fox --seed x"', '"a fox --seed x"', {}),
        ('"a fox --seed 3', '"a fox', {"seed": "3"}),
        ("a fox --no x]", "a fox", {"negative_prompt": "x"}),
        ("a fox --no hats\nboots", "a fox --no hats\nboots", {}),
        ("a fox\n```\n--seed 3\n```\nin snow", "a fox\n```\n--seed 3\n```\nin snow", {}),
    ],
)
def test_values_that_are_empty_or_end_early(prompt: str, left: str, values: dict[str, object]) -> None:
    assert split(prompt) == (left, values)


def test_what_a_directive_said_is_kept_as_written() -> None:
    directed = split_directives("a fox --size 10x20 --details --no 'a, b'", [])
    assert dict(directed.said) == {
        "width": "--size 10x20",
        "height": "--size 10x20",
        "details": "--details",
        "negative_prompt": "--no a, b",
    }


def test_a_model_may_have_a_parameter_that_is_called_size() -> None:
    own = Rule(name="size", type="string", label=Text(en_US="Size"))
    assert dict(split_directives("a fox --size big", [own]).values) == {"size": "big"}
    assert dict(split_directives("a fox --size 10x20", [own]).values) == {"size": "10x20"}

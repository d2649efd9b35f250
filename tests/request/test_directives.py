"""Directives: only whole ones at the end of the prompt count; everything else stays as written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.parameters import RULES, Rule, Text
from models.request.directives import Directed, split_directives

EXTRA = Rule(name="clip_skip", type="int", label=Text(en_US="Clip skip"))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a fox", Directed("a fox")),
        ("a fox --seed 42", Directed("a fox", {"seed": "42"})),
        ("a fox --size 1024x768", Directed("a fox", {"width": "1024", "height": "768"})),
        ("a fox --size 1024 × 768", Directed("a fox", {"width": "1024", "height": "768"})),
        (
            "a fox --ar 16:9 --steps 30 --cfg 7",
            Directed("a fox", {"aspect_ratio": "16:9", "steps": "30", "cfg_scale": "7"}),
        ),
        ('a fox --no "text, watermark"', Directed("a fox", {"negative_prompt": "text, watermark"})),
        ("a fox --no “文字，水印”", Directed("a fox", {"negative_prompt": "文字，水印"})),
        ("a fox --no text, watermark --n 2", Directed("a fox", {"negative_prompt": "text, watermark", "n": "2"})),
        ("a fox --sampler euler --strength 0.6", Directed("a fox", {"sampler": "euler", "denoising_strength": "0.6"})),
        ("a fox --style anime --format JPG", Directed("a fox", {"style_preset": "anime", "output_format": "jpeg"})),
        ('a fox --sampler "DPM++ 2M"', Directed("a fox", {"sampler": "DPM++ 2M"})),
        ("a fox --details", Directed("a fox", {"details": True})),
        ("a fox --details false", Directed("a fox", {"details": "false"})),
        ("a fox --aspect-ratio=9:16", Directed("a fox", {"aspect_ratio": "9:16"})),
        ("a fox --clip-skip 2", Directed("a fox", {"clip_skip": "2"})),
        ("a fox --ar", Directed("a fox")),
        ("a fox --ar  --seed 1", Directed("a fox", {"seed": "1"})),
        ("--seed 3", Directed("", {"seed": "3"})),
        ("a fox\n--seed 3", Directed("a fox", {"seed": "3"})),
        ("--seed 3 a fox", Directed("--seed 3 a fox")),
        ("a fox --seed 3 in the snow", Directed("a fox --seed 3 in the snow")),
        ("a fox --lens 35mm", Directed("a fox --lens 35mm")),
        ("a fox --lens 35mm --seed 3", Directed("a fox --lens 35mm", {"seed": "3"})),
        ("a fox --seed 3 --lens 35mm", Directed("a fox --lens 35mm", {"seed": "3"})),
        ("a fox--seed 3", Directed("a fox--seed 3")),
        ("dash -- dash", Directed("dash -- dash")),
        ('a fox --no "a "big" hat" --seed 3', Directed("a fox", {"negative_prompt": 'a "big" hat', "seed": "3"})),
        ("一只狐狸，--seed 3", Directed("一只狐狸，", {"seed": "3"})),
        (
            "一只狐狸--ar 16:9 --no 文字，--seed 3",
            Directed("一只狐狸", {"aspect_ratio": "16:9", "negative_prompt": "文字，", "seed": "3"}),
        ),
        ("a fox --seed 1 --seed 2", Directed("a fox", {"seed": "2"})),
    ],
)
def test_directives_are_taken_off_the_end(prompt: str, expected: Directed) -> None:
    assert split_directives(prompt, [EXTRA]) == expected


def test_a_negative_prompt_ends_at_the_line() -> None:
    prompt = "one --no text\nand a second paragraph"
    assert split_directives(prompt, []) == Directed(prompt)


@given(st.text(max_size=200))
def test_a_prompt_without_flags_only_loses_outer_white_space(prompt: str) -> None:
    if "--" not in prompt:
        assert split_directives(prompt, []) == Directed(prompt.strip())


@given(
    body=st.text(st.characters(exclude_characters="-", exclude_categories=["Cs"]), max_size=40).map(str.strip),
    seed=st.integers(0, 2**53),
    steps=st.integers(1, 200),
)
def test_known_directives_come_back_whatever_stands_before_them(body: str, seed: int, steps: int) -> None:
    directed = split_directives(f"{body} --seed {seed} --steps {steps}", [])
    assert directed == Directed(body, {"seed": str(seed), "steps": str(steps)})


@given(st.text(st.sampled_from("ab -=\"'\n:x1"), max_size=60))
def test_no_text_breaks_the_reading_and_no_word_is_invented(prompt: str) -> None:
    directed = split_directives(prompt, [])
    assert set(directed.prompt.split()) <= set(prompt.split())
    assert set(directed.values) <= set(RULES)

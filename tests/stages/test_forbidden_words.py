"""The matching of the owner's forbidden words."""

import pytest

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.settings import Settings
from models.stages.forbidden_words import ForbiddenWords
from tests.asking import carried
from tests.fakes import image_file


def check(words: str, prompt: str, *images: InputImage) -> None:
    """The request passes unchanged, or BadRequest is raised."""
    request = ImageRequest(model="m", prompt=prompt, images=images)
    stage = ForbiddenWords.read(Settings({"forbidden_words": words}, {}))
    assert stage(request, carried()) is request


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("nude, weapon", "add a Weapon to the hand"),
        ("去水印\n裸体", "请帮我去水印，谢谢"),
        ("裸体；去水印", "请帮我去水印，谢谢"),
        ("deep fake", "make a DEEP\n  FAKE of him"),
        ("weapon", "add a ｗｅａｐｏｎ"),
        ("ｗｅａｐｏｎ", "add a weapon"),
        ("C++", "write C++ on the shirt"),
        ("水印", "x水印y"),
        ("weapon", "add a wea\u200bpon"),
        ("weapon", "一把weapon在手里"),
    ],
)
@pytest.mark.parametrize("images", [(), (InputImage(image_file(), "image/png"),)])
def test_words_match_in_any_case_width_and_spacing_and_with_invisible_characters(
    words: str, prompt: str, images: tuple[InputImage, ...]
) -> None:
    """For generating and for editing."""
    with pytest.raises(BadRequest, match=r"“Forbidden words” \(forbidden_words\) in the provider's settings"):
        check(words, prompt, *images)


@pytest.mark.parametrize(("word", "prompt"), [("ass", "a glass of grass"), ("gun", "the sun has begun")])
def test_a_latin_word_matches_only_as_a_whole_word(word: str, prompt: str) -> None:
    check(word, prompt)


@pytest.mark.parametrize("words", [",", " , ", "，、;"])
def test_a_list_of_only_separators_forbids_nothing(words: str) -> None:
    check(words, "anything")


def test_the_refusal_names_the_word_and_the_next_step() -> None:
    with pytest.raises(BadRequest) as refused:
        check("nude, weapon", "a weapon")
    assert str(refused.value) == (
        "The prompt contains “weapon”, which is not allowed here. Leave it out, or let the owner change "
        "“Forbidden words” (forbidden_words) in the provider's settings."
    )


@pytest.mark.parametrize("parts", [{"stamp": "WEAPON sale"}, {"extra": {"second_prompt": "a weapon", "steps": 3}}])
def test_the_stamp_and_the_texts_of_a_workflow_are_searched_too(parts: dict[str, object]) -> None:
    request = ImageRequest(model="m", prompt="a fox", **parts)  # type: ignore[arg-type]
    stage = ForbiddenWords.read(Settings({"forbidden_words": "weapon"}, {}))
    with pytest.raises(BadRequest, match=r"^The stamp or another text contains “weapon”"):
        stage(request, carried())


def test_the_negative_prompt_may_name_what_is_forbidden() -> None:
    request = ImageRequest(model="m", prompt="a fox", negative_prompt="weapon")
    assert ForbiddenWords.read(Settings({"forbidden_words": "weapon"}, {}))(request, carried()) is request

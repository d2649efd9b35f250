"""What the owner's edit policy lets through, and the words of each refusal."""

from pathlib import Path

import pytest
import yaml

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.stages.input_rules import EditPolicy, check
from tests.fakes import picture

PHOTO = InputImage(picture(kind="JPEG"), "image/jpeg", "photo.jpg")


def edit(prompt: str = "make the shirt blue", *images: InputImage, mask: InputImage | None = None) -> ImageRequest:
    return ImageRequest(model="m", prompt=prompt, images=images or (PHOTO,), mask=mask)


def refusal(request: ImageRequest, **settings: object) -> str:
    with pytest.raises(BadRequest) as refused:
        check(request, EditPolicy.read(settings))
    return str(refused.value)


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/png", "image/webp"])
def test_the_default_lets_the_three_common_formats_through(mime_type: str) -> None:
    check(edit("turn it", InputImage(b"x", mime_type)), EditPolicy())


def test_the_default_lets_a_phone_photo_of_twelve_megapixels_through() -> None:
    check(edit("turn it", InputImage(b"x" * 9_000_000, "image/jpeg")), EditPolicy())


def test_text_to_image_is_not_looked_at() -> None:
    policy = EditPolicy(max_instruction_length=1, forbidden_keywords=("fox",))
    check(ImageRequest(model="m", prompt="a fox"), policy)


def test_another_format_is_refused_by_name_and_setting() -> None:
    gif = InputImage(b"GIF89a", "image/gif", "party.gif")
    assert refusal(edit("turn it", PHOTO, gif)) == (
        "The edit was refused: party.gif is a GIF file; only JPEG, PNG, WEBP may be edited here. "
        "Send it as JPEG, PNG, WEBP, or let the owner write `JPEG, PNG, WEBP, GIF` into "
        "`edit_allowed_formats` in the settings."
    )


def test_the_list_that_a_refusal_names_lets_the_file_through() -> None:
    photo = InputImage(b"x", "image/heic", "IMG_0001.HEIC")
    assert "`JPEG, PNG, WEBP, HEIC`" in refusal(edit("turn it", photo))
    check(edit("turn it", PHOTO, photo), EditPolicy.read({"edit_allowed_formats": "JPEG, PNG, WEBP, HEIC"}))


def test_the_owner_chooses_the_formats() -> None:
    gif = InputImage(b"GIF89a", "image/gif")
    check(edit("turn it", gif), EditPolicy.read({"edit_allowed_formats": "GIF, .jpg"}))
    assert "only GIF, JPEG may" in refusal(
        edit("turn it", InputImage(b"x", "image/png")), edit_allowed_formats="GIF, .jpg"
    )


def test_a_file_above_the_limit_is_refused_with_both_sizes() -> None:
    large = InputImage(b"x" * 5_100_000, "image/png")
    assert "The input image has 5.1 MB; at most 5 MB" in refusal(edit("turn it", large), edit_max_input_mb="5")
    check(edit("turn it", large), EditPolicy.read({"edit_max_input_mb": 0}))


def test_a_mask_is_an_input_too() -> None:
    mask = InputImage(b"BM", "image/bmp", "mask.bmp")
    assert "mask.bmp is a BMP file" in refusal(edit(mask=mask))


def test_an_instruction_above_the_limit_is_refused_with_both_lengths() -> None:
    assert "has 201 characters; at most 200" in refusal(edit("x" * 201), edit_max_instruction_length="200")
    check(edit("x" * 200), EditPolicy.read({"edit_max_instruction_length": "200"}))


@pytest.mark.parametrize(
    ("keywords", "instruction"),
    [
        ("nude, weapon", "add a Weapon to the hand"),
        ("去水印\n裸体", "请帮我去水印，谢谢"),
        ("deep fake", "make a DEEP\n  FAKE of him"),
        ("weapon", "add a ｗｅａｐｏｎ"),
        ("C++", "write C++ on the shirt"),
        ("水印", "x水印y"),
        ("weapon", "add a wea\u200bpon"),
    ],
)
def test_forbidden_words_are_found_in_any_case_width_and_spacing_and_behind_invisible_characters(
    keywords: str, instruction: str
) -> None:
    assert "`edit_forbidden_keywords`" in refusal(edit(instruction), edit_forbidden_keywords=keywords)


@pytest.mark.parametrize(("keyword", "instruction"), [("ass", "a glass of grass"), ("gun", "the sun has begun")])
def test_a_latin_keyword_counts_as_a_whole_word_only(keyword: str, instruction: str) -> None:
    check(edit(instruction), EditPolicy.read({"edit_forbidden_keywords": keyword}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("edit_allowed_formats", "jpg, exe"),
        ("edit_max_input_mb", "five"),
        ("edit_max_input_mb", "-1"),
        ("edit_max_instruction_length", "nan"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(BadRequest, match=f"The setting `{field}` cannot be"):
        EditPolicy.read({field: value})


def test_an_empty_form_is_the_default_policy() -> None:
    assert EditPolicy.read({"edit_allowed_formats": " ", "edit_max_input_mb": None}) == EditPolicy()


@pytest.mark.parametrize("form", ["provider_credential_schema", "model_credential_schema"])
def test_every_setting_is_a_field_of_both_forms(form: str) -> None:
    schema = yaml.safe_load(Path("provider/image_generation.yaml").read_text("utf-8"))
    fields = {field["variable"] for field in schema[form]["credential_form_schemas"]}
    assert {
        "edit_allowed_formats",
        "edit_max_input_mb",
        "edit_max_instruction_length",
        "edit_forbidden_keywords",
    } <= fields

"""The grammar of `marks`: accepted and refused entries, and the error messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.errors import BadRequest
from models.marks import Marks
from models.settings import Settings


def read(text: str) -> Marks:
    return Marks.read(Settings({"marks": text}, {}))


@pytest.mark.parametrize("text", ["", " ", "，", "\n"])
def test_an_empty_field_gives_the_defaults(text: str) -> None:
    assert read(text) == Marks(logo="", position="bottom-right", opacity=0.8, producer="", language="")


@pytest.mark.parametrize(
    "text",
    [
        'logo https://cdn.example/a.png?x=1, position top-left, opacity 0.6, producer "Name, of the company", language zh',
        "logo: https://cdn.example/a.png?x=1\nposition: TOP-LEFT\nopacity=.6\nproducer “Name, of the company”\nlanguage ZH",
        'LOGO "https://cdn.example/a.png?x=1"；Position top-left，opacity 0.60；producer "Name, of the company"、language zh,',
    ],
)
def test_entries_are_separated_by_commas_or_newlines(text: str) -> None:
    assert read(text) == Marks(
        logo="https://cdn.example/a.png?x=1",
        position="top-left",
        opacity=0.6,
        producer="Name, of the company",
        language="zh",
    )


def test_the_comma_of_a_data_uri_separates_nothing() -> None:
    marks = read("logo data:image/png;base64,iVBORw0KGgo=, opacity 1")
    assert (marks.logo, marks.opacity) == ("data:image/png;base64,iVBORw0KGgo=", 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "position middle",
            "“position middle” in “Marks” (marks) in the provider's settings cannot be read. Write `position`",
        ),
        (
            "opacity 60%",
            "“opacity 60%” in “Marks” (marks) in the provider's settings cannot be read. Write a number up to 1",
        ),
        ("opacity 0.5, opacity 0.6", "“opacity 0.6” in “Marks” (marks)"),
        ("logo /tmp/logo.png", "Write `logo https://…` or a data URI"),
        ("colour red", "Write entries of `logo`, `position`, `opacity`, `producer`, `language`"),
        ("producer", "“producer” in “Marks” (marks) in the provider's settings cannot be read"),
    ],
)
def test_an_invalid_entry_is_quoted_with_the_correct_form(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(text)
    assert said in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert read(text) == read(f" {text} ,")
    except BadRequest as refused:
        assert "“Marks” (marks) in the provider's settings" in str(refused)  # noqa: PT017 -- both are right

"""Every sentence of the code is found, has its Chinese, and stands on the pages of all errors."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from models.messages.catalogue import entries
from tools.messages import sentences as extraction
from tools.messages.areas import TITLES, area_of
from tools.messages.catalogue_check import missing, unused, written
from tools.messages.errors import errors
from tools.messages.sentences import Sentence, forms, is_prose, sentences, shape
from tools.messages.tables import PAGES, stale

NEXT = "uv run python -m tools.messages --missing"

MODULE = '''
"""A docstring is no message."""
import re
from typing import cast
NAMED = "the name of the thing"
LATER = "Check {name} in {settings}"
_FORM = re.compile("a regular expression")

def work(model: "Some Type", other: int) -> "Other Type":
    logger.info("a log line for %s", model)
    assert model, "never shown to anybody"
    if model == "compared with this":
        raise BadRequest(f"{model} does not do it", next_step="Write {{name}} there" if other else "Do it " + model)
    kept: "A Type" = cast("A Type", f"{model.name} costs {other:g} USD{' more' if other else ''}")
    yield from (f"It has {', '.join(names)} and {access.where('base_url')}" for names in other)
    return "word", f"{model} {other}", "x y\\nz", """a string"""
'''


def of(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(extraction, "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(text, "utf-8")
    return [sentence.template for sentence in extraction.of_module(path)]


def test_what_is_written_like_a_sentence_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(MODULE, tmp_path, monkeypatch) == [
        "the name of the thing",
        "Check {name} in {settings}",
        "{model} does not do it",
        "Write {{{{name}}}} there",
        "Do it ",
        "{model} costs {other} USD more",
        "{model} costs {other} USD",
        "It has {names} and {base_url}",
        "a string",
    ]


def test_a_condition_between_texts_gives_each_of_them() -> None:
    node = ast.parse("f\"a {'b c' if x else f'd {e}' if y else ''} f\"", mode="eval").body
    assert forms(node) == ["a b c f", "a d {e} f", "a  f"]


@pytest.mark.parametrize(
    ("template", "prose"),
    [
        *(("Write it", True), ("{name} images", True), ("; it has {models}", True), (", half the pixels", True)),
        *(
            ("word", False),
            ("{a} {b}", False),
            ("{a}: {b}", False),
            ("a\nb c", False),
            ("", False),
            ("{count}%", False),
        ),
    ],
)
def test_two_words_or_a_word_beside_a_value_are_prose(template: str, *, prose: bool) -> None:
    assert is_prose(template) is prose


def test_the_names_of_fields_make_no_difference() -> None:
    assert shape("{model} of {{x}} is {where}") == shape("{a} of {{x}} is {b}") != shape("{a} of {x} is {b}")


def test_every_sentence_has_its_chinese() -> None:
    assert [sentence.template for sentence in missing()] == [], NEXT


def test_the_catalogue_has_no_sentence_that_the_code_does_not_have() -> None:
    assert unused() == []


def test_the_catalogue_has_each_sentence_once() -> None:
    shapes = [shape(entry.en) for entry in entries()]
    assert [one for one in shapes if shapes.count(one) > 1] == []


def test_the_texts_that_are_never_shown_are_texts_of_the_code() -> None:
    every = {
        sentence.shape for path in (extraction.ROOT / "models").rglob("*.py") for sentence in extraction.of_module(path)
    }
    listed = yaml.safe_load((extraction.ROOT / "tools" / "messages" / "unshown.yaml").read_text("utf-8"))
    assert [text for text in listed if shape(text) not in every] == []


def test_what_is_missing_is_printed_ready_to_be_filled_in() -> None:
    text = written(
        [Sentence("{model}: “no” `way`, really", "models/limits.py", 3), Sentence("It is", "models/sizes.py", 1)]
    )
    assert [row["en"] for row in yaml.safe_load(text)] == ["{model}: “no” `way`, really", "It is"]
    assert "# models/messages/zh_Hans/settings.yaml" in text
    assert "# models/messages/zh_Hans/requests.yaml" in text


def test_every_area_has_a_title() -> None:
    assert {area_of(sentence.path) for sentence in sentences()} <= set(TITLES)
    assert {area_of(str(path)) for path in Path("models/messages/zh_Hans").glob("*.yaml")} <= set(TITLES)


# --- the pages ---


def test_the_pages_are_as_the_code_is() -> None:
    assert [path.name for path in stale()] == [], "uv run python -m tools.messages"


def test_an_error_is_followed_to_the_callers_of_its_helper() -> None:
    rows = {(row.area, row.kind, row.cause, row.cure) for row in errors()}
    assert (
        "services",
        "bad_request",
        "{model} does not support masks",
        "Describe the region in words, or choose a model with inpainting",
    ) in rows
    assert (
        "stability",
        "authorization",
        "HTTP 401",
        "Check {api_key} {place}: copy the key again from your account at platform.stability.ai",
    ) in rows
    assert any(cause == "{attempt} failed: {host} could not be reached" for _, _, cause, _ in rows)


def test_the_english_page_has_every_sentence() -> None:
    text = shape_of_page(PAGES[0].path.read_text("utf-8"))
    assert [sentence.template for sentence in sentences() if cell(sentence) not in text] == []


def test_both_pages_have_the_same_rows() -> None:
    english, chinese = (page.path.read_text("utf-8").splitlines() for page in PAGES)
    assert [line[:2] for line in english if line.startswith(("| ", "- ", "## "))] == [
        line[:2] for line in chinese if line.startswith(("| ", "- ", "## "))
    ]


def shape_of_page(text: str) -> str:
    return re.sub(r"(?<!\{)\{\w+\}(?!\})", "{}", text)


def cell(sentence: Sentence) -> str:
    shown = shape(sentence.template).replace("{{", "{").replace("}}", "}").strip()
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")

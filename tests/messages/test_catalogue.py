"""Templates of the catalogue: how they are taken apart, and every way in which a text may fill their fields."""

import pytest

from models.messages.catalogue import CatalogueEntry, Template, constants, entries, places, templates


def template(en: str, zh: str = "", **only: str) -> Template:
    return Template.of(CatalogueEntry(en=en, zh=zh, only=only))


def test_a_template_is_its_literals_and_its_fields() -> None:
    made = template("a {x} b7 {y}", "甲{y}乙{x}丙")
    assert (made.literals, made.fields) == (("a ", " b7 ", ""), ("x", "y"))
    assert made.zh == (("甲", "y"), ("乙", "x"), ("丙", None))
    assert made.letters == 2


def test_doubled_braces_are_letters_of_the_text() -> None:
    made = template("a {{b}} {x}")
    assert (made.literals, made.fields) == (("a {b} ", ""), ("x",))


@pytest.mark.parametrize(
    ("en", "text", "readings"),
    [
        ("a {x} b {y}", "a 1 b 2", [("1", "2")]),
        ("a {x} b {y}", "a 1 b 2 b 3", [("1", "2 b 3"), ("1 b 2", "3")]),
        ("a {x} b {y}", "c 1 b 2", []),
        ("a {x} b {y}", "a 1 c 2", []),
        ("a {x} b", "a 1 b", [("1",)]),
        ("a {x} b", "a 1 b more", []),
        ("a {x} b", "a  b", []),
        ("a {x}", "a ", []),
        ("a {x}", "a 1", [("1",)]),
        ("a{x}", "a", [("",)]),
        ("a{x}", "a1", [("1",)]),
        ("a{x}!", "a!", [("",)]),
        ("{x} is", " is", []),
        ("{x} is", "1 is", [("1",)]),
        ("{x}{y}", "ab, cd", [("ab", ", cd"), ("ab,", " cd"), ("ab, cd", "")]),
        ("{x}{y}", "a", [("a", "")]),
        ("{x}{y}!", "ab!", [("ab", "")]),
        ("{x}{y}!", "ab c!", [("ab", " c"), ("ab c", "")]),
        ("{x}{y} of {z}", "ab (c) of d", [("ab", " (c)", "d"), ("ab ", "(c)", "d"), ("ab (c)", "", "d")]),
        ("plain", "plain", [()]),
        ("plain", "plain text", []),
    ],
)
def test_the_fields_may_hold_whatever_gives_the_text(en: str, text: str, readings: list[tuple[str, ...]]) -> None:
    assert list(template(en).readings(text)) == readings


def test_a_field_may_be_bound_to_a_form() -> None:
    bound = template("{x} after {n} s", n=r"\d+")
    assert list(bound.readings("a after 7 s")) == [("a", "7")]
    assert list(bound.readings("a\nb after 7 s")) == [("a\nb", "7")]
    assert list(bound.readings("a after x s")) == []
    assert list(bound.readings("a after b after 7 s")) == [("a after b", "7")]


def test_only_so_many_readings_are_looked_at() -> None:
    assert len(list(template("{x} {y}").readings("a " * 100))) == 60


@pytest.mark.parametrize(
    ("text", "part", "start", "found"),
    [
        ("abab", "ab", 0, [0, 2]),
        ("abab", "ab", 1, [2]),
        ("abab", "ab", 2, [2]),
        ("aaa", "aa", 0, [0, 1]),
        ("abab", "c", 0, []),
    ],
)
def test_the_places_of_a_part(text: str, part: str, start: int, found: list[int]) -> None:
    assert list(places(text, part, start)) == found


def test_an_entry_is_a_template_or_a_constant() -> None:
    assert constants()["Change the prompt"] == "请修改提示词"
    assert "Set the parameter, or write {{name|default}}" in constants(), "doubled braces are no field"
    assert all(one.fields for one in templates())
    assert len(templates()) + len(constants()) == len(entries())

"""Text on images: its width, where lines are broken, and what has no glyph."""

from pathlib import Path

import pytest

from models.images import lettering
from models.images.lettering import EAST_ASIAN, EUROPEAN, clipped, missing, runs, shortened, width_of, wrapped

SIZE = 20


def fits(text: str) -> float:
    """A width in which just this text has room."""
    return width_of(text, SIZE)


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two", fits("one two"), ["one two"]),
        ("one two", fits("one two") - 1, ["one", "two"]),
        ("one  two", fits("one"), ["one", "two"]),
        ("  one", fits("one"), ["one"]),
        ("one\ntwo\r\nthree", 500.0, ["one", "two", "three"]),
        ("one\n\ntwo", 500.0, ["one", "", "two"]),
        ("one\ttwo", 500.0, ["one two"]),
        ("abcdef", fits("abc"), ["abc", "def"]),
        ("abcdef", fits("abc") - 1, ["ab", "cd", "ef"]),
        ("晨光茶舍", fits("晨光"), ["晨光", "茶舍"]),
        ("晨光，茶舍", fits("晨光"), ["晨", "光，", "茶舍"]),
        ("tea晨光", fits("tea"), ["tea", "晨", "光"]),
        ("a", 1.0, ["a"]),
        ("e\u0301te\u0301", 500.0, ["été"]),
        ("in\u200bvisible", 500.0, ["invisible"]),
    ],
)
def test_lines_are_broken_between_words_and_between_chinese_characters(
    text: str, width: float, lines: list[str]
) -> None:
    assert wrapped(text, SIZE, width) == lines


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("one two", fits("one two"), "one two"),
        ("one two", fits("one two") - 1, "one t…"),
        (" one\n two ", 500.0, "one two"),
        ("one two", fits("one…"), "one…"),
        ("one two", fits("one…") - 1, "on…"),
        ("one", 1.0, "…"),
        ("i" * 1000, fits("iii…"), "iii…"),
        ("i" * 31, fits("i" * 31), "i" * 31),
    ],
)
def test_a_line_that_is_too_long_ends_in_an_ellipsis(text: str, width: float, line: str) -> None:
    assert shortened(text, SIZE, width) == line


def test_the_last_of_too_many_lines_tells_that_there_are_more() -> None:
    lines = ["one", "two", "three"]
    assert clipped(lines, 3, SIZE, 500.0) is lines
    assert clipped(lines, 2, SIZE, 500.0) == ["one", "two …"]
    assert clipped(lines, 1, SIZE, 500.0) == ["one …"]


@pytest.mark.parametrize(
    ("text", "fonts"),
    [
        ("tea 茶", [(EUROPEAN, "tea "), (EAST_ASIAN, "茶")]),
        ("茶—tea—", [(EAST_ASIAN, "茶—"), (EUROPEAN, "tea—")]),
        ("“茶”", [(EUROPEAN, "“"), (EAST_ASIAN, "茶”")]),
        ("5 €", [(EUROPEAN, "5 €")]),
        ("", []),
    ],
)
def test_quotes_and_dashes_take_the_font_before_them(text: str, fonts: list[tuple[str, str]]) -> None:
    assert runs(text) == fonts


def test_a_width_is_the_sum_of_its_runs() -> None:
    assert width_of("tea茶", SIZE) == width_of("tea", SIZE) + width_of("茶", SIZE)
    assert width_of("—", SIZE, EAST_ASIAN) != width_of("—", SIZE, EUROPEAN)
    assert width_of("", SIZE) == 0


def test_a_character_that_the_shipped_fonts_lack_is_drawn_by_the_machine_or_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rare = "\U0001f600"
    lettering._machine_font.cache_clear()
    monkeypatch.setattr(lettering, "_machine_fonts", lambda: ("/no/such/font.ttf",))
    assert missing(f"a {rare}{rare}茶") == rare
    assert runs(rare) == [(EAST_ASIAN, rare)]
    lettering._machine_font.cache_clear()
    path = str(lettering._FONTS / EUROPEAN)
    monkeypatch.setattr(lettering, "_machine_fonts", lambda: ("/no/such/font.ttf", path))
    monkeypatch.setattr(lettering, "_draws", lambda name, char: name == path or char != rare)
    assert missing(rare) == ""
    assert runs(rare) == [(path, rare)]
    lettering._machine_font.cache_clear()


def test_fonts_of_the_machine_are_tried_with_sans_serif_ones_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("b-Sans.TTF", "a-serif.otf", "c-sans.ttc", "readme.txt", "deep/d.ttf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(lettering, "_MACHINE_FONTS", (str(tmp_path),))
    found = lettering._machine_fonts.__wrapped__()
    assert [Path(path).name for path in found] == ["b-Sans.TTF", "c-sans.ttc", "a-serif.otf", "d.ttf"]
    assert lettering._MOST_FONTS == 400
    monkeypatch.setattr(lettering, "_MOST_FONTS", 2)
    assert len(lettering._machine_fonts.__wrapped__()) == 2

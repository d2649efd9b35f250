"""What a contact sheet shows: images of the conversation and links of the text, with captions."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backends.contact_sheet.entries import SheetEntry, read_entries
from models.entities import InputImage

A, B = "https://a.example/1.png", "http://b.example/files/tools/2.png?timestamp=1&nonce=2&sign=3"


@pytest.mark.parametrize(
    ("text", "title", "entries"),
    [
        (f"![Tea]({A})", "", [("Tea", A)]),
        (f"Autumn\n\n![Tea]({A})\nTea\n\n![Rug]({B})\nRug", "Autumn", [("Tea", A), ("Rug", B)]),
        (f"# Autumn\n![]({A})\nTea, loose\n\n![]({B})", "Autumn", [("Tea, loose", A), ("2", B)]),
        (f'["![]({A})", "![]({B})"]', "", [("1", A), ("2", B)]),
        (f"- ![1.png]({A}) first\n- ![2.PNG]({B}) second", "", [("first", A), ("second", B)]),
        (f'![Tea]( <{A}> "a title" )![Rug]({B})', "", [("Tea", A), ("Rug", B)]),
        ("![Tea](https://a.example/x_(1).png)", "", [("Tea", "https://a.example/x_(1).png")]),
        (f"[Tea]({A}) ![no](link) here", "Tea](" + A, [("no", "link")]),
        ("no images at all", "no images at all", []),
        ("", "", []),
    ],
)
def test_links_have_captions_and_the_text_before_them_is_the_title(
    text: str, title: str, entries: list[tuple[str, str]]
) -> None:
    read_title, read = read_entries(text, ())
    assert [(entry.caption, entry.address) for entry in read] == entries
    assert read_title == title


def test_images_of_the_conversation_come_first_and_have_their_names() -> None:
    tea, nameless = InputImage(b"1", "image/png", "tea pot.v2.png"), InputImage(b"2", "image/png")
    _, entries = read_entries(f"![Rug]({A})", (tea, nameless))
    assert entries == (
        SheetEntry("tea pot.v2", image=tea),
        SheetEntry("2", image=nameless),
        SheetEntry("Rug", address=A),
    )


def test_captions_and_titles_have_at_most_200_characters() -> None:
    title, entries = read_entries(f"{'t' * 201}\n![{'c' * 201}]({A})", (InputImage(b"1", "image/png", "tea"),))
    assert title == "t" * 200
    assert [entry.caption for entry in entries] == ["tea", "c" * 200]


@given(st.text(alphabet="![]()<> \n\"'ah:/.\\", max_size=200))
def test_any_text_is_read(text: str) -> None:
    title, entries = read_entries(text, ())
    assert len(title) <= 200
    assert all(entry.caption and entry.address for entry in entries)


@pytest.mark.parametrize("hostile", ["![](", "![a](a(", "![a](x", "![", "![a](a()", "![a](<", "![a](x 'b"])
def test_a_hostile_text_is_read_quickly(hostile: str) -> None:
    started = time.perf_counter()
    read_entries(hostile * 20_000, ())
    assert time.perf_counter() - started < 5

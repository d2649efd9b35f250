"""The notes on the canvas: the editor can show them, and they cover nothing."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.workflows.canvas import APPS, Canvas, load

THEMES = {"blue", "cyan", "green", "yellow", "pink", "violet"}
LATIN, CHINESE = re.compile(r"[A-Za-z]{3}"), re.compile(r"[\u4e00-\u9fff]{3}")
LEAST_WIDTH, LEAST_HEIGHT = 240, 88
"""The editor's smallest note."""


@pytest.fixture(params=APPS, ids=lambda path: path.stem)
def app(request: pytest.FixtureRequest) -> Canvas:
    return load(request.param)


def paragraphs(note: dict[str, Any]) -> list[str]:
    """The texts of a note, read as the editor's Lexical state."""
    root = json.loads(note["data"]["text"])["root"]
    assert (root["type"], root["version"]) == ("root", 1)
    texts = []
    for paragraph in root["children"]:
        assert (paragraph["type"], paragraph["version"]) == ("paragraph", 1)
        assert {(part["type"], part["version"], part["mode"]) for part in paragraph["children"]} == {
            ("text", 1, "normal")
        }
        texts.append("".join(part["text"] for part in paragraph["children"]))
    return texts


def test_every_app_explains_itself_and_what_to_change_first(app: Canvas) -> None:
    titles = [paragraphs(note)[0] for note in app.notes]
    assert any(title.startswith("Change this first") for title in titles)
    assert len(titles) >= 3


def test_notes_speak_english_and_chinese(app: Canvas) -> None:
    for note in app.notes:
        title, *texts = paragraphs(note)
        assert LATIN.search(title)
        assert [bool(CHINESE.search(text)) for text in texts] == [False, True]


def test_notes_have_the_fields_that_the_editor_needs(app: Canvas) -> None:
    for note in app.notes:
        data = note["data"]
        assert (data["type"], data["title"], data["author"], data["showAuthor"]) == ("", "", "", False)
        assert data["theme"] in THEMES
        assert (data["width"], data["height"]) == (note["width"], note["height"])
        assert note["width"] >= LEAST_WIDTH
        assert note["height"] >= LEAST_HEIGHT
        assert note["position"] == note["positionAbsolute"]


def test_notes_cover_no_node_and_no_other_note(app: Canvas) -> None:
    boxes = [(node["id"], *_box(node)) for node in app.all_nodes if "parentId" not in node]
    for (one, *a), (other, *b) in combinations(boxes, 2):
        if one.startswith("note_") or other.startswith("note_"):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one, other)


def _box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    x, y = node["positionAbsolute"]["x"], node["positionAbsolute"]["y"]
    return x, y, x + node["width"], y + node["height"]

"""What the preview draws looks as it did when somebody last looked at it.

If a change was meant: `uv run python -m tests.drawings`.
"""

import pytest

from tests.compositions import COMPOSITIONS, composed_before, composition
from tests.drawings import drawings_of, drawn_before, look_alike, looks_as_before


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_scene_consists_of_the_same_shapes(name: str) -> None:
    assert composition(*COMPOSITIONS[name]) == composed_before()[name]


@pytest.mark.parametrize("name", drawings_of("styles"))
def test_a_style_paints_as_before(name: str) -> None:
    assert looks_as_before(name)


@pytest.mark.parametrize("name", drawings_of("photos"))
def test_work_on_an_image_looks_as_before(name: str) -> None:
    assert looks_as_before(name)


@pytest.mark.parametrize("name", drawings_of("edits"))
def test_an_edit_looks_as_before(name: str) -> None:
    assert looks_as_before(name)


@pytest.mark.parametrize("name", drawings_of("placeholder"))
def test_a_placeholder_looks_as_before(name: str) -> None:
    assert looks_as_before(name)


@pytest.mark.parametrize("name", drawings_of("scenes"))
def test_a_scene_looks_as_before(name: str) -> None:
    assert looks_as_before(name)


def test_a_different_drawing_is_noticed() -> None:
    drawing = drawn_before("placeholder")
    assert look_alike(drawing, drawing)
    assert not look_alike(drawing, drawing.crop((0, 0, 319, 240)))
    assert not look_alike(drawing, drawing.point(lambda value: min(255, value + 20)))

"""What the plugin draws looks as it did when somebody last looked at it."""

import pytest

from tests.drawings import DRAWINGS, drawn_before, look_alike


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_looks_as_before(name: str) -> None:
    assert look_alike(DRAWINGS[name](), drawn_before(name)), "if it was meant to change: python -m tests.drawings"


def test_a_different_drawing_is_noticed() -> None:
    drawing = drawn_before("placeholder")
    assert look_alike(drawing, drawing)
    assert not look_alike(drawing, drawing.crop((0, 0, 319, 240)))
    assert not look_alike(drawing, drawing.point(lambda value: min(255, value + 20)))

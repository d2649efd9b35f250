"""The rules of the tree that no linter knows: one name for one thing, small files, and who may import whom."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import ERROR_CLASSES

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "models").rglob("*.py"))
FOLDERS = sorted({path.parent for path in (ROOT / "models").rglob("*") if path.is_file()})
FORBIDDEN = {
    "backends": ("llm", "request", "output", "stages", "pipeline"),
    "request": ("llm", "output", "stages", "pipeline"),
    "output": ("llm", "request", "stages", "pipeline"),
    "stages": ("llm", "request", "pipeline"),
    "images": ("llm", "request", "output", "stages", "pipeline"),
}
"""Room by room, the rooms of `models/` that it knows nothing of."""


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_a_class_name_means_one_thing() -> None:
    counted = Counter(node.name for _, node in classes())
    assert [name for name, count in counted.items() if count > 1] == []


def test_exceptions_end_in_error_but_for_the_five_that_users_meet() -> None:
    five = {error.__name__ for error in ERROR_CLASSES}
    roots = {"Exception", "ValueError", "RuntimeError", "ImageError", *five}
    raised = [
        node.name
        for _, node in classes()
        if {base.id for base in node.bases if isinstance(base, ast.Name)} & roots and node.name not in five
    ]
    assert [name for name in raised if not name.endswith("Error")] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_readable_at_one_glance(folder: Path) -> None:
    assert len([path for path in folder.iterdir() if path.is_file()]) <= 25


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_knows_nothing_of_the_rooms_behind_it(room: str) -> None:
    unknown = tuple(f"models.{other}." for other in FORBIDDEN[room])
    crossing = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "models" / room).rglob("*.py"))
        for name in imported(path)
        if name.startswith(unknown)
    ]
    assert crossing == []


def test_one_word_for_an_image() -> None:
    assert [str(path.relative_to(ROOT)) for path in MODULES if "picture" in path.read_text("utf-8").casefold()] == []

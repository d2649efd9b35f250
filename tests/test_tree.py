"""Rules of the source tree that no linter checks: unique names, small files, and imports between folders."""

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
    "storage": ("llm", "request", "output", "stages", "pipeline"),
}
"""For each folder, the folders of `models/` that it must not import."""
CHANGING = {
    *("JobProgress", "EventSocket", "EventStream", "JobWait", "JobTracker"),  # a job that is being watched
    # what a process counts and remembers
    *("Outage", "ServerRecord", "LinkFetcher", "CallTrail", "CallRoom", "_Waiting", "TelemetrySink"),
    *("ModelRoute", "CacheKeeping", "_Search", "PastedWorkflow", "Stage"),  # the way of one request
    "_Reader",  # the parts of one text
}
"""The dataclasses that change after they were made; every other one is frozen."""
WITHOUT_SLOTS = {
    *(
        "Graph",
        "ObjectInfo",
        "Slots",
        "Workflow",
        "ShippedWorkflows",
        "RefusalTable",
        "StoreAddress",
        "Template",
    ),  # cached properties
    *(
        "JobProgress",
        "EventStream",
        "JobWait",
        "JobTracker",
        "PastedWorkflow",
        "Stage",
        "CallTrail",
        "TelemetrySink",
        "_Reader",
    ),
}
SECRETIVE = {
    *("Settings", "Access", "StoreAddress", "RedisClient"),
    *("AuditStore", "WebhookSender", "RequestTelemetry", "Meaning"),
}
"""The dataclasses that hold secrets and do not print their fields."""


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


def test_class_names_are_unique() -> None:
    counted = Counter(node.name for _, node in classes())
    assert [name for name, count in counted.items() if count > 1] == []


def test_exceptions_end_in_error_except_the_five_image_errors() -> None:
    five = {error.__name__ for error in ERROR_CLASSES}
    roots = {"Exception", "ValueError", "RuntimeError", "ImageError", *five}
    raised = [
        node.name
        for _, node in classes()
        if {base.id for base in node.bases if isinstance(base, ast.Name)} & roots and node.name not in five
    ]
    assert [name for name in raised if not name.endswith("Error")] == []


@pytest.mark.parametrize(
    ("option", "default", "exceptions"),
    [("frozen", False, CHANGING), ("slots", False, WITHOUT_SLOTS), ("repr", True, SECRETIVE)],
)
def test_dataclasses_are_frozen_have_slots_and_print_no_secrets(
    option: str, default: bool, exceptions: set[str]
) -> None:
    """A repr that is off is the exception, as options that are left out are for the others."""
    assert {name for name, given in dataclass_options().items() if not given.get(option, default)} == exceptions


def dataclass_options() -> dict[str, dict[str, bool]]:
    return {
        node.name: {
            str(keyword.arg): keyword.value.value is True
            for keyword in (mark.keywords if isinstance(mark, ast.Call) else ())
            if isinstance(keyword.value, ast.Constant)
        }
        for _, node in classes()
        for mark in node.decorator_list
        if ast.unparse(mark).partition("(")[0] == "dataclass"
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_has_at_most_25_files(folder: Path) -> None:
    assert len([path for path in folder.iterdir() if path.is_file()]) <= 25


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_folder_does_not_import_later_folders(room: str) -> None:
    unknown = tuple(f"models.{other}." for other in FORBIDDEN[room])
    crossing = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "models" / room).rglob("*.py"))
        for name in imported(path)
        if name.startswith(unknown)
    ]
    assert crossing == []


def test_the_word_for_an_image_is_image() -> None:
    assert [str(path.relative_to(ROOT)) for path in MODULES if "picture" in path.read_text("utf-8").casefold()] == []

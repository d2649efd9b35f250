"""For `mutants.py`: which tests run which line of the code, recorded once by coverage."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[1]
_MOST_TESTS = 40
"""Tests for one mutant; those that reach the fewest lines come first, because they look closest at the line."""
_AROUND = 8
"""Lines before and behind a line whose tests are tried as well."""
_SLOW = 1.0  # seconds; slower tests are tried last
_SETTINGS = """[run]
source = models
concurrency = gevent,thread
dynamic_context = test_function
"""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+)", re.MULTILINE)
_DURATION = re.compile(r"^(\d+\.\d+)s (?:call|setup) +(tests/[^\s\[]+)", re.MULTILINE)


def record(tree: Path, into: Path) -> None:
    """Run the tests once and note which test runs which line, and beside it (`.txt`) which tests fail or are slow."""
    settings = tree / ".coveragerc"
    settings.write_text(_SETTINGS, "utf-8")
    command = ["coverage", "run", f"--rcfile={settings}", f"--data-file={into}", "-m", "pytest", "-q", "--durations=0"]
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command], cwd=tree, stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        sys.exit(f"the tests did not run to their end:\n{ended.stdout[-2000:]}")
    said = re.findall(f"{_FAILED.pattern}|{_DURATION.pattern}", ended.stdout, re.MULTILINE)
    lines = [f"FAILED {failed}" if failed else f"{seconds}s call {test}" for failed, seconds, test in said]
    _beside(into).write_text("\n".join(lines), "utf-8")


def _beside(recorded: Path) -> Path:
    return recorded.with_name(f"{recorded.name}.txt")


class TestMap:
    """Which tests run a line, as coverage recorded it."""

    def __init__(self, recorded: Path) -> None:
        self._data = coverage.CoverageData(str(recorded))
        self._data.read()
        self._files = {os.path.relpath(file, file.split("/models/")[0]): file for file in self._data.measured_files()}
        self._reach: dict[str, int] = {}
        for file in self._files.values():
            for contexts in self._data.contexts_by_lineno(file).values():
                for context in contexts:
                    self._reach[context] = self._reach.get(context, 0) + 1
        said = text.read_text("utf-8") if (text := _beside(recorded)).exists() else ""
        self.failed = frozenset(_FAILED.findall(said))
        self.slow = frozenset(test for seconds, test in _DURATION.findall(said) if float(seconds) > _SLOW)

    def of(self, places: Iterable[tuple[str, int]]) -> list[str]:
        """The ids of the tests of these lines of files: those that look closest at one first, then those of the lines around.

        Lines around it count because a kept record may be older than the tree.
        """
        found: dict[str, tuple[bool, int, int]] = {}
        for path, at in places:
            file = self._files.get(path)
            lines = self._data.contexts_by_lineno(file) if file else {}
            for line in range(at - _AROUND, at + _AROUND + 1):
                for context in lines.get(line, ()):
                    if test := _test_id(context):
                        rank = test in self.slow, abs(line - at), self._reach[context]
                        found[test] = min(rank, found.get(test, rank))
        return sorted(found, key=found.__getitem__)[:_MOST_TESTS]

    def at_import(self, path: str, line: int) -> bool:
        file = self._files.get(path)
        return "" in self._data.contexts_by_lineno(file).get(line, ()) if file else False


def _test_id(context: str) -> str | None:
    """`tests.stages.test_files.test_a` as pytest names it; None for what is no test of a module."""
    module, _, name = context.rpartition(".")
    path = f"{module.replace('.', '/')}.py"
    return f"{path}::{name}" if name.startswith("test_") and (ROOT / path).is_file() else None


def own_tests(module: str) -> list[str]:
    """The tests of a module by their place in the mirrored tree: of a folder without folders all, else the module's own
    file where it has one."""
    path = Path(module)
    folder = Path("tests", *path.parts[1:-1])
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    own = ROOT / folder / f"test_{path.parent.name if path.stem == '__init__' else path.stem}.py"
    inner = any((ROOT / folder).glob("*/test_*.py"))
    files = (
        [own] if inner and own.is_file() else sorted((ROOT / folder).glob("test_*.py"), key=lambda file: file != own)
    )
    return [str(file.relative_to(ROOT)) for file in files]

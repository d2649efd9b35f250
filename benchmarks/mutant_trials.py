"""For `mutants.py`: runs tests with a mutant in place, in the copied tree.

The tests are collected once, in a process of their own. A mutant inside a function is tried in a fork of that process: its
file is written, and the function gets its new code. Every other mutant (a constant of a module, a decorator) is tried in a
fork of a process that has imported the libraries only, so that all modules of the project are imported anew.
"""

import ast
import gc
import importlib
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType
from typing import NoReturn

import pytest

from benchmarks.mutant_record import ROOT

_BUDGET = 60.0
"""Seconds of computing for the tests of one mutant; the tests that are left then are not tried."""
_LIMIT = 240.0
"""Seconds in which a trial must end: what does not end was found."""
_CANNOT = "cannot be swapped"
_OUT = os.fdopen(os.dup(1), "w")  # pytest takes the other one


@dataclass(frozen=True, slots=True)
class Mutant:
    """A piece of a file and what stands there instead. Positions are bytes of the file; `line` is for people.

    `function` is the qualified name of the function that holds the piece in its body, empty where none does.
    """

    path: str
    line: int
    start: int
    end: int
    new: str
    function: str = ""

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


@dataclass(frozen=True, slots=True)
class Task:
    """A mutant, the tests nearest to it, and the files of tests that are tried after them.

    `at_import`: the line runs while modules are imported and tests collected as well.
    """

    mutant: Mutant
    near: tuple[str, ...]
    further: tuple[str, ...]
    at_import: bool


class Picked:
    """A plugin of pytest that runs some of the collected tests, and stops at the first that fails.

    `left_out` are tests that fail anyway, `slow` functions that come last.
    """

    def __init__(self, left_out: frozenset[str], slow: frozenset[str]) -> None:
        self._left_out = left_out
        self._slow = slow
        self._items: dict[str, list[pytest.Item]] = {}
        self._failed = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if item.nodeid not in self._left_out:
                for name in (item.nodeid, item.nodeid.partition("[")[0], item.nodeid.partition("::")[0]):
                    self._items.setdefault(name, []).append(item)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    def first_failing(self, names: Sequence[str], note: Callable[[str], None]) -> str:
        """The first test that fails, empty for none. `note` is told each test before it runs."""
        found = dict.fromkeys(item for name in names for item in self._items.get(name, ()))
        ordered = sorted(found, key=lambda item: item.nodeid.partition("[")[0] in self._slow)
        end = time.process_time() + _BUDGET
        for item, following in pairwise((*ordered, None)):
            assert item is not None  # noqa: S101 -- only the last is
            note(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                return item.nodeid
            if time.process_time() > end:
                break
        return ""


@dataclass(frozen=True, slots=True)
class InPlaceOfTests:
    """A plugin of pytest that does something else with the collected tests; nothing where one could not be collected."""

    work: Callable[[], None]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not session.testsfailed:
            self.work()
        return True


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials in the copied tree, without the tests that fail without a mutant as well, the slow ones last."""

    tree: Path
    left_out: frozenset[str]
    slow: frozenset[str]

    def run(self, tasks: Sequence[Task]) -> tuple[int, int]:
        """The number of survivors, and of mutants that only tests found which fail without them too."""
        inside = [task for task in tasks if task.mutant.function]
        finders = dict(zip(inside, self._of_collected(inside), strict=True))
        for task in tasks:
            if finders.get(task, _CANNOT) == _CANNOT or (task.at_import and not finders[task]):
                finders[task] = self._anew(task)
                _say(task.mutant, finders[task])
        named = sorted({finder for finder in finders.values() if "::" in finder})
        doubtful = set(self._failing(named))
        for test in sorted(doubtful):
            print(f"DOUBTFUL {test} fails on the unchanged tree")
        found = list(finders.values())
        return found.count(""), sum(finder in doubtful for finder in found)

    def _of_collected(self, tasks: Sequence[Task]) -> list[str]:
        """For each mutant inside a function the test that fails, empty for none; `_CANNOT` where it must be tried anew."""
        picked = Picked(self.left_out, self.slow)
        results: list[str] = []

        def each_task() -> None:
            functions = _functions(self.tree)
            gc.collect()
            gc.freeze()
            for task in tasks:
                live = functions.get((task.mutant.path, task.mutant.function), [])
                code = self._new_code(task.mutant)
                results.append(self._swapped(task, code, live, picked) if code and live else _CANNOT)
                if (results[-1] and results[-1] != _CANNOT) or not (results[-1] or task.at_import):
                    _say(task.mutant, results[-1])

        def work(_: Callable[[str], None]) -> str:
            files = sorted({name.partition("::")[0] for task in tasks for name in (*task.near, *task.further)})
            self._pytest(files, [picked, InPlaceOfTests(each_task)])
            return json.dumps(results)

        return json.loads(self._forked(work, math.inf)) if tasks else []

    def _swapped(self, task: Task, code: CodeType, live: Sequence[FunctionType], picked: Picked) -> str:
        def work(note: Callable[[str], None]) -> str:
            try:
                for function in live:
                    function.__code__ = code
            except ValueError:  # it uses other variables of the code around it
                return _CANNOT
            return picked.first_failing((*task.near, *task.further), note)

        with self._in_place(task.mutant):
            return self._forked(work)

    def _new_code(self, mutant: Mutant) -> CodeType | None:
        source = mutant.applied((self.tree / mutant.path).read_bytes())
        whole = compile(source, str(self.tree / mutant.path), "exec")
        found = [code for code in _codes(whole) if code.co_qualname == mutant.function]
        return found[0] if len(found) == 1 else None

    def _anew(self, task: Task) -> str:
        """The test that fails with the mutant, empty for none."""
        with self._in_place(task.mutant):
            return self._tried(task.near) or self._tried(task.further)

    def _tried(self, names: Sequence[str]) -> str:
        picked = Picked(self.left_out, self.slow)
        found: list[str] = []

        def work(note: Callable[[str], None]) -> str:
            tests = InPlaceOfTests(lambda: found.append(picked.first_failing(names, note)))
            self._pytest(sorted({name.partition("::")[0] for name in names}), [picked, tests])
            return found[0] if found else "the import of the tests"

        return self._forked(work) if names else ""

    def _failing(self, names: Sequence[str]) -> Iterator[str]:
        """Those of the tests that fail, each tried by itself."""
        for name in names:
            if self._tried([name]):
                yield name

    @contextmanager
    def _in_place(self, mutant: Mutant) -> Iterator[None]:
        file = self.tree / mutant.path
        source = file.read_bytes()
        file.write_bytes(mutant.applied(source))
        try:
            yield
        finally:
            file.write_bytes(source)

    def _pytest(self, files: Sequence[str], plugins: list[object]) -> None:
        os.chdir(self.tree)
        sys.path[:] = [str(self.tree), *(path for path in sys.path if path not in {"", str(ROOT)})]
        for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
            del sys.modules[name]  # a test may import the tree's own
        pytest.main(["-p", "no:cacheprovider", *files], plugins)

    def _forked(self, work: Callable[[Callable[[str], None]], str], limit: float = _LIMIT) -> str:
        """What `work` returns in a fork of this process; what it noted last where it came to no end."""
        with tempfile.TemporaryFile() as said:

            def note(text: str) -> None:
                said.seek(0)
                said.truncate()
                said.write(text.encode())
                said.flush()

            if not (child := os.fork()):
                _end_with(work, note)
            end = time.monotonic() + limit
            while not os.waitpid(child, os.WNOHANG)[0]:
                if time.monotonic() > end:
                    os.killpg(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    break
                time.sleep(0.01)
            said.seek(0)
            return said.read().decode()


def _end_with(work: Callable[[Callable[[str], None]], str], note: Callable[[str], None]) -> NoReturn:
    try:
        os.setsid()  # so that plugin processes end with it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        note("the start of the tests")
        note(work(note))
    finally:
        os._exit(0)


def _functions(tree: Path) -> dict[tuple[str, str], list[FunctionType]]:
    """The functions of the project's modules by file and qualified name."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and (file := Path(one.__code__.co_filename)).is_relative_to(tree / "models"):
            found.setdefault((str(file.relative_to(tree)), one.__code__.co_qualname), []).append(one)
    return found


def _codes(whole: CodeType) -> Iterator[CodeType]:
    for code in whole.co_consts:
        if isinstance(code, CodeType):
            yield code
            yield from _codes(code)


def import_libraries() -> None:
    """Everything that the project's modules import and that is none of them; `dify_plugin` first, as it patches sockets."""
    names = ["dify_plugin", "hypothesis"]
    for file in (ROOT / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            elif isinstance(node, ast.Import):
                names += [name.name for name in node.names]
    for name in names:
        if name.partition(".")[0] not in {"models", "provider"}:
            importlib.import_module(name)


def _say(mutant: Mutant, finder: str) -> None:
    old = (ROOT / mutant.path).read_bytes()[mutant.start : mutant.end].decode()
    said = f"{mutant.path}:{mutant.line}: {' '.join(old.split())} -> {mutant.new}"
    print(f"{'found   ' if finder else 'SURVIVED'} {said[:200]} # {finder[:100]}", file=_OUT, flush=True)

"""Mutation testing: small changes of the code, one at a time, and whether a test fails for each.

`uv run python -m benchmarks.mutants [--count 200] [--seed 1] [--only REGEX] [--part 1/4]` prints one line per mutant and the share
that the tests found. It copies the tree to a temporary folder, records once which test runs which line, and runs for each
mutant the tests that reach its line; where none does, those that mirror the module. `--map FILE` keeps the record for
the next run. The libraries are imported once: each run of tests is a fork of this process, which has none of the project's
own modules.

A test that fails without any mutant finds nothing: those that fail in the record are left out, and at the end each test
that found a mutant must pass on the unchanged tree.
"""

import argparse
import ast
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import coverage
import pytest

ROOT = Path(__file__).parents[1]
MOST_TESTS = 25
"""Tests for one mutant; those that reach the fewest lines come first, because they look closest at the line."""
SECONDS = 600
_AROUND = 8
"""Lines before and behind a line whose tests are tried as well."""
_SETTINGS = """[run]
source = models
concurrency = gevent,thread
dynamic_context = test_function
"""
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A piece of a file and what stands there instead. Positions are bytes of the file; `line` is for people."""

    path: str
    line: int
    start: int
    end: int
    new: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutants_of(path: str, source: bytes) -> Iterator[Mutant]:
    """Every change that could be made to a module."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    for node in _statements(ast.parse(source)):
        for old, new in _changes(node):
            assert old.end_lineno is not None  # noqa: S101 -- parsed code has positions
            assert old.end_col_offset is not None  # noqa: S101
            start = offsets[old.lineno - 1] + old.col_offset
            end = offsets[old.end_lineno - 1] + old.end_col_offset
            yield Mutant(path, old.lineno, start, end, new)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, which nothing runs, and the text that people read."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.AnnAssign):
            if child.value is not None:
                yield from _statements(child)
        elif isinstance(child, ast.arg | ast.TypeAlias | ast.Raise | ast.JoinedStr):
            continue
        elif not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield child
            yield from _statements(child)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:  # noqa: C901 -- one case for each kind of change
    match node:
        case ast.Compare(ops=[op], left=left, comparators=[right]) if type(op) in _COMPARISONS:
            yield node, f"({ast.unparse(ast.Compare(left, [_COMPARISONS[type(op)]()], [right]))})"
        case ast.BinOp(op=op) if type(op) in _OPERATIONS:
            yield node, f"({ast.unparse(ast.BinOp(node.left, _OPERATIONS[type(op)](), node.right))})"
        case ast.BoolOp(values=[*values, _]):
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
            yield node, f"({ast.unparse(values[0])})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.IfExp():
            yield node, f"({ast.unparse(node.body)})"
            yield node, f"({ast.unparse(node.orelse)})"
        case ast.If() | ast.While():
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.Constant(value=bool(value)):
            yield node, str(not value)
        case ast.Constant(value=int() | float() as number):
            yield node, f"({number + 1})"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield value, "None"
        case ast.Expr(value=ast.Call()):
            yield node, "pass"


def sampled(count: int, seed: int, only: str) -> list[Mutant]:
    """`count` mutants of all that are possible, the same for the same seed and tree."""
    every: list[Mutant] = []
    for file in sorted((ROOT / "models").rglob("*.py")):
        path = str(file.relative_to(ROOT))
        if re.search(only, path):
            every += mutants_of(path, file.read_bytes())
    return random.Random(seed).sample(every, min(count, len(every)))  # noqa: S311


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

    def of(self, mutant: Mutant) -> list[str]:
        """The ids of the tests: those that look closest at the line first, then those of the lines around it.

        Lines around it count because a kept record may be older than the tree.
        """
        file = self._files.get(mutant.path)
        lines = self._data.contexts_by_lineno(file) if file else {}
        found: dict[str, tuple[int, int]] = {}
        for line, contexts in lines.items():
            for context in contexts:
                rank = abs(line - mutant.line), self._reach[context]
                if context and rank[0] <= _AROUND and rank < found.get(context, (_AROUND, sys.maxsize)):
                    found[context] = rank
        named = sorted(found, key=found.__getitem__)
        return [test for context in named if (test := _test_id(context))][:MOST_TESTS]


def _test_id(context: str) -> str | None:
    """`tests.stages.test_files.test_a` as pytest names it; None for what is no test of a module."""
    module, _, name = context.rpartition(".")
    path = f"{module.replace('.', '/')}.py"
    return f"{path}::{name}" if name.startswith("test_") and (ROOT / path).is_file() else None


def record(tree: Path, into: Path) -> None:
    """Run the tests once and note which test runs which line, and beside it (`.failed`) which tests fail."""
    settings = tree / ".coveragerc"
    settings.write_text(_SETTINGS, "utf-8")
    command = ["coverage", "run", f"--rcfile={settings}", f"--data-file={into}", "-m", "pytest", "-q"]
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command], cwd=tree, stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        sys.exit(f"the tests did not run to their end:\n{ended.stdout[-2000:]}")
    _failed_file(into).write_text("\n".join(_FAILED.findall(ended.stdout)), "utf-8")


def _failed_file(recorded: Path) -> Path:
    return recorded.with_name(f"{recorded.name}.failed")


_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+)", re.MULTILINE)
_NEVER_ENDED = "a test that never ends"


@dataclass(frozen=True)
class Trial:
    """Runs tests in the copied tree, but for `left_out`: those that fail without a mutant as well."""

    tree: Path
    left_out: frozenset[str] = frozenset()

    def finder(self, mutant: Mutant, tests: Sequence[str]) -> str | None:
        """The first test that fails with the mutant in place; None if none does."""
        file = self.tree / mutant.path
        source = file.read_bytes()
        file.write_bytes(mutant.applied(source))
        try:
            return next(iter(self.failures(tests, "-x")), None)
        finally:
            file.write_bytes(source)

    def failures(self, tests: Sequence[str], *options: str) -> list[str]:
        deselected = [f"--deselect={test}" for test in self.left_out]
        with tempfile.NamedTemporaryFile("r") as printed:
            ended = self._forked(["-q", "-p", "no:cacheprovider", *options, *deselected, *tests], printed.name)
            if ended is None:
                return [_NEVER_ENDED]
            if ended in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
                return []
            return _FAILED.findall(printed.read()) or ["the start of the tests"]

    def _forked(self, arguments: list[str], printed: str) -> int | None:
        """Run pytest in a fork of this process; the exit code, None for one that did not end in time."""
        if not (child := os.fork()):
            self._run(arguments, printed)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def _run(self, arguments: list[str], printed: str) -> NoReturn:
        code = 1
        try:
            os.setsid()  # so that plugin processes end with it
            out = os.open(printed, os.O_WRONLY)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(self.tree)
            sys.path[:] = [str(self.tree), *(path for path in sys.path if path not in {"", str(ROOT)})]
            del sys.modules["benchmarks"]
            code = int(pytest.main(arguments))
            sys.stdout.flush()
        finally:
            os._exit(code)

    def doubtful(self, finders: set[str]) -> set[str]:
        """Those of the tests that fail on the unchanged tree."""
        named = sorted(finder for finder in finders if "::" in finder)
        return set(self.failures(named)) if named else set()


def _own_tests(mutant: Mutant) -> list[str]:
    """The tests of a module by their place in the mirrored tree: of a folder without folders all, else the module's own
    file where it has one."""
    path = Path(mutant.path)
    folder = Path("tests", *path.parts[1:-1])
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    if not any((ROOT / folder).glob("*/test_*.py")):
        return [str(folder)]
    own = folder / f"test_{path.parent.name if path.stem == '__init__' else path.stem}.py"
    files = [ROOT / own] if (ROOT / own).is_file() else sorted((ROOT / folder).glob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files]


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="a regular expression for the path of a module")
    options.add_argument("--part", default="1/1", help="2/4: the second quarter of the mutants")
    options.add_argument("--map", type=Path, help="where the record of tests and lines is kept")
    options.add_argument("--least", type=float, default=92.0, help="percent that must be found")
    given = options.parse_args()
    part, parts = map(int, given.part.split("/"))
    chosen = sampled(given.count, given.seed, given.only)[part - 1 :: parts]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", "out", "dist", ".*_cache"))
        recorded = (given.map or Path(folder) / "coverage").absolute()
        if not recorded.exists():
            record(tree, recorded)
        _import_libraries()
        survivors, doubtful = _run(chosen, TestMap(recorded), Trial(tree, _left_out(recorded)))
    share = 100 * (1 - (survivors + doubtful) / max(1, len(chosen)))
    print(f"{len(chosen)} mutants, {survivors} survived, {doubtful} doubtful: {share:.1f} % found")
    return 0 if share >= given.least else 1


def _import_libraries() -> None:
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


def _left_out(recorded: Path) -> frozenset[str]:
    file = _failed_file(recorded)
    failed = frozenset(file.read_text("utf-8").split("\n") if file.exists() else ()) - {""}
    print(f"{len(failed)} tests fail without a mutant and are left out: {', '.join(sorted(failed))}", flush=True)
    return failed


def _run(chosen: Sequence[Mutant], known: TestMap, trial: Trial) -> tuple[int, int]:
    """The number of survivors, and of mutants that only tests found which fail without them too."""
    finders: list[str] = []
    for number, mutant in enumerate(chosen, start=1):
        near = known.of(mutant)
        finder = trial.finder(mutant, near or _own_tests(mutant))
        finders += [finder] if finder else []
        old = (ROOT / mutant.path).read_bytes()[mutant.start : mutant.end].decode()
        said = f"{mutant.path}:{mutant.line}: {' '.join(old.split())} -> {mutant.new}"
        print(f"{number:>4} {'found   ' if finder else 'SURVIVED'} {said[:200]} # {finder or ''}", flush=True)
    doubtful = trial.doubtful(set(finders))
    for test in sorted(doubtful):
        print(f"DOUBTFUL {test} fails on the unchanged tree")
    return len(chosen) - len(finders), sum(finder in doubtful for finder in finders)


if __name__ == "__main__":
    sys.exit(main())

"""Mutation testing: small changes of the code, one at a time, and whether a test fails for each.

`uv run python -m benchmarks.mutants [--count 200] [--seed 1] [--only REGEX] [--part 1/4]` prints one line per mutant and the share
that the tests found. It copies the tree to a temporary folder, records once which test runs which line, and tries for each
mutant the tests that reach its line, then those that mirror its module and the rules of the tree (`mutant_trials.py` says
how). A constant or a field of a class is reached where the modules name it. `--map FILE` keeps the record for the next run.

A test that fails without any mutant finds nothing: those that fail in the record are left out, and at the end each test
that found a mutant must pass on the unchanged tree.
"""

import argparse
import ast
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from benchmarks.mutant_record import ROOT, TestMap, own_tests, record
from benchmarks.mutant_trials import Mutant, Task, Trials, import_libraries

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
_RULES = (
    "tests/test_tree.py::test_dataclasses_are_frozen_have_slots_and_print_no_secrets",
    "tests/test_bounds.py",
    "tests/backends/test_bounds.py",
)
"""Tests of what stands outside functions in all modules: no coverage leads to them."""


def mutants_of(path: str, source: bytes) -> Iterator[Mutant]:
    """Every change that could be made to a module."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    tree = ast.parse(source)
    inside = {
        node: name for name, function in _functions(tree, "") for part in function.body for node in ast.walk(part)
    }
    for node in _statements(tree):
        for old, new in _changes(node):
            assert old.end_lineno is not None  # noqa: S101 -- parsed code has positions
            assert old.end_col_offset is not None  # noqa: S101
            start = offsets[old.lineno - 1] + old.col_offset
            end = offsets[old.end_lineno - 1] + old.end_col_offset
            yield Mutant(path, old.lineno, start, end, new, inside.get(node, ""))


def _functions(tree: ast.AST, before: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of a module and of its classes, by their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield before + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{before}{node.name}.")


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
        import_libraries()
        known = TestMap(recorded)
        print(f"{len(known.failed)} tests fail without a mutant and are left out: {', '.join(sorted(known.failed))}")
        tasks = [_task(mutant, known) for mutant in chosen]
        survivors, doubtful = Trials(tree, known.failed, known.slow).run(tasks)
    share = 100 * (1 - (survivors + doubtful) / max(1, len(chosen)))
    print(f"{len(chosen)} mutants, {survivors} survived, {doubtful} doubtful: {share:.1f} % found")
    return 0 if share >= given.least else 1


def _task(mutant: Mutant, known: TestMap) -> Task:
    further = (*own_tests(mutant.path), *(() if mutant.function else _RULES))
    near = tuple(known.of([*_uses(mutant), (mutant.path, mutant.line)]))
    return Task(mutant, near, further, at_import=known.at_import(mutant.path, mutant.line))


def _uses(mutant: Mutant) -> Iterator[tuple[str, int]]:
    """The files and lines that name what a mutant outside functions is the value of: a constant, a field of a class."""
    source = (ROOT / mutant.path).read_bytes()
    for name in {name for name, lines in _values(source) if mutant.line in lines and not mutant.function}:
        files = [ROOT / mutant.path] if name.startswith("_") else sorted((ROOT / "models").rglob("*.py"))
        for file in files:
            for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
                if re.search(rf"\b{name}\b", line):
                    yield str(file.relative_to(ROOT)), number


@cache
def _values(source: bytes) -> Sequence[tuple[str, range]]:
    """The names that a module and its classes give to values, and the lines of each value."""
    scopes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.ClassDef)]
    return [
        (target.id, range(node.value.lineno, (node.value.end_lineno or node.value.lineno) + 1))
        for scope in scopes
        for node in scope.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    ]


if __name__ == "__main__":
    sys.exit(main())

"""Every sentence, and every part of one, that the code can show: read from the syntax tree and from the YAML tables.

A text counts as shown if it is written like prose: at least two words, or one word beside a value. Docstrings, log
lines, annotations and regular expressions do not count; the few other texts that look like prose and are never shown
are named in `unshown.yaml`. So a new sentence is found wherever it is written, without following how it reaches
the user.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, cycle, product
from pathlib import Path
from string import Formatter

import yaml

ROOT = Path(__file__).parents[2]
_UNSHOWN = Path(__file__).with_name("unshown.yaml")
_MOST_FORMS = 8
"""Forms that conditions inside one sentence may give it."""
_PROSE = re.compile(r"[A-Za-z]{2,}[,.;:]? |[ ,;:][a-z]{2,}|[A-Za-z]{2,}\Z")
_LATER = re.compile(r"(?<!\{)\{([a-z_]*)\}(?!\})")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_FORM_FIELD = re.compile(r"\.(?:where|words)\('(\w+)'\)")
_NAMES = re.compile(r"[A-Za-z_]\w*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_SAY_NOTHING = frozenset(
    [
        "self",
        "name",
        "title",
        "id",
        "join",
        "str",
        "len",
        "sorted",
        "map",
        "list",
        "max",
        "min",
        "int",
        "strip",
        "upper",
        "casefold",
        "get",
        "for",
        "in",
        "if",
        "else",
        "and",
        "or",
        "f",
    ]
)
_SILENT_CALLS = {
    "compile",
    "sub",
    "search",
    "match",
    "fullmatch",
    "split",
    "finditer",
    "findall",
    "execute",
    "executescript",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text with named fields, in the syntax of `str.format`, and where it stands."""

    template: str
    path: str
    line: int

    @property
    def shape(self) -> str:
        return shape(self.template)


def shape(template: str) -> str:
    """The template without the names of its fields: two of one shape are the same sentence."""
    return "".join(
        f"{_escaped(literal)}{'' if name is None else '{}'}" for literal, name, _, _ in Formatter().parse(template)
    )


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@cache
def sentences() -> tuple[Sentence, ...]:
    """All sentences in the order of the files, each shape once per file."""
    unshown = {shape(text) for text in yaml.safe_load(_UNSHOWN.read_text("utf-8"))}
    found = dict[tuple[str, str], Sentence]()
    for path in (*sorted((ROOT / "models").rglob("*.py")), *sorted((ROOT / "provider").rglob("*.py"))):
        for sentence in of_module(path):
            found.setdefault((sentence.shape, sentence.path), sentence)
    for sentence in of_tables():
        found.setdefault((sentence.shape, sentence.path), sentence)
    return tuple(sentence for sentence in found.values() if sentence.shape not in unshown)


def of_module(path: Path) -> Iterator[Sentence]:
    """The sentences of a module, in their order."""
    name = str(path.relative_to(ROOT))
    for node in _texts(ast.parse(path.read_text("utf-8"))):
        for template in forms(node):
            if is_prose(template):
                yield Sentence(template, name, node.lineno)


def of_tables() -> Iterator[Sentence]:
    """The next steps of the services' refusals, what stores say, and the words of dialects and cards."""
    for path in sorted((ROOT / "models").rglob("*.yaml")):
        for text in _shown_in(path):
            if is_prose(template := numbered(" ".join(text.split()))):
                yield Sentence(template, str(path.relative_to(ROOT)), 0)


def _shown_in(path: Path) -> Iterator[str]:
    """The templates in a table."""
    match path.parent.name, path.name:
        case _, "refusals.yaml":
            yield from (row["next_step"] for row in _rows(path))
        case "storage", "failures.yaml":
            yield from (text for row in _rows(path) for text in (row["said"], row["next"]))
        case _, "dialects.yaml":
            yield from (_escaped(row[name]) for row in _rows(path) for name in ("title", "urls_expire") if name in row)
        case _ if path.parents[1].name == "llm":
            yield from map(_escaped, re.findall(r"^ +reason: (.+)$", path.read_text("utf-8"), re.MULTILINE))


def _rows(path: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = yaml.safe_load(path.read_text("utf-8"))
    return rows


def is_prose(template: str) -> bool:
    """At least one word and a space, on one line; without a value two words, or one at the end of a sentence's part."""
    parts = list(Formatter().parse(template))
    words = "\0".join(literal for literal, *_ in parts)
    if "\n" in words or " " not in words or not _WORDS.search(words):
        return False
    return any(name is not None for _, name, _, _ in parts) or bool(_PROSE.search(words))


class _Texts(ast.NodeVisitor):
    """Collects the outermost text nodes, and those inside the fields of an f-string."""

    def __init__(self) -> None:
        self.found: list[ast.expr] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.found.append(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not _choices(part.value):
                self.visit(part.value)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "logger":
            return
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "cast":
            self.visit(node.args[1])
        elif name not in _SILENT_CALLS:
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Annotations are no texts."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    def visit_Assert(self, node: ast.Assert) -> None:
        """What only a developer sees."""

    def visit_Compare(self, node: ast.Compare) -> None:
        """What is compared is not shown."""


def _texts(tree: ast.AST) -> list[ast.expr]:
    visitor = _Texts()
    visitor.visit(tree)
    return visitor.found


def forms(node: ast.expr) -> list[str]:
    """The templates that an expression can give: a condition between texts inside it gives one for each."""
    match node:
        case ast.Constant(value=str(text)):
            return [_literal(text)]
        case ast.JoinedStr(values=values):
            taken: dict[str, int] = {}
            pieces = [_piece(value, taken) for value in values]
            return ["".join(form) for form in product(*pieces)][:_MOST_FORMS]
        case _:
            return []


def _piece(node: ast.expr, taken: dict[str, int]) -> list[str]:
    if isinstance(node, ast.Constant):
        return [_literal(str(node.value))]
    assert isinstance(node, ast.FormattedValue)  # noqa: S101 -- nothing else stands in an f-string
    if choices := _choices(node.value):
        return [form for choice in choices for form in forms(choice)]
    name = field_name(node.value)
    taken[name] = taken.get(name, 0) + 1
    return [f"{{{name}}}" if taken[name] == 1 else f"{{{name}_{taken[name]}}}"]


def _choices(node: ast.expr) -> list[ast.expr]:
    """The texts between which a condition chooses; empty for anything else."""
    if not isinstance(node, ast.IfExp):
        return []
    both = [choice for side in (node.body, node.orelse) for choice in (_choices(side) or [side])]
    return both if all(isinstance(choice, (ast.Constant, ast.JoinedStr)) for choice in both) else []


def _literal(text: str) -> str:
    """Plain text, in which `{name}` and `{}` are filled later by `str.format`."""
    numbers = count()
    pieces = _LATER.split(text)
    return "".join(
        f"{{{piece or f'value_{next(numbers)}'}}}" if odd else _escaped(piece)
        for odd, piece in zip(cycle((False, True)), pieces)
    )


def field_name(node: ast.expr) -> str:
    """A short name for what a field shows, the last one in it that says something: `base_url` of `where('base_url')`."""
    shown = ast.unparse(node)
    if form_field := _FORM_FIELD.search(shown):
        return form_field[1]
    names = [name.strip("_").lower() for name in _NAMES.findall(_QUOTED.sub("", shown))]
    return next((name for name in reversed(names) if name not in _SAY_NOTHING), "value")


def numbered(template: str) -> str:
    """The template with different names for its fields: a value may be shown twice."""
    taken: dict[str, int] = {}
    pieces = []
    for literal, name, _, _ in Formatter().parse(template):
        pieces.append(_escaped(literal))
        if name is not None:
            taken[name] = taken.get(name, 0) + 1
            pieces.append(f"{{{name}}}" if taken[name] == 1 else f"{{{name}_{taken[name]}}}")
    return "".join(pieces)


def by_shape(found: Iterable[Sentence]) -> dict[str, Sentence]:
    """The first sentence of each shape."""
    first: dict[str, Sentence] = {}
    for sentence in found:
        first.setdefault(sentence.shape, sentence)
    return first

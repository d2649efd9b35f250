"""Every error that the code raises, with its parts as templates: read from the constructors and their helpers.

A part is followed to where its text is written: through conditions, local names, constants of the module, and parameters of
the helper function that makes the error, to its callers.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import yaml

from tools.messages.areas import area_of
from tools.messages.sentences import ROOT, field_name, forms, numbered

CLASSES: Mapping[str, str] = {
    "AuthorizationFailed": "authorization",
    "RateLimited": "rate_limit",
    "BadRequest": "bad_request",
    "ServerUnavailable": "server_unavailable",
    "ConnectionFailed": "connection",
    "TimedOutError": "connection",
    "TooLargeError": "server_unavailable",
    "NeedsObjectInfoError": "bad_request",
    "DeletedFileError": "server_unavailable",
}
"""Each class of errors and the one of the five host classes that it becomes, by the names of the refusal tables."""
_PARTS = ("attempted", "said", "next_step")
_PAIRS: Mapping[str, str] = {"network_errors": "connection"}
"""Modules whose functions return what went wrong and the next step as a pair, and the class of the errors."""
_OPAQUE = frozenset({"attempt"})
"""Parameters that are not followed: every request to a service has its own words for what was attempted."""
_MOST = 12  # combinations of one constructor's parts
_DEEPEST = 3  # callers of callers


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One error: the area of the code, the host class, what is said of it, and the next step.

    `refused`: it is a service's refusal, and `cause` is how it is recognised.
    """

    area: str
    kind: str
    cause: str
    cure: str
    refused: bool = False


type _Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Module:
    """A file, with the functions around each call in it."""

    path: str
    constants: Mapping[str, ast.expr]
    calls: tuple[tuple[ast.Call, tuple[_Function, ...]], ...]

    @classmethod
    def read(cls, path: Path) -> "_Module":
        tree = ast.parse(path.read_text("utf-8"))
        return cls(str(path.relative_to(ROOT)), dict(_assigned(tree.body)), tuple(_calls(tree, ())))


def _calls(node: ast.AST, around: tuple[_Function, ...]) -> Iterator[tuple[ast.Call, tuple[_Function, ...]]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        around = (*around, node)
    if isinstance(node, ast.Call):
        yield node, around
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, around)


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                yield from (
                    (one.id, value) for one, value in zip(names, values, strict=False) if isinstance(one, ast.Name)
                )


@cache
def _modules() -> tuple[_Module, ...]:
    return tuple(map(_Module.read, sorted((ROOT / "models").rglob("*.py"))))


@cache
def _callers(name: str) -> tuple[tuple[_Module, ast.Call, tuple[_Function, ...]], ...]:
    return tuple(
        (module, call, around) for module in _modules() for call, around in module.calls if _name_of(call.func) == name
    )


def _callers_of(name: str, module: _Module) -> list[tuple[_Module, ast.Call, tuple[_Function, ...]]]:
    """A private name belongs to its module."""
    return [caller for caller in _callers(name) if caller[0] is module or not name.startswith("_")]


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@dataclass(frozen=True)
class _Scope:
    """Where an expression stands; `given` are the texts of the parameters, for the call that is followed."""

    module: _Module
    around: tuple[_Function, ...]
    given: Mapping[str, tuple[str, ...]]

    def texts(self, node: ast.expr | None) -> tuple[str, ...]:
        """The templates that an expression can give."""
        match node:
            case None:
                return ("",)
            case ast.Constant(value=str()) | ast.JoinedStr():
                return tuple(filled for form in forms(node) for filled in self._filled(node, form))
            case ast.IfExp(body=one, orelse=other):
                return (*self.texts(one), *self.texts(other))
            case ast.BoolOp(values=values):
                return tuple(text for value in values for text in self.texts(value))
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return tuple(f"{one}{other}" for one, other in product(self.texts(left), self.texts(right)))[:_MOST]
            case ast.Name(id=name):
                return self._named(name) or (f"{{{name.strip('_').lower()}}}",)
            case _:
                return (f"{{{field_name(node)}}}",)

    def _filled(self, node: ast.expr, form: str) -> Iterator[str]:
        """The form with the texts of the names in it that are known."""
        names = [value.value.id for value in getattr(node, "values", ()) if _shows_a_name(value)]
        known = {name: texts for name in names if (texts := self._named(name)) and name.strip("_").lower() in form}
        for chosen in list(product(*known.values()))[:_MOST]:
            filled = form
            for name, text in zip(known, chosen, strict=True):
                filled = filled.replace(f"{{{name.strip('_').lower()}}}", text)
            yield filled

    def _named(self, name: str) -> tuple[str, ...]:
        if name in self.given:
            return self.given[name]
        for function in reversed(self.around):
            if found := _locals(function).get(name):
                scope = _Scope(self.module, (), self.given)
                return tuple(text for value in found if _is_text(value) for text in scope.texts(value))
        constant = self.module.constants.get(name)
        return _Scope(self.module, (), {}).texts(constant) if constant is not None and _is_text(constant) else ()


def _shows_a_name(node: ast.expr) -> bool:
    return isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name)


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.IfExp(body=one, orelse=other):
            return _is_text(one) and _is_text(other)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _is_text(left) or _is_text(right)
        case _:
            return False


@cache
def _locals(function: _Function) -> Mapping[str, list[ast.expr]]:
    """What the names of a function are set to."""
    found: dict[str, list[ast.expr]] = {}
    for name, value in _assigned(node for node in ast.walk(function) if isinstance(node, ast.stmt)):
        found.setdefault(name, []).append(value)
    return found


def _scopes(module: _Module, around: tuple[_Function, ...], needed: set[str], deep: int = 0) -> Iterator[_Scope]:
    """The scope of a place in the code, once for each caller where a parameter of the function is needed there."""
    function = around[-1] if around else None
    parameters = _parameters(function) if function else []
    wanted = (needed & set(parameters)) - _OPAQUE
    callers = _callers_of(function.name, module) if function and wanted and deep < _DEEPEST else []
    given: dict[tuple[tuple[str, tuple[str, ...]], ...], None] = {}
    for other, call, outer in callers:
        args = _arguments(call, parameters)
        shown = {name: args[name] for name in sorted(wanted) if name in args}
        for scope in _scopes(other, outer, _names(shown.values()), deep + 1):
            given[tuple((name, scope.texts(value)) for name, value in shown.items())] = None
    for texts in given or {(): None}:
        yield _Scope(module, around, dict(texts))


def _parameters(function: _Function) -> list[str]:
    given = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return given[1:] if given[:1] in (["self"], ["cls"]) else given


def _arguments(call: ast.Call, parameters: list[str]) -> dict[str, ast.expr]:
    placed = dict(zip(parameters, call.args, strict=False))
    return {**placed, **{word.arg: word.value for word in call.keywords if word.arg}}


def _names(nodes: Iterable[ast.expr]) -> set[str]:
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}


@cache
def errors() -> tuple[ErrorRow, ...]:
    """All errors in the order of the files, each once."""
    found: dict[ErrorRow, None] = {}
    for module in _modules():
        for call, around in module.calls:
            if kind := CLASSES.get(_name_of(call.func)):
                found |= dict.fromkeys(_rows(module, call, around, kind))
        if kind := _PAIRS.get(Path(module.path).stem):
            found |= dict.fromkeys(_pairs(module, kind))
    for path in sorted((ROOT / "models").rglob("refusals.yaml")):
        found |= dict.fromkeys(_refusals(path))
    return tuple(found)


def _rows(module: _Module, call: ast.Call, around: tuple[_Function, ...], kind: str) -> Iterator[ErrorRow]:
    parts = _arguments(call, list(_PARTS))
    for scope in _scopes(module, around, _names(parts[name] for name in _PARTS if name in parts)):
        texts = [scope.texts(parts.get(name)) for name in _PARTS]
        for attempted, said, cure in list(product(*texts))[:_MOST]:
            cause = f"{attempted}: {said}" if said else attempted
            if any(char.isalpha() for char in _outside_fields(cause)):
                yield ErrorRow(area_of(module.path), kind, cause, cure)


def _pairs(module: _Module, kind: str) -> Iterator[ErrorRow]:
    for node in ast.walk(ast.parse((ROOT / module.path).read_text("utf-8"))):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            scope = _Scope(module, (), {})
            for said, cure in product(*map(scope.texts, node.value.elts)):
                yield ErrorRow(area_of(module.path), kind, f"{{attempt}} failed: {said}", cure)


def _outside_fields(text: str) -> str:
    return "".join(piece.partition("}")[2] if number else piece for number, piece in enumerate(text.split("{")))


def _refusals(path: Path) -> Iterator[ErrorRow]:
    for row in yaml.safe_load(path.read_text("utf-8")):
        told = [
            *(f"HTTP {status}" for status in row.get("statuses", ())),
            *(f"`{word}`" for name in ("codes", "words", "params") for word in row.get(name, ())),
        ]
        area = area_of(str(path.relative_to(ROOT)))
        cure = numbered(" ".join(row["next_step"].split()))
        yield ErrorRow(area, row["error"], ", ".join(told), cure, refused=True)

"""From the schema of one or several models to the fields of the page, and back to each model's parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from sandbox.parameters import Rule, Schema

type Kind = Literal["slider", "number", "choice", "switch", "text", "line"]

HIDDEN = frozenset({"details", "json_schema", "prompt"})
"""Parameters that the page itself sets."""

_WIDEST_SLIDER = 5000


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field. `value` is shown first; None means that the service decides."""

    name: str
    kind: Kind
    label: str
    help: str
    value: JsonValue
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


def fields(schemas: Sequence[Schema], *, chinese: bool) -> list[Field]:
    """The parameters of all models, each once, in the order of the first model that has it."""
    rules: dict[str, list[Rule]] = {}
    for schema in schemas:
        for rule in schema.parameter_rules:
            if rule.name not in HIDDEN:
                rules.setdefault(rule.name, []).append(rule)
    return [_field(same, chinese=chinese, shared=len(same) == len(schemas)) for same in rules.values()]


def _field(rules: Sequence[Rule], *, chinese: bool, shared: bool) -> Field:
    rule = rules[0]
    lowest = [each.min for each in rules if each.min is not None]
    highest = [each.max for each in rules if each.max is not None]
    minimum, maximum = min(lowest, default=None), max(highest, default=None)
    kind = _kind(rule, minimum, maximum)
    return Field(
        name=rule.name,
        kind=kind,
        label=(rule.label.text(chinese=chinese) or rule.name) + ("" if shared else " *"),
        help=rule.help.text(chinese=chinese) if rule.help else "",
        value=_first_value(rule, kind),
        minimum=minimum,
        maximum=maximum,
        step=1 if rule.type == "int" else _step(rule),
        choices=tuple(dict.fromkeys(option for each in rules for option in each.options)),
    )


def _kind(rule: Rule, minimum: float | None, maximum: float | None) -> Kind:
    if rule.options:
        return "choice"
    match rule.type:
        case "boolean":
            return "switch"
        case "int" | "float":
            bounded = minimum is not None and maximum is not None and maximum - minimum <= _WIDEST_SLIDER
            return "slider" if bounded and rule.default is not None else "number"
        case "text":
            return "text"
        case _:
            return "line"


def _first_value(rule: Rule, kind: Kind) -> JsonValue:
    return False if kind == "switch" and rule.default is None else rule.default


def _step(rule: Rule) -> float:
    return float(10 ** -(rule.precision or 2))


def parameters(schema: Schema, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """
    The values for one model: only what differs from its default and what its rules allow, with `details` switched on.

    A value that another model brought into the form and this one does not allow is left out.
    """
    rules = {rule.name: rule for rule in schema.parameter_rules}
    given = {name: _typed(rules[name], value) for name, value in values.items() if name in rules}
    changed = {name: value for name, value in given.items() if value not in (None, "", rules[name].default)}
    switched_off = {name for name, value in changed.items() if value is False and rules[name].default is None}
    fitting = schema.fitting({name: value for name, value in changed.items() if name not in switched_off})
    return fitting | ({"details": True} if "details" in rules else {})


def _typed(rule: Rule, value: JsonValue) -> JsonValue:
    whole = rule.type == "int" and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value  # type: ignore[arg-type]

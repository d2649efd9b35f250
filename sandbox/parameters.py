"""Command line options that are a model's parameters: `--steps 30`, `--negative-prompt=blur`, `--details`."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, JsonValue

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


class ParameterError(Exception):
    """An option is no parameter of the model, or has the wrong type."""


class Rule(BaseModel):
    """A parameter of a model's schema."""

    name: str
    type: str


class Schema(BaseModel):
    """The part of a model's entity that the command line looks at."""

    model: str
    features: list[str] | None = None
    parameter_rules: list[Rule] = []


def parse_parameters(options: Sequence[str], schema: Schema) -> dict[str, JsonValue]:
    """
    The parameters in a list of options, typed by the model's rules. Dashes in names count as underscores.

    Raises:
        ParameterError: see there.

    """
    rules = {rule.name: rule for rule in schema.parameter_rules}
    return {name: _typed(_rule(name, rules, schema.model), value) for name, value in _pairs(options)}


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    waiting = list(options)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--"):
            msg = f"{option!r} is neither an option nor an option's value"
            raise ParameterError(msg)
        name, equals, value = option.removeprefix("--").partition("=")
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        yield name.replace("-", "_"), value


def _rule(name: str, rules: Mapping[str, Rule], model: str) -> Rule:
    if name not in rules:
        msg = f"{model} has no parameter {name}; it has: {', '.join(sorted(rules)) or 'none'}"
        raise ParameterError(msg)
    return rules[name]


def _typed(rule: Rule, value: str) -> JsonValue:
    try:
        match rule.type:
            case "int":
                return int(value)
            case "float":
                return float(value)
            case "boolean":
                return _boolean(value)
            case _:
                return value
    except ValueError as error:
        msg = f"--{rule.name} takes a value of type {rule.type}, not {value!r}"
        raise ParameterError(msg) from error


def _boolean(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ValueError(value)
    return value.lower() in _TRUE

"""Model parameters as command line options: `--steps 30`, `--negative-prompt=blur`, `--details`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, JsonValue

from sandbox.errors import UsageError

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


class ParameterError(UsageError):
    """An argument is not an option, or a value has the wrong type."""


class Localized(BaseModel):
    """A text in English and, where there is one, in Chinese."""

    en_US: str = ""  # noqa: N815 - the names of the schema
    zh_Hans: str = ""  # noqa: N815

    def text(self, *, chinese: bool) -> str:
        return (self.zh_Hans if chinese else "") or self.en_US


class Rule(BaseModel):
    """A parameter of a model's schema."""

    name: str
    label: Localized = Localized()
    help: Localized | None = None
    type: str
    required: bool = False
    default: JsonValue = None
    min: float | None = None
    max: float | None = None
    precision: int | None = None
    options: list[str] = []

    def allows(self, value: JsonValue) -> bool:
        """Whether the form would let the value pass; what a workflow variable holds is not known before the run."""
        if isinstance(value, str) and "{{#" in value:
            return True
        if self.options:
            return value in self.options
        number = isinstance(value, int | float) and not isinstance(value, bool)
        match self.type:
            case "int" | "float":
                return number and self._between(value)
            case "boolean":
                return isinstance(value, bool)
            case _:
                return isinstance(value, str)

    def _between(self, value: JsonValue) -> bool:
        return (
            isinstance(value, int | float)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
        )


class Schema(BaseModel):
    """The part of a model's schema that the command line uses."""

    model: str
    features: list[str] | None = None
    label: Localized = Localized()
    parameter_rules: list[Rule] = []

    def fitting(self, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The values, made for another model, that this model's rules allow."""
        rules = {rule.name: rule for rule in self.parameter_rules}
        return {name: value for name, value in values.items() if name in rules and rules[name].allows(value)}


def parse_parameters(options: Sequence[str], schema: Schema) -> dict[str, JsonValue]:
    """
    Convert options to parameters, typed by the model's rules. Dashes in names count as underscores.

    A parameter without a rule is passed on as text: the plugin's SDK drops it, as in Dify.

    Raises:
        ParameterError: an argument is not an option, or a value has the wrong type.

    """
    rules = {rule.name: rule for rule in schema.parameter_rules}
    return {name: _typed(rules[name], value) if name in rules else value for name, value in _pairs(options)}


def unknown_parameters(parameters: Iterable[str], schema: Schema) -> Iterator[str]:
    """A sentence for each parameter that the model has no rule for."""
    names = sorted(rule.name for rule in schema.parameter_rules)
    for name in parameters:
        if name not in names:
            yield f"note: {schema.model} has no parameter {name} and drops it; it has: {', '.join(names) or 'none'}"


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

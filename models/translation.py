"""The parameters of a request in the form of another model: what means the same is kept, the rest is dropped and told.

Only what was asked for is translated; defaults are each model's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.backends.errors import BadRequest
from models.entities import ParameterValue
from models.parameters import EVERY_MODEL, RULES, Rule, nearest_value, read_yaml

_FREE = frozenset({"aspect_ratio", *(rule.name for rule in EVERY_MODEL)})  # texts that are no service's own names
_LISTED = 12  # parameters that one notice names


@dataclass(frozen=True, slots=True)
class TargetModel:
    """The model that shall answer: its name, its service, its rules.

    `asked`: whether the values were given for this very model. `same_service`: whether for one of the same service.
    """

    model: str
    service: str
    rules: Sequence[Rule]
    asked: bool = False
    same_service: bool = False

    def value(self, rule: Rule, given: ParameterValue) -> tuple[ParameterValue, str]:
        """What the model takes in place of a value, and words for a change. Raises BadRequest where there is nothing."""
        if rule.type != "string" or rule.name in _FREE:
            return nearest_value(rule, given)
        words = _named_alike(rule.name, str(given), self.service)
        if words is None and not self._takes_name(rule):
            raise BadRequest("The name belongs to another service")
        return nearest_value(rule, words or given)

    def _takes_name(self, rule: Rule) -> bool:
        """Whether a name without a counterpart may mean something here. A file's name means nothing to another model."""
        if self.asked or rule.options:
            return True
        return self.same_service and rule.name in _same_choices()


def translated(
    values: Mapping[str, ParameterValue], target: TargetModel
) -> tuple[dict[str, ParameterValue], tuple[str, ...]]:
    """The values that the target takes, and notices about those that changed or were dropped."""
    rules = {rule.name: rule for rule in target.rules}
    taken: dict[str, ParameterValue] = {}
    notices: list[str] = []
    for name, given in values.items():
        if name not in rules or not _means_the_same(name, target):
            continue
        try:
            taken[name], change = target.value(rules[name], given)
        except BadRequest:
            notices.append(f"`{name}` {given} was not used: {target.model} has no such choice.")
            continue
        if change:
            notices.append(f"`{name}` {given} became {change} that {target.model} takes.")
    return taken, (*_dropped(values, rules, target), *notices)


def _means_the_same(name: str, target: TargetModel) -> bool:
    """A service's own parameter may mean something else at another service."""
    return name in RULES or target.asked or target.same_service


def _dropped(values: Mapping[str, ParameterValue], rules: Mapping[str, Rule], target: TargetModel) -> Iterator[str]:
    """A value that says what every model does anyway, such as `n` 1, is not missed."""
    names = [name for name in values if name not in rules or not _means_the_same(name, target)]
    missed = [f"`{name}`" for name in names if name not in RULES or values[name] != RULES[name].default]
    if missed:
        yield f"{target.model} has no {', '.join(missed[:_LISTED])}: not used."


def _named_alike(parameter: str, given: str, service: str) -> str | None:
    """The service's own name for a choice that any service names like `given`; None where nothing is known of it."""
    for row in _same_choices().get(parameter, ()):
        if given.casefold() in {name.casefold() for name in row.values()}:
            return row.get(service)
    return None


@cache
def _same_choices() -> Mapping[str, Sequence[Mapping[str, str]]]:
    found: Mapping[str, Sequence[Mapping[str, str]]] = read_yaml(Path(__file__).with_name("same_choices.yaml"))
    return found

"""The values of an editor's node by name: a file keeps them in a nameless list, in the order of the node's fields.

The list seldom fits the server's definition exactly. The editor slips values in (what happens to a seed after a run, an
upload button), extensions add fields and buttons of their own, and nodes gain and lose inputs over time. So the list is
laid beside the definition in the way that fits best; what then has no name is told, what fits nowhere is refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.comfyui.graph.editor_file import EditorNode
from models.backends.comfyui.graph.nodes import DYNAMIC_COMBO, InputSpec, NodeClass, meaning_of

_AFTER_GENERATE = frozenset({"fixed", "increment", "decrement", "randomize"})
_MOST = 250  # values of one node
_NESTED = 8  # choices within choices

# What a step of the reading costs. Exact readings are free; the cheapest reading wins.
_SLIPPED_IN = 0.5  # a value that editors and extensions are known to slip in
_UNUSUAL = 1.0  # a value that the server may refuse: a file that it lacks, a number out of bounds
_ABSENT = 3.0  # no value for a field in the middle
_NAMELESS = 4.0  # a value without a field
_WRONG = 6.0  # a value of another type: worse than one without a field, better than one lost and one made up


@dataclass(frozen=True, slots=True)
class ReadValues:
    """Values by name; `left` have no name, those of the inputs `wrong` are of another type than their input."""

    named: dict[str, JsonValue]
    left: tuple[JsonValue, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to lay values beside fields."""

    cost: float = 0.0
    named: tuple[tuple[str, JsonValue], ...] = ()
    left: tuple[JsonValue, ...] = ()
    wrong: tuple[str, ...] = ()


def read_values(node: EditorNode, known: NodeClass) -> ReadValues:
    """The values of a node for the inputs of its class."""
    values = node.widgets_values
    if isinstance(values, dict):
        return ReadValues(dict(_by_name(values, known)))
    rows, values = _rows(node.type, values)
    fields = [spec for spec in known.inputs.values() if spec.is_widget]
    best = aligned(fields, values)
    shown = [_as_shown(port.name, port.type, known) for port in node.inputs if port.widget]
    if best.cost >= _ABSENT and shown:  # a node saved with other fields than its class has now: the file names them
        best = min(best, aligned(shown, values), key=lambda reading: reading.cost)
    named = {**dict(best.named), **rows}
    return ReadValues(named, tuple(value for value in best.left if not _is_empty(value)), best.wrong)


def _by_name(values: dict[str, JsonValue], known: NodeClass) -> Iterator[tuple[str, JsonValue]]:
    for spec in known.inputs.values():
        if spec.is_widget:
            yield spec.name, values.get(spec.name, spec.default)
    for name, value in values.items():  # fields that an extension adds by what was chosen in another one
        if name not in known.inputs and isinstance(value, (str, int, float, bool)):
            yield name, value


def _rows(class_type: str, values: list[JsonValue]) -> tuple[dict[str, JsonValue], list[JsonValue]]:
    """The rows of a node whose script lets users add some, as inputs `lora_1`, `lora_2` ..., and the other values."""
    key = meaning_of(class_type).rows
    rows = [value for value in values if key and isinstance(value, dict) and key in value]
    named: dict[str, JsonValue] = {
        f"{key}_{number}": {name: part for name, part in row.items() if part is not None}
        for number, row in enumerate(rows, start=1)
        if isinstance(row, dict)
    }
    return named, [value for value in values if value not in rows]


def _as_shown(name: str, kind: str, known: NodeClass) -> InputSpec:
    return known.inputs.get(name) or InputSpec(name, kind, required=False)


def _is_empty(value: JsonValue) -> bool:
    """Buttons, headings and spaces: nothing is lost with them."""
    return value in (None, "", [], "image") or (isinstance(value, dict) and set(value) <= {"type"})


_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_CHOICES = re.compile(r"(?<!\\)\{((?:[^{}\\]|\\.)*)\}")


def first_choices(text: str) -> str:
    """A prompt as the editor sends it: without comments, and with one of the choices in `{day|night}`.

    The editor chooses at random for each run. Here it is always the first, so that a model stays what it is.
    """
    text = _COMMENT.sub("", text)
    for _ in range(_NESTED):
        text = _CHOICES.sub(lambda found: re.split(r"(?<!\\)\|", found[1])[0], text)
    return re.sub(r"\\([{}|])", r"\1", text)


# The best reading


def aligned(fields: Sequence[InputSpec], values: Sequence[JsonValue]) -> Reading:
    if len(values) > _MOST:
        return Reading(cost=_WRONG, left=tuple(values))
    return _Alignment(values).best(tuple(fields), 0, None)


class _Alignment:
    """Finds the cheapest reading of a list of values; each open end is worked out once."""

    def __init__(self, values: Sequence[JsonValue]) -> None:
        self.values = values
        self.known: dict[tuple[tuple[str, ...], int, str], Reading] = {}

    def best(self, fields: tuple[InputSpec, ...], at: int, former: InputSpec | None) -> Reading:
        """The best reading of the values from `at` on for `fields`; `former` took the value before."""
        key = (tuple(spec.name for spec in fields), at, former.name if former else "")
        if key not in self.known:
            self.known[key] = _cheapest(self._ways(fields, at, former))
        return self.known[key]

    def _ways(self, fields: tuple[InputSpec, ...], at: int, former: InputSpec | None) -> Iterator[Reading]:
        ended = at >= len(self.values)
        if ended and not fields:
            yield Reading()
            return
        if fields and not ended:
            yield self._taken(fields, at)
        if not ended:
            yield self._skipped(fields, at, former)
        if fields:
            spec = fields[0]
            rest = self.best((*_brought(spec, spec.default), *fields[1:]), at, None)
            yield _plus(rest, _SLIPPED_IN if ended else _ABSENT, named=((spec.name, spec.default),))

    def _taken(self, fields: tuple[InputSpec, ...], at: int) -> Reading:
        spec, value = fields[0], self.values[at]
        cost = _misfit(spec, value)
        chosen = spec.default if value is None else value
        rest = self.best((*_brought(spec, chosen), *fields[1:]), at + 1, spec)
        wrong = (spec.name,) if cost >= _WRONG else ()
        return _plus(rest, cost, named=((spec.name, chosen),), wrong=wrong)

    def _skipped(self, fields: tuple[InputSpec, ...], at: int, former: InputSpec | None) -> Reading:
        value = self.values[at]
        cost = _slipped_in(value, former)
        rest = self.best(fields, at + 1, former)
        return _plus(rest, cost, left=(value,) if cost > _SLIPPED_IN else ())


def _cheapest(ways: Iterator[Reading]) -> Reading:
    """The first reading that costs nothing, without looking further, else the cheapest."""
    best = next(ways)
    while best.cost and (other := next(ways, None)):
        best = min(best, other, key=lambda reading: reading.cost)
    return best


def _plus(
    rest: Reading,
    cost: float,
    *,
    named: tuple[tuple[str, JsonValue], ...] = (),
    left: tuple[JsonValue, ...] = (),
    wrong: tuple[str, ...] = (),
) -> Reading:
    return Reading(rest.cost + cost, (*named, *rest.named), (*left, *rest.left), (*wrong, *rest.wrong))


def _brought(spec: InputSpec, value: JsonValue) -> tuple[InputSpec, ...]:
    """The fields that a choice brings along."""
    return tuple(inner for inner in spec.inner(value) if inner.is_widget) if spec.kind == DYNAMIC_COMBO else ()


def _slipped_in(value: JsonValue, former: InputSpec | None) -> float:
    """What it costs to take a value for one that has no input."""
    if former is not None and former.kind != "STRING" and isinstance(value, str) and value in _AFTER_GENERATE:
        return 0.0 if former.controls_seed else _SLIPPED_IN
    if former is not None and former.controls_seed and isinstance(value, bool):
        return _SLIPPED_IN  # old editors wrote true for randomize
    if former is not None and former.is_upload and (value == "image" or isinstance(value, dict)):
        return 0.0  # the button to upload another file
    return _SLIPPED_IN if value is None or (isinstance(value, dict) and _is_empty(value)) else _NAMELESS


def _misfit(spec: InputSpec, value: JsonValue) -> float:
    """How badly a value fits an input: 0 exactly, _WRONG not at all."""
    match spec.kind, value:
        case _, None:
            return 2 * _UNUSUAL
        case "INT" | "FLOAT", bool():
            return _WRONG
        case "INT", float() if value != int(value):
            return _ABSENT
        case "INT" | "FLOAT", int() | float():
            return _bounds(spec, value)
        case "INT" | "FLOAT", _:
            return _UNUSUAL if isinstance(value, str) and _is_number(value) else _WRONG
        case "BOOLEAN", _:
            return 0.0 if isinstance(value, bool) else _UNUSUAL if value in (0, 1, "true", "false") else _WRONG
        case "STRING", _:
            return 0.0 if isinstance(value, str) else 2 * _UNUSUAL
        case "COMBO", _:
            return _choice(spec, value)
        case _:
            return 0.0


def _bounds(spec: InputSpec, value: float) -> float:
    low, high = spec.number("min"), spec.number("max")
    return _UNUSUAL if (low is not None and value < low) or (high is not None and value > high) else 0.0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choice(spec: InputSpec, value: JsonValue) -> float:
    if isinstance(value, (list, dict)):
        return 0.0 if spec.options.get("multiselect") or spec.choices is None else _WRONG
    if spec.choices is None or spec.spelled(str(value)) in spec.choices:
        return 0.0
    return _UNUSUAL if isinstance(value, str) else _WRONG

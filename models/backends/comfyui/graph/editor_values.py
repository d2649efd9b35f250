"""The nameless values of an editor's node, laid beside the fields of its class.

The list seldom fits the server's definition exactly. The editor slips values in (what happens to a seed after a run, an
upload button), extensions add fields and buttons of their own, and nodes gain and lose inputs over time. So the list is
laid beside the fields in the way that fits best; what then has no name is told, what fits nowhere is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from models.backends.comfyui.graph.nodes import DYNAMIC_COMBO, InputSpec

_AFTER_GENERATE = frozenset({"fixed", "increment", "decrement", "randomize"})
_MOST = 150  # values of one node: each is a few frames of the stack, of which Python allows 1000
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)

# What a step of the reading costs. Exact readings are free; the cheapest reading wins.
_SLIPPED_IN = 0.5  # a value that editors and extensions are known to slip in
_UNUSUAL = 1.0  # a value that the server may refuse: a file that it lacks, a number out of bounds
ABSENT = 3.0  # no value for a field in the middle
_NAMELESS = 4.0  # a value without a field
_WRONG = 6.0  # a value of another type: worse than one without a field, better than one lost and one made up


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to lay values beside fields: `left` have no name, those of the fields `wrong` are of another type."""

    cost: float = 0.0
    named: Mapping[str, JsonValue] = field(default_factory=dict)
    left: tuple[JsonValue, ...] = ()
    wrong: tuple[str, ...] = ()

    def __add__(self, other: "Reading") -> "Reading":
        named = {**self.named, **other.named}
        return Reading(self.cost + other.cost, named, self.left + other.left, self.wrong + other.wrong)


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
            yield Reading(_SLIPPED_IN if ended else ABSENT, {spec.name: spec.default}) + rest

    def _taken(self, fields: tuple[InputSpec, ...], at: int) -> Reading:
        spec, value = fields[0], self.values[at]
        cost = _misfit(spec, value)
        chosen = spec.default if value is None else value
        rest = self.best((*_brought(spec, chosen), *fields[1:]), at + 1, spec)
        wrong = (spec.name,) if cost >= _WRONG else ()
        return Reading(cost, {spec.name: chosen}, wrong=wrong) + rest

    def _skipped(self, fields: tuple[InputSpec, ...], at: int, former: InputSpec | None) -> Reading:
        value = self.values[at]
        cost = _slipped_in(value, former)
        rest = self.best(fields, at + 1, former)
        return Reading(cost, left=(value,) if cost > _SLIPPED_IN else ()) + rest


def _cheapest(ways: Iterator[Reading]) -> Reading:
    best = next(ways)
    while best.cost and (other := next(ways, None)):
        best = min(best, other, key=lambda reading: reading.cost)
    return best


def _brought(spec: InputSpec, value: JsonValue) -> tuple[InputSpec, ...]:
    return tuple(inner for inner in spec.inner(value) if inner.is_widget) if spec.kind == DYNAMIC_COMBO else ()


def _slipped_in(value: JsonValue, former: InputSpec | None) -> float:
    if former and former.kind != "STRING" and isinstance(value, str) and value in _AFTER_GENERATE:
        return 0.0 if former.controls_seed else _SLIPPED_IN
    if former and former.is_upload and (value == "image" or isinstance(value, dict)):
        return 0.0  # the button to upload another file
    randomized = former and former.controls_seed and isinstance(value, bool)  # old editors wrote true for randomize
    return _SLIPPED_IN if randomized or value is None or (isinstance(value, dict) and is_empty(value)) else _NAMELESS


def _misfit(spec: InputSpec, value: JsonValue) -> float:
    """How badly a value fits an input: 0 exactly, _WRONG not at all."""
    match spec.kind, value:
        case _, None:
            return 2 * _UNUSUAL
        case "INT" | "FLOAT", bool():
            return _WRONG
        case "INT", float() if value != int(value):
            return ABSENT
        case "INT" | "FLOAT", int() | float():
            return _bounds(spec, value)
        case "INT" | "FLOAT", _:
            return _UNUSUAL if isinstance(value, str) and _NUMBER.fullmatch(value) else _WRONG
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
    return 0.0 if (low is None or low <= value) and (high is None or value <= high) else _UNUSUAL


def _choice(spec: InputSpec, value: JsonValue) -> float:
    if isinstance(value, (list, dict)):
        return 0.0 if spec.options.get("multiselect") or spec.choices is None else _WRONG
    if spec.choices is None or spec.spelled(str(value)) in spec.choices:
        return 0.0
    return _UNUSUAL if isinstance(value, str) else _WRONG


def is_empty(value: JsonValue) -> bool:
    """Buttons, headings and spaces: nothing is lost with them."""
    return value in (None, "", [], "image") or (isinstance(value, dict) and set(value) <= {"type"})

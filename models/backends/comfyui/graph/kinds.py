"""The type of a parameter: the vocabulary's, the node class's, or that of the value that stands in the workflow."""

import math
from collections.abc import Mapping

from models.backends.comfyui.graph.files import FILE_INPUTS, STRENGTHS
from models.backends.comfyui.graph.graph import Graph, Target
from models.backends.comfyui.graph.object_info import InputSpec, ObjectInfo
from models.backends.comfyui.graph.values import value_at
from models.entities import ParameterValue
from models.parameters import RULES, RuleType

type Kind = RuleType

_OF_KIND: Mapping[str, Kind] = {"INT": "int", "FLOAT": "float", "BOOLEAN": "boolean", "COMBO": "string"}
_FILES = frozenset(FILE_INPUTS.values()) | {"upscale_model", "clip_vision", "filename_prefix"}
_NUMBERS = frozenset(name for names in STRENGTHS.values() for name in names.values())


def kind_at(graph: Graph, info: ObjectInfo | None, name: str, place: Target | None) -> Kind:
    """The vocabulary's type, else the node class's, else that of the value that stands there."""
    if name in RULES or name == "prompt":
        return RULES[name].type if name in RULES else "text"
    stem = name.rstrip("0123456789").rstrip("_")
    if stem in _FILES or stem in _NUMBERS:
        return "string" if stem in _FILES else "float"
    if place is None:
        return "text"
    spec = spec_at(graph, info, place)
    if spec:
        return _OF_KIND.get(spec.kind, "text")
    return _kind_of(value_at(graph, place))


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "text"


def spec_at(graph: Graph, info: ObjectInfo | None, place: Target) -> InputSpec | None:
    return info.spec(graph.nodes[place.node].class_type, place.input) if info else None


def typed(text: str, kind: Kind) -> ParameterValue | None:
    """A placeholder's default as the parameter's type; None where it is no such value."""
    if kind in ("int", "float"):
        return _number(text, kind)
    return text.lower() in ("true", "1", "yes", "on") if kind == "boolean" else text


def _number(text: str, kind: Kind) -> float | None:
    try:
        return int(text) if kind == "int" else _finite(float(text))
    except ValueError:
        return None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def as_kind(own: ParameterValue | None, kind: Kind) -> ParameterValue | None:
    # Exports write 7.0 as 7, and some programs 20 as 20.0.
    if isinstance(own, bool) or not isinstance(own, (int, float)):
        return own
    if kind == "float":
        return float(own)
    return int(own) if kind == "int" and own == int(own) else own

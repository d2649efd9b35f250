"""Following links: from an input to the place where its value is written, and what was found that way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Graph, Link, Node, Target
from models.backends.comfyui.graph.nodes import node_knowledge

type Scalar = str | int | float | bool
type Places = Sequence[Target]


@dataclass(frozen=True, slots=True)
class Findings:
    """What following the links found, by parameter name, before placeholders and titles have their say.

    `missing` and `ambiguous` explain what was not found. `kept` says what becomes of further values of the same kind,
    unless placeholders or titles name them.
    """

    places: Mapping[str, Places] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: Mapping[Target, str] = field(default_factory=dict)

    def __or__(self, other: Self) -> "Findings":
        return Findings(
            {**self.places, **other.places},
            {**self.missing, **other.missing},
            {**self.ambiguous, **other.ambiguous},
            (*self.notes, *other.notes),
            {**self.kept, **other.kept},
        )


def is_number(value: JsonValue | None) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def settle(graph: Graph, node: Node, name: str, *, text: bool = False) -> Target | None:
    """The place of the literal (number, or text) behind `node.name`; None where it is computed or not there."""
    wanted = name
    seen: set[str] = set()
    while (link := node.link(name)) is not None:
        source = graph.source(link)
        if source is None or source.id in seen:
            return None
        seen.add(source.id)
        held = graph.passed_on(source, link.slot) or _held(source, wanted, text=text)
        if held is None:
            return None
        node, name = source, held
    value = node.inputs.get(name)
    # A placeholder may stand where a number belongs; its place is known all the same.
    return Target(node.id, name) if _fits(value, text=text) else None


def _fits(value: JsonValue | None, *, text: bool) -> bool:
    return has_placeholder(value) or (isinstance(value, str) if text else is_number(value))


_SIZES = frozenset({"width", "height", "batch_size"})


def _held(source: Node, wanted: str, *, text: bool) -> str | None:
    """The input of a value node that holds the value or passes it on, if there is exactly one candidate."""
    if source.meaning.joins_text:
        return None
    known = node_knowledge().inputs
    for names in known.settings.values():
        if wanted in names and (own := source.first(names)):
            return own  # a bundle of settings, or a node that sets one of a bundle
    literals = [name for name, value in source.inputs.items() if _fits(value, text=text)]
    if source.links():
        return _passed_on(source, literals)
    if wanted in literals and set(literals) <= _SIZES:
        return wanted
    named = [name for name in known.value if name in literals]
    return named[0] if named else (literals[0] if len(literals) == 1 else None)


_OLD_OUTPUT = re.compile(r"_\d+$")  # what a node showed last time, saved beside the input: text, text_0


def _passed_on(source: Node, literals: Sequence[str]) -> str | None:
    """The input that a node with links passes on; None where it computes something out of several."""
    links = source.links()
    if piped := next((name for name in node_knowledge().inputs.pipe if name in links), None):
        return piped
    rest = [name for name in literals if _OLD_OUTPUT.sub("", name) not in links]
    return next(iter(links)) if len(links) == 1 and not rest else None


def value_at(graph: Graph, target: Target) -> Scalar | None:
    """The workflow's own value at a place; None for links and for what is no plain value."""
    node = graph.nodes.get(target.node)
    value = node.inputs.get(target.input) if node else None
    return value if isinstance(value, (str, int, float, bool)) else None


def number_at(graph: Graph, target: Target | None) -> float | None:
    """The workflow's own number at a place."""
    value = value_at(graph, target) if target else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def has_placeholder(value: JsonValue | None) -> bool:
    return isinstance(value, str) and "{{" in value and "}}" in value


def origin(graph: Graph, link: Link | None) -> str:
    """The node behind a link, for an explanation."""
    return graph.described(link.node if link else "")


def alike(graph: Graph, places: Places) -> list[Target]:
    """The first place, and those further ones whose own value is the same: they are set together."""
    own = value_at(graph, places[0]) if places else None
    return list(dict.fromkeys(place for place in places if value_at(graph, place) == own))

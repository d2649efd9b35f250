"""A workflow in API format as a typed, read-only graph.

API format: an object from node id to `{"class_type", "inputs", "_meta": {"title"}}`; an input is a value or a link
`[node id, output slot]`. Node ids are strings of any form (`83:27` inside subgraphs) and are never taken as numbers.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Self, TypeGuard, cast

from pydantic import JsonValue

from models.backends.comfyui.graph.nodes import (
    InputSpec,
    NodeClass,
    NodeMeaning,
    ObjectInfo,
    Side,
    meaning_of,
    node_knowledge,
    side_in,
)
from models.entities import ParameterValue

type RawGraph = dict[str, dict[str, JsonValue]]
"""The graph as plain JSON, ready for `POST /prompt`."""


@dataclass(frozen=True, slots=True)
class Link:
    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    class_type: str
    inputs: Mapping[str, JsonValue]
    title: str = ""

    @property
    def meaning(self) -> NodeMeaning:
        return meaning_of(self.class_type)

    def link(self, name: str) -> Link | None:
        return as_link(self.inputs.get(name))

    def first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name in self.inputs), None)

    def links(self) -> dict[str, Link]:
        return {name: link for name, value in self.inputs.items() if (link := as_link(value))}

    @property
    def described(self) -> str:
        """How messages name the node: `node 6 (CLIPTextEncode "Positive")`."""
        title = f' "{self.title}"' if self.title and self.title != self.class_type else ""
        return f"node {self.id} ({self.class_type}{title})"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a value goes. `scale` is the input's share of the value: a sampler that stops at step 20 of 25 has 0.8."""

    node: str
    input: str
    scale: float = 1.0


type Places = Sequence[Target]


@dataclass(frozen=True, slots=True)
class Findings:
    """What following the links found, by parameter name, before placeholders and titles have their say.

    `kept` says what becomes of further values of the same kind, unless placeholders or titles name them."""

    places: Mapping[str, Places] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: Mapping[Target, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, found: Places | str) -> Self:
        """The places of a parameter, or the reason why it has none."""
        return cls(missing={name: found}) if isinstance(found, str) else cls(places={name: found})

    def __or__(self, other: Self) -> "Findings":
        return Findings(
            {**self.places, **other.places},
            {**self.missing, **other.missing},
            {**self.ambiguous, **other.ambiguous},
            (*self.notes, *other.notes),
            {**self.kept, **other.kept},
        )


@dataclass(frozen=True)
class Graph:
    """A whole workflow. Links to nodes that do not exist are kept as they are: the server names them well.

    `info` are the server's definitions of its classes, where they are at hand.
    """

    nodes: Mapping[str, Node]
    info: ObjectInfo | None = field(default=None, compare=False, repr=False)
    _users: dict[str, list[tuple[str, str, int]]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes.values():
            for name, link in node.links().items():
                self._users.setdefault(link.node, []).append((node.id, name, link.slot))

    @classmethod
    def of(cls, raw: RawGraph, info: ObjectInfo | None = None) -> Self:
        return cls({key: _node(key, value) for key, value in raw.items()}, info)

    def raw(self) -> "MutableGraph":
        """A deep copy as JSON: changing it leaves the graph as it is."""
        return MutableGraph({node.id: _raw(node) for node in self.nodes.values()})

    def definition(self, node: Node) -> NodeClass | None:
        return self.info.classes.get(node.class_type) if self.info else None

    def spec(self, place: Target) -> InputSpec | None:
        return self.info.spec(self.nodes[place.node].class_type, place.input) if self.info else None

    def passed_on(self, node: Node, slot: int) -> str | None:
        """The input that comes out of an output unchanged, where that is known."""
        meaning = node.meaning
        if meaning.switch:
            decides, off, on = meaning.switch
            source = self.source(node.link(decides))
            decision = source.inputs.get("value") if source else node.inputs.get(decides)
            return (on if decision else off) if isinstance(decision, bool) else None
        return meaning.passes[slot] if 0 <= slot < len(meaning.passes) else None

    def side_of(self, link: Link) -> Side | None:
        """Which side of the conditioning an output gives, where nodes.yaml or the server's definition says so."""
        node = self.nodes.get(link.node)
        known = self.definition(node) if node else None
        names = (node.meaning.outputs if node else ()) or (known.output_names if known else ())
        return side_in(names[link.slot]) if 0 <= link.slot < len(names) else None

    def described(self, node: str) -> str:
        return self.nodes[node].described if node in self.nodes else "a node that is not in the workflow"

    def source(self, link: Link | None) -> Node | None:
        return self.nodes.get(link.node) if link else None

    def users(self, node: str, slot: int | None = None) -> Iterator[tuple[Node, str]]:
        for user, name, used in self._users.get(node, ()):
            if slot is None or slot == used:
                yield self.nodes[user], name

    def slots_into(self, node: str, name: str) -> set[int]:
        return {used for _, taken, used in self._users.get(node, ()) if taken == name}

    def upstream(self, starts: Iterable[str]) -> list[Node]:
        """The start nodes and everything they depend on, each once, nearest first."""
        waiting = [node for node in starts if node in self.nodes]
        seen = dict.fromkeys(waiting)
        for node_id in waiting:  # the list grows while it is walked
            for link in self.nodes[node_id].links().values():
                if link.node in self.nodes and link.node not in seen:
                    seen[link.node] = None
                    waiting.append(link.node)
        return [self.nodes[node_id] for node_id in waiting]

    def settle(self, node: Node, name: str, *, text: bool = False) -> Target | None:
        """The place of the literal (number, or text) behind `node.name`; None where it is computed or not there."""
        wanted = name
        seen: set[str] = set()
        while (link := node.link(name)) is not None:
            source = self.source(link)
            if source is None or source.id in seen:
                return None
            seen.add(source.id)
            held = self.passed_on(source, link.slot) or _held(source, wanted, text=text)
            if held is None:
                return None
            node, name = source, held
        return Target(node.id, name) if _fits(node.inputs.get(name), text=text) else None

    def value_at(self, target: Target) -> ParameterValue | None:
        """The workflow's own value at a place; None for links and for what is no plain value."""
        node = self.nodes.get(target.node)
        value = node.inputs.get(target.input) if node else None
        return value if isinstance(value, (str, int, float, bool)) else None

    def number_at(self, target: Target | None) -> float | None:
        value = self.value_at(target) if target else None
        return value if is_number(value) else None

    def alike(self, places: Places) -> list[Target]:
        """The first place, and those further ones whose own value is the same: they are set together."""
        own = self.value_at(places[0]) if places else None
        return list(dict.fromkeys(place for place in places if self.value_at(place) == own))


def as_link(value: JsonValue | None) -> Link | None:
    match value:
        case [str(node), int(slot)] if not isinstance(slot, bool):
            return Link(node, slot)
        case _:
            return None


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that reads runs of digits as numbers: `9` before `10`, `65:2` before `65:10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part != ""]


def _node(key: str, raw: Mapping[str, JsonValue]) -> Node:
    inputs, meta = raw.get("inputs"), raw.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    named = title if isinstance(title, str) else ""
    return Node(key, str(raw["class_type"]), inputs if isinstance(inputs, dict) else {}, named)


def _raw(node: Node) -> dict[str, JsonValue]:
    titled: dict[str, JsonValue] = {"_meta": {"title": node.title}} if node.title else {}
    return {"inputs": copy.deepcopy(dict(node.inputs)), "class_type": node.class_type, **titled}


# Following links to the place of a value


def is_number(value: JsonValue | None) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fits(value: JsonValue | None, *, text: bool) -> bool:
    # A placeholder may stand where a number belongs; its place is known all the same.
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
    named = [name for name in known.value if name in literals] or literals[: len(literals) == 1]
    return next(iter(named), None)


_OLD_OUTPUT = re.compile(r"_\d+$")  # what a node showed last time, saved beside the input: text, text_0


def _passed_on(source: Node, literals: Sequence[str]) -> str | None:
    """The input that a node with links passes on; None where it computes something out of several."""
    links = source.links()
    if piped := next((name for name in node_knowledge().inputs.pipe if name in links), None):
        return piped
    rest = [name for name in literals if _OLD_OUTPUT.sub("", name) not in links]
    return next(iter(links)) if len(links) == 1 and not rest else None


def has_placeholder(value: JsonValue | None) -> bool:
    return isinstance(value, str) and "{{" in value and "}}" in value


class MutableGraph(dict[str, dict[str, JsonValue]]):
    """A copy of a graph as JSON, to be changed."""

    def inputs(self, node: str) -> dict[str, JsonValue]:
        return cast("dict[str, JsonValue]", self[node].setdefault("inputs", {}))

    def links(self) -> Iterator[tuple[str, str, Link]]:
        for node in self:
            for name, value in self.inputs(node).items():
                if link := as_link(value):
                    yield node, name, link

    def add(self, class_type: str, title: str, inputs: dict[str, JsonValue]) -> str:
        """Add a node under an id that no other node has; the id is returned."""
        node = next(new for n in count(1) if (new := f"added:{n}") not in self)
        self[node] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": title}}
        return node

    def rewire(self, old: Link, new: Link, *, keep: str = "") -> None:
        """Let every user of `old` take `new`; the node `keep` stays connected as it is."""
        for node, name, link in self.links():
            if link == old and node != keep:
                self.inputs(node)[name] = [new.node, new.slot]

    def insert_after(self, source: Link, class_type: str, title: str, inputs: dict[str, JsonValue]) -> None:
        """Put a node between an output and all its users; `inputs` says how the new node takes that output."""
        node = self.add(class_type, title, inputs)
        self.rewire(source, Link(node, 0), keep=node)

"""What the author of a workflow marked: placeholders (`{{prompt}}`, `{{style|anime}}`) and titles on nodes.

A node titled `input:style` offers its value as the parameter `style`; where it has several values,
`input:strength.strength_model` names the one that is meant. A node titled `optional:lora` is left out while the
parameter `lora` is empty.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import (
    Graph,
    Link,
    Node,
    RawGraph,
    Target,
    as_link,
    inputs_of,
    links,
    rewire,
)
from models.backends.comfyui.graph.images import loads_image
from models.backends.comfyui.graph.nodes import node_knowledge
from models.backends.errors import BadRequest
from models.entities import ParameterValue

type LookUp = Callable[[str, str | None], ParameterValue | None]

_PLACEHOLDER = re.compile(r"\{\{\s*(?P<name>\w[\w-]*)\s*(?:\|(?P<default>[^{}]*))?\}\}")
_INPUT_TITLE = re.compile(r"\s*input\s*:\s*(?P<name>[^.:]+?)\s*(?:\.\s*(?P<input>\S+)\s*)?", re.IGNORECASE)
_OPTIONAL_TITLE = re.compile(r"\s*optional\s*:\s*(?P<name>.+?)\s*", re.IGNORECASE)


def parameter_name(word: str) -> str:
    """A placeholder's or title's word as a parameter name."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return node_knowledge().parameter_names.get(plain, plain)


# Placeholders


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder where it stands. `whole`: the string is nothing else, so that it takes a typed value."""

    name: str
    default: str | None
    place: Target
    whole: bool


def find_placeholders(graph: Graph) -> Iterator[Placeholder]:
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            for text in _strings(value):
                for found in _PLACEHOLDER.finditer(text):
                    yield Placeholder(*_read(found), Target(node.id, name), whole=found[0] == text.strip())


def _read(found: re.Match[str]) -> tuple[str, str | None]:
    default = found["default"]
    return parameter_name(found["name"]), default.strip() if default is not None else None


def replaced(value: JsonValue, look_up: LookUp) -> JsonValue:
    """`value` with every placeholder filled by `look_up(name, default)`; where that returns None it stays as it is.

    A string that is exactly one placeholder becomes the typed value. What is put in is never searched again, so that
    no prompt can smuggle a placeholder in.
    """
    match value:
        case str():
            return _replaced(value, look_up)
        case list():
            return [replaced(item, look_up) for item in value]
        case dict():
            return {key: replaced(item, look_up) for key, item in value.items()}
        case _:
            return value


def _replaced(text: str, look_up: LookUp) -> JsonValue:
    whole = _PLACEHOLDER.fullmatch(text.strip())
    if whole:
        value = look_up(*_read(whole))
        return text if value is None else value

    def as_text(found: re.Match[str]) -> str:
        value = look_up(*_read(found))
        if value is None:
            return found[0]
        return str(value).lower() if isinstance(value, bool) else str(value)

    return _PLACEHOLDER.sub(as_text, text)


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


# Titles


@dataclass(frozen=True, slots=True)
class Titled:
    """A titled node; `place` is None where it is unclear which of its values is meant."""

    name: str
    node: Node
    place: Target | None


def find_titled(graph: Graph) -> Iterator[Titled]:
    for node in graph.nodes.values():
        found = _INPUT_TITLE.fullmatch(node.title)
        if found and not loads_image(node):  # images come from the messages, in order
            name = parameter_name(found["name"])
            yield Titled(name, node, _titled_place(node, found["input"], name))


def _titled_place(node: Node, named: str | None, name: str) -> Target | None:
    if named:
        return Target(node.id, named) if named in node.inputs else None
    literals = [key for key, value in node.inputs.items() if isinstance(value, (str, int, float, bool))]
    usual = [key for key in node_knowledge().inputs.value if key in literals]
    meant = [key for key in literals if parameter_name(key) == name] or usual
    if meant or len(literals) == 1:
        return Target(node.id, (meant or literals)[0])
    return None


# Optional nodes


def leave_out(raw: RawGraph, graph: Graph, given: Callable[[str], bool]) -> None:
    """Bypass every optional node whose parameter `given` denies, as the editor does it: its users take what it took
    itself, and what only it needed (a ControlNet's loader and image) goes too.

    Raises BadRequest for a node that nothing can replace.
    """
    for node in graph.nodes.values():
        found = _OPTIONAL_TITLE.fullmatch(node.title)
        if found and not given(parameter_name(found["name"])):
            _bypass(raw, graph, node)


def _bypass(raw: RawGraph, graph: Graph, node: Node) -> None:
    passes = node.meaning.passes or _by_type(graph, node)
    used = {link.slot for _, _, link in links(raw) if link.node == node.id}
    for slot in used:
        # What the node takes now counts: its source may have been bypassed meanwhile.
        source = as_link(inputs_of(raw, node.id).get(passes[slot])) if 0 <= slot < len(passes) else None
        if source is None:
            raise BadRequest(
                f"The workflow's {node.described} is optional and cannot be left out",
                f"nothing of what it takes can stand for its output {slot}",
                "Take the title `optional:` off the node",
            )
        rewire(raw, Link(node.id, slot), source)
    _drop(raw, node.id)


def _by_type(graph: Graph, node: Node) -> tuple[str, ...]:
    """For each output the first linked input of its type."""
    known = graph.definition(node)
    if known is None:
        return ()
    linked = [spec for spec in known.inputs.values() if node.link(spec.name)]
    return tuple(next((spec.name for spec in linked if spec.kind == kind), "") for kind in known.outputs)


def _drop(raw: RawGraph, node: str) -> None:
    """Remove a node, and what it alone had used."""
    waiting = [node]
    for gone in waiting:  # the list grows while it is walked
        sources = {link.node for user, _, link in links(raw) if user == gone}
        raw.pop(gone, None)
        used = {link.node for _, _, link in links(raw)}
        waiting.extend(source for source in sorted(sources) if source in raw and source not in used)

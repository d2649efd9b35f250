"""Editor ("UI") format to API format, as the editor itself does it (ComfyUI server API, "Converting UI to API").

Two things hide in the editor's file: values lie in a list without names (`read_values`), and links run through things
that do not execute: reroutes, primitives, set and get nodes, muted and bypassed nodes, subgraphs, group nodes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.graph.editor_file import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    Canvas,
    EditorFile,
    EditorNode,
    EditorPort,
    Subgraph,
    first_choices,
    group_name,
    read_values,
    unfolded,
)
from models.backends.comfyui.graph.graph import Link, MutableGraph
from models.backends.comfyui.graph.nodes import NodeClass, ObjectInfo, meaning_of, package_of
from models.backends.comfyui.graph.source import EXPORT, EditorGraph
from models.backends.errors import BadRequest

_MUTED, _BYPASSED = 2, 4
_LONGEST = 200  # steps of one link
_DEEPEST = 20  # subgraphs within subgraphs; a definition that holds itself would never end

type _Seen = frozenset[tuple[str, str, int]]
type _Came = Link | _Value | None
"""The output, or the value, that a link really comes from; None where nothing is left of it."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A value where the editor drew a link: a primitive's, or one promoted to a subgraph's outside."""

    value: JsonValue


@dataclass(frozen=True, slots=True)
class _Use:
    """The place where a subgraph is used: the node that stands for it, in the scope around it."""

    scope: "_Scope"
    node: EditorNode
    inner: Subgraph


class _Scope:
    """A canvas: the file's own, or a subgraph at the place where it is used."""

    def __init__(self, file: EditorFile, info: ObjectInfo, canvas: Canvas, use: _Use | None = None) -> None:
        self.file, self.info, self.canvas, self.use = file, info, canvas, use
        self.prefix: str = f"{use.scope.prefix}{use.node.id}:" if use else ""
        self.depth: int = use.scope.depth + 1 if use else 0
        self.nodes = {node.id: node for node in canvas.nodes}
        self.links = {link.id: link for link in canvas.links}
        self._inside: dict[str, _Scope | None] = {}

    def inside(self, node: EditorNode) -> "_Scope | None":
        if node.id not in self._inside:
            definition = self._definition(node)
            if definition and self.depth >= _DEEPEST:
                raise _refused(f"the subgraph {definition.name or definition.id!r} contains itself")
            found = _Scope(self.file, self.info, definition, _Use(self, node, definition)) if definition else None
            self._inside[node.id] = found
        return self._inside[node.id]

    def _definition(self, node: EditorNode) -> Subgraph | None:
        name = group_name(node.type)
        if name in self.file.groups:
            return unfolded(node, self.file.groups[name], self.info)
        return next((one for one in self.file.subgraphs if one.id == node.type), None)

    def described(self, node: EditorNode) -> str:
        return f"node {self.prefix}{node.id} ({node.type})"


def convert(editor: EditorGraph, info: ObjectInfo) -> tuple[MutableGraph, tuple[str, ...]]:
    """The graph that the editor would send, and notes for its author. Raises BadRequest naming the nodes that cannot be converted."""
    try:
        file = EditorFile.model_validate(editor)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{where}: {first['msg']}") from error
    everything = list(_running(_Scope(file, info, file)))
    alone = [(scope, node) for scope, node in everything if _stands_alone(scope, node)]
    running = [one for one in everything if one not in alone]
    _check_broadcasts(file)
    _check_known(running, info)
    graph = MutableGraph()
    notes = [f"{scope.described(node)} is not known to the server and stands alone: left out" for scope, node in alone]
    for scope, node in running:
        graph[f"{scope.prefix}{node.id}"] = _node(scope, node, info.classes[node.type], notes)
    return _without_dangling(graph), tuple(notes)


def _running(scope: _Scope) -> Iterator[tuple[_Scope, EditorNode]]:
    for node in scope.canvas.nodes:
        if node.mode in (_MUTED, _BYPASSED) or meaning_of(node.type).editor:
            continue
        inside = scope.inside(node)
        yield from _running(inside) if inside else ((scope, node),)


def _stands_alone(scope: _Scope, node: EditorNode) -> bool:
    """Whether the server does not know a node to or from which nothing leads: a label or a button of an extension."""
    known = node.type in scope.info.classes
    return not known and not any(node.id in (link.origin_id, link.target_id) for link in scope.canvas.links)


def _check_known(running: list[tuple[_Scope, EditorNode]], info: ObjectInfo) -> None:
    unknown = [(scope, node) for scope, node in running if node.type not in info.classes]
    groups = [scope.described(node) for scope, node in unknown if group_name(node.type)]
    if groups:
        raise _refused(
            f"{', '.join(groups)} is a group node whose parts the file does not hold; turn it into a subgraph, or ungroup it"
        )
    if unknown:
        named = dict.fromkeys(f"{node.type} (node {scope.prefix}{node.id})" for scope, node in unknown)
        packages = sorted({package for _, node in unknown if (package := _package(node))})
        install = f"Install {', '.join(packages)}" if packages else "Install the extensions that bring them"
        raise _refused(
            f"the server has no definition of {', '.join(named)}",
            f"{install} on the server, or remove these nodes and paste what Workflow > Export (API) gives",
        )


def _package(node: EditorNode) -> str:
    """The extension that a node comes from: editors write it into the file."""
    written = (node.properties.get(key) for key in ("cnr_id", "aux_id"))
    return next((name for name in written if isinstance(name, str) and name), "") or package_of(node.type)


def _check_broadcasts(file: EditorFile) -> None:
    senders = [node for node in file.nodes if meaning_of(node.type).editor == "broadcasts" and node.mode != _MUTED]
    if senders and not file.broadcasts:
        named = ", ".join(f"node {node.id} ({node.type})" for node in senders)
        raise _refused(f"{named} makes links that the file does not hold")


def _node(scope: _Scope, node: EditorNode, known: NodeClass, notes: list[str]) -> dict[str, JsonValue]:
    read = read_values(node, known)
    inputs: dict[str, JsonValue] = {name: _wrapped(value) for name, value in read.named.items()}
    for name, text in _choosing(known, inputs):
        inputs[name] = first_choices(text)
        if "|" in text:
            notes.append(f"`{name}` of {scope.described(node)} has choices in braces: the first of each is used")
    linked = {port.name: came for slot, port in enumerate(node.inputs) if (came := _follow(scope, node, slot, port))}
    for name, came in linked.items():
        inputs[name] = [came.node, came.slot] if isinstance(came, Link) else _wrapped(came.value)
    wrong = [f"`{name}` would be {str(read.named[name])[:40]!r}" for name in read.wrong if name not in linked]
    if wrong:
        raise _refused(f"the values of {scope.described(node)} do not fit its definition: {', '.join(wrong)}")
    shows = known.is_output and meaning_of(node.type).passes  # such a node saves the text that it showed last
    if read.left and not shows:
        listed = ", ".join(str(value)[:40] for value in read.left)
        said = "has values that its definition does not name, they were left out"
        notes.append(f"{scope.described(node)} {said}: {listed}")
    return {"inputs": inputs, "class_type": node.type, "_meta": {"title": _title(node, known)}}


def _choosing(known: NodeClass, inputs: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    for spec in known.inputs.values():
        text = inputs.get(spec.name)
        if spec.options.get("dynamicPrompts") and isinstance(text, str) and "{{" not in text:
            yield spec.name, text


def _wrapped(value: JsonValue) -> JsonValue:
    # A bare list would be taken for a link.
    return {"__value__": value} if isinstance(value, list) else value


def _title(node: EditorNode, known: NodeClass) -> str:
    """The title, else the name by which tokens such as `%KSampler.seed%` find the node."""
    named = node.properties.get("Node name for S&R")
    return node.title or (str(named) if named not in (None, node.type) else known.title)


# Links through things that do not execute


def _follow(scope: _Scope, node: EditorNode, slot: int, port: EditorPort) -> _Came:
    if port.link in scope.links:
        return _from_input(scope, port, port.type, frozenset())
    for sent in scope.canvas.broadcasts:
        if (sent.downstream, sent.downstream_slot) == (node.id, slot) and _agree(sent.type, port.type):
            return _from_output(scope, sent.upstream, sent.upstream_slot, port.type, frozenset())
    return None


def _from_input(scope: _Scope, port: EditorPort | None, kind: str, seen: _Seen) -> _Came:
    if port is None or port.link not in scope.links:
        return None
    link = scope.links[port.link]
    return _from_output(scope, link.origin_id, link.origin_slot, kind, seen)


def _from_output(scope: _Scope, node_id: str, slot: int, kind: str, seen: _Seen) -> _Came:
    step = (scope.prefix, node_id, slot)
    if step in seen:
        return None
    if len(seen) > _LONGEST:
        raise _refused("a link runs through too many reroutes and subgraphs")
    seen |= {step}
    if node_id == INPUT_SIDE:
        return _from_outside(scope, slot, kind, seen)
    node = scope.nodes.get(node_id)
    if node and meaning_of(node.type).editor:
        return _through(scope, node, slot, kind, seen)
    if node is None or node.mode == _MUTED:
        return None
    if node.mode == _BYPASSED:
        return _bypassed(scope, node, slot, kind, seen)
    inside = scope.inside(node)
    return _from_inside(inside, slot, kind, seen) if inside else Link(f"{scope.prefix}{node_id}", slot)


def _through(scope: _Scope, node: EditorNode, slot: int, kind: str, seen: _Seen) -> _Came:
    """Past a node that lives in the editor only; the editor follows these whatever their mode."""
    match meaning_of(node.type).editor:
        case "value":
            value = _first_value(node)
            return None if value is None else _Value(value)
        case "passes" | "sets":
            return _from_input(scope, next(iter(node.inputs[slot : slot + 1]), None), kind, seen)
        case "gets":
            return _from_setter(scope, _set_name(node), kind, seen)
        case _:
            return None


def _first_value(node: EditorNode) -> JsonValue:
    return node.widgets_values[0] if isinstance(node.widgets_values, list) and node.widgets_values else None


def _set_name(node: EditorNode) -> JsonValue:
    return _first_value(node) or node.title


def _from_setter(scope: _Scope, name: JsonValue, kind: str, seen: _Seen) -> _Came:
    for node in scope.canvas.nodes:
        if meaning_of(node.type).editor == "sets" and _set_name(node) == name:
            return _from_input(scope, next(iter(node.inputs), None), kind, seen)
    return _from_setter(scope.use.scope, name, kind, seen) if scope.use else None


def _bypassed(scope: _Scope, node: EditorNode, slot: int, kind: str, seen: _Seen) -> _Came:
    given = node.outputs[slot].type if 0 <= slot < len(node.outputs) else kind
    same = [port for port in node.inputs if _agree(port.type, given) and _agree(port.type, kind)]
    own = [port for port in node.inputs[slot : slot + 1] if port in same]
    exact = [port for port in node.inputs if port.type == kind]
    port = next(iter([*own, *exact, *same]), None)
    return _from_input(scope, port, port.type, seen) if port else None


def _agree(one: str, other: str) -> bool:
    """Whether two types may be connected; a type may list several, and * is any."""
    ones, others = ({part.strip().lower() for part in kind.split(",")} for kind in (one, other))
    return bool(ones & others) or not {"*", "", "0"}.isdisjoint(ones | others)


def _from_outside(scope: _Scope, slot: int, kind: str, seen: _Seen) -> _Came:
    """A subgraph's own input: what is connected, or was typed, at the node that stands for it outside."""
    use = scope.use
    if use is None or not 0 <= slot < len(use.inner.inputs):
        return None
    name = use.inner.inputs[slot].name
    port = use.node.input(name)
    if port and port.link in use.scope.links:
        return _from_input(use.scope, port, kind, seen)
    if group_name(use.node.type):
        return None
    promoted = _promoted(use.node, use.inner).get(name)
    return _Value(promoted) if promoted is not None else None


def _from_inside(scope: _Scope, slot: int, kind: str, seen: _Seen) -> _Came:
    assert isinstance(scope.canvas, Subgraph)  # noqa: S101 -- `inside` made it one
    outputs = scope.canvas.outputs
    ids = outputs[slot].linkIds if 0 <= slot < len(outputs) else []
    ends = [link for link in scope.canvas.links if (link.target_id, link.target_slot) == (OUTPUT_SIDE, slot)]
    link = next(iter([*(scope.links[one] for one in ids if one in scope.links), *ends]), None)
    return _from_output(scope, link.origin_id, link.origin_slot, kind, seen) if link else None


def _promoted(node: EditorNode, inner: Subgraph) -> dict[str, JsonValue]:
    """Values typed at a subgraph's outside, by the name of the subgraph's input; null keeps the inner value."""
    values = node.widgets_values
    if isinstance(values, dict):
        return dict(values)
    if all(value is None for value in values):
        return {}
    fields = ([port.name for port in node.inputs if port.widget], _widget_inputs(inner))
    matching = [names for names in reversed(fields) if len(names) == len(values)]
    if not (names := _proxied(node) or next(iter(matching), [])):
        title = inner.name or inner.id
        raise _refused(f"the values of the subgraph {title!r} (node {node.id}) cannot be told apart")
    return dict(zip(names, values, strict=False))


def _proxied(node: EditorNode) -> list[str]:
    """Editors of a while listed what they show outside; entries of "-1" are the subgraph's own inputs."""
    listed = node.properties.get("proxyWidgets")
    entries = [one for one in listed if isinstance(one, list) and len(one) > 1] if isinstance(listed, list) else []
    return [str(name) for owner, name, *_ in entries if str(owner) == "-1" and not str(name).startswith("$$")]


def _widget_inputs(inner: Subgraph) -> list[str]:
    """The subgraph's inputs that lead to a field inside: newer editors write the values of exactly these."""
    fields = {(node.id, slot) for node in inner.nodes for slot, port in enumerate(node.inputs) if port.widget}
    open_links = [link for link in inner.links if link.origin_id == INPUT_SIDE]
    fed = {link.origin_slot for link in open_links if (link.target_id, link.target_slot) in fields}
    return [port.name for slot, port in enumerate(inner.inputs) if slot in fed]


def _without_dangling(graph: MutableGraph) -> MutableGraph:
    """Links to nodes that were left out go as well; the server then names the input that is missing."""
    for node, name, link in list(graph.links()):
        if link.node not in graph:
            del graph.inputs(node)[name]
    return graph


def _refused(why: str, next_step: str = EXPORT) -> BadRequest:
    return BadRequest("The workflow cannot be converted from the editor's format", why, next_step)

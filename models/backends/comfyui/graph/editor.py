"""Editor ("UI") format to API format, as the editor itself does it (ComfyUI server API, "Converting UI to API").

Two things hide in the editor's file: values lie in a list without names (`widgets_values`), which only the server's
node definitions put a name to; and links run through things that do not execute (reroutes, primitives, muted and
bypassed nodes, subgraphs).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue, ValidationError

from models.backends.comfyui.graph.editor_file import Canvas, EditorFile, EditorLink, EditorNode, Subgraph
from models.backends.comfyui.graph.graph import RawGraph
from models.backends.comfyui.graph.nodes import DYNAMIC_COMBO, InputSpec, NodeClass, ObjectInfo
from models.backends.comfyui.graph.source import EXPORT, EditorGraph
from models.backends.errors import BadRequest

_MUTED, _BYPASSED = 2, 4
_NOTES = frozenset({"Note", "MarkdownNote"})
_PRIMITIVE = "PrimitiveNode"
_REROUTE = "Reroute"
_INPUT_SIDE, _OUTPUT_SIDE = -10, -20  # the two ends of a subgraph, as its links name them
_AFTER_GENERATE = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS = frozenset({"seed", "noise_seed"})
_LONGEST = 200  # steps of one link
_DEEPEST = 20  # subgraphs within subgraphs; a definition that holds itself would never end


@dataclass(frozen=True, slots=True)
class _Origin:
    """The output that a link really comes from."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class _Value:
    """A value where the editor drew a link: a primitive's, or one promoted to a subgraph's outside."""

    value: JsonValue


@dataclass(frozen=True)
class _Scope:
    """One canvas: the file's own, or a subgraph at the place where it is used."""

    canvas: Canvas
    subgraphs: Mapping[str, Subgraph]
    prefix: str = ""
    parent: "_Scope | None" = None
    outer: EditorNode | None = None
    depth: int = 0
    nodes: Mapping[str, EditorNode] = field(init=False)
    links: Mapping[int, EditorLink] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", {node.id: node for node in self.canvas.nodes})
        object.__setattr__(self, "links", {link.id: link for link in self.canvas.links})

    def inside(self, node: EditorNode) -> "_Scope | None":
        """The canvas of the subgraph that `node` stands for."""
        definition = self.subgraphs.get(node.type)
        if definition is None:
            return None
        if self.depth >= _DEEPEST:
            raise _refused(f"the subgraph {definition.name or definition.id!r} contains itself")
        return _Scope(definition, self.subgraphs, f"{self.prefix}{node.id}:", self, node, self.depth + 1)


def convert(editor: EditorGraph, info: ObjectInfo) -> RawGraph:
    """The graph that the editor would send. Raises BadRequest naming the nodes that cannot be converted."""
    try:
        file = EditorFile.model_validate(editor)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{where}: {first['msg']}") from error
    top = _Scope(file, {subgraph.id: subgraph for subgraph in file.definitions.subgraphs})
    running = list(_running(top))
    _check_known(running, info)
    graph = {f"{scope.prefix}{node.id}": _node(scope, node, info.classes[node.type]) for scope, node in running}
    return _without_dangling(graph)


def _running(scope: _Scope) -> Iterator[tuple[_Scope, EditorNode]]:
    """Every node that executes, those of subgraphs at the place where they are used."""
    for node in scope.canvas.nodes:
        if node.mode in (_MUTED, _BYPASSED) or node.type in _NOTES | {_PRIMITIVE, _REROUTE}:
            continue
        inside = scope.inside(node)
        if inside:
            yield from _running(inside)
        else:
            yield scope, node


def _check_known(running: list[tuple[_Scope, EditorNode]], info: ObjectInfo) -> None:
    unknown = dict.fromkeys(
        f"{node.type} (node {scope.prefix}{node.id})" for scope, node in running if node.type not in info.classes
    )
    if unknown:
        raise _refused(f"the server has no definition of {', '.join(unknown)}")


def _node(scope: _Scope, node: EditorNode, known: NodeClass) -> dict[str, JsonValue]:
    inputs: dict[str, JsonValue] = dict(_widgets(node, known))
    for port in node.inputs:
        came = _follow(scope, port.link) if port.link is not None else None
        if isinstance(came, _Origin):
            inputs[port.name] = [came.node, came.slot]
        elif isinstance(came, _Value):
            inputs[port.name] = _wrapped(came.value)
    return {"inputs": inputs, "class_type": node.type, "_meta": {"title": node.title or known.title}}


# Values without names


def _widgets(node: EditorNode, known: NodeClass) -> Iterator[tuple[str, JsonValue]]:
    """The values of a node by name, in the order of the editor's fields."""
    values = node.widgets_values
    if isinstance(values, dict):
        for spec in known.inputs.values():
            if spec.is_widget:
                yield spec.name, _wrapped(values.get(spec.name, spec.default))
        return
    reader = _Reader(values)
    for spec in known.inputs.values():
        if spec.is_widget:
            yield from reader.take(spec)


@dataclass(slots=True)
class _Reader:
    """Hands out `widgets_values` one by one and skips what the editor slips in between."""

    values: list[JsonValue]
    position: int = 0

    def take(self, spec: InputSpec) -> Iterator[tuple[str, JsonValue]]:
        value = self._next(spec)
        yield spec.name, _wrapped(value)
        if spec.kind == DYNAMIC_COMBO:
            for inner in spec.inner(value):
                if inner.is_widget:
                    yield from self.take(inner)
        self._skip_extras(spec)

    def _next(self, spec: InputSpec) -> JsonValue:
        if self.position >= len(self.values):
            return spec.default
        self.position += 1
        return self.values[self.position - 1]

    def _skip_extras(self, spec: InputSpec) -> None:
        following = self.values[self.position] if self.position < len(self.values) else None
        seeded = bool(spec.options.get("control_after_generate")) or spec.name in _SEEDS
        if (seeded and following in _AFTER_GENERATE) or (spec.is_upload and following == "image"):
            self.position += 1


def _wrapped(value: JsonValue) -> JsonValue:
    # A bare list would be taken for a link.
    return {"__value__": value} if isinstance(value, list) else value


# Links through things that do not execute


def _follow(scope: _Scope, link_id: int) -> _Origin | _Value | None:
    """Where a link really comes from; None where nothing is left of it."""
    link = scope.links.get(link_id)
    if link is None:
        return None
    return _from_output(scope, link.origin_id, link.origin_slot, link.type, frozenset())


def _from_output(
    scope: _Scope, node_id: str, slot: int, kind: str, seen: frozenset[tuple[str, str, int]]
) -> _Origin | _Value | None:
    step = (scope.prefix, node_id, slot)
    if step in seen:
        return None
    if len(seen) > _LONGEST:
        raise _refused("a link runs through too many reroutes and subgraphs")
    seen |= {step}
    if node_id == str(_INPUT_SIDE):
        return _from_outside(scope, slot, seen)
    node = scope.nodes.get(node_id)
    if node is None or node.mode == _MUTED:
        return None
    if node.type == _PRIMITIVE:
        return _Value(node.widgets_values[0]) if isinstance(node.widgets_values, list) and node.widgets_values else None
    if node.type == _REROUTE or node.mode == _BYPASSED:
        return _through(scope, node, slot, kind, seen)
    inside = scope.inside(node)
    return _from_inside(inside, slot, seen) if inside else _Origin(f"{scope.prefix}{node_id}", slot)


def _through(
    scope: _Scope, node: EditorNode, slot: int, kind: str, seen: frozenset[tuple[str, str, int]]
) -> _Origin | _Value | None:
    """Past a reroute, or a bypassed node: to its first connected input of the same type, its own slot number first."""
    if node.type == _REROUTE:
        candidates = node.inputs[:1]
    else:
        wanted = node.outputs[slot].type if slot < len(node.outputs) else kind
        same = [port for port in node.inputs if port.type in (wanted, "*") and port.link is not None]
        own = [port for port in node.inputs[slot : slot + 1] if port in same]
        candidates = own or same
    for port in candidates[:1]:
        link = scope.links.get(port.link) if port.link is not None else None
        if link:
            return _from_output(scope, link.origin_id, link.origin_slot, link.type, seen)
    return None


def _from_outside(scope: _Scope, slot: int, seen: frozenset[tuple[str, str, int]]) -> _Origin | _Value | None:
    """A subgraph's own input: what is connected, or was typed, at the node that stands for it outside."""
    if scope.parent is None or scope.outer is None or not isinstance(scope.canvas, Subgraph):
        return None
    if slot >= len(scope.canvas.inputs):
        return None
    name = scope.canvas.inputs[slot].name
    port = scope.outer.input(name)
    link = scope.parent.links.get(port.link) if port and port.link is not None else None
    if link:
        return _from_output(scope.parent, link.origin_id, link.origin_slot, link.type, seen)
    promoted = _promoted(scope.outer, scope.canvas).get(name)
    return _Value(promoted) if promoted is not None else None


def _from_inside(scope: _Scope, slot: int, seen: frozenset[tuple[str, str, int]]) -> _Origin | _Value | None:
    """A subgraph's output: the link inside that ends at it."""
    assert isinstance(scope.canvas, Subgraph)  # noqa: S101 -- `inside` made it one
    outputs = scope.canvas.outputs
    ids = outputs[slot].linkIds if slot < len(outputs) else []
    ends = [link for link in scope.canvas.links if link.target_id == str(_OUTPUT_SIDE) and link.target_slot == slot]
    link = next((scope.links[one] for one in ids if one in scope.links), None) or next(iter(ends), None)
    return _from_output(scope, link.origin_id, link.origin_slot, link.type, seen) if link else None


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
    entries = (
        [entry for entry in listed if isinstance(entry, list) and len(entry) > 1] if isinstance(listed, list) else []
    )
    names = [str(name) for owner, name, *_ in entries if str(owner) == "-1"]
    return [name for name in names if not name.startswith("$$")]


def _widget_inputs(inner: Subgraph) -> list[str]:
    """The subgraph's inputs that lead to a field inside: newer editors write the values of exactly these."""
    nodes = {node.id: node for node in inner.nodes}
    fed: set[int] = set()
    for link in inner.links:
        target = nodes.get(link.target_id)
        port = target.inputs[link.target_slot] if target and 0 <= link.target_slot < len(target.inputs) else None
        if link.origin_id == str(_INPUT_SIDE) and port and port.widget:
            fed.add(link.origin_slot)
    return [port.name for slot, port in enumerate(inner.inputs) if slot in fed]


def _without_dangling(graph: RawGraph) -> RawGraph:
    """Links to nodes that were left out go as well; the server then names the input that is missing."""
    for node in graph.values():
        inputs = node["inputs"]
        if isinstance(inputs, dict):
            node["inputs"] = {
                name: value
                for name, value in inputs.items()
                if not (isinstance(value, list) and str(value[0]) not in graph)
            }
    return graph


def _refused(why: str) -> BadRequest:
    return BadRequest("The workflow cannot be converted from the editor's format", why, EXPORT)

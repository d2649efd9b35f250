"""From an input to the place where its value is written: links to nodes that only hold or pass on a value are followed."""

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Graph, Link, Node, Target

type Scalar = str | int | float | bool

# Names under which value nodes of ComfyUI and its extensions keep what they hold, most telling first.
_HOLDERS = (
    "value",
    "text",
    "string",
    "prompt",
    "seed",
    "noise_seed",
    "int",
    "float",
    "number",
    "Number",
    "Value",
    "Text",
)
# They make a text out of several: none of their own is the prompt, though one has a name like a holder's.
_COMPOSERS = frozenset({"StringReplace", "RegexReplace", "RegexExtract"})
_SIZE_INPUTS = frozenset({"width", "height", "batch_size"})


def is_number(value: JsonValue | None) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_text(value: JsonValue | None) -> bool:
    return isinstance(value, str)


def same_kind(value: JsonValue | None, *, text: bool) -> bool:
    return is_text(value) if text else is_number(value)


def settle(graph: Graph, node: Node, name: str, *, text: bool = False) -> Target | None:
    """The place of the literal (number, or text) behind `node.name`; None where it is computed or not there."""
    seen: set[str] = set()
    while (link := node.link(name)) is not None:
        source = graph.source(link)
        if source is None or source.id in seen:
            return None
        seen.add(source.id)
        held = _held(source, name, text=text)
        if held is None:
            return None
        node, name = source, held
    value = node.inputs.get(name)
    # A placeholder may stand where a number belongs; its place is known all the same.
    return Target(node.id, name) if same_kind(value, text=text) or has_placeholder(value) else None


def _held(source: Node, wanted: str, *, text: bool) -> str | None:
    """The input of a value node that holds the value or passes it on, if there is exactly one candidate."""
    if source.class_type in _COMPOSERS:
        return None
    links = source.links()
    literals = [name for name, value in source.inputs.items() if same_kind(value, text=text) or has_placeholder(value)]
    if not links:
        if wanted in literals and set(literals) <= _SIZE_INPUTS:
            return wanted
        named = [name for name in _HOLDERS if name in literals]
        return named[0] if named else (literals[0] if len(literals) == 1 else None)
    # With one link and nothing else it passes the value on (ShowText, Reroute); anything more computes.
    return next(iter(links)) if len(links) == 1 and not literals else None


def value_at(graph: Graph, target: Target) -> Scalar | None:
    """The workflow's own value at a place; None for links and for what is no plain value."""
    node = graph.nodes.get(target.node)
    value = node.inputs.get(target.input) if node else None
    return value if isinstance(value, (str, int, float, bool)) else None


def has_placeholder(value: JsonValue | None) -> bool:
    return isinstance(value, str) and "{{" in value and "}}" in value


def origin(graph: Graph, link: Link | None) -> str:
    """The node behind a link, for an explanation."""
    source = graph.source(link)
    return source.described if source else "a node that is not in the workflow"

"""Changes to a graph in JSON form: setting, inserting and rewiring. All of them change the graph that they are given."""

from collections.abc import Iterator

from pydantic import JsonValue

from models.backends.comfyui.graph.graph import Link, RawGraph, as_link


def inputs_of(raw: RawGraph, node: str) -> dict[str, JsonValue]:
    """The inputs of a node, to be changed in place."""
    inputs = raw[node].setdefault("inputs", {})
    if not isinstance(inputs, dict):
        inputs = raw[node]["inputs"] = {}
    return inputs


def links(raw: RawGraph) -> Iterator[tuple[str, str, Link]]:
    """Every (node id, input name, link)."""
    for node in raw:
        for name, value in inputs_of(raw, node).items():
            link = as_link(value)
            if link:
                yield node, name, link


def add_node(raw: RawGraph, class_type: str, title: str, inputs: dict[str, JsonValue]) -> str:
    """Add a node under an id that no other node has; the id is returned."""
    number = next(n for n in range(1, len(raw) + 2) if f"added:{n}" not in raw)
    node = f"added:{number}"
    raw[node] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": title}}
    return node


def rewire(raw: RawGraph, old: Link, new: Link | None, *, keep: str = "") -> None:
    """Let every user of `old` take `new`, or nothing; the node `keep` stays connected as it is."""
    for node, name, link in list(links(raw)):
        if link == old and node != keep:
            if new is None:
                del inputs_of(raw, node)[name]
            else:
                inputs_of(raw, node)[name] = [new.node, new.slot]


def insert_after(raw: RawGraph, source: Link, class_type: str, title: str, inputs: dict[str, JsonValue]) -> str:
    """Put a node between an output and all its users; `inputs` says how the new node takes that output."""
    node = add_node(raw, class_type, title, inputs)
    rewire(raw, source, Link(node, 0), keep=node)
    return node


def prune(raw: RawGraph, node: str) -> None:
    """Remove a node that nobody uses any more."""
    if not any(link.node == node for _, _, link in links(raw)):
        raw.pop(node, None)

"""The title convention: a node titled `input:style` offers its value as the parameter `style`.

Where the node has several values, `input:strength.strength_model` names the one that is meant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.backends.comfyui.graph.graph import Graph, Node, Target
from models.backends.comfyui.graph.images import LOAD_IMAGE, LOAD_MASK
from models.backends.comfyui.graph.placeholders import canonical

_TITLE = re.compile(r"\s*input\s*:\s*(?P<name>[^.:]+?)\s*(?:\.\s*(?P<input>\S+)\s*)?", re.IGNORECASE)
_FAVOURED = ("value", "text", "string", "prompt", "seed", "noise_seed")


@dataclass(frozen=True, slots=True)
class Titled:
    """A titled node; `place` is None where it is unclear which of its values is meant."""

    name: str
    node: Node
    place: Target | None


def find_titled(graph: Graph) -> Iterator[Titled]:
    for node in graph.nodes.values():
        found = _TITLE.fullmatch(node.title)
        if found and node.class_type not in (LOAD_IMAGE, LOAD_MASK):  # images come from the messages, in order
            yield Titled(canonical(found["name"]), node, _place(node, found["input"], canonical(found["name"])))


def _place(node: Node, named: str | None, name: str) -> Target | None:
    if named:
        return Target(node.id, named) if named in node.inputs else None
    literals = [key for key, value in node.inputs.items() if isinstance(value, (str, int, float, bool))]
    meant = [key for key in literals if canonical(key) == name] or [key for key in _FAVOURED if key in literals]
    if meant or len(literals) == 1:
        return Target(node.id, (meant or literals)[0])
    return None

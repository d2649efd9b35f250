"""Nodes that run only when their parameter is given: a title `optional:lora` on a LoRA loader, say.

Without a value the node is bypassed as the editor would do it: its users take what it took itself, and what only it
needed (a ControlNet's loader and image) goes too.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from models.backends.comfyui.graph.edits import inputs_of, links, rewire
from models.backends.comfyui.graph.graph import Graph, Link, Node, RawGraph, as_link
from models.backends.comfyui.graph.object_info import ObjectInfo
from models.backends.comfyui.graph.placeholders import canonical
from models.backends.errors import BadRequest

_TITLE = re.compile(r"\s*optional\s*:\s*(?P<name>.+?)\s*", re.IGNORECASE)

# The input that each output passes on, for when the server's definitions are not at hand.
_PASSES: Mapping[str, tuple[str, ...]] = {
    "LoraLoader": ("model", "clip"),
    "LoraLoaderModelOnly": ("model",),
    "ControlNetApply": ("conditioning",),
    "ControlNetApplyAdvanced": ("positive", "negative"),
    "ImageUpscaleWithModel": ("image",),
    "ImageScale": ("image",),
    "ImageScaleBy": ("image",),
    "FluxGuidance": ("conditioning",),
}


def find_optional(graph: Graph) -> Iterator[tuple[str, Node]]:
    """(parameter name, node) of every node that may be left out."""
    for node in graph.nodes.values():
        found = _TITLE.fullmatch(node.title)
        if found:
            yield canonical(found["name"]), node


def leave_out(raw: RawGraph, graph: Graph, given: Callable[[str], bool], info: ObjectInfo | None) -> None:
    """Bypass every optional node whose parameter `given` denies. Raises BadRequest for one that nothing can replace."""
    for name, node in find_optional(graph):
        if not given(name):
            _bypass(raw, node, info)


def _bypass(raw: RawGraph, node: Node, info: ObjectInfo | None) -> None:
    passes = _PASSES.get(node.class_type) or _by_type(node, info)
    used = {link.slot for _, _, link in links(raw) if link.node == node.id}
    for slot in used:
        # What the node takes now counts: its source may have been bypassed meanwhile.
        source = as_link(inputs_of(raw, node.id).get(passes[slot])) if slot < len(passes) else None
        if source is None:
            raise BadRequest(
                f"The workflow's {node.described} is optional and cannot be left out",
                f"nothing of what it takes can stand for its output {slot}",
                "Take the title `optional:` off the node",
            )
        rewire(raw, Link(node.id, slot), source)
    _drop(raw, node.id)


def _by_type(node: Node, info: ObjectInfo | None) -> tuple[str, ...]:
    """For each output the first linked input of its type."""
    known = info.classes.get(node.class_type) if info else None
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

"""Where a workflow ends: the nodes that give results."""

from models.backends.comfyui.graph.graph import Graph, Node, natural
from models.backends.comfyui.graph.object_info import ObjectInfo

_OUTPUT_CLASSES = frozenset({"VHS_VideoCombine", "MaskPreview", "MaskPreview+", "Image Save"})


def output_nodes(graph: Graph, info: ObjectInfo | None = None) -> tuple[str, ...]:
    """The ids of the nodes for whose sake the server runs the workflow; files that stay come before previews."""
    if info:
        found = [node for node in graph.nodes.values() if (c := info.classes.get(node.class_type)) and c.is_output]
    else:
        found = [node for node in graph.nodes.values() if _looks_like_output(node)]
    if not found:  # nothing known by name: whatever nobody uses
        found = [node for node in graph.nodes.values() if not any(graph.users(node.id)) and node.links()]
    found.sort(key=lambda node: ("Preview" in node.class_type, natural(node.id)))
    return tuple(node.id for node in found)


def _looks_like_output(node: Node) -> bool:
    return node.class_type in _OUTPUT_CLASSES or node.class_type.startswith(("Save", "Preview"))

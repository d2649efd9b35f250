"""What was found in a workflow, in sentences for its author."""

from collections.abc import Iterator

from models.backends.comfyui.graph.graph import Target
from models.backends.comfyui.graph.workflow import Workflow


def explained(workflow: Workflow) -> tuple[str, ...]:
    """Where each parameter goes, which images are taken, and what was not found or is unclear, with the reason."""
    return tuple(_sentences(workflow))


def _sentences(workflow: Workflow) -> Iterator[str]:
    slots = workflow.slots
    for name, slot in slots.found.items():
        yield f"`{name}` goes to {_places(workflow, slot.places)}"
    for number, place in enumerate(slots.images, start=1):
        yield f"input image {number} goes to {_places(workflow, (place,))}"
    if slots.mask is not None:
        yield f"the mask goes to {workflow.graph.nodes[slots.mask.node].described}"
    for name, why in slots.ambiguous.items():
        yield f"`{name}` is unclear: {why}"
    for name, why in slots.missing.items():
        yield f"`{name}` was not found: {why}"
    yield from slots.notes


def _places(workflow: Workflow, places: tuple[Target, ...]) -> str:
    return ", ".join(f"{workflow.graph.nodes[place.node].described} `{place.input}`" for place in places)

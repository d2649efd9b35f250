"""Slots: every fixture workflow has a file with its expected slots and missing slots."""

import json
from typing import Any

import pytest
import yaml

from models.backends.comfyui.graph.graph import Target
from models.backends.comfyui.graph.slots import STANDARD
from models.backends.comfyui.graph.workflow import Workflow
from tests.backends.comfyui.graphs import WORKFLOWS, recorded_info, text_of, workflow

NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.glob("*.api.json"))


def place(target: Target) -> str:
    scale = f" x{target.scale:g}" if target.scale != 1 else ""
    return f"{target.node}.{target.input}{scale}"


def summary(found: Workflow) -> dict[str, Any]:
    """The slots in the notation of the expectation files: `6.text`, `30.width x2`."""
    slots = found.slots
    mask = slots.mask
    said: dict[str, Any] = {
        "slots": {
            slot.name: {
                "places": [place(target) for target in slot.places],
                "default": slot.default,
                "type": slot.kind,
                **({"by": slot.by} if slot.by != "trace" else {}),
            }
            for slot in slots.found.values()
        },
        "images": [place(target) for target in slots.images],
        "mask": f"{mask.kind} {mask.node}{' inverted' if mask.inverted else ''}" if mask else None,
        "outputs": list(found.output_nodes),
        "missing": dict(slots.missing),
        "ambiguous": dict(slots.ambiguous),
        "notes": list(slots.notes),
    }
    return {key: value for key, value in said.items() if value}


def expected(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text_of(f"{name}.slots.yaml"))
    return read


def test_there_are_at_least_thirty_workflows_with_their_slots() -> None:
    assert len(NAMES) >= 30


@pytest.mark.parametrize("link", ["conditioning", "conditioning_to", "conditioning_1"])
def test_a_text_of_a_node_that_passes_conditioning_on_is_not_the_prompt(link: str) -> None:
    """Extensions label such nodes, or let them name an area, in an input called `text`."""
    graph: dict[str, Any] = json.loads(text_of("sd15_txt2img.api.json"))
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    encoder, slot = sampler["inputs"]["positive"]
    graph["90"] = {"class_type": "ConditioningByExtension", "inputs": {link: [encoder, slot], "text": "a label"}}
    sampler["inputs"]["positive"] = ["90", 0]
    found = Workflow.load(json.dumps(graph)).slots.found["prompt"]
    assert [place(target) for target in found.places] == [f"{encoder}.text"]


@pytest.mark.parametrize("name", NAMES)
def test_the_slots_are_the_expected_ones(name: str) -> None:
    assert summary(workflow(name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_servers_definitions_change_no_slot(name: str) -> None:
    """Slots are found with the server offline; definitions only refine types."""
    with_info, without = workflow(name, recorded_info()).slots, workflow(name).slots
    assert {n: slot.places for n, slot in with_info.found.items()} == {n: s.places for n, s in without.found.items()}
    assert (with_info.images, with_info.mask) == (without.images, without.mask)


@pytest.mark.parametrize("name", NAMES)
def test_every_common_parameter_is_found_or_explained(name: str) -> None:
    slots = workflow(name).slots
    silent = [n for n in STANDARD if n not in slots.found and n not in slots.missing and n not in slots.ambiguous]
    assert silent == []
    assert not set(slots.found) & (set(slots.missing) | set(slots.ambiguous))


@pytest.mark.parametrize("name", NAMES)
def test_no_input_belongs_to_two_slots_and_none_is_a_link(name: str) -> None:
    found = workflow(name)
    places = [(p.node, p.input) for slot in found.slots.found.values() if slot.by == "trace" for p in slot.places]
    assert len(places) == len(set(places))
    assert not any(isinstance(found.graph.nodes[node].inputs[name], list) for node, name in places)


@pytest.mark.parametrize("name", NAMES)
def test_renumbered_nodes_in_another_order_have_the_same_slots(name: str) -> None:
    """File order and ids affect only the order of equivalent nodes."""
    raw = json.loads(text_of(f"{name}.api.json"))
    renamed = {f"65:{key}": node for key, node in reversed(raw.items())}
    for node in renamed.values():
        node["inputs"] = {k: [f"65:{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    there, here = Workflow.load(json.dumps(renamed)).slots, workflow(name).slots
    assert {n: {f"{p.node}.{p.input}" for p in s.places} for n, s in there.found.items()} == {
        n: {f"65:{p.node}.{p.input}" for p in s.places} for n, s in here.found.items()
    }
    assert [p.node for p in there.images] == [f"65:{p.node}" for p in here.images]

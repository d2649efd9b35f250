"""A pasted workflow and the server's node definitions: what each tells, and what is asked for when."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.backends.base import Capabilities, Model
from models.backends.comfyui.graph import ObjectInfo
from models.backends.comfyui.model_workflow import NodeDefinitions, PastedWorkflow, model_files
from models.backends.errors import BadRequest, ConnectionFailed
from models.backends.registry import COMMON_RULES
from models.clock import Deadline
from models.entities import ImageRequest
from models.settings import Access
from tests.backends.comfyui.graphs import case_text, text_of
from tests.backends.comfyui.jobs import CHECKPOINT, Graph, edited, sampled
from tests.backends.comfyui.simulated import SimulatedServer
from tests.fakes import FakeClock

OFF = ConnectionFailed("x", "off")
EDITOR = text_of("ui/node_titles.ui.json")


@pytest.fixture
def definitions(simulated: SimulatedServer) -> NodeDefinitions:
    server: Any = simulated
    return NodeDefinitions(server)


@pytest.fixture
def soon(clock: FakeClock) -> Deadline:
    return Deadline.after(clock, 60)


def pasted(graph: Graph | str, definitions: NodeDefinitions | None = None) -> PastedWorkflow:
    text = graph if isinstance(graph, str) else json.dumps(graph)
    return PastedWorkflow(Model("foxes", "foxes", Access(workflow=text), None), definitions)


def names(info: ObjectInfo) -> list[str]:
    return list(info.classes)


# --- the definitions ---


def test_each_class_is_asked_for_once(simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline) -> None:
    found = definitions.fetched(["KSampler", "SaveImage", "KSampler", "Absent"], soon)
    assert names(found) == ["KSampler", "SaveImage"]
    assert sorted(simulated.asked) == ["Absent", "KSampler", "SaveImage"]
    assert names(definitions.fetched(["Absent", "SaveImage"], soon)) == ["SaveImage"]
    assert len(simulated.asked) == 3


def test_definitions_are_kept_for_five_minutes(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline, clock: FakeClock
) -> None:
    definitions.fetched(["KSampler"], soon)
    clock.time += 299.5
    assert names(definitions.known(["KSampler", "SaveImage"])) == ["KSampler"]
    clock.time += 1
    assert names(definitions.known(["KSampler"])) == []


def test_what_was_missing_is_asked_for_again_on_request(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    simulated.nodes["Fresh"] = None
    assert names(definitions.fetched(["Fresh"], soon)) == []
    simulated.nodes["Fresh"] = simulated.nodes["KSampler"]
    assert names(definitions.fetched(["Fresh"], soon)) == []
    assert names(definitions.refetched(["Fresh"], soon)) == ["Fresh"]
    assert simulated.asked == ["Fresh", "Fresh"]


def test_a_server_that_fails_leaves_what_is_known(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    definitions.fetched(["KSampler"], soon)
    assert names(definitions.available(["KSampler", "SaveImage"], soon)) == ["KSampler", "SaveImage"]
    simulated.dumb = OFF
    assert names(definitions.available(["KSampler", "VAEDecode"], soon)) == ["KSampler"]
    with pytest.raises(ConnectionFailed):
        definitions.fetched(["VAEDecode"], soon)


def test_choices_for_a_message_are_current_or_unknown(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    assert definitions.choices("CheckpointLoaderSimple", "ckpt_name", soon) == (CHECKPOINT,)
    assert definitions.choices("KSampler", "steps", soon) == ()
    assert definitions.choices("KSampler", "absent", soon) == ()
    assert definitions.choices("Absent", "steps", soon) == ()
    simulated.nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["new.safetensors"], {}]
    assert definitions.choices("CheckpointLoaderSimple", "ckpt_name", soon) == ("new.safetensors",)
    simulated.dumb = OFF
    assert definitions.choices("CheckpointLoaderSimple", "ckpt_name", soon) == ()


# --- what a workflow takes ---


def two_images(*, masked: bool) -> Graph:
    graph = edited(masked=masked)
    graph["20"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    graph["21"] = {"class_type": "ImageBlend", "inputs": {"image1": ["8", 0], "image2": ["20", 0]}}
    graph["9"]["inputs"]["images"] = ["21", 0]
    return graph


@pytest.mark.parametrize(
    ("graph", "able"),
    [
        (sampled(), Capabilities(images=0, min_images=0, mask=False, second_image="image")),
        (edited(), Capabilities(images=1, min_images=1, mask=False, second_image="image")),
        (edited(masked=True), Capabilities(images=1, min_images=1, mask=True, second_image="mask")),
        (two_images(masked=False), Capabilities(images=2, min_images=1, mask=False, second_image="image")),
        (two_images(masked=True), Capabilities(images=2, min_images=1, mask=True, second_image="image")),
        ("{", Capabilities(images=1)),
        (EDITOR, Capabilities(images=1)),
    ],
)
def test_a_second_image_is_the_mask_where_one_image_and_a_mask_are_taken(
    graph: Graph | str, able: Capabilities
) -> None:
    assert pasted(graph).capabilities == able


def test_every_workflow_can_be_embedded_and_go_first() -> None:
    rules = [rule.name for rule in pasted(sampled()).rules()]
    assert rules[-2:] == ["embed_workflow", "priority"]
    assert len(rules) == len(set(rules))
    own = sampled()
    own["30"] = {"class_type": "Note", "inputs": {"text": "{{priority}}"}, "_meta": {"title": "x"}}
    named = [rule.name for rule in pasted(own).rules()]
    assert sorted(named) == sorted(rules)
    assert pasted("{").rules() == COMMON_RULES


def test_a_workflow_is_read_once() -> None:
    workflow = pasted(sampled())
    assert workflow.read() is workflow.read() is workflow.choose(ImageRequest(model="x", prompt="a fox"))
    assert workflow.readable is workflow.read()


@pytest.mark.parametrize("text", ["", "{", EDITOR])
def test_a_workflow_that_cannot_be_read_is_none_until_it_is_needed(text: str, soon: Deadline) -> None:
    workflow = pasted(text)
    assert workflow.readable is None
    with pytest.raises(BadRequest):
        workflow.ready(soon)


def test_a_model_without_a_workflow_says_where_it_belongs(soon: Deadline, definitions: NodeDefinitions) -> None:
    workflow = pasted("", definitions)
    workflow.learn(soon)
    with pytest.raises(BadRequest, match=r"foxes has no workflow.*paste it into"):
        workflow.live_rules(soon)


# --- learning ---


def test_an_api_without_definitions_reads_the_workflow_alone(soon: Deadline) -> None:
    workflow = pasted(sampled())
    workflow.learn(soon)
    assert workflow.read().info is None
    workflow.check(soon)
    with pytest.raises(BadRequest, match="editor's format"):
        pasted(EDITOR).learn(soon)


def test_an_api_workflow_is_ready_without_a_question(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    assert pasted(sampled(), definitions).ready(soon).info is None
    assert simulated.asked == []


def test_a_form_is_sharpened_by_the_definitions_that_can_be_had(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    def options(workflow: PastedWorkflow) -> Mapping[str, tuple[str, ...]]:
        return {rule.name: rule.options for rule in workflow.live_rules(soon)}

    assert options(pasted(sampled(), definitions))["checkpoint"] == (CHECKPOINT,)


def test_a_form_without_any_definition_is_that_of_the_workflow_alone(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    simulated.dumb = OFF
    workflow = pasted(sampled(), definitions)
    assert workflow.live_rules(soon) == pasted(sampled()).rules()
    assert workflow.read().info is None


def unclear(simulated: SimulatedServer) -> Graph:
    """Only the definition of a node tells which of two texts is the prompt."""
    graph: Graph = json.loads(case_text("01-positive-at-output-one"))
    graph["8"]["class_type"] = "SomebodysAdapter"
    graph["5"]["inputs"].update(positive=["8", 2], negative=["8", 1])
    for node in graph.values():
        simulated.nodes.setdefault(node["class_type"], {"input": {}, "output": []})
    simulated.nodes["SomebodysAdapter"] = {
        "input": {},
        "output": ["MODEL", "CONDITIONING", "CONDITIONING"],
        "output_name": ["MODEL", "positive", "negative"],
    }
    return graph


def test_a_prompt_that_only_a_definition_can_find_is_asked_for(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    workflow = pasted(unclear(simulated), definitions)
    assert workflow.read().unclear
    ready = workflow.ready(soon)
    assert [place.node for place in ready.slots.found["prompt"].places] == ["3"]
    assert "SomebodysAdapter" in simulated.asked


def test_a_prompt_that_only_a_definition_can_find_needs_the_server(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    workflow = pasted(unclear(simulated), definitions)
    simulated.dumb = OFF
    with pytest.raises(ConnectionFailed):
        workflow.ready(soon)


def test_an_editors_file_is_converted_with_the_servers_definitions(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    workflow = pasted(EDITOR, definitions)
    assert workflow.ready(soon).info is not None
    asked = len(simulated.asked)
    assert workflow.ready(soon) is workflow.read()
    assert len(simulated.asked) == asked


def test_a_node_that_was_just_installed_is_found(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    sampler = simulated.nodes.pop("KSampler")
    with pytest.raises(BadRequest, match="KSampler"):
        pasted(EDITOR, definitions).learn(soon)
    simulated.nodes["KSampler"] = sampler
    workflow = pasted(EDITOR, definitions)
    workflow.learn(soon)
    assert workflow.readable is not None


# --- the check of a form ---


@pytest.mark.parametrize(
    ("kind", "packages"), [("UltimateSDUpscale", " (ComfyUI_UltimateSDUpscale)"), ("NoSuchNode", "")]
)
def test_a_missing_node_is_named_with_its_package_if_that_is_known(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline, kind: str, packages: str
) -> None:
    graph = sampled()
    graph["10"] = {"class_type": kind, "inputs": {"image": ["8", 0]}}
    graph["9"]["inputs"]["images"] = ["10", 0]
    with pytest.raises(BadRequest) as lacking:
        pasted(graph, definitions).check(soon)
    assert lacking.value.said.startswith(f"node 10 ({kind}): the server has no node class")
    assert lacking.value.next_step.startswith(f"Install what is missing{packages} on the server, or use what it has")


def test_the_check_asks_for_current_definitions(
    simulated: SimulatedServer, definitions: NodeDefinitions, soon: Deadline
) -> None:
    workflow = pasted(sampled(), definitions)
    workflow.check(soon)
    simulated.nodes["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["other.safetensors"], {}]
    with pytest.raises(BadRequest, match="ckpt_name"):
        workflow.check(soon)
    assert simulated.asked.count("KSampler") == 2


def test_a_workflow_without_an_output_has_nothing_to_deliver(definitions: NodeDefinitions, soon: Deadline) -> None:
    graph: Graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}}}
    for workflow in (pasted(graph), pasted(graph, definitions)):
        with pytest.raises(BadRequest, match="The workflow has no image output"):
            workflow.check(soon)


def test_a_prompt_that_nothing_tells_fails_the_check(simulated: SimulatedServer, soon: Deadline) -> None:
    with pytest.raises(BadRequest, match="does not say which of its outputs"):
        pasted(unclear(simulated)).check(soon)


def test_the_second_field_is_read_where_it_is_meant() -> None:
    first = pasted(sampled())
    access = replace(first.model.access, canary_workflow=json.dumps(sampled(steps=9)))
    second = PastedWorkflow(replace(first.model, access=access), None, "canary_workflow")
    assert json.loads(second.text) == sampled(steps=9)


# --- model files ---


def test_model_files_are_told_by_their_suffix() -> None:
    graph: Any = {
        "1": {"class_type": "A", "inputs": {"a": "x.safetensors", "b": "y.CKPT", "c": "z.png", "d": 5, "e": ["1", 0]}},
        "2": {"class_type": "B", "inputs": {"a": "sub/x.pth", "b": "a.safetensors of old", "c": "x.safetensors"}},
        "3": {"class_type": "C", "inputs": None},
    }
    assert model_files(graph) == {"x.safetensors", "y.CKPT", "sub/x.pth"}

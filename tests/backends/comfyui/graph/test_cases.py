"""Published workflows that once failed: each gives the right values, or a clear message."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from models.backends.comfyui.graph import ObjectInfo, Workflow
from models.backends.comfyui.graph.editor_values import aligned
from models.backends.comfyui.graph.nodes import InputSpec
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from tests.backends.comfyui.graphs import case, case_info, case_text
from tests.fakes import image_file

INFO = case_info()
PHOTO = InputImage(image_file(), "image/png")


def places(found: Workflow, name: str) -> list[str]:
    slot = found.slots.found.get(name)
    return [f"{place.node}.{place.input}" for place in slot.places] if slot else []


def inputs(found: Workflow, node: str) -> dict[str, Any]:
    return dict(found.graph.nodes[node].inputs)


def filled(found: Workflow, **more: Any) -> dict[str, Any]:
    images = [f"{number}.png" for number in range(len(more.get("images", ())))]
    request = ImageRequest(**{"model": "m", "prompt": "a fox", "seeds": (7,), **more})
    return dict(found.filled(request, images=images).graph)


def raw(name: str) -> Any:
    return json.loads(case_text(name))


# Sides


@pytest.mark.parametrize("info", [None, INFO], ids=["unknown", "known"])
@pytest.mark.parametrize("name", ["01-positive-at-output-one", "01-positive-at-output-one-2"])
def test_the_prompt_is_never_written_to_the_negative_text(name: str, info: ObjectInfo | None) -> None:
    found = case(name, info)
    assert places(found, "prompt") == ["2.text"]
    assert places(found, "negative_prompt") == ["3.text"]


def adapter(outputs: list[str], *, positive: int, negative: int) -> tuple[Workflow, Workflow]:
    """A node class missing in nodes.yaml between the texts and the sampler, with and without definitions."""
    graph = raw("01-positive-at-output-one")
    graph["8"]["class_type"] = "SomebodysAdapter"
    graph["5"]["inputs"].update(positive=["8", positive], negative=["8", negative])
    kinds = ["MODEL" if "M" in name else "CONDITIONING" for name in outputs]
    definition = {"input": {}, "output": kinds, "output_name": outputs, "output_node": False}
    info = ObjectInfo({**INFO.classes, **ObjectInfo.parse({"SomebodysAdapter": definition}).classes})  # type: ignore[dict-item]
    return Workflow.load(json.dumps(graph)), Workflow.load(json.dumps(graph), info)


@pytest.mark.parametrize(
    ("outputs", "positive", "negative"),
    [
        (["MODEL", "positive", "negative"], 1, 2),
        (["IPADAPTER_M", "POSITIVE", "NEGATIVE"], 1, 2),
        (["MODEL", "CONDITIONING+", "CONDITIONING-"], 1, 2),
        (["negative", "positive", "MODEL"], 1, 0),
        (["MODEL", "pos", "neg"], 1, 2),
    ],
)
def test_output_names_distinguish_positive_and_negative(outputs: list[str], positive: int, negative: int) -> None:
    found = adapter(outputs, positive=positive, negative=negative)[1]
    assert (places(found, "prompt"), places(found, "negative_prompt")) == (["2.text"], ["3.text"])


def test_swapped_outputs_are_traced_by_their_names() -> None:
    found = adapter(["MODEL", "positive", "negative"], positive=2, negative=1)[1]
    assert (places(found, "prompt"), places(found, "negative_prompt")) == (["3.text"], ["2.text"])


def test_outputs_with_contradicting_order_and_use_are_not_guessed() -> None:
    found = adapter(["MODEL", "positive", "negative"], positive=2, negative=1)[0]
    assert "SomebodysAdapter" in found.slots.ambiguous["prompt"]
    assert found.unclear
    with pytest.raises(BadRequest, match="does not say which of its outputs"):
        found.check()


# Values of editor files


def test_an_old_boolean_after_the_seed_is_not_assigned_to_the_next_field() -> None:
    found = case("02", INFO)
    expected = {"seed": 7, "steps": 23, "cfg": 6.5, "sampler_name": "euler", "scheduler": "karras", "denoise": 1}
    assert inputs(found, "5").items() >= expected.items()
    assert {"steps", "cfg_scale"} <= set(found.slots.found)
    assert found.notes == ()


def test_a_null_for_an_extensions_button_shifts_no_value() -> None:
    assert inputs(case("03", INFO), "2").items() >= {
        "seed": 7,
        "steps": 23,
        "cfg": 6.5,
        "sampler_name": "euler",
        "scheduler": "karras",
        "denoise": 1,
        "preview_method": "auto",
        "vae_decode": "true",
    }.items()  # fmt: skip


def test_user_added_rows_are_converted_by_number() -> None:
    found = case("04", INFO)
    assert inputs(found, "8") == {
        "lora_1": {"on": True, "lora": "ink.safetensors", "strength": 0.7},
        "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1},
        "model": ["1", 0],
        "clip": ["1", 1],
    }
    assert found.notes == ()


def test_rows_of_an_unknown_node_are_reported() -> None:
    graph = raw("04")
    next(node for node in graph["nodes"] if node["id"] == 8)["type"] = "Other Lora Stack"
    info = ObjectInfo({**INFO.classes, "Other Lora Stack": INFO.classes["Power Lora Loader (rgthree)"]})
    found = Workflow.load(json.dumps(graph), info)
    assert any("node 8 (Other Lora Stack)" in note and "ink.safetensors" in note for note in found.explained())


def test_displayed_values_are_dropped_silently_and_other_extra_values_are_reported() -> None:
    graph = raw("02")
    shown = {"id": 30, "type": "ShowText|pysssss", "widgets_values": ["old", "older"]}
    lora = {"id": 31, "type": "LoraLoader", "widgets_values": ["a.safetensors", 1, 1, "a field of an extension"]}
    graph["nodes"] += [shown, lora]
    notes = Workflow.load(json.dumps(graph), INFO).notes
    assert len(notes) == 1
    assert "node 31 (LoraLoader)" in notes[0]
    assert "a field of an extension" in notes[0]


def sampler_values(values: list[Any]) -> dict[str, Any]:
    graph = raw("02")
    next(node for node in graph["nodes"] if node["id"] == 5)["widgets_values"] = values
    return inputs(Workflow.load(json.dumps(graph), INFO), "5")


@pytest.mark.parametrize(
    "values",
    [
        [7, "randomize", 23, 6.5, "euler", "karras", 1],
        [7, False, 23, 6.5, "euler", "karras", 1],
        [7, 23, 6.5, "euler", "karras", 1],
        [7, "fixed", 23, 6.5, "euler", "karras"],
        [7, None, "randomize", 23, 6.5, None, "euler", "karras", 1, None, ""],
        [7, "randomize", 23, 6.5, "euler", "karras", 1, "a field of an extension"],
    ],
)
def test_values_stay_with_their_fields(values: list[Any]) -> None:
    read = sampler_values(values)
    assert [read[name] for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")] == [
        *(7, 23, 6.5, "euler", "karras", 1)
    ]


@pytest.mark.parametrize("options", [{}, {"control_after_generate": True}])
@pytest.mark.parametrize("name", ["seed", "noise_seed", "Seed"])
@pytest.mark.parametrize("after_run", [True, False, "randomize", "fixed"])
def test_what_becomes_of_a_seed_after_a_run_is_no_value(name: str, options: dict[str, Any], after_run: Any) -> None:
    """Old servers do not say `control_after_generate` of a seed; the editor adds the field all the same."""
    fields = [InputSpec(name, "INT", required=True, options=options), InputSpec("steps", "INT", required=True)]
    read = aligned(fields, [7, after_run, 23])
    assert (read.named, read.left, read.wrong) == ({name: 7, "steps": 23}, (), ())
    assert read.cost == (0.0 if isinstance(after_run, str) else 0.5)


@pytest.mark.parametrize(("value", "cost"), [(1, 0.0), (30, 0.0), (200, 0.0), (0, 1.0), (201, 1.0)])
def test_a_number_out_of_the_servers_bounds_is_an_unusual_reading(value: int, cost: float) -> None:
    steps = InputSpec("steps", "INT", required=True, options={"min": 1, "max": 200})
    assert aligned([steps], [value]).cost == cost


def test_only_behind_a_seed_a_boolean_is_no_value() -> None:
    fields = [InputSpec("steps", "INT", required=True), InputSpec("cfg", "FLOAT", required=True)]
    assert aligned(fields, [7, True, 23]).left == (True,)


def test_values_that_fit_no_field_are_refused_on_saving() -> None:
    with pytest.raises(BadRequest, match=r"values of node 5 \(KSampler\) do not fit.*`cfg` would be"):
        sampler_values([7, "randomize", 23, ["?"], "euler", "karras", 1])


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a {red|blue} fox", "a red fox"),
        ("a {{red|dark {blue|green}}|white} fox // a remark\nat {dawn}", "a {{red|dark {blue|green}}|white} fox // a remark\nat {dawn}"),
        ("{a {very|quite} big|small} fox /* no */here // a remark", "a very big fox here "),
        (r"a \{fox\|hare\}", "a {fox|hare}"),
        ("{", "{"),
    ],
)  # fmt: skip
def test_choices_in_a_prompt_are_resolved_as_in_the_editor(text: str, sent: str) -> None:
    """Everything except double braces, which are placeholders."""
    graph = raw("02")
    next(node for node in graph["nodes"] if node["id"] == 3)["widgets_values"] = [text]
    found = Workflow.load(json.dumps(graph), INFO)
    assert inputs(found, "3")["text"] == sent
    assert ("the first of each" in str(found.notes)) == ("|" in text and "{{" not in text)


# Nodes that exist only in the editor


def test_a_get_node_is_linked_to_its_set_node() -> None:
    found = case("05", INFO)
    assert inputs(found, "5")["model"] == ["1", 0]
    assert not {"8", "9"} & set(found.graph.nodes)


@pytest.mark.parametrize("name", ["07", "09"])
@pytest.mark.parametrize("mode", [0, 2, 4])
def test_reroutes_are_followed_in_every_mode(name: str, mode: int) -> None:
    graph = raw(name)
    next(node for node in graph["nodes"] if node["id"] == 8)["mode"] = mode
    assert inputs(Workflow.load(json.dumps(graph), INFO), "6")["vae"] == ["1", 2]


def test_a_muted_primitive_still_gives_its_value() -> None:
    graph = raw("02")
    sampler = next(node for node in graph["nodes"] if node["id"] == 5)
    sampler["inputs"].append({"name": "steps", "type": "INT", "link": 20, "widget": {"name": "steps"}})
    graph["nodes"].append({"id": 9, "type": "PrimitiveNode", "mode": 2, "widgets_values": [31, "fixed"]})
    graph["links"].append([20, 9, 0, 5, 4, "INT"])
    assert inputs(Workflow.load(json.dumps(graph), INFO), "5")["steps"] == 31


@pytest.mark.parametrize("kind", ["Label (rgthree)", "Fast Groups Bypasser (rgthree)", "Somebody's Label"])
def test_display_only_nodes_are_dropped(kind: str) -> None:
    graph = raw("02")
    graph["nodes"].append({"id": 30, "type": kind, "widgets_values": ["x"]})
    assert "30" not in Workflow.load(json.dumps(graph), INFO).graph.nodes


def test_a_group_node_is_expanded() -> None:
    found = case("08", INFO)
    assert "8" not in found.graph.nodes
    assert inputs(found, "8:0") == {"samples": ["5", 0], "vae": ["1", 2]}
    assert inputs(found, "8:1") == {"images": ["8:0", 0], "filename_prefix": "lake"}


def test_the_values_of_a_group_node_override_the_inner_values() -> None:
    graph = raw("08")
    next(node for node in graph["nodes"] if node["id"] == 8)["widgets_values"] = ["pond"]
    assert inputs(Workflow.load(json.dumps(graph), INFO), "8:1")["filename_prefix"] == "pond"


def test_an_output_of_a_group_node_is_that_of_the_inner_node() -> None:
    graph = raw("02")
    decode = next(node for node in graph["nodes"] if node["id"] == 6)
    graph["nodes"].remove(decode)
    member = {"type": "VAEDecode", "inputs": decode["inputs"], "outputs": decode["outputs"], "widgets_values": []}
    graph["nodes"].append({**decode, "type": "workflow>Decode"})
    graph["extra"] = {"groupNodes": {"Decode": {"nodes": [member], "links": [], "external": [[0, 0, "IMAGE"]]}}}
    assert inputs(Workflow.load(json.dumps(graph), INFO), "7")["images"] == ["6:0", 0]


def test_a_group_node_without_a_definition_is_named() -> None:
    graph = raw("08")
    graph["extra"] = {}
    with pytest.raises(BadRequest, match=r"node 8 .* is a group node"):
        Workflow.load(json.dumps(graph), INFO)


def test_anything_everywhere_links_are_read_from_the_file() -> None:
    graph = raw("02")
    decode = next(node for node in graph["nodes"] if node["id"] == 6)
    decode["inputs"][1]["link"] = None
    graph["nodes"].append(
        {"id": 40, "type": "Anything Everywhere", "inputs": [{"name": "VAE", "type": "VAE", "link": 8}]}
    )
    with pytest.raises(BadRequest, match="Anything Everywhere"):
        Workflow.load(json.dumps(graph), INFO)
    link = {"downstream": 6, "downstream_slot": 1, "upstream": "1", "upstream_slot": 2, "controller": 40, "type": "VAE"}
    graph["extra"] = {"ue_links": [link]}
    assert inputs(Workflow.load(json.dumps(graph), INFO), "6")["vae"] == ["1", 2]


def test_a_bypassed_lora_passes_its_inputs_on() -> None:
    found = case("P5", INFO)
    assert inputs(found, "5")["model"] == ["1", 0]
    assert inputs(found, "2")["clip"] == ["1", 1]


# Texts


def test_a_displayed_value_is_not_a_text() -> None:
    assert places(case("11"), "prompt") == ["9.text"]
    graph = raw("11")
    graph["8"]["class_type"] = "Show Text of Somebody"
    assert places(Workflow.load(json.dumps(graph)), "prompt") == ["9.text"]


def test_placeholders_of_other_programs_are_supported() -> None:
    found = case("13")
    assert {name: places(found, name) for name in ("prompt", "negative_prompt", "steps", "cfg_scale", "width")} == {
        "prompt": ["2.text"],
        "negative_prompt": ["3.text"],
        "steps": ["5.steps"],
        "cfg_scale": ["5.cfg"],
        "width": ["4.width"],
    }
    graph = filled(
        found, steps=9, cfg_scale=4.0, width=512, height=640, sampler="ddim", scheduler="normal", checkpoint="x"
    )
    sampler = {name: value for name, value in graph["5"]["inputs"].items() if not isinstance(value, list)}
    assert sampler == {
        "seed": 7,
        "steps": 9,
        "cfg": 4.0,
        "sampler_name": "ddim",
        "scheduler": "normal",
        "denoise": 1,
    }
    assert (graph["4"]["inputs"]["width"], graph["1"]["inputs"]["ckpt_name"]) == (512, "x")


def test_an_unknown_placeholder_of_another_program_is_refused_with_the_right_syntax() -> None:
    graph = raw("13")
    graph["4"]["inputs"]["batch_size"] = "%char_count%"
    with pytest.raises(BadRequest, match=r"%char_count%.*\{\{name\|default\}\}"):
        Workflow.load(json.dumps(graph)).check()


def test_percent_signs_in_a_prompt_stay() -> None:
    graph = raw("13")
    graph["2"]["inputs"]["text"] = "100% cotton, 50%off%"
    graph["7"]["inputs"]["filename_prefix"] = "%width%"  # the server's own
    Workflow.load(json.dumps(graph)).check()


# File names

NOON = datetime(2026, 3, 4, 12, 5, 6, tzinfo=UTC)


def prefix(found: Workflow, **more: Any) -> Any:
    request = ImageRequest(**{"model": "m", "prompt": "a fox", "seeds": (77,), **more})
    return found.filled(request, now=NOON).graph["7"]["inputs"]["filename_prefix"]  # type: ignore[index, call-overload]


def test_tokens_in_a_file_name_are_filled_as_in_the_editor() -> None:
    assert prefix(case("10", INFO)) == "2026-03-04/lake_77"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%date:yy-M-d_hh.mm.ss%", "26-3-4_12.05.06"),
        ("%CheckpointLoaderSimple.ckpt_name%", "a.safetensors"),
        ("%CLIPTextEncode.text%/x", "a fox/x"),
        ("%Nobody.seed%_%width%_%KSampler.model%", "%Nobody.seed%_%width%_%KSampler.model%"),
    ],
)
def test_every_kind_of_token_is_filled(text: str, expected: str) -> None:
    graph = raw("10")
    next(node for node in graph["nodes"] if node["id"] == 7)["widgets_values"] = [text]
    assert prefix(Workflow.load(json.dumps(graph), INFO)) == expected


def test_a_prefix_from_the_request_cannot_read_the_workflow() -> None:
    asked = prefix(case("10", INFO), extra={"filename_prefix": "%date:yyyy%_%CheckpointLoaderSimple.ckpt_name%"})
    assert asked == "2026_%CheckpointLoaderSimple.ckpt_name%"


# Pipes and images


@pytest.mark.parametrize("info", [None, INFO], ids=["unknown", "known"])
def test_settings_in_a_pipe_are_found(info: ObjectInfo | None) -> None:
    found = case("15", info)
    assert {name: places(found, name) for name in ("seed", "steps", "cfg_scale", "sampler", "width", "height")} == {
        "seed": ["2.seed"],
        "steps": ["2.steps"],
        "cfg_scale": ["2.cfg"],
        "sampler": ["2.sampler_name"],
        "width": ["1.empty_latent_width"],
        "height": ["1.empty_latent_height"],
    }
    assert (places(found, "prompt"), places(found, "negative_prompt")) == (["1.positive"], ["1.negative"])
    assert filled(found, width=512, height=512)["1"]["inputs"]["resolution"] == "width x height (custom)"
    assert filled(found)["1"]["inputs"]["resolution"] == "640 x 448"


@pytest.mark.parametrize("info", [None, INFO], ids=["unknown", "known"])
def test_a_base64_image_node_gets_the_image_of_the_request(info: ObjectInfo | None) -> None:
    found = case("17", info)
    assert (found.images, found.min_images) == (1, 1)
    assert "input image 1 goes to node 8 (easy loadImageBase64) `base64_data`" in found.explained()
    assert filled(found, images=(PHOTO,))["8"] == {"class_type": "LoadImage", "inputs": {"image": "0.png"}}
    with pytest.raises(BadRequest, match="needs an image for node 8"):
        filled(found)


def test_an_unknown_base64_node_is_recognized_by_its_name() -> None:
    graph = raw("17")
    graph["8"] = {"class_type": "SomebodysBase64ToImage", "inputs": {"base64_string": "", "resize": False}}
    assert filled(Workflow.load(json.dumps(graph)), images=(PHOTO,))["8"]["inputs"] == {"image": "0.png"}
    graph["8"]["inputs"] = {"image": ["12", 0], "format": "base64"}
    assert Workflow.load(json.dumps(graph)).images == 0


def test_a_base64_node_with_a_used_mask_keeps_its_image_with_a_notice() -> None:
    graph = raw("17")
    graph["40"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["9", 0], "mask": ["8", 1]}}
    graph["5"]["inputs"]["latent_image"] = ["40", 0]
    found = Workflow.load(json.dumps(graph))
    assert found.images == 0
    assert any("put a LoadImage node in its place" in sentence for sentence in found.explained())


# Request bodies around a graph


@pytest.mark.parametrize(
    "wrap",
    [
        lambda graph: {"input": {"workflow": graph, "images": []}},
        lambda graph: {"output": graph, "workflow": {"nodes": [], "links": []}},
        lambda graph: {"input": {"workflow_json": json.dumps(graph)}},
        lambda graph: {"8f0c": {"prompt": [3, "8f0c", graph, {"client_id": "x"}, ["7"]], "outputs": {}}},
    ],
)
def test_a_graph_is_extracted_from_any_request_body(wrap: Any) -> None:
    graph = raw("19")["input"]["workflow"]
    assert Workflow.load(json.dumps(wrap(graph))).graph.raw() == Workflow.load(json.dumps(graph)).graph.raw()
    assert places(case("19"), "prompt") == ["2.text"]


def test_partner_nodes_are_reported_on_saving() -> None:
    partner = ObjectInfo.parse({"KSampler": {"input": {}, "output": ["LATENT"], "api_node": True}})
    found = case("P4").known(ObjectInfo({**INFO.classes, **partner.classes}))
    assert any("Comfy account" in sentence for sentence in found.explained())
    assert not any("Comfy account" in sentence for sentence in case("P4", INFO).explained())


def test_earlier_cases_still_pass() -> None:
    assert any("res_2s" in sentence for sentence in case("P1", INFO).lacking())
    assert places(case("P4"), "prompt")


@pytest.mark.parametrize(("on", "node"), [(True, "2"), (False, "20"), (["22", 0], "2")])
def test_a_switch_is_followed_to_its_selected_input(on: Any, node: str) -> None:
    graph = raw("01-positive-at-output-one")
    graph["20"] = json.loads(json.dumps(graph["2"]))
    graph["20"]["inputs"]["text"] = "another text"
    switch = {"switch": on, "on_false": ["20", 0], "on_true": ["2", 0]}
    graph["21"] = {"class_type": "ComfySwitchNode", "inputs": switch}
    graph["22"] = {"class_type": "PrimitiveBoolean", "inputs": {"value": True}}
    graph["8"]["inputs"]["positive"] = ["21", 0]
    assert places(Workflow.load(json.dumps(graph)), "prompt") == [f"{node}.text"]


def test_settings_in_a_separate_node_are_found_by_name() -> None:
    graph = raw("01-positive-at-output-one")
    config = {"steps_total": 30, "refiner_step": 24, "cfg": 5.5, "sampler_name": "ddim", "scheduler": "normal"}
    graph["30"] = {"class_type": "KSampler Config (rgthree)", "inputs": config}
    graph["5"]["inputs"].update(steps=["30", 0], cfg=["30", 2], sampler_name=["30", 3], scheduler=["30", 4])
    found = Workflow.load(json.dumps(graph))
    assert {name: places(found, name) for name in ("steps", "cfg_scale", "sampler", "scheduler")} == {
        "steps": ["30.steps_total"],
        "cfg_scale": ["30.cfg"],
        "sampler": ["30.sampler_name"],
        "scheduler": ["30.scheduler"],
    }


def test_everything_is_found_through_a_context() -> None:
    graph = raw("01-positive-at-output-one")
    held = {"model": ["1", 0], "clip": ["1", 1], "positive": ["2", 0], "negative": ["3", 0], "steps": 23, "seed": 7}
    graph["30"] = {"class_type": "Context Big (rgthree)", "inputs": held}
    graph["31"] = {"class_type": "Context (rgthree)", "inputs": {"base_ctx": ["30", 0], "latent": ["4", 0]}}
    sampled = {
        "positive": ["31", 4],
        "negative": ["31", 5],
        "latent_image": ["31", 6],
        "steps": ["31", 9],
        "seed": ["31", 8],
    }
    graph["5"]["inputs"].update(sampled)
    found = Workflow.load(json.dumps(graph))
    expected = {"prompt": ["2.text"], "negative_prompt": ["3.text"], "steps": ["30.steps"], "seed": ["30.seed"]}
    assert {name: places(found, name) for name in expected} == expected
    assert places(found, "width") == ["4.width"]


def test_inputs_named_after_the_other_side_are_not_followed() -> None:
    graph = raw("01-positive-at-output-one")
    merged = {"cond_neg": ["3", 0], "cond_pos": ["2", 0]}
    graph["30"] = {"class_type": "SomebodysMerge", "inputs": merged}
    graph["5"]["inputs"].update(positive=["30", 0], negative=["30", 1])
    found = Workflow.load(json.dumps(graph))
    assert (places(found, "prompt"), places(found, "negative_prompt")) == (["2.text"], ["3.text"])


def test_a_placeholder_of_another_program_without_quotes_is_read() -> None:
    text = json.dumps(raw("13")).replace('"%steps%"', "%steps%").replace('"%seed%"', "%seed%")
    assert places(Workflow.load(text), "steps") == ["5.steps"]

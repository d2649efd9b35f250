"""Every pasted format gives the same graph, without guessing."""

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.backends.comfyui.graph.graph import Graph, Link, as_link, natural
from models.backends.comfyui.graph.source import Source, read_source
from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest
from tests.backends.comfyui.graphs import WORKFLOWS, recorded_info, text_of
from tests.fakes import image_file

API = text_of("sd15_txt2img.api.json")
UI = (WORKFLOWS / "ui" / "plain_sd15_txt2img.ui.json").read_text("utf-8")
GRAPH: dict[str, Any] = json.loads(API)


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def webp(prompt: str) -> bytes:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{prompt}"
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=exif)
    return out.getvalue()


def data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "pasted",
    [
        API,
        f"\ufeff\n {API}",
        API.encode(),
        json.dumps({"prompt": GRAPH, "client_id": "x"}),
        json.dumps({"_comment": "made by hand", "version": 3, **GRAPH}),
        png(prompt=API, workflow=UI),
        base64.b64encode(png(prompt=API)).decode(),
        data_uri(png(prompt=API)),
        webp(API),
        data_uri(webp(API)),
    ],
    ids=["text", "bom", "bytes", "request", "comments", "png", "base64", "data-uri", "webp", "webp-uri"],
)
def test_every_form_of_one_workflow_is_the_same_graph(pasted: str | bytes) -> None:
    assert Workflow.load(pasted).graph == Graph.of(GRAPH)


@pytest.mark.parametrize("pasted", [UI, png(workflow=UI), data_uri(png(workflow=UI))])
def test_the_editors_format_is_converted_with_the_servers_definitions(pasted: str | bytes) -> None:
    expected = json.loads((WORKFLOWS / "ui" / "plain_sd15_txt2img.api.json").read_text("utf-8"))
    assert Workflow.load(pasted, recorded_info()).graph.raw() == expected


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "it is empty"),
        ("a fox in the snow", "it is not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("{}", "no node with a `class_type`"),
        ('{"prompt": {}}', "no node with a `class_type`"),
        (image_file(), "carries no workflow"),
        (data_uri(image_file()), "carries no workflow"),
        ("iVBORw0KGgo!", "not complete"),
        ("iVBORw0KGgoAAAA=", "cannot be read"),
        (b"\xff\xfe\x00", "neither text nor an image"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_input_that_is_not_a_workflow_is_refused_with_the_next_step(pasted: str | bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        Workflow.load(pasted)
    assert said in str(refusal.value)
    assert "Export (API)" in str(refusal.value)


@settings(max_examples=60, deadline=None)
@given(st.text() | st.binary())
def test_any_text_and_any_bytes_are_read_or_refused(pasted: str | bytes) -> None:
    try:
        Workflow.load(pasted)
    except BadRequest as refusal:
        assert str(refusal)  # noqa: PT017 -- either outcome is fine, a crash is not


def test_metadata_added_by_the_server_is_not_sent_back() -> None:
    """The graph in an image contains `is_changed` with NaN, which the server refuses as JSON."""
    text = '{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "is_changed": [NaN]}}'
    assert Workflow.load(text).graph.raw() == {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}


def test_a_number_as_a_links_node_id_becomes_text() -> None:
    """The server refuses integer ids in links."""
    text = '{"1": {"class_type": "EmptyImage", "inputs": {}}, "2": {"class_type": "SaveImage", "inputs": {"images": [1, 0]}}}'
    assert Workflow.load(text).graph.nodes["2"].link("images") == Link("1", 0)


def test_a_placeholder_without_quotes_is_read_as_one() -> None:
    text = '{"5": {"class_type": "EmptyLatentImage", "inputs": {"width": {{width}}, "height": {{height|512}}, "batch_size": 1}}}'
    source = read_source(text)
    assert source.api is not None
    assert source.api["5"]["inputs"] == {"width": "{{width}}", "height": "{{height|512}}", "batch_size": 1}


@pytest.mark.parametrize("value", ["4", ["4"], ["4", True], ["4", "0"], ["4", 0, 1], {"__value__": ["4", 0]}, None])
def test_only_a_node_id_and_a_slot_are_a_link(value: Any) -> None:
    assert as_link(value) is None


def test_the_copy_for_one_request_does_not_change_the_graph() -> None:
    graph = Graph.of(GRAPH)
    raw: dict[str, Any] = graph.raw()
    raw["6"]["inputs"]["text"] = "changed"
    raw["3"]["inputs"]["model"][0] = "99"
    assert graph == Graph.of(json.loads(API))


def test_upstream_nodes_are_nearest_first_and_cycles_end() -> None:
    ring = {
        "1": {"class_type": "A", "inputs": {"x": ["2", 0]}},
        "2": {"class_type": "B", "inputs": {"x": ["3", 0], "y": ["gone", 0]}},
        "3": {"class_type": "C", "inputs": {"x": ["1", 0]}},
    }
    assert [node.id for node in Graph.of(ring).upstream(["1"])] == ["1", "2", "3"]  # type: ignore[arg-type]


def test_ids_are_sorted_numerically() -> None:
    assert sorted(["65:10", "9", "65:9", "10", "a"], key=natural) == ["9", "10", "65:9", "65:10", "a"]


# Piece by piece

NODE: dict[str, Any] = {"class_type": "A", "inputs": {}}
SMALL: dict[str, Any] = {"1": NODE}
EDITOR: dict[str, Any] = {"nodes": [{"type": "B"}], "links": []}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": SMALL},
        {"input": {"workflow": SMALL}},
        {"job": {"prompt": [1, "id", SMALL]}},
        {"a": {"b": {"c": {"d": SMALL}}}},
        {"workflow": json.dumps(SMALL)},
        {"workflow": f"\n {json.dumps(SMALL)}"},
        {"note": "{not json", "prompt": SMALL},
        {"extra": EDITOR, "prompt": SMALL},
        {"note": "text", "count": 5, "prompt": SMALL},
    ],
)
def test_a_graph_is_found_inside_a_request_body(body: Any) -> None:
    assert read_source(json.dumps(body)) == Source(api=SMALL)


def test_only_an_object_is_read_where_a_body_holds_text() -> None:
    with pytest.raises(BadRequest, match="no node with a `class_type`"):
        read_source(json.dumps({"workflow": json.dumps([SMALL])}))


def test_a_graph_deeper_than_a_request_body_is_not_looked_for() -> None:
    with pytest.raises(BadRequest, match="no node with a `class_type`"):
        read_source(json.dumps({"a": {"b": {"c": {"d": {"e": SMALL}}}}}))


@pytest.mark.parametrize("body", [EDITOR, {"workflow": EDITOR}, {"prompt": "x", "extra_pnginfo": {"workflow": EDITOR}}])
def test_the_editors_file_is_found_inside_a_body_too(body: Any) -> None:
    assert read_source(json.dumps(body)) == Source(editor=EDITOR)


def test_the_classes_inside_subgraphs_and_groups_are_named_once() -> None:
    editor: dict[str, Any] = {
        "nodes": [{"type": "B"}, {"type": "A"}, {"id": 5}, 7],
        "definitions": {"subgraphs": [{"nodes": [{"type": "C"}, {"type": "B"}]}]},
        "extra": {"groupNodes": {"x": {"nodes": [{"type": "D"}]}}, "nodes": 5},
        "links": [],
    }
    assert read_source(json.dumps(editor)).classes == ("B", "A", "C", "D")
    assert read_source(json.dumps({"1": NODE, "2": {"class_type": "Z"}, "3": NODE})).classes == ("A", "Z")


def read(inputs: Any, **more: Any) -> dict[str, Any]:
    api = read_source(json.dumps({"1": {"class_type": "A", "inputs": inputs, **more}})).api
    assert api is not None
    return api["1"]


def test_only_what_a_server_takes_is_kept() -> None:
    title = {"title": "First"}
    assert read({"x": 1}, _meta=title, is_changed=[1], version=3) == {
        "class_type": "A",
        "_meta": title,
        "inputs": {"x": 1},
    }
    assert read(None) == read([]) == {"class_type": "A", "inputs": {}}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ([4, 0], ["4", 0]),
        (["4", 0], ["4", 0]),
        ([True, 0], [True, 0]),
        ([4, False], [4, False]),
        ([4, 0, 1], [4, 0, 1]),
        ([4, "a"], [4, "a"]),
        ("%steps%", "{{steps}}"),
        ("%scale% and %model%", "{{cfg_scale}} and {{checkpoint}}"),
        ("%unknown%", "%unknown%"),
        ("50 %", "50 %"),
    ],
)
def test_links_and_placeholders_of_other_programs_are_rewritten(value: Any, kept: Any) -> None:
    assert read({"text": value})["inputs"]["text"] == kept


@pytest.mark.parametrize("name", ["filename_prefix", "file", "Path", "output_FOLDER"])
def test_tokens_in_a_files_name_are_comfyuis_own(name: str) -> None:
    assert read({name: "%width%"})["inputs"][name] == "%width%"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"1": {"class_type": "A", "inputs": {"x": ' + "9" * 25 + "}}}", f"the number {'9' * 24}… is too large"),
        ('{"1": {"class_type": "A", "inputs": {"x": 1e400}}}', "the number 1e400 is too large"),
        ('{"1": {"class_type": "A", "inputs": {"x": -1e400}}}', "the number -1e400 is too large"),
        ('{"a": ' * 65 + "1" + "}" * 65, "nested too deeply"),
        ('{"a": ' * 3000 + "1" + "}" * 3000, "nested too deeply"),
        ("{{{", "it is not JSON (Expecting property name"),
    ],
)
def test_text_that_no_server_would_take_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_source(text)
    assert said in refusal.value.said


def test_the_longest_number_and_the_deepest_nesting_are_read() -> None:
    assert read({"x": int("9" * 24)})["inputs"]["x"] == int("9" * 24)
    deep: Any = 1
    for _ in range(61):
        deep = [deep]
    assert read({"x": deep})["inputs"]["x"] == deep
    with pytest.raises(BadRequest, match="nested too deeply"):
        read({"x": [deep]})


@pytest.mark.parametrize("field", [0x0110, 0x010F])
def test_a_webp_holds_the_graph_in_one_of_two_exif_fields(field: int) -> None:
    exif = Image.Exif()
    exif[field] = f"{'prompt' if field == 0x0110 else 'workflow'}:{json.dumps(SMALL)}"
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=exif)
    assert read_source(out.getvalue()) == Source(api=SMALL)


@pytest.mark.parametrize("start", [b"RIFF\0\0\0\0WAVE", b"\x89PNX\r\n\x1a\n\xff"])
def test_other_files_are_no_images_of_comfyui(start: bytes) -> None:
    with pytest.raises(BadRequest, match="it is n"):
        read_source(start)

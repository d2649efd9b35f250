"""Any untrusted graph runs or is refused with a message."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backends.comfyui.graph.editor import convert
from models.backends.comfyui.graph.workflow import Workflow
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from tests.backends.comfyui.graph.test_slots import NAMES
from tests.backends.comfyui.graphs import WORKFLOWS, recorded_info, text_of
from tests.fakes import image_file

PHOTO = InputImage(image_file(), "image/png")
GRAPHS = {name: json.loads(text_of(f"{name}.api.json")) for name in NAMES}
EDITORS = [json.loads(path.read_text("utf-8")) for path in sorted((WORKFLOWS / "ui").glob("*.ui.json"))]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
odd = st.sampled_from(["{{prompt}}", "{{x|1e999}}", "{{width|wide}}", "{{seed}}", "", " "])


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A fixture workflow with some inputs, titles and classes replaced by random values or links."""
    graph: dict[str, Any] = json.loads(json.dumps(GRAPHS[draw(st.sampled_from(NAMES))]))
    ids = sorted(graph)
    links = st.tuples(st.sampled_from([*ids, "gone"]), st.integers(-1, 3)).map(list)
    for _ in range(draw(st.integers(1, 6))):
        node = graph[draw(st.sampled_from(ids))]
        what = draw(st.sampled_from(["input", "input", "input", "drop", "title", "class"]))
        names = sorted(node["inputs"]) or ["x"]
        name = draw(st.sampled_from(names))
        if what == "input":
            node["inputs"][name] = draw(scalars | odd | links | st.lists(scalars, max_size=3))
        elif what == "drop":
            node["inputs"].pop(name, None)
        elif what == "title":
            node["_meta"] = {"title": draw(st.sampled_from(["input:prompt", "input:x.y", "optional:lora", "fixed"]))}
        else:
            node["class_type"] = draw(st.sampled_from(sorted({n["class_type"] for n in graph.values()})))
    return graph


@settings(max_examples=100, deadline=None)
@given(graph=damaged(), known=st.booleans())
def test_a_damaged_graph_runs_or_is_refused_with_a_sentence(graph: dict[str, Any], known: bool) -> None:
    workflow = Workflow.load(json.dumps(graph), recorded_info() if known else None)
    rules = workflow.rules()
    assert len({rule.name for rule in rules}) == len(rules)
    workflow.known(recorded_info()).lacking()
    assert workflow.min_images in (0, 1)
    request = ImageRequest(model="m", prompt="a fox", n=2, width=640, steps=9, negative_prompt="x", images=(PHOTO,))
    try:
        filled = workflow.filled(request, images=["a.png"])
    except BadRequest as refusal:
        assert str(refusal).endswith(".")  # noqa: PT017 -- served or refused, both are right
    else:
        json.dumps(filled.graph, allow_nan=False)
    assert workflow.graph == Workflow.load(json.dumps(graph)).graph


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_editor_file_is_converted_or_refused(data: st.DataObject) -> None:
    editor: dict[str, Any] = json.loads(json.dumps(data.draw(st.sampled_from(EDITORS))))
    node = data.draw(st.sampled_from(editor["nodes"]))
    key = data.draw(st.sampled_from(sorted(node)))
    node[key] = data.draw(scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=2))
    if editor["links"] and data.draw(st.booleans()):
        editor["links"][0] = data.draw(st.lists(scalars, max_size=7))
    try:
        json.dumps(convert(editor, recorded_info())[0])
    except BadRequest as refusal:
        assert "Export (API)" in str(refusal)  # noqa: PT017


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400])
def test_a_number_that_no_server_accepts_is_refused(number: str) -> None:
    text = text_of("sd15_txt2img.api.json").replace('"steps": 20', f'"steps": {number}')
    with pytest.raises(BadRequest, match="too large"):
        Workflow.load(text)


def test_a_tiny_size_does_not_scale_the_others() -> None:
    """Found by the test above: dependent sizes would have become infinite."""
    text = text_of("sd15_hires_fix.api.json").replace('"width": 512', '"width": 1e-307')
    request = ImageRequest(model="m", prompt="a fox", width=640)
    graph: dict[str, Any] = Workflow.load(text).filled(request).graph
    assert (graph["5"]["inputs"]["width"], graph["30"]["inputs"]["width"]) == (640, 1024)

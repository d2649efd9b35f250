"""The images of the shipped apps show every node and edge of them, and are always those of the apps as they are."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
import yaml

from tools import diagrams
from tools.diagrams import App, Box, NodeData, boxes_of, detail_of, drawing, label_of, listed, look_of, rendered

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "workflows").glob("*.yml"))
OURS = {"name": "preview", "provider": "imagegen/image_generation/image_generation"}
OTHERS = {"name": "llama3", "provider": "langgenius/ollama/ollama"}


def load(path: Path) -> App:
    return App.model_validate(yaml.safe_load(path.read_text("utf-8")))


def app(nodes: list[dict[str, Any]], edges: list[tuple[str, str, str]] | None = None) -> App:
    joined = [{"source": source, "target": target, "sourceHandle": handle} for source, target, handle in edges or []]
    return App.model_validate({"app": {"name": "A & B"}, "workflow": {"graph": {"nodes": nodes, "edges": joined}}})


def node(name: str, kind: str, place: tuple[int, int] = (0, 0), *, parent: str | None = None, **data: object) -> Any:
    around = {"parentId": parent} if parent else {}
    position = {"x": place[0], "y": place[1]}
    return {
        "id": name,
        "data": {"title": name, "type": kind, **data},
        "position": position,
        "width": 242,
        "height": 90,
        **around,
    }


def words(svg: Element) -> list[str]:
    return [text.text or "" for text in svg.iter("text")]


def overlap(one: Box, other: Box) -> bool:
    apart = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not (apart or one.y + one.height <= other.y or other.y + other.height <= one.y)


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_a_shipped_app_shows_every_title_every_model_and_every_edge(path: Path) -> None:
    loaded = load(path)
    svg = drawing(loaded)
    told = " ".join(words(svg))
    for shown in loaded.workflow.graph.nodes:
        if shown.data.type != "iteration-start":
            assert shown.data.title in told
        assert shown.data.model is None or shown.data.model.name in told
    arrows = [path for path in svg.iter("path") if path.get("marker-end")]
    assert len(arrows) == len(loaded.workflow.graph.edges)


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_no_card_of_a_shipped_app_lies_on_another(path: Path) -> None:
    cards = [box for box in boxes_of(load(path).workflow.graph).values() if box.node.type != "iteration"]
    pairs = [(one, other) for number, one in enumerate(cards) for other in cards[:number]]
    assert not [(one.node.title, other.node.title) for one, other in pairs if overlap(one, other)]


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_everything_lies_inside_the_image(path: Path) -> None:
    svg = drawing(load(path))
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    for box in boxes_of(load(path).workflow.graph).values():
        assert 0 < box.x < box.x + box.width < width
        assert 0 < box.y < box.y + box.height < height


def test_the_shipped_images_are_those_of_the_shipped_apps() -> None:
    pictures = diagrams.wanted(ROOT / "workflows", diagrams.IMAGES)
    assert diagrams.stale(pictures, diagrams.IMAGES) == []


def test_children_stand_inside_their_iteration_which_ends_below_them() -> None:
    graph = app(
        [
            {**node("each", "iteration", (300, 100)), "width": 900, "height": 400},
            node("begin", "iteration-start", (24, 90), parent="each"),
            node("inner", "code", (130, 68), parent="each"),
        ]
    ).workflow.graph
    boxes = boxes_of(graph)
    each, inner = boxes["each"], boxes["inner"]
    assert each.x < boxes["begin"].x < inner.x < inner.x + inner.width < each.x + each.width
    assert each.y + each.height == inner.y + inner.height + diagrams.MARGIN
    assert boxes["begin"].leaving[1] == inner.entry[1]


def test_a_fail_branch_is_marked_on_the_card_and_drawn_apart() -> None:
    svg = drawing(
        app(
            [
                node("image", "llm", error_strategy="fail-branch", model=OURS),
                node("then", "end", (302, 0)),
                node("else", "end", (302, 200)),
            ],
            [("image", "then", "source"), ("image", "else", "fail-branch")],
        )
    )
    assert "on failure" in words(svg)
    markers = [path.get("marker-end") for path in svg.iter("path") if path.get("marker-end")]
    assert markers == ["url(#next)", "url(#failed)"]


def test_a_model_of_this_plugin_is_an_image_and_another_a_language_model() -> None:
    paints = NodeData.model_validate({"title": "Poster", "type": "llm", "model": OURS})
    writes = NodeData.model_validate({"title": "Writer", "type": "llm", "model": OTHERS})
    assert [(label_of(node), detail_of(node)) for node in (paints, writes)] == [("Image", "preview"), ("LLM", "llama3")]


def test_a_title_that_names_the_type_is_not_repeated() -> None:
    start = NodeData.model_validate({"title": "Start", "type": "start", "variables": [{"variable": "prompt"}]})
    answer = NodeData.model_validate({"title": "Answer", "type": "answer"})
    assert [label_of(start), label_of(answer)] == ["", ""]
    assert detail_of(start) == "prompt"


def test_long_lists_of_names_end_in_dots() -> None:
    assert listed(["image_url", "seed"]) == "image_url, seed"
    assert listed(["image_url", "seed", "stored_url", "width"]) == "image_url, seed, …"
    assert listed([]) == ""


def test_a_type_without_a_look_of_its_own_gets_a_plain_card() -> None:
    assert look_of(NodeData(title="Ask", type="http-request")).label == "Http request"


def test_names_are_escaped_and_the_same_app_gives_the_same_text() -> None:
    one = app([node("start", "start")])
    assert "<title>A &amp; B</title>" in rendered(one)
    assert rendered(one) == rendered(app([node("start", "start")]))


def test_missing_changed_and_orphaned_images_are_stale_and_mended(tmp_path: Path) -> None:
    kept, changed, missing, orphan = (tmp_path / f"{name}.svg" for name in ("kept", "changed", "missing", "orphan"))
    pictures = {kept: "1", changed: "2", missing: "3"}
    for path, text in ((kept, "1"), (changed, "old"), (orphan, "4")):
        path.write_text(text, "utf-8")
    found = diagrams.stale(pictures, tmp_path)
    assert found == [changed, missing, orphan]
    diagrams.write(found, pictures)
    assert diagrams.stale(pictures, tmp_path) == []
    assert not orphan.exists()


def test_check_tells_stale_images_and_writes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workflows").mkdir()
    app_text = yaml.safe_dump(app([node("start", "start")]).model_dump(by_alias=True, mode="json"))
    (tmp_path / "workflows" / "one.yml").write_text(app_text, "utf-8")
    monkeypatch.setattr(diagrams, "ROOT", tmp_path)
    monkeypatch.setattr(diagrams, "IMAGES", tmp_path / "images")
    monkeypatch.setattr("sys.argv", ["diagrams", "--check"])
    assert diagrams.main() == 1
    assert capsys.readouterr().out == "stale: images/one.svg\n"
    assert not (tmp_path / "images").exists()
    monkeypatch.setattr("sys.argv", ["diagrams"])
    assert diagrams.main() == 0
    monkeypatch.setattr("sys.argv", ["diagrams", "--check"])
    assert diagrams.main() == 0

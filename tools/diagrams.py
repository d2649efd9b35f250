"""Draw the shipped apps as images for the documents: `uv run python -m tools.diagrams [--check]`.

Every node stands where it stands on the app's own canvas, only closer together. The cards have one size and are joined
at one height, so that a row of nodes is a straight line.
"""

import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import yaml
from pydantic import BaseModel, Field

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images" / "workflows"
PROVIDER = "/image_generation"  # the end of the provider's name in an LLM node that paints


# --- the app as Dify writes it ---------------------------------------------------------------------------------------


class Model(BaseModel):
    name: str
    provider: str


class Variable(BaseModel):
    variable: str = ""


class NodeData(BaseModel):
    title: str
    type: str
    model: Model | None = None
    variables: tuple[Variable, ...] = ()
    outputs: tuple[Variable, ...] | dict[str, object] = ()
    error_strategy: str | None = None
    is_parallel: bool = False
    parallel_nums: int = 1


class Position(BaseModel):
    x: float
    y: float


class AppNode(BaseModel):
    id: str
    data: NodeData
    position: Position
    width: float
    height: float
    parent: str | None = Field(default=None, alias="parentId")


class AppEdge(BaseModel):
    source: str
    target: str
    handle: str = Field(alias="sourceHandle")


class Graph(BaseModel):
    nodes: tuple[AppNode, ...]
    edges: tuple[AppEdge, ...]


class Workflow(BaseModel):
    graph: Graph


class About(BaseModel):
    name: str


class App(BaseModel):
    """What an image needs of a Dify app (DSL version 0.6.0)."""

    app: About
    workflow: Workflow


# --- what a card says ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How one type of node looks: its name, its colour and its sign, a path in a square of 24 units."""

    label: str
    colour: str
    sign: str


KINDS: Mapping[str, Kind] = {
    "start": Kind("Start", "#2970ff", "M8 5l11 7-11 7z"),
    "llm": Kind("LLM", "#6172f3", "M12 3l2.2 6.8L21 12l-6.8 2.2L12 21l-2.2-6.8L3 12l6.8-2.2z"),
    "image": Kind("Image", "#dd2590", "M3 5h18v14H3z M3 16l5-5 5 5 3-3 5 4 M15.5 9.2v.1"),
    "code": Kind("Code", "#0e9384", "M8 7l-5 5 5 5 M16 7l5 5-5 5 M13.5 5l-3 14"),
    "template-transform": Kind("Template", "#1570ef", "M4 7h16 M4 12h16 M4 17h9"),
    "iteration": Kind(
        "Iteration", "#06aed4", "M4 11a8 8 0 0 1 14-4l2 2 M20 4v5h-5 M20 13a8 8 0 0 1-14 4l-2-2 M4 20v-5h5"
    ),
    "answer": Kind("Answer", "#f79009", "M3 5h18v11H11l-5 4v-4H3z"),
    "end": Kind("End", "#f79009", "M6 21V4h13l-3.5 4.5L19 13H6"),
}
OTHER = Kind("", "#667085", "M5 5h14v14H5z")
ITERATION_START = "iteration-start"


def kind_of(node: NodeData) -> str:
    """The node's type; an LLM node that paints is an `image`."""
    paints = node.model is not None and node.model.provider.endswith(PROVIDER)
    return "image" if paints else node.type


def look_of(node: NodeData) -> Kind:
    return KINDS.get(kind_of(node)) or Kind(node.type.replace("-", " ").capitalize(), OTHER.colour, OTHER.sign)


def detail_of(node: NodeData) -> str:
    """What is particular of the node: its model, or the names that go in or come out."""
    if node.model is not None:
        return node.model.name
    if node.type == "iteration":
        return f"{node.parallel_nums} at a time" if node.is_parallel else "one after another"
    if node.type == "start":
        return listed(entry.variable for entry in node.variables)
    if node.type == "end" and isinstance(node.outputs, tuple):
        return listed(entry.variable for entry in node.outputs)
    return ""


def listed(names: Iterable[str], limit: int = 20) -> str:
    """The names with commas; `…` stands for those past `limit` characters."""
    words = list(names)
    whole = ", ".join(words)
    while len(whole) > limit and len(words) > 1:
        words.pop()
        whole = ", ".join([*words, "…"])
    return whole


def label_of(node: NodeData) -> str:
    """The type beside the sign; a title that names it already says it once."""
    label = look_of(node).label
    return "" if label == node.title else label


# --- where everything stands -----------------------------------------------------------------------------------------

CARD_WIDTH, CARD_HEIGHT = 184.0, 126.0
JOINT = 46.0  # below the top of a card or box
FAIL_HEIGHT = 28.0  # the strip below a card with a fail branch
DOT = 22.0  # radius of the start inside a box
MARGIN = 24.0
CLOSER = (CARD_WIDTH + 30) / 302  # Dify puts the next card 302 units to the right


@dataclass(frozen=True)
class Box:
    """One node in the image, in pixels from its upper left corner."""

    node: NodeData
    x: float
    y: float
    width: float
    height: float

    @property
    def entry(self) -> tuple[float, float]:
        return self.x, self.y + self._joint

    @property
    def leaving(self) -> tuple[float, float]:
        return self.x + self.width, self.y + self._joint

    @property
    def failing(self) -> tuple[float, float]:
        return self.x + self.width, self.y + CARD_HEIGHT + FAIL_HEIGHT / 2

    @property
    def _joint(self) -> float:
        return DOT + 2 if self.node.type == ITERATION_START else JOINT

    def moved(self, x: float, y: float) -> Self:
        return type(self)(self.node, self.x + x, self.y + y, self.width, self.height)


def boxes_of(graph: Graph) -> dict[str, Box]:
    """Every node by its id; children of an iteration stand inside it; the upper left one touches the margin."""
    nodes = {node.id: node for node in graph.nodes}
    placed = {name: _placed(node, nodes) for name, node in nodes.items()}
    placed = {name: _cropped(name, box, placed, nodes) for name, box in placed.items()}
    left, top = min(box.x for box in placed.values()), min(box.y for box in placed.values())
    return {name: box.moved(MARGIN - left, MARGIN - top) for name, box in placed.items()}


def _placed(node: AppNode, nodes: Mapping[str, AppNode]) -> Box:
    width, height = _size(node)
    box = Box(node.data, node.position.x * CLOSER, node.position.y, width, height)
    if node.parent is None:
        return box
    around = _placed(nodes[node.parent], nodes)
    return box.moved(around.x, around.y)


def _cropped(name: str, box: Box, placed: Mapping[str, Box], nodes: Mapping[str, AppNode]) -> Box:
    """A box around children ends just below them: the cards are less high than in Dify."""
    inside = [placed[child] for child, node in nodes.items() if node.parent == name]
    return replace(box, height=max(inner.y + inner.height for inner in inside) - box.y + MARGIN) if inside else box


def _size(node: AppNode) -> tuple[float, float]:
    match node.data.type:
        case "iteration":
            return node.width * CLOSER, node.height
        case "iteration-start":
            return 2 * DOT, 2 * DOT
        case _:
            return CARD_WIDTH, CARD_HEIGHT + (FAIL_HEIGHT if node.data.error_strategy == "fail-branch" else 0)


# --- the drawing -----------------------------------------------------------------------------------------------------

INK, SOFT, LINE, RED, PAPER = "#101828", "#667085", "#98a2b3", "#d92d20", "#f5f6fa"
FONT = "Inter, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


def drawing(app: App) -> Element:
    """The app as an SVG element."""
    boxes = boxes_of(app.workflow.graph)
    width = max(box.x + box.width for box in boxes.values()) + MARGIN
    height = max(box.y + box.height for box in boxes.values()) + MARGIN
    svg = _canvas(app.app.name, width, height)
    svg.extend(_frame(box) for box in boxes.values() if box.node.type == "iteration")
    svg.extend(_arrow(edge, boxes) for edge in app.workflow.graph.edges)
    svg.extend(_card(box) for box in boxes.values() if box.node.type != "iteration")
    return svg


def _canvas(name: str, width: float, height: float) -> Element:
    size = {"width": _number(width), "height": _number(height)}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": FONT})
    svg.set("viewBox", f"0 0 {size['width']} {size['height']}")
    SubElement(svg, "title").text = name
    definitions = SubElement(svg, "defs")
    for marker, colour in (("next", LINE), ("failed", RED)):
        definitions.append(_arrowhead(marker, colour))
    svg.append(_rectangle(0, 0, width, height, radius=16, fill=PAPER))
    return svg


def _arrowhead(name: str, colour: str) -> Element:
    marker = Element("marker", {"id": name, "viewBox": "0 0 10 10", "refX": "9", "refY": "5", "orient": "auto"})
    marker.attrib.update({"markerWidth": "11", "markerHeight": "11", "markerUnits": "userSpaceOnUse"})
    SubElement(marker, "path", {"d": "M0 0L10 5L0 10z", "fill": colour})
    return marker


def _frame(box: Box) -> Element:
    """An iteration: a box around its children, with its name in the head."""
    group = Element("g")
    group.append(
        _rectangle(box.x, box.y, box.width, box.height, radius=16, fill="#eaf6fa", stroke=look_of(box.node).colour)
    )
    group.extend(_sign(box))
    group.append(_text(box.x + 54, box.y + 34, box.node.title, size=18, weight="600"))
    right = box.x + box.width - 16
    group.append(_text(right, box.y + 34, detail_of(box.node), size=15, colour=SOFT, anchor="end"))
    return group


def _card(box: Box) -> Element:
    if box.node.type == ITERATION_START:
        return _dot(box)
    group = Element("g")
    group.append(_rectangle(box.x, box.y, box.width, box.height, radius=14, fill="#ffffff", stroke="#d0d5dd"))
    group.extend(_sign(box))
    group.extend(_title(box))
    group.append(_text(box.x + 54, box.y + 33, label_of(box.node), size=15, colour=SOFT))
    group.append(_text(box.x + 14, box.y + 112, detail_of(box.node), size=13, colour=SOFT))
    if box.node.error_strategy == "fail-branch":
        group.extend(_fail_strip(box))
    return group


def _dot(box: Box) -> Element:
    group = Element("g")
    x, y = box.x + DOT, box.entry[1]
    SubElement(
        group,
        "circle",
        {"cx": _number(x), "cy": _number(y), "r": _number(DOT - 2), "fill": "#ffffff", "stroke": "#d0d5dd"},
    )
    group.append(_path(KINDS["start"].sign, x - 8, y - 8.5, scale=0.7, colour=KINDS["start"].colour))
    return group


def _sign(box: Box) -> Iterator[Element]:
    look = look_of(box.node)
    yield _rectangle(box.x + 12, box.y + 12, 32, 32, radius=9, fill=look.colour)
    yield _path(look.sign, box.x + 18, box.y + 18, scale=20 / 24, colour="#ffffff")


def _title(box: Box) -> Iterator[Element]:
    lines = textwrap.wrap(box.node.title, 13)
    first = box.y + 79 - 10 * (len(lines) - 1)
    for number, line in enumerate(lines):
        yield _text(box.x + 14, first + 20 * number, line, size=18, weight="600")


def _fail_strip(box: Box) -> Iterator[Element]:
    x, y = box.failing
    yield _rectangle(box.x + 8, y - 12, box.width - 16, FAIL_HEIGHT - 6, radius=8, fill="#fef3f2")
    yield _text(x - 16, y + 4, "on failure", size=13, colour=RED, anchor="end")


def _arrow(edge: AppEdge, boxes: Mapping[str, Box]) -> Element:
    failed = edge.handle == "fail-branch"
    source, (x2, y2) = boxes[edge.source], boxes[edge.target].entry
    x1, y1 = source.failing if failed else source.leaving
    bend = (x2 - x1) / 2
    curve = f"M{_number(x1)} {_number(y1)}C{_number(x1 + bend)} {_number(y1)} {_number(x2 - bend)} {_number(y2)} {_number(x2 - 2)} {_number(y2)}"
    path = Element("path", {"d": curve, "fill": "none", "stroke": RED if failed else LINE, "stroke-width": "2"})
    path.set("marker-end", "url(#failed)" if failed else "url(#next)")
    if failed:
        path.set("stroke-dasharray", "6 4")
    return path


def _rectangle(
    x: float, y: float, width: float, height: float, *, radius: float, fill: str, stroke: str = "none"
) -> Element:
    place = {"x": _number(x), "y": _number(y), "width": _number(width), "height": _number(height)}
    return Element("rect", {**place, "rx": _number(radius), "fill": fill, "stroke": stroke})


def _path(shape: str, x: float, y: float, *, scale: float, colour: str) -> Element:
    place = f"translate({_number(x)} {_number(y)}) scale({_number(scale)})"
    pen = {"fill": "none", "stroke": colour, "stroke-width": "2.2", "stroke-linecap": "round"}
    return Element("path", {"d": shape, "transform": place, **pen, "stroke-linejoin": "round"})


def _text(
    x: float, y: float, words: str, *, size: int, colour: str = INK, weight: str = "400", anchor: str = "start"
) -> Element:
    text = Element("text", {"x": _number(x), "y": _number(y), "font-size": str(size), "fill": colour})
    text.attrib.update({"font-weight": weight, "text-anchor": anchor})
    text.text = words
    return text


def _number(value: float) -> str:
    # Two digits are finer than a screen and the same on every machine.
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --- the command -----------------------------------------------------------------------------------------------------


def rendered(app: App) -> str:
    """The app as the text of an SVG file; the same app gives the same text."""
    svg = drawing(app)
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"


def wanted(workflows: Path, pictures: Path) -> dict[Path, str]:
    """The text of each image by its path."""
    return {
        pictures / f"{path.stem}.svg": rendered(App.model_validate(yaml.safe_load(path.read_text("utf-8"))))
        for path in sorted(workflows.glob("*.yml"))
    }


def stale(pictures: Mapping[Path, str], folder: Path) -> list[Path]:
    """Images that are missing, out of date, or of an app that is gone."""
    old = [path for path, text in pictures.items() if not path.exists() or path.read_text("utf-8") != text]
    return sorted({*old, *(set(folder.glob("*.svg")) - set(pictures))})


def write(paths: Iterable[Path], pictures: Mapping[Path, str]) -> None:
    for path in paths:
        if path in pictures:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pictures[path], "utf-8")
        else:
            path.unlink()


def main() -> int:
    check = "--check" in sys.argv[1:]
    pictures = wanted(ROOT / "workflows", IMAGES)
    found = stale(pictures, IMAGES)
    if not check:
        write(found, pictures)
    for path in found:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())

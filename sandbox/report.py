"""The text report of a call or a workflow run."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from graphon.file.models import File
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from sandbox.host import CallStatistics
from sandbox.protocol import Usage
from sandbox.workflow import NodeRun, WorkflowRun

_MARKS = {"succeeded": "✓", "failed": "✗", "exception": "!", "running": "…"}
_LONGEST_TEXT = 500
_KIB = 1024


def workflow_report(run: WorkflowRun) -> str:
    """Nodes with status and seconds, outputs, the text that a reader sees, files, seed, price."""
    return "\n".join(
        [
            f"{run.status} in {run.seconds:.1f} s" + (f": {run.error}" if run.error else ""),
            *_node_lines(run),
            *_output_lines(run.outputs),
            *_shown_lines(run),
            *(f"file: {describe(path)}" for path in run.files),
            *(f"seed: {seed}" for node in run.nodes for seed in _seeds(node)),
            *_price_lines(run.nodes),
        ]
    )


def call_lines(text: str, files: list[Path], usage: Usage | None, calls: list[CallStatistics]) -> Iterator[str]:
    """The report of one direct call."""
    if text.strip():
        yield f"text: {_short(text.strip())}"
    yield from (f"file: {describe(path)}" for path in files)
    yield from (f"seed: {seed}" for seed in _seeds_in(text))
    if usage is not None and usage.total_price:
        yield f"price: {usage.total_price.normalize():f} {usage.currency}"
    largest = max(call.largest_line for call in calls)
    yield f"time: {sum(call.seconds for call in calls):.2f} s in {len(calls)} call(s), largest line {_size(largest)}"


def describe(path: Path) -> str:
    """An image's path with its size in pixels and bytes."""
    try:
        with Pillow.open(path) as image:
            shape = f"{image.width}x{image.height} {image.format}"
    except (UnidentifiedImageError, Pillow.DecompressionBombError):
        shape = "not a readable image"
    return f"{path} ({shape}, {_size(path.stat().st_size)})"


def _node_lines(run: WorkflowRun) -> Iterator[str]:
    width = max((len(node.title) for node in run.nodes), default=0)
    for node in run.nodes:
        error = "see above" if node.error and node.error == run.error else node.error
        facts = [node.type, node.model, f"{node.checks} checks" if node.checks else "", error]
        yield f"  {_MARKS[node.status]} {node.title:<{width}}  {node.seconds:6.2f} s  {', '.join(filter(None, facts))}"


def _output_lines(outputs: Mapping[str, Any]) -> Iterator[str]:
    for name, value in outputs.items():
        yield f"{name}: {_short(_words(value))}"


def _shown_lines(run: WorkflowRun) -> Iterator[str]:
    """What a chat or the web app shows; the text of a polling LLM node is not among it."""
    if run.nodes:
        yield f"shown to the reader: {_short(run.streamed.strip()) or 'nothing'}"


def _words(value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case File():
            return str(value.filename)
        case list():
            return ", ".join(_words(item) for item in value)
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def _seeds(node: NodeRun) -> list[str]:
    structured = node.outputs.get("structured_output")
    if isinstance(structured, dict) and "seed" in structured:
        return [str(structured["seed"])]
    return _seeds_in(str(node.outputs.get("text", ""))) if node.type == "llm" else []


def _seeds_in(text: str) -> list[str]:
    """The seeds in the JSON lines of `details`, one per image."""
    images = (
        image
        for details in map(_json_object, text.splitlines())
        for image in details.get("images", [details])
        if isinstance(image, dict)
    )
    return [str(image["seed"]) for image in images if "seed" in image]


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _price_lines(nodes: list[NodeRun]) -> Iterator[str]:
    totals: dict[str, Decimal] = {}
    for node in nodes:
        if node.price:
            totals[node.currency] = totals.get(node.currency, Decimal(0)) + node.price
    yield from (f"price: {total.normalize():f} {currency}" for currency, total in totals.items())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"


def _size(count: int) -> str:
    return f"{count / _KIB / _KIB:.1f} MiB" if count >= _KIB * _KIB else f"{count / _KIB:.1f} KiB"

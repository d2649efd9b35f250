"""The text report of a workflow run."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from graphon.file.models import File

from sandbox.call_report import describe, seeds_in, short
from sandbox.workflow import NodeRun, WorkflowRun

_MARKS = {"succeeded": "✓", "failed": "✗", "exception": "!", "running": "…", "paused": "⏸"}


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


def workflow_document(run: WorkflowRun) -> dict[str, Any]:
    """The facts of the report for a script."""
    return {
        "status": run.status,
        "seconds": round(run.seconds, 3),
        "error": run.error,
        "outputs": {name: value if isinstance(value, dict) else _words(value) for name, value in run.outputs.items()},
        "files": [str(path) for path in run.files],
        "seeds": [seed for node in run.nodes for seed in _seeds(node)],
        "nodes": [_node_document(node) for node in run.nodes],
    }


def _node_document(node: NodeRun) -> dict[str, Any]:
    facts = ("id", "title", "type", "model", "status", "checks", "error")
    return {**{name: getattr(node, name) for name in facts}, "seconds": round(node.seconds, 3)}


def _node_lines(run: WorkflowRun) -> Iterator[str]:
    width = max((len(node.title) for node in run.nodes), default=0)
    for node in run.nodes:
        error = "see above" if node.error and node.error == run.error else node.error
        facts = [node.type, node.model, f"{node.checks} checks" if node.checks else "", error]
        yield f"  {_MARKS[node.status]} {node.title:<{width}}  {node.seconds:6.2f} s  {', '.join(filter(None, facts))}"


def _output_lines(outputs: Mapping[str, Any]) -> Iterator[str]:
    for name, value in outputs.items():
        yield f"{name}: {short(_words(value))}"


def _shown_lines(run: WorkflowRun) -> Iterator[str]:
    """What a chat or the web app shows; the text of a polling LLM node is not among it."""
    if run.nodes:
        yield f"shown to the reader: {short(run.streamed.strip()) or 'nothing'}"


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
    return seeds_in(str(node.outputs.get("text", ""))) if node.type == "llm" else []


def _price_lines(nodes: list[NodeRun]) -> Iterator[str]:
    totals: dict[str, Decimal] = {}
    for node in nodes:
        if node.price:
            totals[node.currency] = totals.get(node.currency, Decimal(0)) + node.price
    yield from (f"price: {total.normalize():f} {currency}" for currency, total in totals.items())

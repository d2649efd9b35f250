"""The Grafana dashboard asks only for metrics and labels that the plugin exports, and its drawing shows every panel."""

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
QUERIES = [*EXPRESSIONS, *(one["definition"] for one in BOARD["templating"]["list"] if "definition" in one)]
SOURCE = (ROOT / "models" / "stages" / "telemetry_export.py").read_text("utf-8")
DOTTED = {name.replace(".", "_"): name for name in re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', SOURCE)}
"""The names in the exporter's source, by what Prometheus makes of them."""
METRIC = re.compile(r"\b((?:gen_ai|image_generation)_\w+?)(?:_seconds_(?:bucket|count|sum)|_total)\b")
LABEL = re.compile(r"\b(\w+)=~?\"|\b(\w+)!=\"|by \(([\w, ]+)\)|, (\w+)\)")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_only_what_is_exported(query: str) -> None:
    metrics = METRIC.findall(query)
    assert metrics
    assert [name for name in metrics if name not in DOTTED] == []
    found = {label.strip() for groups in LABEL.findall(query) for group in groups for label in group.split(",")}
    assert {label for label in found if label and label not in {"le", *DOTTED}} == set()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {DOTTED[name] for query in EXPRESSIONS for name in METRIC.findall(query)}
    created = set(re.findall(r'create_(?:counter|histogram)\(\s*"([\w.]+)"', SOURCE))
    assert len(created) == 5
    assert created == shown


def test_panels_do_not_overlap_and_are_all_drawn() -> None:
    drawing = (FOLDER / "dashboard.svg").read_text("utf-8")
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert [panel["title"] for panel in BOARD["panels"] if f">{panel['title']}<" not in drawing] == []

"""The audit log through the plugin process: one line per request in every mode."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY


@pytest.fixture
def host() -> Iterator[Host]:
    """A separate process, so that its log contains only the lines of one test."""
    with Host(plugin_dir=ROOT) as host:
        yield host


def audit_lines(host: Host) -> list[dict[str, object]]:
    said = (message.partition("image_request ") for message in host.process(0).log_messages)
    return [json.loads(line) for _, found, line in said if found]


def test_every_request_writes_one_log_line(host: Host) -> None:
    credentials = {"stability_api_key": MARKER_KEY, "limits": "images 2, audit text"}
    host.invoke("preview", credentials, [user("a red fox")], {"n": 2}, stream=True)
    host.invoke("preview", credentials, [user("a grey fox")], {}, stream=False)
    with pytest.raises(PluginError, match="the owner allows at most 2"):
        host.invoke("preview", credentials, [user("foxes")], {"n": 3})
    polling = {**credentials, "waiting": "polling"}
    assert host.start_polling("preview", polling, [user("foxes")], {"n": 4}).status == "failed"
    with pytest.raises(PluginError):
        host.invoke("no-such-model", credentials, [user(f"a fox {MARKER_KEY}")])
    lines = audit_lines(host)
    assert [(line["outcome"], line["n"], line.get("prompt")) for line in lines] == [
        ("succeeded", 2, "a red fox"),
        ("succeeded", 1, "a grey fox"),
        ("refused", 3, "foxes"),
        ("refused", 4, "foxes"),
        ("refused", 0, None),
    ]
    assert MARKER_KEY not in str(host.process(0).log_messages)


def test_every_record_is_kept_in_the_storage_without_a_key(plugin: Host, tmp_path: Path) -> None:
    credentials = {
        "stability_api_key": MARKER_KEY,
        "limits": "images 2, audit text",
        "storage_url": f"file://{tmp_path}",
    }
    prompt = [user(f"a fox {MARKER_KEY}")]
    plugin.invoke("preview", credentials, prompt, {"width": 16, "height": 16})
    with pytest.raises(PluginError):
        plugin.invoke("preview", credentials, prompt, {"n": 3})
    polling = {**credentials, "waiting": "polling"}
    assert plugin.run_polling("preview", polling, prompt, {"width": 16, "height": 16}).status == "succeeded"
    texts = [path.read_text("utf-8") for path in _objects(tmp_path / "audit", 3)]
    records = sorted((json.loads(text) for text in texts), key=lambda record: float(record["time"]))
    assert [record["outcome"] for record in records] == ["succeeded", "refused", "succeeded"]
    assert {record["prompt"] for record in records} == {"a fox [hidden]"}
    assert MARKER_KEY not in str(texts)


def _objects(folder: Path, count: int) -> list[Path]:
    """They are written beside the answers."""
    deadline = time.monotonic() + 20
    while len(found := sorted(folder.rglob("*.json"))) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return found

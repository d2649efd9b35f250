"""The audit log through the plugin process: one line per request in every mode."""

import json
from collections.abc import Iterator

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

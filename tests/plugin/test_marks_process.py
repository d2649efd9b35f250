"""Stamps, labels and variants through the process of the plugin, in one call and over the processes of a polled job."""

import io

import pytest
import zxingcpp
from PIL import Image
from pydantic import JsonValue

from models.images.ai_label import label_of
from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user

PARAMETERS: dict[str, JsonValue] = {
    "width": 320,
    "height": 320,
    "stamp": "qr:https://a.example",
    "ai_label": "metadata",
    "variants": "200x160",
}


def assert_marked(files: list[bytes]) -> None:
    assert [Image.open(io.BytesIO(file)).size for file in files] == [(320, 320), (200, 160)]
    for file in files:
        assert [code.text for code in zxingcpp.read_barcodes(Image.open(io.BytesIO(file)))] == ["https://a.example"]
        assert label_of(file) is not None


def test_a_call_and_a_stream_are_marked(plugin: Host) -> None:
    for stream in (False, True):
        reply = plugin.invoke("preview", {}, [user("a fox")], PARAMETERS, stream=stream)
        assert_marked([image.data for image in reply.images])


def test_a_polled_job_is_marked_by_the_process_that_sees_its_end(plugin: Host) -> None:
    reply = plugin.run_polling("preview", {}, [user("a fox")], {**PARAMETERS, "simulate_seconds": 1})
    assert_marked([image.data for image in reply.images])


def test_bad_marks_are_refused_on_saving(plugin: Host) -> None:
    with pytest.raises(PluginError, match="“position middle” in “Marks”"):
        plugin.validate_provider_credentials({"marks": "position middle"})

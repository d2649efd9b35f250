"""Telemetry through the plugin processes: an OTLP receiver sees the documented metrics, one trace per request, no key."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, override

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY
from tests.servers.fal import FakeFal
from tests.servers.json_service import running
from tests.servers.otlp import Point, ReceivedSpan, points, spans
from tests.servers.scripted import Script, scripted_server, silence
from tests.servers.stability import FakeStability

_IN_TIME = 30.0


class BusyFal(FakeFal):
    """A job waits in the queue for longer than the call that starts it."""

    @override
    def _state(self, number: str) -> tuple[int, object]:
        if self.looked[number] < 0:
            self.looked[number] += 1
            return 202, {"status": "IN_QUEUE", "queue_position": 2}
        return super()._state(number)

    @override
    def post(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, object]:
        status, reply = super().post(path, body, headers)
        self.looked = dict.fromkeys(self.looked, -5)
        return status, reply


@pytest.fixture
def receiver() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def host(receiver: Script) -> Iterator[Host]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{MARKER_KEY}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_SERVICE_NAME": "images",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Host(plugin_dir=ROOT, processes=2, environment=environment) as host:
        yield host


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _IN_TIME
    while not seen() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen()


def test_an_otlp_receiver_sees_the_metrics_and_one_trace_per_request(host: Host, receiver: Script) -> None:
    receiver.then(silence, silence)
    for _ in range(2):
        host.invoke("preview", {}, [user("a fox")], {"width": 16, "height": 16})
    until(lambda: len(receiver.seen) >= 2)  # what follows is answered while the exporters wait for the receiver
    with FakeStability(key=MARKER_KEY) as stability, running(BusyFal(MARKER_KEY)) as queue:
        form: dict[str, JsonValue] = {
            "stability_api_key": MARKER_KEY,
            "stability_base_url": stability.url,
            "fal_api_key": MARKER_KEY,
            "fal_base_url": queue.url,
            "limits": "images 2, audit text",
        }
        prompt = [user(f"a fox and {MARKER_KEY}")]
        host.invoke("sd3.5-medium", form, prompt, {})
        with pytest.raises(PluginError):
            host.invoke("preview", form, prompt, {"n": 3})
        stability.fail_next("content_moderation")
        with pytest.raises(PluginError):
            host.invoke("sd3.5-medium", form, prompt, {}, stream=True)
        polled = {**form, "waiting": "polling"}
        assert host.run_polling("fal-flux-dev", polled, prompt, {}).status == "succeeded"
    until(lambda: len(requests(receiver)) == 4 and sum(point.count for point in durations(receiver)) == 6)
    counted = points(receiver.seen)
    assert {point.name for point in counted} == {
        "gen_ai.client.operation.duration",
        "image_generation.images",
        "image_generation.cost",
        "image_generation.queue.duration",
    }
    outcomes = sorted(
        (str(point.attributes["gen_ai.request.model"]), str(point.attributes.get("error.type", "")))
        for point in durations(receiver)
    )
    assert outcomes == [
        ("fal-flux-dev", ""),
        ("preview", ""),
        ("preview", ""),
        ("preview", "InvokeBadRequestError"),
        ("sd3.5-medium", ""),
        ("sd3.5-medium", "InvokeBadRequestError"),
    ]
    assert {point.resource["service.name"] for point in counted} == {"images"}
    refused, *_, job = sorted(requests(receiver), key=lambda span: len(below(receiver, span)))
    assert (refused.attributes["gen_ai.request.model"], below(receiver, refused)) == ("preview", [])
    assert job.attributes["gen_ai.request.model"] == "fal-flux-dev"
    assert below(receiver, job)[0].name == "POST"
    processes = {span.resource["service.instance.id"] for span in below(receiver, job)}
    assert len(processes) == 2
    assert MARKER_KEY.encode() not in b"".join(seen.body for seen in receiver.seen)
    assert MARKER_KEY not in str([host.process(number).log_messages for number in range(2)])


def requests(receiver: Script) -> list[ReceivedSpan]:
    """Those after the first two, whose spans may be lost with the first exports."""
    own = [span for span in spans(receiver.seen) if not span.parent]
    return [span for span in own if span.attributes["gen_ai.request.model"] != "preview" or span.failed]


def durations(receiver: Script) -> list[Point]:
    return [point for point in points(receiver.seen) if point.name == "gen_ai.client.operation.duration"]


def below(receiver: Script, request: ReceivedSpan) -> list[ReceivedSpan]:
    found = [span for span in spans(receiver.seen) if span.parent == request.id and span.trace == request.trace]
    return sorted(found, key=lambda span: span.began)

"""Telemetry: off without a variable, complete and without secrets with one, never in the way of a request."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import gevent
import pytest

from models import stages
from models.backends.errors import RateLimited, logger
from models.backends.trail import CallTrail, HttpCall, begin_trail, note_queued
from models.limits import Limits
from models.pipeline import Asked, Call
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages import telemetry, telemetry_export
from models.stages.audit import Receipt
from models.stages.telemetry import RequestFacts, RequestTelemetry, TelemetrySink, signals
from models.stages.telemetry_export import OtlpExport
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY, FakeClock
from tests.servers.otlp import points, spans
from tests.servers.scripted import Act, Script, say, scripted_server, silence

BOTH = frozenset({"metrics", "traces"})
SUCCEEDED = Receipt(
    id="0a1b2c",
    time=1_790_000_000.0,
    user="ann",
    model="auto",
    backend="stability",
    answered_by="sd3.5-medium",
    prompt="a fox",
    seed="42",
    width=1024,
    height=768,
    n=2,
    price="0.07",
    currency="USD",
    seconds=3.5,
    outcome="succeeded",
    image_urls=("https://store/1.png",),
)
CALLS = (
    HttpCall("POST", "api.stability.ai", 443, 1_790_000_000.5, 1_790_000_003.0, 200),
    HttpCall("GET", "cdn.example", 8443, 1_790_000_003.0, 1_790_000_003.25, None, "ReadTimeout"),
)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_server() as script:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", script.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        yield script


@pytest.fixture
def export(receiver: Script) -> OtlpExport:
    return OtlpExport(BOTH, os.environ)


class KeptFacts:
    """In place of the exporter."""

    def __init__(self) -> None:
        self.facts: list[RequestFacts] = []

    def report(self, facts: RequestFacts) -> None:
        self.facts.append(facts)


def sink_of(kept: KeptFacts) -> TelemetrySink:
    return TelemetrySink(BOTH, {}, export=kept)  # type: ignore[arg-type]


def test_without_a_variable_nothing_is_told_and_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("models.stages.telemetry", "opentelemetry"))]:
        monkeypatch.delitem(sys.modules, name)
    assert len(stages.observers(Settings({}, {"OTEL_SERVICE_NAME": "images"}))) == 1
    assert not [name for name in sys.modules if name.startswith(("models.stages.telemetry", "opentelemetry"))]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, {"metrics", "traces"}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/m"}, {"metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, {"metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, {"traces"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, set()),
    ],
)
def test_the_standard_variables_switch_it_on(environment: dict[str, str], wanted: set[str]) -> None:
    assert signals(environment) == wanted


@pytest.mark.parametrize("environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_request_is_reported_where_a_receiver_is_named(environment: dict[str, str]) -> None:
    reporting = RequestTelemetry.read(Settings({}, environment), Limits().audit)
    assert (reporting is not None) is bool(environment)


@pytest.mark.parametrize("wanted", [{"metrics"}, {"traces"}, {"metrics", "traces"}])
def test_only_the_wanted_signals_are_exported(wanted: set[str]) -> None:
    export = OtlpExport(frozenset(wanted), {})
    assert {"metrics": export.metrics is not None, "traces": export.spans is not None} == {
        "metrics": "metrics" in wanted,
        "traces": "traces" in wanted,
    }


def test_a_request_is_counted_under_the_documented_names(export: OtlpExport, receiver: Script) -> None:
    export.report(RequestFacts(SUCCEEDED, CALLS, queued=1.5))
    export.report(RequestFacts(replace(SUCCEEDED, cached=True, price="0"), ()))
    export.flush()
    names = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "stability",
        "gen_ai.request.model": "auto",
        "gen_ai.response.model": "sd3.5-medium",
    }
    outcome = {"image_generation.outcome": "succeeded"}
    seen = {point.name: (point.unit, point.attributes, point.total, point.count) for point in points(receiver.seen)}
    assert seen == {
        "gen_ai.client.operation.duration": ("s", names | outcome, 7.0, 2),
        "image_generation.images": ("{image}", names, 4.0, 1),
        "image_generation.cost": ("{currency}", names | {"image_generation.currency": "USD"}, 0.07, 1),
        "image_generation.cache.hits": ("{request}", names, 1.0, 1),
        "image_generation.queue.duration": ("s", names, 1.5, 1),
    }
    for page in ("operations.md", "operations_zh_Hans.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        used = {*seen, *(name for point in points(receiver.seen) for name in point.attributes)}
        assert [name for name in used if f"`{name}`" not in text] == []


def test_failures_are_counted_by_class(export: OtlpExport, receiver: Script) -> None:
    failed = Receipt(time=1.0, user="ann", model="m", backend="").failed(RateLimited("x"), 2.0, handed_over=True)
    export.report(RequestFacts(failed, ()))
    export.flush()
    (duration,) = points(receiver.seen)
    assert duration.name == "gen_ai.client.operation.duration"
    assert duration.attributes["error.type"] == "InvokeRateLimitError"
    assert duration.attributes["image_generation.outcome"] == "failed"
    assert "gen_ai.provider.name" not in duration.attributes
    assert spans(receiver.seen)[0].failed


def test_a_request_is_a_span_with_its_http_requests_below(export: OtlpExport, receiver: Script) -> None:
    export.report(RequestFacts(SUCCEEDED, CALLS[:1], finished=False))
    export.report(RequestFacts(SUCCEEDED, CALLS[1:], dropped=7))
    export.flush()
    post, get, request = spans(receiver.seen)
    assert (request.name, request.parent, request.failed) == ("generate_content auto", "", False)
    assert (request.began, request.ended) == (SUCCEEDED.time, SUCCEEDED.time + 3.5)
    assert request.attributes["image_generation.request.id"] == "0a1b2c"
    assert request.attributes["image_generation.http.dropped"] == 7
    assert {post.parent, get.parent} == {request.id}
    assert {post.trace, get.trace} == {request.trace}
    assert post.attributes == {
        "http.request.method": "POST",
        "server.address": "api.stability.ai",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert get.attributes["error.type"] == "ReadTimeout"
    assert (post.failed, get.failed) == (False, True)


@pytest.mark.parametrize(
    ("status", "error", "port", "failed"),
    [(399, "", None, None), (400, "", 80, "400"), (200, "ReadTimeout", 443, "ReadTimeout"), (None, "", None, None)],
)
def test_an_http_request_failed_by_its_error_or_its_status(
    export: OtlpExport, receiver: Script, status: int | None, error: str, port: int | None, failed: str | None
) -> None:
    call = HttpCall("GET", "cdn.example", port, 1_790_000_003.0, 1_790_000_003.5, status, error)
    export.report(RequestFacts(SUCCEEDED, (call,), finished=False))
    export.flush()
    (span,) = spans(receiver.seen)
    known = {"server.port": port, "http.response.status_code": status, "error.type": failed}
    assert span.attributes == {
        "http.request.method": "GET",
        "server.address": "cdn.example",
        **{name: value for name, value in known.items() if value is not None},
    }
    assert (span.failed, span.began, span.ended) == (failed is not None, call.began, call.ended)


def test_what_is_not_known_or_not_delivered_is_not_counted(export: OtlpExport, receiver: Script) -> None:
    export.report(RequestFacts(replace(SUCCEEDED, outcome="failed", price=None), ()))
    export.report(RequestFacts(replace(SUCCEEDED, outcome="failed", seconds=None, price="0.5", currency=None), ()))
    export.report(RequestFacts(SUCCEEDED, (), finished=False))
    export.flush()
    seen = {point.name: (point.total, point.count) for point in points(receiver.seen)}
    assert seen == {"gen_ai.client.operation.duration": (3.5, 1), "image_generation.cost": (0.5, 1)}


def test_the_sampler_leaves_out_whole_requests(receiver: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    export = OtlpExport(frozenset({"traces"}), os.environ)
    for number in range(60):
        export.report(RequestFacts(replace(SUCCEEDED, id=f"request {number}"), CALLS))
    export.flush()
    found = spans(receiver.seen)
    traces = {span.trace for span in found}
    assert 10 < len(traces) < 50
    assert len(found) == 3 * len(traces)


def test_the_resource_names_the_service_and_the_process(receiver: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "images of Example"):
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        export = OtlpExport(frozenset({"traces"}), os.environ)
        export.report(RequestFacts(SUCCEEDED, ()))
        export.flush()
    first, second = (span.resource for span in spans(receiver.seen))
    assert (first["service.name"], second["service.name"]) == ("dify-image-generation", "images of Example")
    assert first["service.instance.id"] != second["service.instance.id"]


@pytest.mark.parametrize("act", [lambda handler: gevent.sleep(0.4), silence])
def test_a_receiver_that_is_slow_or_silent_holds_up_no_greenlet(
    export: OtlpExport, receiver: Script, caplog: pytest.LogCaptureFixture, act: Act
) -> None:
    receiver.then(*[act] * 20)
    export.report(RequestFacts(SUCCEEDED, CALLS))
    flushing, ticks = gevent.spawn(export.flush), 0
    while not flushing.ready():
        gevent.sleep(0.005)
        ticks += 1
    assert ticks > 5  # a blocking export would leave one
    assert {seen.path for seen in receiver.seen} == {"/v1/metrics", "/v1/traces"}


def test_what_the_receiver_refuses_is_logged_once_and_without_the_headers(
    receiver: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{MARKER_KEY}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    export = OtlpExport(frozenset({"traces"}), os.environ)
    logger.addHandler(caplog.handler)
    receiver.then(*[say(401, f"wrong key {MARKER_KEY}")] * 2)
    for _ in range(2):
        export.report(RequestFacts(SUCCEEDED, ()))
        export.flush()
    logger.removeHandler(caplog.handler)
    assert receiver.seen[0].headers["authorization"] == f"Bearer {MARKER_KEY}"
    assert caplog.text.count("401") == 1
    assert MARKER_KEY not in caplog.text


def test_neither_prompt_nor_user_nor_address_nor_key_is_reported() -> None:
    kept, trail = KeptFacts(), CallTrail()
    trail.add(replace(CALLS[0], host=f"{MARKER_KEY}.example"))
    told = RequestTelemetry(sink_of(kept), trail, (MARKER_KEY,))
    told(replace(SUCCEEDED, model=f"model {MARKER_KEY}", prompt=f"a fox {MARKER_KEY}"))
    assert MARKER_KEY not in str(kept.facts)
    assert "store/1.png" not in str(kept.facts)
    (facts,) = kept.facts
    assert (facts.receipt.prompt, facts.receipt.user, facts.receipt.model) == ("", "", "model [hidden]")


def test_a_queue_is_measured_from_the_start_of_the_request(clock: FakeClock) -> None:
    kept = KeptFacts()
    sink, receipt = sink_of(kept), replace(SUCCEEDED, time=clock.time)
    first = RequestTelemetry(sink, begin_trail(), ())
    clock.time += 4
    gevent.spawn(note_queued, clock).join()
    first.waiting(receipt)
    RequestTelemetry(sink, begin_trail(), ())(receipt)
    RequestTelemetry(sink, begin_trail(), ())(replace(receipt, id="another"))
    assert [(facts.finished, facts.queued) for facts in kept.facts] == [(False, 4.0), (True, 4.0), (True, None)]


def test_telemetry_that_cannot_start_is_logged_and_costs_no_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "-1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    telemetry._sink.cache_clear()
    logger.addHandler(caplog.handler)
    Call.of("preview", {}, "ann").generate(Asked(Conversation("a fox"), {"width": 16, "height": 16}))
    sink = telemetry._sink(BOTH)
    while not sink.failed:
        gevent.sleep(0.01)
    logger.removeHandler(caplog.handler)
    telemetry._sink.cache_clear()
    assert "telemetry is off: it could not be started" in caplog.text
    assert not sink.early


def test_what_ends_during_the_import_is_reported_after_it(receiver: Script) -> None:
    sink = TelemetrySink(BOTH, os.environ)
    sink.put(RequestFacts(SUCCEEDED, CALLS))
    sink.start()
    assert sink.export
    sink.export.flush()
    assert len(spans(receiver.seen)) == 3


def test_the_attributes_of_spans_are_documented(export: OtlpExport, receiver: Script) -> None:
    export.report(RequestFacts(SUCCEEDED, CALLS, dropped=1, queued=2.0))
    export.flush()
    used = {name for span in spans(receiver.seen) for name in span.attributes}
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert used - set(re.findall(r"`([\w.]+)`", text)) == set()


@pytest.mark.parametrize(
    ("environment", "secrets"),
    [
        ({}, ()),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20k1,x-team=art"}, ("Bearer%20k1", "k1", "art", "art")),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a= k2 "}, ("k2", "k2")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "a=b", "OTHER_HEADERS": "a=b"}, ()),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=,b"}, ()),
    ],
)
def test_the_values_of_the_exporters_headers_are_secret(environment: dict[str, str], secrets: tuple[str, ...]) -> None:
    assert telemetry.secrets_of(environment) == secrets


def resource_of(environment: dict[str, str]) -> dict[str, str]:
    return dict(telemetry_export._resource(environment))


def test_each_process_counts_for_itself() -> None:
    plain = resource_of({})
    assert set(plain) == {"service.name", "service.instance.id", "service.version"}
    assert plain["service.instance.id"] != resource_of({})["service.instance.id"]
    assert "service.name" not in resource_of({"OTEL_SERVICE_NAME": "x"})
    assert "service.name" not in resource_of({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x"})
    assert "service.instance.id" not in resource_of({"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=x"})


def test_ids_of_a_trace_come_from_the_request_and_are_used_once() -> None:
    ids = telemetry_export.RequestIds()
    trace_id, span_id = ids.of(SUCCEEDED)
    assert (trace_id, span_id) == ids.of(replace(SUCCEEDED, n=9)) != ids.of(replace(SUCCEEDED, id="other"))
    assert (trace_id.bit_length() <= 128, span_id.bit_length() <= 64, bool(trace_id and span_id)) == (True, True, True)
    assert ids.generate_trace_id() != ids.generate_trace_id()
    ids.trace_id, ids.span_id = trace_id, span_id
    assert (ids.generate_trace_id(), ids.generate_span_id()) == (trace_id, span_id)
    assert ids.generate_span_id() not in {0, span_id}


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, set()),
        ({"width": None}, {"image_generation.width", "image_generation.height"}),
        ({"height": None}, {"image_generation.width", "image_generation.height"}),
        ({"price": None}, {"image_generation.cost", "image_generation.currency"}),
    ],
)
def test_unknown_facts_are_left_out_of_a_span(changes: dict[str, None], left_out: set[str]) -> None:
    facts = RequestFacts(replace(SUCCEEDED, **changes), (), dropped=2, queued=0.0)  # type: ignore[arg-type]
    everything = {
        "image_generation.request.id": "0a1b2c",
        "image_generation.images": 2,
        "image_generation.cached": False,
        "image_generation.width": 1024,
        "image_generation.height": 768,
        "image_generation.cost": 0.07,
        "image_generation.currency": "USD",
        "image_generation.queue.duration": 0.0,
        "image_generation.http.dropped": 2,
    }
    shown = {name: value for name, value in everything.items() if name not in left_out}
    assert dict(telemetry_export._details(facts)) == shown
    without = dict(telemetry_export._details(RequestFacts(SUCCEEDED, ())))
    assert {"image_generation.queue.duration", "image_generation.http.dropped"}.isdisjoint(without)


def test_the_names_of_an_outcome() -> None:
    failed = replace(SUCCEEDED, backend="", answered_by=None, outcome="failed", error_class="X")
    assert telemetry_export._outcome(failed) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": "auto",
        "image_generation.outcome": "failed",
        "error.type": "X",
    }
    assert "error.type" not in telemetry_export._outcome(SUCCEEDED)
    assert telemetry_export._nanoseconds(1.5) == 1_500_000_000


@pytest.mark.parametrize(("protocol", "warned"), [("", False), ("http/protobuf", False), ("grpc", True)])
def test_another_protocol_is_warned_of(protocol: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    logger.addHandler(caplog.handler)
    telemetry_export._log_failures({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    logger.removeHandler(caplog.handler)
    said = f"telemetry: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; this plugin sends http/protobuf"
    assert (said in caplog.messages) is warned
    sdk = logging.getLogger("opentelemetry")
    assert (sdk.propagate, [handler.level for handler in sdk.handlers]) == (False, [logging.WARNING])


def test_a_warning_of_the_sdk_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    handler = telemetry_export.ExportLog((MARKER_KEY,))
    logger.addHandler(caplog.handler)
    for created in (1000.0, 1059.5, 1060.0, 1061.0):
        record = logging.LogRecord("opentelemetry", logging.WARNING, "", 1, f"no {MARKER_KEY} %s", (created,), None)
        record.created = created
        handler.emit(record)
    logger.removeHandler(caplog.handler)
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["1000.0", "1060.0"]
    assert MARKER_KEY not in caplog.text


def test_a_request_is_reported_without_its_prompt_user_and_addresses() -> None:
    telling = RequestTelemetry(sink_of(KeptFacts()), CallTrail(), ("stability",))
    shown = telling._shown(replace(SUCCEEDED, answered_by=None))
    assert (shown.prompt, shown.user, shown.image_urls, shown.answered_by) == ("", "", (), None)
    assert (shown.model, "stability" in shown.backend, shown.seconds) == ("auto", False, 3.5)
    assert telling._shown(SUCCEEDED).answered_by == "sd3.5-medium"

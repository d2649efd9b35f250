"""Metrics and spans of requests, by the OpenTelemetry SDK and its OTLP exporter over HTTP.

Imported only where an OTLP endpoint is configured. The SDK's threads are greenlets here and its sockets are gevent's: a
receiver that is slow or silent holds up nobody. Names follow the GenAI and HTTP client semantic conventions
(https://opentelemetry.io/docs/specs/semconv/gen-ai/).
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from models.backends.errors import logger, redact
from models.backends.http import CLIENT_NAME
from models.backends.trail import HttpCall
from models.stages.audit import Receipt
from models.stages.telemetry import RequestFacts, secrets_of
from models.version import VERSION

_NAME = "image_generation"
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120)
"""Upper bounds of the buckets: from the cache to a polled job of two hours."""
_BATCH = 128  # spans; encoding the SDK's own 512 takes 17 ms of CPU in one piece, and other requests wait meanwhile
_PROTOCOL = "http/protobuf"
_LOG_SECONDS = 60.0

type Attributes = dict[str, str | int | float | bool]


class OtlpExport:
    """The exporters of this process; what they cannot deliver is written to the plugin's log."""

    def __init__(self, signals: frozenset[str], environment: Mapping[str, str]) -> None:
        _log_failures(environment)
        resource = Resource.create(dict(_resource(environment)))
        self.metrics = RequestMetrics(resource) if "metrics" in signals else None
        self.spans = RequestSpans(resource) if "traces" in signals else None

    def report(self, facts: RequestFacts) -> None:
        if self.metrics and facts.finished:
            self.metrics.count(facts)
        if self.spans:
            self.spans.end(facts)

    def flush(self) -> None:
        """Send everything now and wait for the receiver."""
        if self.spans:
            self.spans.provider.force_flush()
        if self.metrics:
            self.metrics.provider.force_flush()


class RequestMetrics:
    """The instruments. Their attributes are the names of models and services, an error class and a currency."""

    def __init__(self, resource: Resource) -> None:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        # A process ends without waiting for a receiver: Dify's daemon kills it.
        self.provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self.provider.get_meter(_NAME, VERSION)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Duration of a request, from Dify's call to its outcome",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._queue = meter.create_histogram(
            "image_generation.queue.duration",
            "s",
            "Time in the queue of a service that tells it",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._images = meter.create_counter("image_generation.images", "{image}", "Images that were delivered")
        self._cost = meter.create_counter("image_generation.cost", "{currency}", "Cost, by the prices of the receipts")
        self._hits = meter.create_counter("image_generation.cache.hits", "{request}", "Requests answered by the cache")

    def count(self, facts: RequestFacts) -> None:
        receipt = facts.receipt
        names = _names(receipt)
        if receipt.seconds is not None:
            self._duration.record(receipt.seconds, _outcome(receipt))
        if facts.queued is not None:
            self._queue.record(facts.queued, names)
        if receipt.outcome == "succeeded":
            self._images.add(receipt.n, names)
        if receipt.price and Decimal(receipt.price) > 0:
            self._cost.add(float(receipt.price), {**names, "image_generation.currency": receipt.currency or ""})
        if receipt.cached:
            self._hits.add(1, names)


class RequestIds(IdGenerator):
    """Ids of a request's trace come from the request's id: all processes that work on a job add to the same trace."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace_id, self.span_id = 0, 0

    def of(self, receipt: Receipt) -> tuple[int, int]:
        """Of the trace and of the request's own span."""
        digest = hashlib.sha256(receipt.id.encode()).digest()
        return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])

    def generate_trace_id(self) -> int:
        return self.trace_id or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        span_id, self.span_id = self.span_id, 0
        return span_id or self._random.generate_span_id()


class RequestSpans:
    """One span for each request, and below it one for each HTTP request that was sent for it."""

    def __init__(self, resource: Resource) -> None:
        self._ids = RequestIds()
        self.provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        batch = None if os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") else _BATCH
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=batch))
        self._tracer = self.provider.get_tracer(_NAME, VERSION)

    def end(self, facts: RequestFacts) -> None:
        trace_id, span_id = self._ids.of(facts.receipt)
        decision = self.provider.sampler.should_sample(None, trace_id, _span_name(facts.receipt)).decision
        if decision is not Decision.RECORD_AND_SAMPLE:
            return
        parent = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        within = set_span_in_context(NonRecordingSpan(parent), Context())
        for call in facts.calls:
            self._http(call, within)
        if facts.finished:
            self._ids.trace_id, self._ids.span_id = trace_id, span_id
            self._request(facts)

    def _request(self, facts: RequestFacts) -> None:
        receipt = facts.receipt
        span = self._tracer.start_span(
            _span_name(receipt),
            Context(),
            SpanKind.INTERNAL,
            {**_outcome(receipt), **dict(_details(facts))},
            start_time=_nanoseconds(receipt.time),
        )
        if receipt.error_class:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(receipt.time + (receipt.seconds or 0.0)))

    def _http(self, call: HttpCall, within: Context) -> None:
        failed = call.error or (str(call.status) if call.status and call.status >= 400 else "")  # noqa: PLR2004
        facts: Attributes = {"http.request.method": call.method, "server.address": call.host}
        facts |= {"server.port": call.port} if call.port else {}
        facts |= {"http.response.status_code": call.status} if call.status else {}
        facts |= {"error.type": failed} if failed else {}
        began = _nanoseconds(call.began)
        span = self._tracer.start_span(call.method, within, SpanKind.CLIENT, facts, start_time=began)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(call.ended))


def _names(receipt: Receipt) -> Attributes:
    names: Attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": receipt.model,
    }
    names |= {"gen_ai.provider.name": receipt.backend} if receipt.backend else {}
    names |= {"gen_ai.response.model": receipt.answered_by} if receipt.answered_by else {}
    return names


def _outcome(receipt: Receipt) -> Attributes:
    names = {**_names(receipt), "image_generation.outcome": receipt.outcome or ""}
    return {**names, "error.type": receipt.error_class} if receipt.error_class else names


def _details(facts: RequestFacts) -> Iterator[tuple[str, str | int | float | bool]]:
    receipt = facts.receipt
    yield "image_generation.request.id", receipt.id
    yield "image_generation.images", receipt.n
    yield "image_generation.cached", receipt.cached
    if receipt.width and receipt.height:
        yield "image_generation.width", receipt.width
        yield "image_generation.height", receipt.height
    if receipt.price:
        yield "image_generation.cost", float(receipt.price)
        yield "image_generation.currency", receipt.currency or ""
    if facts.queued is not None:
        yield "image_generation.queue.duration", facts.queued
    if facts.dropped:
        yield "image_generation.http.dropped", facts.dropped


def _span_name(receipt: Receipt) -> str:
    return f"generate_content {receipt.model}"


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def _resource(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each process counts for itself; without an instance of its own, their counters would overwrite each other."""
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        yield "service.name", CLIENT_NAME
    if "service.instance.id=" not in given:
        yield "service.instance.id", str(uuid.uuid4())
    yield "service.version", VERSION


def _log_failures(environment: Mapping[str, str]) -> None:
    told = logging.getLogger("opentelemetry")
    told.handlers = [ExportLog(secrets_of(environment))]
    told.propagate = False
    asked = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
    if asked not in {"", _PROTOCOL}:
        logger.warning("telemetry: OTEL_EXPORTER_OTLP_PROTOCOL is %s; this plugin sends %s", asked, _PROTOCOL)


class ExportLog(logging.Handler):
    """Warnings of the SDK in the plugin's log: each one once a minute, without tracebacks and values of headers."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__(logging.WARNING)
        self._secrets = secrets
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        template = str(record.msg)
        if record.created - self._told.get(template, 0.0) >= _LOG_SECONDS:
            self._told[template] = record.created
            logger.warning("telemetry: %s", redact(record.getMessage(), self._secrets))
